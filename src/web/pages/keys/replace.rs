//! A new key in the place of an old one.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Services;
use super::{KeyRow, input, made};
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::key_changes::span;
use crate::services::keys::Keys;
use crate::services::keys::{KeyChangeError, OldKey, Replacement};
use crate::web::auth::Acting;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::ui::{Flash, Ui, Wants};

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct ReplaceForm {
    /// `delete` or `block`.
    old: String,
    /// `24h`; empty is at once.
    grace: String,
    /// How long the new key lives; empty is as long as the old one would have.
    duration: String,
    confirm: String,
    token: String,
}

#[derive(Template)]
#[template(path = "keys/replace.html", blocks = ["content"])]
struct ReplacePage {
    ui: Ui,
    form: ReplaceForm,
    data: ReplaceData,
}

#[derive(Serialize)]
struct ReplaceData {
    key: KeyRow,
    errors: FieldErrors,
}

page!(ReplacePage, ReplaceData, as_content);

impl ReplaceForm {
    fn read(&self) -> Result<Replacement, FieldErrors> {
        let mut errors = FieldErrors::default();
        let old = self.old.parse().unwrap_or_else(|()| {
            errors.add("old", "Choose what becomes of the old key.");
            OldKey::Block
        });
        let grace = match self.grace.trim() {
            "" | "0" => None,
            text => span(text).or_else(|| {
                errors.add("grace", "A number and s, m, h, d, w or mo, such as 24h. Empty means at once.");
                None
            }),
        };
        let duration = input::lifetime(Some(&self.duration), None, &mut errors);
        let confirm = Some(self.confirm.clone()).filter(|confirm| !confirm.is_empty());
        if errors.is_empty() { Ok(Replacement { old, grace, duration, confirm }) } else { Err(errors) }
    }
}

async fn known(state: &Services, hash: &KeyHash) -> Result<VirtualKey, Problem> {
    let key = state.keys.key(hash).await.map_err(|error| Problem::of_client(&error))?;
    key.ok_or_else(|| Problem::not_found("The key"))
}

pub(super) async fn show(
    State(state): State<Services>,
    ui: Ui,
    route::KeyReplace(hash): route::KeyReplace,
) -> Result<Response, Problem> {
    let key = known(&state, &hash).await?;
    let form = ReplaceForm {
        old: "delete".to_owned(),
        grace: "24h".to_owned(),
        token: made::new_token(),
        ..ReplaceForm::default()
    };
    let data = ReplaceData { key: KeyRow::of(key, &ui, &state), errors: FieldErrors::default() };
    Ok(ReplacePage { ui, form, data }.respond(StatusCode::OK))
}

pub(super) async fn replace(
    State(state): State<Services>,
    ui: Ui,
    Acting(_, actor): Acting,
    route::KeyReplace(hash): route::KeyReplace,
    Form(form): Form<ReplaceForm>,
) -> Result<Response, Problem> {
    let how = match form.read() {
        Ok(how) => how,
        Err(errors) => return refused(&state, ui, &hash, form, errors).await,
    };
    let created = match state.keys.replace(&hash, &how, made::token(Some(&form.token)), &actor).await {
        Ok(created) => created,
        Err(KeyChangeError::Sent(key)) => return made::sent_before(&state, ui, key, Some(&hash)).await,
        Err(error @ (KeyChangeError::NotConfirmed | KeyChangeError::Expired)) => {
            let errors = at_field(&error);
            return refused(&state, ui, &hash, form, errors).await;
        }
        Err(error) => return Err(error.into()),
    };
    Ok(made::show(&state, ui, created, Some(&hash)).await)
}

fn at_field(error: &KeyChangeError) -> FieldErrors {
    let mut errors = FieldErrors::default();
    match error {
        KeyChangeError::Expired => {
            errors.add("duration", "The old key has expired: say how long the new one lives.");
        }
        _ => errors.add("confirm", "Type the key's name: the agent stops working with the old one."),
    }
    errors
}

async fn refused(
    state: &Services,
    ui: Ui,
    hash: &KeyHash,
    form: ReplaceForm,
    errors: FieldErrors,
) -> Result<Response, Problem> {
    let key = known(state, hash).await?;
    let data = ReplaceData { key: KeyRow::of(key, &ui, state), errors };
    Ok(ReplacePage { ui, form, data }.respond(StatusCode::UNPROCESSABLE_ENTITY))
}

pub(super) async fn keep(
    State(keys): State<Keys>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyKeep(hash): route::KeyKeep,
) -> Result<Response, Problem> {
    let was_due = keys.keep(&hash, &actor).await?;
    if ui.wants == Wants::Json {
        return Ok(Json(json!({ "kept": was_due })).into_response());
    }
    let text = if was_due { "The old key is kept." } else { "The key was not going to end." };
    Flash::set(&session, text).await;
    Ok(Redirect::to(&ui.paths.key(&hash)).into_response())
}

/// Ends a replaced key now.
pub(super) async fn retire(
    State(keys): State<Keys>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyRetire(hash): route::KeyRetire,
) -> Result<Response, Problem> {
    let due = keys.retirement(&hash).await?;
    let was_due = keys.retire(&hash, &actor).await?;
    if ui.wants == Wants::Json {
        return Ok(Json(json!({ "ended": was_due })).into_response());
    }
    let text = if was_due { "The old key was ended." } else { "The key was not going to end." };
    Flash::set(&session, text).await;
    let to = due.map_or(hash, |due| due.replaced_by);
    Ok(Redirect::to(&ui.paths.key(&to)).into_response())
}

impl ReplacePage {
    /// Whether the new key would have no time to live but for a duration.
    fn needs_duration(&self) -> bool {
        self.data.key.key.expires.is_some_and(|at| at <= self.ui.now)
    }

    fn lives(&self) -> &'static str {
        if self.data.key.key.expires.is_some() {
            "until the old one would have ended"
        } else {
            "without expiry"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key_changes::Set;

    #[test]
    fn a_grace_period_is_a_length_of_time_or_nothing() {
        let form = |grace: &str| ReplaceForm {
            old: "block".to_owned(),
            grace: grace.to_owned(),
            ..ReplaceForm::default()
        };
        assert_eq!(form("").read().unwrap().grace, None);
        assert_eq!(form("2h").read().unwrap().grace.unwrap().as_secs(), 7_200);
        assert!(form("soon").read().is_err());
        let how = ReplaceForm::default().read();
        assert_eq!(how.unwrap_err().len(), 1, "what becomes of the old key must be said");
        assert_eq!(form("").read().unwrap().duration, Set::Keep);
    }
}
