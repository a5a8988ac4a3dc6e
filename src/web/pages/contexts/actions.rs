//! What can be done to a context from its page.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::Deserialize;
use serde_json::json;
use tower_sessions::Session;

use super::Services;
use super::parse;
use crate::domain::agent::AgentName;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::{ContextId, KnownContext, MAX_LABEL_CHARS};
use crate::domain::swap::{Swap, SwapRequest};
use crate::services::switcher::Switcher;
use crate::store::Store;
use crate::web::auth::{Acting, ActorOf};
use crate::web::errors::Problem;
use crate::web::pages::switch;
use crate::web::paths::route;
use crate::web::routes::{OPERATOR, Routes};
use crate::web::ui::{Flash, Ui, Wants};

type At = Path<(String, String)>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .post(OPERATOR, route::CONTEXT_REFRESH, refresh)
        .post(OPERATOR, route::CONTEXT_UNDO, undo)
        .post(OPERATOR, route::CONTEXT_DESCRIBE, describe)
        .post(OPERATOR, route::CONTEXT_PIN, pin)
        .post(OPERATOR, route::CONTEXT_UNPIN, unpin)
        .post(OPERATOR, route::CONTEXT_FORGET, forget)
}

async fn refresh(
    State(switcher): State<Switcher>,
    ui: Ui,
    session: Session,
    Path((agent, context)): At,
) -> Result<Response, Problem> {
    let (agent, context) = parse(&agent, &context)?;
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
    Path((agent, context)): At,
    Form(form): Form<UndoForm>,
) -> Result<Response, Problem> {
    let (agent, context) = parse(&agent, &context)?;
    let past = state.store.swap(&form.swap).await?;
    let past = past.filter(|swap| swap.agent == agent && swap.context == context);
    let past = past.ok_or_else(|| Problem::not_found("The swap"))?;
    let known = state.store.context(&agent, &context).await?;
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

#[derive(Deserialize)]
struct DescribeForm {
    #[serde(default)]
    label: String,
    /// Not empty: bulk swaps leave it alone.
    #[serde(default)]
    pinned: String,
    /// Not empty: after a drift it is put back by itself.
    #[serde(default)]
    keep: String,
}

async fn describe(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    Path((agent, context)): At,
    Form(form): Form<DescribeForm>,
) -> Result<Response, Problem> {
    let (agent, context) = parse(&agent, &context)?;
    let label: String = form.label.split_whitespace().collect::<Vec<_>>().join(" ");
    if label.chars().count() > MAX_LABEL_CHARS {
        return Err(Problem::bad_label());
    }
    let known =
        Described { label: Some(label), is_pinned: !form.pinned.is_empty(), is_kept: !form.keep.is_empty() };
    known.write(&state, &actor, &agent, &context).await?;
    Ok(done(&ui, &agent, &context))
}

async fn pin(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    at: At,
) -> Result<Response, Problem> {
    set_pin(&state, &ui, &actor, at, true).await
}

async fn unpin(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    at: At,
) -> Result<Response, Problem> {
    set_pin(&state, &ui, &actor, at, false).await
}

async fn set_pin(
    state: &Services,
    ui: &Ui,
    actor: &Actor,
    Path((agent, context)): At,
    is_pinned: bool,
) -> Result<Response, Problem> {
    let (agent, context) = parse(&agent, &context)?;
    let known =
        state.store.context(&agent, &context).await?.ok_or_else(|| Problem::not_found("The context"))?;
    let known = Described { label: known.label, is_pinned, is_kept: known.is_kept };
    known.write(state, actor, &agent, &context).await?;
    Ok(done(ui, &agent, &context))
}

struct Described {
    label: Option<String>,
    is_pinned: bool,
    is_kept: bool,
}

impl Described {
    async fn write(
        self,
        state: &Services,
        actor: &Actor,
        agent: &AgentName,
        context: &ContextId,
    ) -> Result<(), Problem> {
        let label = self.label.filter(|label| !label.is_empty());
        let is_there = state
            .store
            .describe_context(agent, context, label.as_deref(), self.is_pinned, self.is_kept)
            .await?;
        let outcome = if is_there { "ok" } else { "refused" };
        let mut entry = NewEntry::new(actor, Action::ContextDescribe, format!("{agent}/{context}"), outcome);
        let word = |is: bool, word: &'static str| is.then_some(word);
        let words = [word(self.is_pinned, "pinned"), word(self.is_kept, "kept")];
        let said: Vec<&str> = label.as_deref().into_iter().chain(words.into_iter().flatten()).collect();
        entry.after = Some(said.join(", "));
        state.store.audit(&entry).await?;
        if is_there { Ok(()) } else { Err(Problem::not_found("The context")) }
    }
}

async fn forget(
    State(store): State<Store>,
    ui: Ui,
    Acting(session, actor): Acting,
    Path((agent, context)): At,
) -> Result<Response, Problem> {
    let (agent, context) = parse(&agent, &context)?;
    let was_there = store.forget_context(&agent, &context).await?;
    let outcome = if was_there { "ok" } else { "refused" };
    let entry = NewEntry::new(&actor, Action::ContextForget, format!("{agent}/{context}"), outcome);
    store.audit(&entry).await?;
    if !was_there {
        return Err(Problem::not_found("The context"));
    }
    if ui.wants == Wants::Json {
        return Ok(Json(json!({ "forgotten": context })).into_response());
    }
    Flash::set(&session, format!("{context} is forgotten here. The conversation itself goes on.")).await;
    Ok(Redirect::to(&ui.paths.contexts()).into_response())
}

fn done(ui: &Ui, agent: &AgentName, context: &ContextId) -> Response {
    match ui.wants {
        Wants::Json => Json(json!({ "context": context })).into_response(),
        _ => Redirect::to(&ui.paths.context(agent, context)).into_response(),
    }
}
