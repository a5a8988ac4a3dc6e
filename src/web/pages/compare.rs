//! One message to two or three models, side by side.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::{Deserialize, Serialize};

use crate::domain::agent::AgentName;
use crate::domain::context::ContextIdError;
use crate::domain::model::ModelSpec;
use crate::domain::swap::check_message;
use crate::domain::words::sentence;
use crate::services::agents::Agents;
use crate::services::registry::Registry;
use crate::services::switcher::Switcher;
use crate::services::switcher::{CompareError, CompareRequest, Comparison, MODELS, why_not};
use crate::web::auth::ActorOf;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::pages::agents::AgentRow;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{OPERATOR, Routes, VIEWER};
use crate::web::state::services;
use crate::web::stream::html_events;
use crate::web::table::Query;
use crate::web::ui::{Ui, Wants};

pub(in crate::web) fn routes() -> Routes {
    Routes::new()
        .get(VIEWER, route::Compare::PATH, new)
        .post(OPERATOR, route::Compare::PATH, compare)
        .get(VIEWER, route::Comparison::PATH, show)
        .get(VIEWER, route::CompareEvents::PATH, events)
}

services! {
    struct Services {
        agents: Agents,
        registry: Registry,
        switcher: Switcher,
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct CompareForm {
    agent: String,
    /// The conversation that is to be switched to the winner; may be empty.
    context: String,
    model: Vec<String>,
    message: String,
}

#[derive(Template)]
#[template(path = "compare.html", blocks = ["content"])]
struct ComparePage {
    ui: Ui,
    data: CompareData,
    form: CompareForm,
    agents: Vec<AgentRow>,
    models: Vec<String>,
}

#[derive(Default, Serialize)]
struct CompareData {
    comparison: Option<Comparison>,
    errors: FieldErrors,
    why_not: Option<&'static str>,
}

page!(ComparePage, CompareData, as_content);

impl ComparePage {
    fn fields(&self) -> Vec<(usize, &str, bool)> {
        let text = |index| self.form.model.get(index).map_or("", String::as_str);
        (0..*MODELS.end()).map(|index| (index, text(index), index < *MODELS.start())).collect()
    }
}

/// The columns alone, as far as they have come.
#[derive(Template)]
#[template(path = "compare_columns.html")]
struct ColumnsFragment {
    ui: Ui,
    comparison: Comparison,
}

async fn new(State(state): State<Services>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let field = |name: &str| query.get(name).to_owned();
    let form = CompareForm {
        agent: field("agent"),
        context: field("context"),
        model: vec![field("model")],
        message: field("message"),
    };
    Ok(page(&state, ui, form, CompareData::default()).await?.respond(StatusCode::OK))
}

async fn compare(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    Form(form): Form<CompareForm>,
) -> Result<Response, Problem> {
    let request = match form.validate(&state) {
        Ok(request) => request,
        Err(errors) => {
            let data = CompareData { errors, ..CompareData::default() };
            return Ok(page(&state, ui, form, data).await?.respond(StatusCode::UNPROCESSABLE_ENTITY));
        }
    };
    let comparison = match ui.wants {
        Wants::Fragment => state.switcher.start_comparing(request, &actor).await?.borrow().clone(),
        Wants::Page | Wants::Json => state.switcher.compare(request, &actor).await?,
    };
    let address = ui.paths.to(route::Comparison(comparison.id.clone()));
    match ui.wants {
        Wants::Json => Ok(Json(comparison).into_response()),
        Wants::Page => Ok(Redirect::to(&address).into_response()),
        Wants::Fragment => {
            let data = CompareData { comparison: Some(comparison), ..CompareData::default() };
            let mut response = page(&state, ui, form, data).await?.respond(StatusCode::OK);
            if let Ok(address) = HeaderValue::from_str(&address) {
                response.headers_mut().insert("HX-Push-Url", address);
            }
            Ok(response)
        }
    }
}

async fn show(
    State(state): State<Services>,
    ui: Ui,
    route::Comparison(id): route::Comparison,
) -> Result<Response, Problem> {
    let kept = state.switcher.comparison(&id).ok_or_else(|| Problem::not_found("The comparison"))?;
    let comparison = kept.borrow().clone();
    let form = CompareForm {
        agent: comparison.agent.to_string(),
        context: comparison.context.as_ref().map(ToString::to_string).unwrap_or_default(),
        model: comparison.columns.iter().map(|column| column.model.to_string()).collect(),
        message: comparison.message.clone(),
    };
    let data = CompareData { comparison: Some(comparison), ..CompareData::default() };
    Ok(page(&state, ui, form, data).await?.respond(StatusCode::OK))
}

/// The columns at each change, then an end.
async fn events(
    State(switcher): State<Switcher>,
    ui: Ui,
    route::CompareEvents(id): route::CompareEvents,
) -> Result<Response, Problem> {
    let progress = switcher.comparison(&id).ok_or_else(|| Problem::not_found("The comparison"))?;
    let render = move |comparison: &Comparison| {
        ColumnsFragment { ui: ui.clone(), comparison: comparison.clone() }.render()
    };
    Ok(html_events(progress, render, |comparison| comparison.is_done))
}

impl CompareForm {
    fn validate(&self, state: &Services) -> Result<CompareRequest, FieldErrors> {
        let mut errors = FieldErrors::default();
        let agent = self.agent.parse::<AgentName>().ok().filter(|name| state.agents.get(name).is_some());
        if agent.is_none() {
            errors.add("agent", "Choose an agent.");
        }
        let context = match self.context.trim() {
            "" => None,
            text => {
                text.parse().map_err(|error: ContextIdError| errors.add("context", error.to_string())).ok()
            }
        };
        let models = self.models(&mut errors);
        let message = match check_message(&self.message) {
            Ok(Some(message)) => message,
            Ok(None) => {
                errors.add("message", "Write a message.");
                String::new()
            }
            Err(error) => {
                errors.add("message", error.to_string());
                String::new()
            }
        };
        match (agent, errors.is_empty()) {
            (Some(agent), true) => Ok(CompareRequest { agent, context, message, models }),
            _ => Err(errors),
        }
    }

    fn models(&self, errors: &mut FieldErrors) -> Vec<ModelSpec> {
        let mut models: Vec<ModelSpec> = Vec::new();
        for text in self.model.iter().filter(|text| !text.trim().is_empty()) {
            match text.parse() {
                Ok(model) if models.contains(&model) => {
                    errors.add("model", format!("{model} is named twice."));
                }
                Ok(model) => models.push(model),
                Err(error) => errors.add("model", sentence(&error)),
            }
        }
        if !MODELS.contains(&models.len()) {
            errors.add("model", "Name two or three models.");
        }
        models
    }
}

async fn page(
    state: &Services,
    ui: Ui,
    mut form: CompareForm,
    mut data: CompareData,
) -> Result<ComparePage, Problem> {
    let (agents, registry) = tokio::join!(state.agents.views(), state.registry.refresh());
    let agents: Vec<AgentRow> = agents?.into_iter().map(AgentRow::of).collect();
    // One that can be compared on is offered first.
    let is_fit = |agent: &&AgentRow| why_not(agent.scope).is_none();
    let is_up = |agent: &&AgentRow| is_fit(agent) && agent.trouble.is_none();
    let first = agents
        .iter()
        .find(is_up)
        .or_else(|| agents.iter().find(is_fit))
        .or_else(|| AgentRow::preferred(&agents));
    if let (true, Some(first)) = (form.agent.is_empty(), first) {
        form.agent = first.name.to_string();
    }
    data.why_not =
        agents.iter().find(|agent| agent.name.as_str() == form.agent).and_then(|agent| why_not(agent.scope));
    let models = registry.value.map_or_else(Vec::new, |catalog| catalog.callable.clone());
    Ok(ComparePage { ui, data, form, agents, models })
}

impl From<CompareError> for Problem {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::UnknownAgent(name) => Self::not_found(&format!("The agent {name}")),
            CompareError::NotPerContext(_) => Self::not_per_context(&error.to_string()),
            CompareError::NoModel => Self::no_model(&sentence(&error)),
            CompareError::Busy => Self::busy(&error.to_string()),
            CompareError::Store(error) => error.into(),
        }
    }
}
