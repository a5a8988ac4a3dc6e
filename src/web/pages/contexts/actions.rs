//! What can be done to a context from its page.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::Deserialize;
use serde_json::json;
use tower_sessions::Session;

use super::Services;
use crate::domain::agent::AgentName;
use crate::domain::audit::Actor;
use crate::domain::context::{
    ContextChange, ContextId, Described, FieldChange, KnownContext, MAX_LABEL_CHARS,
};
use crate::domain::swap::{Swap, SwapRequest};
use crate::services::contexts::Contexts;
use crate::services::switcher::Switcher;
use crate::web::auth::{Acting, ActorOf};
use crate::web::errors::Problem;
use crate::web::pages::switch;
use crate::web::paths::route;
use crate::web::routes::{OPERATOR, Routes};
use crate::web::ui::{Flash, Ui, Wants};

pub(super) fn routes() -> Routes {
    Routes::new()
        .post(OPERATOR, route::ContextRefresh::PATH, refresh)
        .post(OPERATOR, route::ContextUndo::PATH, undo)
        .post(OPERATOR, route::ContextDescribe::PATH, describe)
        .post(OPERATOR, route::ContextPin::PATH, pin)
        .post(OPERATOR, route::ContextUnpin::PATH, unpin)
        .post(OPERATOR, route::ContextForget::PATH, forget)
}

async fn refresh(
    State(switcher): State<Switcher>,
    ui: Ui,
    session: Session,
    route::ContextRefresh(agent, context): route::ContextRefresh,
) -> Result<Response, Problem> {
    let config = switcher.read_config(&agent, &context).await?;
    if ui.wants == Wants::Json {
        return Ok(Json(config).into_response());
    }
    Flash::set(&session, format!("{context} is on {}.", config.spec_text())).await;
    Ok(Redirect::to(&ui.paths.context(&agent, &context)).into_response())
}

#[derive(Deserialize)]
struct UndoForm {
    swap: String,
    /// `after` goes to what it was on after that swap; else to what it was on before.
    #[serde(default)]
    to: String,
    #[serde(default)]
    seen: String,
}

/// Puts back what the context was on before or after a swap: itself a swap, forward.
async fn undo(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::ContextUndo(agent, context): route::ContextUndo,
    Form(form): Form<UndoForm>,
) -> Result<Response, Problem> {
    let past = state.switcher.find(&form.swap).await?;
    let past = past.filter(|swap| swap.agent == agent && swap.context == context);
    let past = past.ok_or_else(|| Problem::not_found("The swap"))?;
    let known = state.contexts.get(&agent, &context).await?;
    let request = going_back(known.as_ref(), &past, form.to == "after");
    let mut request = request.ok_or_else(|| Problem::cannot_undo(&past))?;
    request.seen = Some(form.seen).filter(|seen| !seen.is_empty());
    let swap = state.switcher.swap(request, &actor).await?;
    switch::after(&state.switch, ui, swap).await
}

fn going_back(known: Option<&KnownContext>, past: &Swap, is_after: bool) -> Option<SwapRequest> {
    let to = if is_after { past.after.as_ref()? } else { past.before.as_ref()? };
    let from = known.and_then(|known| known.config.as_ref());
    SwapRequest::going_to(&past.agent, &past.context, from, to)
}

/// A check box that is not ticked is not sent. A script may leave out what it has seen.
#[derive(Deserialize)]
struct DescribeForm {
    #[serde(default)]
    label: String,
    #[serde(default)]
    pinned: String,
    #[serde(default)]
    keep: String,
    #[serde(default)]
    seen_label: String,
    seen_pinned: Option<bool>,
    seen_keep: Option<bool>,
}

async fn describe(
    State(contexts): State<Contexts>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::ContextDescribe(agent, context): route::ContextDescribe,
    Form(form): Form<DescribeForm>,
) -> Result<Response, Problem> {
    let label: String = form.label.split_whitespace().collect::<Vec<_>>().join(" ");
    if label.chars().count() > MAX_LABEL_CHARS {
        return Err(Problem::bad_label());
    }
    let change = ContextChange {
        label: FieldChange::between(form.seen_pinned.map(|_| form.seen_label), label),
        is_pinned: FieldChange::between(form.seen_pinned, !form.pinned.is_empty()),
        is_kept: FieldChange::between(form.seen_keep, !form.keep.is_empty()),
    };
    change_context(&contexts, &ui, &actor, (&agent, &context), &change).await
}

async fn pin(
    State(contexts): State<Contexts>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::ContextPin(agent, context): route::ContextPin,
) -> Result<Response, Problem> {
    change_context(&contexts, &ui, &actor, (&agent, &context), &ContextChange::pin(true)).await
}

async fn unpin(
    State(contexts): State<Contexts>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::ContextUnpin(agent, context): route::ContextUnpin,
) -> Result<Response, Problem> {
    change_context(&contexts, &ui, &actor, (&agent, &context), &ContextChange::pin(false)).await
}

async fn change_context(
    contexts: &Contexts,
    ui: &Ui,
    actor: &Actor,
    (agent, context): (&AgentName, &ContextId),
    change: &ContextChange,
) -> Result<Response, Problem> {
    match contexts.describe(agent, context, change, actor).await? {
        Described::Unknown => Err(Problem::not_found("The context")),
        Described::Changed => Err(Problem::context_changed()),
        Described::Done if ui.wants == Wants::Json => Ok(Json(json!({ "context": context })).into_response()),
        Described::Done => Ok(Redirect::to(&ui.paths.context(agent, context)).into_response()),
    }
}

async fn forget(
    State(contexts): State<Contexts>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::ContextForget(agent, context): route::ContextForget,
) -> Result<Response, Problem> {
    if !contexts.forget(&agent, &context, &actor).await? {
        return Err(Problem::not_found("The context"));
    }
    if ui.wants == Wants::Json {
        return Ok(Json(json!({ "forgotten": context })).into_response());
    }
    Flash::set(&session, format!("{context} is forgotten here. The conversation itself goes on.")).await;
    Ok(Redirect::to(&ui.paths.to(route::Contexts)).into_response())
}
