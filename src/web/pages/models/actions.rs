//! Test, block, unblock, delete.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;
use serde_json::json;

use super::Services;
use super::form::ModelForm;
use super::register::done;
use crate::domain::model_detail::Detail;
use crate::services::registry::Models;
use crate::services::registry::{ModelError, Radius, is_confirmed};
use crate::web::auth::{Acting, ActorOf};
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::ui::{Flash, Ui, Wants};

pub(super) async fn test(
    State(models): State<Models>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::ModelTest(id): route::ModelTest,
) -> Result<Response, Problem> {
    let result = models.test(&id, &actor).await?;
    if ui.wants == Wants::Json {
        return Ok(Json(result).into_response());
    }
    Ok(Redirect::to(&format!("{}#test", ui.paths.model(&id))).into_response())
}

pub(super) async fn block(
    State(models): State<Models>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::ModelBlock(id): route::ModelBlock,
) -> Result<Response, Problem> {
    let outcome = models.set_blocked(&id, true, &actor).await?;
    Ok(done(&ui, &session, StatusCode::OK, &outcome, "is blocked: the proxy refuses calls to it").await)
}

pub(super) async fn unblock(
    State(models): State<Models>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::ModelUnblock(id): route::ModelUnblock,
) -> Result<Response, Problem> {
    let outcome = models.set_blocked(&id, false, &actor).await?;
    Ok(done(&ui, &session, StatusCode::OK, &outcome, "takes calls again").await)
}

#[derive(Template)]
#[template(path = "models/delete.html", blocks = ["content"])]
struct DeletePage {
    ui: Ui,
    data: DeleteData,
    detail: Detail,
    is_ghost: bool,
    typed: String,
}

#[derive(Serialize)]
struct DeleteData {
    id: String,
    name: String,
    #[serde(flatten)]
    radius: Radius,
    wants_confirmation: bool,
    error: Option<&'static str>,
}

page!(DeletePage, DeleteData, as_content);

impl DeletePage {
    async fn load(state: &Services, ui: Ui, id: &str) -> Result<Self, Problem> {
        let found = state.models.find(id).await?.ok_or(ModelError::Unknown)?;
        if found.detail.source == crate::domain::model::Source::Config {
            return Err(ModelError::ReadOnly.into());
        }
        let radius = state.models.radius(id, &found.detail.name).await?;
        let data = DeleteData {
            id: id.to_owned(),
            name: found.detail.name.clone(),
            wants_confirmation: found.ghost.is_none() && radius.wants_confirmation(),
            radius,
            error: None,
        };
        Ok(Self { ui, data, is_ghost: found.ghost.is_some(), detail: found.detail, typed: String::new() })
    }

    fn asked(&self) -> &str {
        if self.detail.name.trim().is_empty() { &self.detail.id } else { &self.detail.name }
    }
}

pub(super) async fn confirm(
    State(state): State<Services>,
    ui: Ui,
    route::ModelDelete(id): route::ModelDelete,
) -> Result<Response, Problem> {
    Ok(DeletePage::load(&state, ui, &id).await?.respond(StatusCode::OK))
}

pub(super) async fn delete(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::ModelDelete(id): route::ModelDelete,
    form: ModelForm,
) -> Result<Response, Problem> {
    let mut page = DeletePage::load(&state, ui, &id).await?;
    if page.data.wants_confirmation && !is_confirmed(&page.detail, form.get("confirm")) {
        page.data.error = Some("Type the name exactly, to confirm.");
        form.get("confirm").clone_into(&mut page.typed);
        return Ok(page.respond(StatusCode::UNPROCESSABLE_ENTITY));
    }
    let outcome = state.models.delete(&id, form.get("confirm"), &actor).await?;
    if page.ui.wants == Wants::Json {
        return Ok(Json(json!({ "id": outcome.id, "name": outcome.name, "deleted": true })).into_response());
    }
    let name: String = outcome.name.chars().take(120).collect();
    Flash::set(&session, format!("{name} is deleted.")).await;
    Ok(Redirect::to(&page.ui.paths.to(route::Models)).into_response())
}
