//! The answer to a form that made a key: the only one that shows it.

use askama::Template;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{KeyRow, Services};
use crate::domain::key::KeyHash;
use crate::services::keys::Created;
use crate::store::Retirement;
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::ui::{Ui, Wants};

#[derive(Template)]
#[template(path = "keys/made.html", blocks = ["content"])]
struct MadePage {
    ui: Ui,
    data: MadeData,
    secret: Option<SecretString>,
}

/// Without the secret.
#[derive(Serialize)]
struct MadeData {
    /// None where the key was made by an earlier request that is not known to have ended.
    key: Option<KeyRow>,
    duplicates: Vec<KeyHash>,
    problem: Option<String>,
    /// The end of the key that it replaces.
    replaces: Option<Retirement>,
}

page!(MadePage, MadeData, as_content);

impl MadePage {
    fn exposed(&self) -> Option<&str> {
        self.secret.as_ref().map(SecretString::expose_secret)
    }
}

/// The token of a new form: sent twice, it makes one key.
pub(super) fn new_token() -> String {
    Uuid::new_v4().to_string()
}

/// The token of a form that was sent, where it has one that will do.
pub(super) fn token(sent: Option<&str>) -> Option<&str> {
    sent.map(str::trim).filter(|token| (16..=64).contains(&token.len()) && token.is_ascii())
}

pub(super) async fn show(state: &Services, ui: Ui, created: Created, replaced: Option<&KeyHash>) -> Response {
    let Created { key, secret, duplicates, problem } = created;
    let key = KeyRow::of(key, &ui, state);
    if ui.wants == Wants::Json {
        let mut body = json!({ "key": secret.expose_secret(), "info": key, "duplicates": duplicates });
        if let Some(old) = replaced {
            body["replaces"] = json!(old);
        }
        if let Some(problem) = problem {
            body["problem"] = json!(problem);
        }
        return (StatusCode::CREATED, Json(body)).into_response();
    }
    let former = match replaced {
        Some(old) => state.keys.retirement(old).await.ok().flatten(),
        None => None,
    };
    let data = MadeData { key: Some(key), duplicates, problem, replaces: former };
    MadePage { ui, data, secret: Some(secret) }.respond(StatusCode::OK)
}

/// The same form again: a reload, a second click, a repeated request.
pub(super) async fn sent_before(
    state: &Services,
    ui: Ui,
    made: Option<KeyHash>,
    replaced: Option<&KeyHash>,
) -> Result<Response, Problem> {
    let key = match &made {
        Some(hash) => state.keys.key(hash).await.map_err(|error| Problem::of_client(&error))?,
        None => None,
    };
    let former = match replaced {
        Some(old) => state.keys.retirement(old).await?,
        None => None,
    };
    let status = if ui.wants == Wants::Json { StatusCode::CONFLICT } else { StatusCode::OK };
    let key = key.map(|key| KeyRow::of(key, &ui, state));
    let data = MadeData { key, duplicates: Vec::new(), problem: None, replaces: former };
    Ok(MadePage { ui, data, secret: None }.respond(status))
}
