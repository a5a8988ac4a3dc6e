//! The agents of the settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::agent::{AgentCard, AgentName, Dialect, GatewayAgent, Scope};
use crate::domain::calls::KnownCalls;
use crate::domain::context::{ContextId, KnownContext};
use crate::services::agents::Agents;
use crate::services::agents::{AgentView, KnownAgent};
use crate::services::contexts::Contexts;
use crate::services::gateway::{DEFAULT_VARIABLE, Gateway};
use crate::services::switcher::Evidence;
use crate::services::switcher::Switcher;
use crate::web::auth::Acting;
use crate::web::errors::Problem;
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{ADMIN, OPERATOR, Routes, VIEWER};
use crate::web::state::services;
use crate::web::ui::{Flash, Ui, Wants};

const CONTEXTS: u32 = 500;

/// Those of them that the page shows; the table has all.
const FIRST: usize = 10;

/// Most contexts that are offered for adoption.
const LISTED: usize = 100;

pub(in crate::web) fn routes() -> Routes {
    Routes::new()
        .get(VIEWER, route::Agents::PATH, list)
        .get(VIEWER, route::Agent::PATH, show)
        .post(OPERATOR, route::AgentScope::PATH, scope)
        .post(OPERATOR, route::AgentAdopt::PATH, adopt)
        .post(ADMIN, route::AgentRemove::PATH, remove)
        .post(ADMIN, route::GatewayAdopt::PATH, adopt_from_gateway)
}

services! {
    struct Services {
        agents: Agents,
        contexts: Contexts,
        gateway: Gateway,
        switcher: Switcher,
    }
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct AgentRow {
    pub(crate) name: AgentName,
    pub(crate) address: String,
    pub(crate) card: Option<AgentCard>,
    pub(crate) card_as_of: AsOf,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) dialect: Option<Dialect>,
    pub(crate) scope: Option<Scope>,
    /// When that was seen; none where the card alone says so.
    pub(crate) scope_seen: Option<Timestamp>,
    pub(crate) calls: KnownCalls,
    /// When it last took a control message for chat.
    pub(crate) chatted_at: Option<Timestamp>,
    /// Whether it was adopted from the proxy's gateway.
    pub(crate) is_adopted: bool,
}

impl AgentRow {
    pub(crate) fn of(view: AgentView) -> Self {
        Self {
            name: view.name,
            address: view.address,
            trouble: view.problem.as_ref().map(|problem| Trouble::of_agent(problem, view.is_adopted)),
            dialect: view.dialect.or_else(|| Some(view.card.value.as_ref()?.dialect)),
            card_as_of: AsOf::of(view.card.at),
            card: view.card.value.as_deref().cloned(),
            scope: view.scope,
            scope_seen: view.scope_seen,
            calls: view.calls,
            chatted_at: view.chatted_at,
            is_adopted: view.is_adopted,
        }
    }

    /// The agent that a form begins with: the first that is up.
    pub(crate) fn preferred(agents: &[Self]) -> Option<&Self> {
        agents.iter().find(|agent| agent.trouble.is_none()).or(agents.first())
    }

    pub(crate) fn scope_text(&self) -> &'static str {
        match self.scope {
            _ if self.chatted_at.is_some() => {
                "This agent took a control message for chat, so it cannot be switched. docs/switchable-agents.md shows how to \
                 make it switchable."
            }
            Some(Scope::Context) => "Each context has a model and a prompt of its own.",
            Some(Scope::Agent) => {
                "All contexts share one model and one prompt: a swap in one changes every other."
            }
            None => {
                "Not known yet whether a swap is for one context or for all: the first swap finds it out."
            }
        }
    }

    /// The same in two words.
    pub(crate) fn scope_label(&self) -> &'static str {
        match self.scope {
            _ if self.chatted_at.is_some() => "not possible",
            Some(Scope::Context) => "per context",
            Some(Scope::Agent) => "agent-wide",
            None => "not seen yet",
        }
    }
}

#[derive(Template)]
#[template(path = "agents/list.html", blocks = ["content"])]
struct AgentsPage {
    ui: Ui,
    data: AgentsData,
}

#[derive(Serialize)]
struct AgentsData {
    agents: Vec<AgentRow>,
    /// Why the agents file is not used as it is now.
    problem: Option<String>,
    /// Agents of the proxy's gateway that are not used here.
    found: Vec<FoundAgent>,
    /// Why the gateway could not be read.
    found_trouble: Option<Trouble>,
}

#[derive(Debug, Serialize)]
struct FoundAgent {
    id: String,
    name: String,
    description: String,
    /// Its own address, as the proxy knows it.
    address: Option<String>,
}

impl From<GatewayAgent> for FoundAgent {
    fn from(GatewayAgent { id, name, description, url }: GatewayAgent) -> Self {
        Self { id, name, description, address: url }
    }
}

page!(AgentsPage, AgentsData, as_content);

async fn list(State(state): State<Services>, ui: Ui) -> Result<Response, Problem> {
    let problem = state.agents.problem();
    let (views, (found, trouble)) = tokio::join!(state.agents.views(), state.gateway.found());
    let agents = views?.into_iter().map(AgentRow::of).collect();
    let found = found.into_iter().map(FoundAgent::from).collect();
    let data = AgentsData { agents, problem, found, found_trouble: trouble.as_ref().map(Trouble::of) };
    Ok(AgentsPage { ui, data }.respond(StatusCode::OK))
}

#[derive(Deserialize)]
struct GatewayForm {
    /// The environment variable of the agent's virtual key.
    #[serde(default)]
    key: String,
}

async fn adopt_from_gateway(
    State(gateway): State<Gateway>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::GatewayAdopt(id): route::GatewayAdopt,
    Form(form): Form<GatewayForm>,
) -> Result<Response, Problem> {
    let name = gateway.adopt(&id, &form.key, &actor).await?;
    if ui.wants == Wants::Json {
        return Ok(Json(json!({ "name": name })).into_response());
    }
    Flash::set(&session, format!("{name} is used here from now on.")).await;
    Ok(Redirect::to(&ui.paths.agent(&name)).into_response())
}

async fn remove(
    State(gateway): State<Gateway>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::AgentRemove(name): route::AgentRemove,
) -> Result<Response, Problem> {
    if !gateway.remove(&name, &actor).await? {
        return Err(Problem::not_found("The adopted agent"));
    }
    if ui.wants == Wants::Json {
        return Ok(Json(json!({ "removed": name })).into_response());
    }
    Flash::set(&session, format!("{name} was removed. Its contexts are still listed.")).await;
    Ok(Redirect::to(&ui.paths.to(route::Agents)).into_response())
}

#[derive(Template)]
#[template(path = "agents/show.html", blocks = ["content"])]
struct AgentPage {
    ui: Ui,
    data: AgentData,
}

#[derive(Serialize)]
struct AgentData {
    agent: AgentRow,
    contexts: Vec<KnownContext>,
    /// Contexts that the agent lists and that are not known here; none where it cannot list them.
    listed: Option<Vec<ContextId>>,
    log: Option<Evidence>,
}

page!(AgentPage, AgentData, as_content);

impl AgentPage {
    /// Models of the known contexts, the most used first.
    fn spread(&self) -> Vec<(String, usize)> {
        let mut counts = BTreeMap::<String, usize>::new();
        for config in self.data.contexts.iter().filter_map(|known| known.config.as_ref()) {
            *counts.entry(config.spec_text()).or_default() += 1;
        }
        let mut spread: Vec<(String, usize)> = counts.into_iter().collect();
        spread.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        spread
    }
}

fn known(agents: &Agents, name: &AgentName) -> Result<Arc<KnownAgent>, Problem> {
    agents.get(name).ok_or_else(|| Problem::not_found("The agent"))
}

async fn show(
    State(state): State<Services>,
    ui: Ui,
    route::Agent(name): route::Agent,
) -> Result<Response, Problem> {
    let known = known(&state.agents, &name)?;
    let agent = AgentRow::of(state.agents.view(&known).await?);
    let mut contexts = state.contexts.list(CONTEXTS).await?;
    contexts.retain(|context| context.agent == agent.name);
    // An agent that fails here is told of by its card already.
    let listed = known.contexts().await.map(|listed| {
        let is_new = |id: &ContextId| !contexts.iter().any(|known| known.context == *id);
        listed.into_iter().filter(is_new).take(LISTED).collect()
    });
    let log = state.switcher.evidence(&agent.name, agent.scope).await?;
    Ok(AgentPage { ui, data: AgentData { agent, contexts, listed, log } }.respond(StatusCode::OK))
}

async fn scope(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    route::AgentScope(name): route::AgentScope,
) -> Result<Response, Problem> {
    let name = &known(&state.agents, &name)?.name;
    let found = state.switcher.check_scope(name, &actor).await?;
    if ui.wants == Wants::Json {
        return Ok(Json(found).into_response());
    }
    let scope = match found.scope {
        Some(Scope::Context) => "Swaps are per context.",
        Some(Scope::Agent) => "Swaps are agent-wide.",
        None => "The scope could not be determined.",
    };
    Flash::set(&session, format!("{scope} {}", found.detail)).await;
    Ok(Redirect::to(&ui.paths.agent(name)).into_response())
}

#[derive(Deserialize)]
struct AdoptForm {
    #[serde(default)]
    context: String,
}

/// Reads a context that someone knows by its id, which makes it known here.
async fn adopt(
    State(state): State<Services>,
    ui: Ui,
    route::AgentAdopt(name): route::AgentAdopt,
    Form(form): Form<AdoptForm>,
) -> Result<Response, Problem> {
    let name = &known(&state.agents, &name)?.name;
    let context: ContextId = form.context.parse().map_err(Problem::bad_context)?;
    let config = state.switcher.read_config(name, &context).await?;
    Ok(match ui.wants {
        Wants::Json => Json(config).into_response(),
        _ => Redirect::to(&ui.paths.context(name, &context)).into_response(),
    })
}
