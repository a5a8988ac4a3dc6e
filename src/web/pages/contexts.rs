//! Contexts: the conversations of agents, where they are and how they came there.

mod actions;
mod ask;
mod list;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::domain::agent::AgentName;
use crate::domain::context::{Ask, ContextId, KnownContext};
use crate::domain::swap::Swap;
use crate::services::agents::Agents;
use crate::services::contexts::Contexts;
use crate::services::conversation::AskProgress;
use crate::services::conversation::Asks;
use crate::services::switcher::{Evidence, Session, Switcher};
use crate::web::errors::Problem;
use crate::web::pages::agents::AgentRow;
use crate::web::pages::switch;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::state::services;
use crate::web::ui::Ui;

/// Most swaps of a context that its page shows.
const SWAPS: u32 = 50;

pub(in crate::web) fn routes() -> Routes {
    Routes::new()
        .get(VIEWER, route::Contexts::PATH, list::list)
        .get(VIEWER, route::Context::PATH, show)
        .merge(actions::routes())
        .merge(ask::routes())
}

services! {
    struct Services {
        agents: Agents,
        asks: Asks,
        contexts: Contexts,
        switcher: Switcher,
        switch: switch::Services,
    }
}

#[derive(Template)]
#[template(path = "contexts/show.html", blocks = ["content"])]
struct ContextPage {
    ui: Ui,
    data: ContextData,
    asks: Vec<AskProgress>,
    refused: Option<(String, String)>,
    seen: String,
}

#[derive(Serialize)]
struct ContextData {
    context: KnownContext,
    agent: Option<AgentRow>,
    log: Option<Evidence>,
    is_served_otherwise: bool,
    swaps: Vec<Swap>,
    session: Session,
    asks: Vec<Ask>,
    has_drifted: bool,
}

page!(ContextPage, ContextData, as_content);

impl ContextPage {
    /// The agent is back on what it was on before the last swap: a turn that ran meanwhile wrote it back.
    fn is_turned_back(&self) -> bool {
        let before = self.data.swaps.first().and_then(|swap| swap.before.as_ref());
        self.data.has_drifted && before.is_some() && before == self.data.context.config.as_ref()
    }

    fn selecting(&self) -> Option<&Swap> {
        let is_it = |swap: &&Swap| swap.outcome.is_success() && swap.after == self.data.context.selected;
        self.data.swaps.iter().find(is_it)
    }

    fn is_logged(&self) -> bool {
        let Some(ask) = self.data.asks.last().filter(|ask| ask.problem.is_none()) else { return false };
        let model = ask.proof.served.as_deref();
        self.data
            .log
            .as_ref()
            .zip(model)
            .is_some_and(|(log, model)| log.has(model, ask.at, ask.proof.elapsed_ms))
    }

    fn has_answer(&self) -> bool {
        self.data.asks.iter().any(|ask| !ask.proof.answer.is_empty())
    }

    /// The last swap that can be undone, as the way back from a model that the history does not suit.
    fn undoable(&self) -> Option<&Swap> {
        self.data.swaps.first().filter(|swap| can_undo(swap))
    }

    fn can_restore(&self, swap: &Swap) -> bool {
        swap.outcome.is_success() && swap.after.is_some() && swap.after != self.data.context.config
    }
}

async fn show(
    State(state): State<Services>,
    ui: Ui,
    route::Context(agent, context): route::Context,
) -> Result<Response, Problem> {
    Ok(page(&state, ui, &agent, &context, None).await?.respond(StatusCode::OK))
}

async fn page(
    state: &Services,
    ui: Ui,
    agent: &AgentName,
    context: &ContextId,
    refused: Option<(String, String)>,
) -> Result<ContextPage, Problem> {
    let mut swaps = state.switcher.history(agent, context, SWAPS).await?;
    let session = match state.agents.get(agent) {
        Some(known) => state.switcher.session(&known, &mut swaps, context).await?,
        None => Session::default(),
    };
    let known = match state.contexts.get(agent, context).await? {
        Some(known) => known,
        // Every swap so far was refused: there is a history, to which receipts lead.
        None if !swaps.is_empty() => KnownContext::unread(agent.clone(), context.clone()),
        None => return Err(Problem::not_found("The context")),
    };
    let asks = state.asks.of(agent, context).await?;
    let row = match state.agents.get(agent) {
        Some(agent) => Some(AgentRow::of(state.agents.view(&agent).await?)),
        None => None,
    };
    let data = ContextData {
        has_drifted: known.has_drifted(),
        swaps,
        session,
        log: state.switcher.evidence(agent, row.as_ref().and_then(|row| row.scope)).await?,
        agent: row,
        is_served_otherwise: known.served_otherwise().is_some(),
        asks: asks.iter().map(|progress| progress.ask.clone()).collect(),
        context: known,
    };
    let scope = data.agent.as_ref().and_then(|agent| agent.scope);
    let seen = switch::last_seen(&state.switcher, scope, agent, context).await?;
    Ok(ContextPage { ui, data, asks, refused, seen })
}

pub(crate) fn can_undo(swap: &Swap) -> bool {
    swap.outcome.is_success() && swap.before.as_ref().is_some_and(|before| before.spec().is_some())
}
