//! What is done to one key with one button.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::Deserialize;
use serde_json::json;
use tower_sessions::Session;

use super::Services;
use super::{KeyRow, show};
use crate::domain::key::{Access, VirtualKey};
use crate::services::keys::KeyChangeError;
use crate::web::auth::Acting;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::route;
use crate::web::table::Query;
use crate::web::ui::{Flash, Ui, Wants};

/// The answer after a change: the key's page, or the key for a script.
pub(super) async fn done(
    state: &Services,
    ui: &Ui,
    session: &Session,
    key: VirtualKey,
    text: String,
) -> Response {
    if ui.wants == Wants::Json {
        return Json(KeyRow::of(key, ui, state)).into_response();
    }
    Flash::set(session, text).await;
    Redirect::to(&ui.paths.key(&key.hash)).into_response()
}

/// The guide's step: the key may call whatever is registered, now and later.
pub(super) async fn relax(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyRelax(hash): route::KeyRelax,
) -> Result<Response, Problem> {
    let key = state.keys.relax(&hash, &actor).await?;
    let text = format!("{} may now call every model on the proxy.", key.label());
    Ok(done(&state, &ui, &session, key, text).await)
}

/// Models that a key may call alone; none means no model, since the proxy takes an empty list for all.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RestrictForm {
    models: Vec<String>,
}

pub(super) async fn restrict(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyRestrict(hash): route::KeyRestrict,
    Form(form): Form<RestrictForm>,
) -> Result<Response, Problem> {
    let models: Vec<String> = form.models.into_iter().filter(|model| !model.trim().is_empty()).collect();
    let access = if models.is_empty() { Access::None } else { Access::from_models(models) };
    let key = state.keys.restrict(&hash, access, &actor).await?;
    let text = format!("{} may now call {} only.", key.label(), key.access.describe());
    Ok(done(&state, &ui, &session, key, text).await)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AllowForm {
    model: String,
    /// The query of the matrix; empty goes to the key's page.
    back: Option<String>,
}

pub(super) async fn allow(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyAllow(hash): route::KeyAllow,
    Form(form): Form<AllowForm>,
) -> Result<Response, Problem> {
    let model = form.model()?;
    let key = state.keys.allow(&hash, model, &actor).await?;
    let text = format!("{} may now call {model} as well.", key.label());
    Ok(back(&state, &ui, &session, key, text, &form).await)
}

pub(super) async fn disallow(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyDisallow(hash): route::KeyDisallow,
    Form(form): Form<AllowForm>,
) -> Result<Response, Problem> {
    let model = form.model()?;
    let key = state.keys.disallow(&hash, model, &actor).await?;
    let text = format!("{model} was taken from the list of {}.", key.label());
    Ok(back(&state, &ui, &session, key, text, &form).await)
}

impl AllowForm {
    fn model(&self) -> Result<&str, Problem> {
        Some(self.model.trim())
            .filter(|model| !model.is_empty())
            .ok_or_else(|| Problem::not_found("The model"))
    }
}

/// To the matrix, where the form was sent from there.
async fn back(
    state: &Services,
    ui: &Ui,
    session: &Session,
    key: VirtualKey,
    text: String,
    form: &AllowForm,
) -> Response {
    let Some(back) = form.back.as_deref().filter(|_| ui.wants != Wants::Json) else {
        return done(state, ui, session, key, text).await;
    };
    Flash::set(session, text).await;
    // Only the query is taken from the form: it leads nowhere else.
    Redirect::to(&Query::parse(back).link(&ui.paths.to(route::KeysMatrix), &[])).into_response()
}

pub(super) async fn block(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyBlock(hash): route::KeyBlock,
) -> Result<Response, Problem> {
    let key = state.keys.set_blocked(&hash, true, &actor).await?;
    let text = format!("{} is blocked: the proxy refuses it.", key.label());
    Ok(done(&state, &ui, &session, key, text).await)
}

pub(super) async fn extend(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyExtend(hash): route::KeyExtend,
) -> Result<Response, Problem> {
    let key = state.keys.extend(&hash, &actor).await?;
    let until = key.expires.map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default();
    let text = format!("{} is valid until {until}.", key.label());
    Ok(done(&state, &ui, &session, key, text).await)
}

pub(super) async fn reset_spend(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyResetSpend(hash): route::KeyResetSpend,
) -> Result<Response, Problem> {
    let key = state.keys.reset_spend(&hash, &actor).await?;
    let text = format!("The spend of {} is {} now.", key.label(), ui.money(&key.spend));
    Ok(done(&state, &ui, &session, key, text).await)
}

pub(super) async fn unblock(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyUnblock(hash): route::KeyUnblock,
) -> Result<Response, Problem> {
    let key = state.keys.set_blocked(&hash, false, &actor).await?;
    let text = format!("{} is no longer blocked.", key.label());
    Ok(done(&state, &ui, &session, key, text).await)
}

/// A deletion. A key that is in use wants its name, any other a yes from people.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeleteForm {
    confirm: Option<String>,
}

pub(super) async fn delete(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::KeyDelete(hash): route::KeyDelete,
    Form(form): Form<DeleteForm>,
) -> Result<Response, Problem> {
    let is_confirmed =
        ui.wants == Wants::Json || form.confirm.as_deref().is_some_and(|text| !text.trim().is_empty());
    let deleted = if is_confirmed {
        state.keys.delete(&hash, form.confirm.as_deref(), &actor).await
    } else {
        Err(KeyChangeError::NotConfirmed)
    };
    let key = match deleted {
        Err(KeyChangeError::NotConfirmed) => {
            let mut errors = FieldErrors::default();
            errors.add("confirm", "Nothing was deleted. Confirm it first.");
            return show::page(&state, ui, &hash, errors).await;
        }
        deleted => deleted?,
    };
    if ui.wants == Wants::Json {
        return Ok(Json(json!({ "deleted": key.hash, "alias": key.alias })).into_response());
    }
    Flash::set(&session, format!("{} was deleted.", key.label())).await;
    Ok(Redirect::to(&ui.paths.to(route::Keys)).into_response())
}
