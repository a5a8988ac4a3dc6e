//! Finds a key by its value, which stands in no address: the browser hashes it, or a form posts it.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::Services;
use crate::domain::key::KeyHash;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::ui::Ui;

/// Longest value, in bytes.
const MAX_VALUE: usize = 1024;

#[derive(Template)]
#[template(path = "keys/find.html", blocks = ["content"])]
struct FindPage {
    ui: Ui,
    data: FindData,
}

#[derive(Default, Serialize)]
struct FindData {
    errors: FieldErrors,
}

page!(FindPage, FindData, as_content);

#[derive(Deserialize)]
pub(super) struct FindForm {
    #[serde(default = "SecretString::default")]
    value: SecretString,
}

pub(super) async fn show(ui: Ui) -> Response {
    FindPage { ui, data: FindData::default() }.respond(StatusCode::OK)
}

/// Leads to the key's page. The value is not kept.
pub(super) async fn find(
    State(state): State<Services>,
    ui: Ui,
    Form(form): Form<FindForm>,
) -> Result<Response, Problem> {
    let value = form.value.expose_secret().trim();
    let mut data = FindData::default();
    if value.is_empty() || value.len() > MAX_VALUE {
        data.errors.add("value", "Paste the key's value, such as sk-….");
        return Ok(FindPage { ui, data }.respond(StatusCode::UNPROCESSABLE_ENTITY));
    }
    let hash = KeyHash::of(&SecretString::from(value));
    match state.keys.record(&hash).await {
        Ok(Some(_)) => Ok(Redirect::to(&ui.paths.key(&hash)).into_response()),
        Ok(None) => {
            data.errors.add("value", "The proxy has no key of this value. It may have been deleted.");
            Ok(FindPage { ui, data }.respond(StatusCode::NOT_FOUND))
        }
        Err(error) => Err(Problem::of_client(&error)),
    }
}
