//! Contexts: the conversations of agents, where they are and how they came there.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use axum_extra::extract::Form;
use serde::{Deserialize, Serialize};
use tower_sessions::Session;

use crate::domain::agent::AgentName;
use crate::domain::context::{ContextId, KnownContext};
use crate::domain::swap::{PromptChange, Swap, SwapRequest};
use crate::web::auth::ActorOf;
use crate::web::errors::Problem;
use crate::web::pages::agents::AgentRow;
use crate::web::pages::switch;
use crate::web::paths::route;
use crate::web::respond::Page;
use crate::web::state::AppState;
use crate::web::table::{Pager, Query};
use crate::web::ui::{Flash, Ui, Wants};

/// Most contexts that the table goes through.
const CONTEXTS: u32 = 10_000;

/// Most swaps of a context that its page shows.
const SWAPS: u32 = 50;

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route(route::CONTEXTS, get(list))
        .route(route::CONTEXT, get(show))
        .route(route::CONTEXT_REFRESH, post(refresh))
        .route(route::CONTEXT_UNDO, post(undo))
}

#[derive(Template)]
#[template(path = "contexts/list.html", blocks = ["results"])]
struct ContextsPage {
    ui: Ui,
    query: Query,
    data: ContextsData,
}

#[derive(Serialize)]
struct ContextsData {
    contexts: Vec<KnownContext>,
    #[serde(flatten)]
    pager: Pager,
}

impl Page for ContextsPage {
    type Data = ContextsData;

    fn ui(&self) -> &Ui {
        &self.ui
    }

    fn data(&self) -> &ContextsData {
        &self.data
    }

    fn fragment(&self) -> askama::Result<String> {
        self.as_results().render()
    }
}

async fn list(State(state): State<AppState>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let text = query.get("q").to_lowercase();
    let mut contexts = state.store.contexts(CONTEXTS).await?;
    contexts.retain(|known| {
        let model = known.config.as_ref().map(|config| config.spec_text().to_lowercase());
        text.is_empty()
            || known.context.as_str().to_lowercase().contains(&text)
            || known.agent.as_str().to_lowercase().contains(&text)
            || model.is_some_and(|model| model.contains(&text))
    });
    let (pager, contexts) = Pager::cut(&query, &ui.paths.contexts(), contexts);
    Ok(ContextsPage { ui, query, data: ContextsData { contexts, pager } }.respond(StatusCode::OK))
}

#[derive(Template)]
#[template(path = "contexts/show.html", blocks = ["content"])]
struct ContextPage {
    ui: Ui,
    data: ContextData,
}

#[derive(Serialize)]
struct ContextData {
    context: KnownContext,
    agent: Option<AgentRow>,
    swaps: Vec<Swap>,
}

impl Page for ContextPage {
    type Data = ContextData;

    fn ui(&self) -> &Ui {
        &self.ui
    }

    fn data(&self) -> &ContextData {
        &self.data
    }

    fn fragment(&self) -> askama::Result<String> {
        self.as_content().render()
    }
}

/// Agent and context of an address; what could not be either is not found.
fn parse(agent: &str, context: &str) -> Result<(AgentName, ContextId), Problem> {
    let unknown = || Problem::not_found("The context");
    Ok((agent.parse().map_err(|_| unknown())?, context.parse().map_err(|_| unknown())?))
}

async fn show(
    State(state): State<AppState>,
    ui: Ui,
    Path((agent, context)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (agent, context) = parse(&agent, &context)?;
    let known = state.store.context(&agent, &context).await?;
    let swaps = state.store.swaps_of(&agent, &context, SWAPS).await?;
    let known = match known {
        Some(known) => known,
        // Every swap so far was refused: there is a history, to which receipts lead.
        None if !swaps.is_empty() => KnownContext::unread(agent.clone(), context.clone()),
        None => return Err(Problem::not_found("The context")),
    };
    let agent = match state.agents.get(&agent) {
        Some(agent) => Some(AgentRow::of(state.agents.view(agent).await?)),
        None => None,
    };
    Ok(ContextPage { ui, data: ContextData { context: known, agent, swaps } }.respond(StatusCode::OK))
}

/// Asks the agent where the context is.
async fn refresh(
    State(state): State<AppState>,
    ui: Ui,
    session: Session,
    Path((agent, context)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (agent, context) = parse(&agent, &context)?;
    let config = state.switcher.read_config(&agent, &context).await?;
    if ui.wants == Wants::Json {
        return Ok(Json(config).into_response());
    }
    Flash::set(&session, format!("{context} is on {}.", config.spec_text())).await;
    Ok(Redirect::to(&ui.paths.context(&agent, &context)).into_response())
}

#[derive(Deserialize)]
struct UndoForm {
    /// The swap to undo.
    swap: String,
    /// The last swap that the page showed, as in the switcher's form.
    #[serde(default)]
    seen: String,
}

/// Puts back what the context was on before a swap: itself a swap, forward.
async fn undo(
    State(state): State<AppState>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    Path((agent, context)): Path<(String, String)>,
    Form(form): Form<UndoForm>,
) -> Result<Response, Problem> {
    let (agent, context) = parse(&agent, &context)?;
    let undone = state.store.swap(&form.swap).await?;
    let undone = undone.filter(|swap| swap.agent == agent && swap.context == context);
    let undone = undone.ok_or_else(|| Problem::not_found("The swap"))?;
    let mut request = undo_request(&undone).ok_or_else(|| Problem::cannot_undo(&undone))?;
    request.seen = Some(form.seen).filter(|seen| !seen.is_empty());
    let swap = state.switcher.swap(request, &actor).await?;
    switch::after(&state, ui, swap).await
}

/// The swap that takes a context back to where it was before `swap`; none where that is not known.
fn undo_request(swap: &Swap) -> Option<SwapRequest> {
    let before = swap.before.as_ref()?;
    let prompt = match (&swap.prompt, &before.prompt) {
        (PromptChange::Keep, _) => PromptChange::Keep,
        (_, None) => PromptChange::Clear,
        (_, Some(prompt)) => PromptChange::Set(prompt.parse().ok()?),
    };
    let model = match swap.model {
        Some(_) => Some(before.spec()?),
        None => None,
    };
    Some(SwapRequest {
        agent: swap.agent.clone(),
        context: swap.context.clone(),
        model,
        prompt,
        seen: None,
        probe: false,
        message: None,
    })
}

/// Whether a swap can be undone with a click.
pub(crate) fn can_undo(swap: &Swap) -> bool {
    swap.outcome.is_success() && undo_request(swap).is_some()
}
