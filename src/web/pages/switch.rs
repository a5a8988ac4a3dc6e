//! The switcher: the form and its receipt.

mod form;
mod live;
mod quick;

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::Serialize;

use self::form::SwitchForm;
pub(in crate::web::pages) use self::form::{message, minutes, prompt_change};
use crate::domain::agent::{AgentName, Scope};
use crate::domain::assessment::HeldBack;
use crate::domain::context::{ContextId, KnownContext};
use crate::domain::model::Deployment;
use crate::domain::swap::{Fault, Outcome, StepKind, Swap, SwapRequest};
use crate::domain::words::{money, sentence, tokens};
use crate::services::agents::Agents;
use crate::services::contexts::Contexts;
use crate::services::registry::Registry;
use crate::services::switcher::Switcher;
use crate::services::switcher::{Check, Choice, NONE_SEEN, Rehearsal, SwapError};
use crate::web::auth::ActorOf;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::pages::agents::AgentRow;
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{OPERATOR, Routes, VIEWER};
use crate::web::state::services;
use crate::web::table::Query;
use crate::web::ui::{Ui, Wants};

const RECENT: u32 = 8;

pub(in crate::web) fn routes() -> Routes {
    Routes::new()
        .get(VIEWER, route::Switch::PATH, show)
        .post(OPERATOR, route::Switch::PATH, switch)
        .get(VIEWER, route::Swap::PATH, receipt)
        .merge(live::routes())
}

services! {
    pub(super) struct Services {
        agents: Agents,
        contexts: Contexts,
        registry: Registry,
        switcher: Switcher,
    }
}

#[derive(Template)]
#[template(path = "switch.html", blocks = ["content"])]
struct SwitchPage {
    ui: Ui,
    data: SwitchData,
    form: SwitchForm,
    agents: Vec<AgentRow>,
    recent: Vec<KnownContext>,
    models: Vec<Choice>,
    wildcards: Vec<String>,
    quick: quick::Quick,
    unnamed: usize,
    trouble: Option<Trouble>,
    models_as_of: AsOf,
    running: Option<Running>,
    /// The swap of the receipt took another one back.
    is_undo: bool,
}

/// A swap that has not ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    pub(crate) step: Option<StepKind>,
}

#[derive(Default, Serialize)]
struct SwitchData {
    context: Option<KnownContext>,
    receipt: Option<Swap>,
    check: Option<Check>,
    rehearsal: Option<Rehearsal>,
    errors: FieldErrors,
    changed: Option<Swap>,
    busy: Option<String>,
}

page!(SwitchPage, SwitchData, as_content);

impl SwitchPage {
    fn agent(&self) -> Option<&AgentRow> {
        self.agents.iter().find(|agent| agent.name.as_str() == self.form.agent)
    }

    /// What has to be accepted before this swap can begin.
    fn held_back(&self) -> Option<HeldBack> {
        let receipt = self.data.receipt.as_ref().map(|swap| &swap.assessment);
        receipt.or(self.data.check.as_ref().map(|check| &check.assessment))?.held_back
    }

    /// After a swap that succeeded the form is closed.
    fn is_open(&self) -> bool {
        let is_done = |swap: &Swap| swap.outcome.is_success() || self.running.is_some();
        !self.data.receipt.as_ref().is_some_and(is_done) || !self.data.errors.is_empty()
    }

    fn stays(&self) -> bool {
        matches!(self.form.minutes.trim(), "" | "0")
    }

    /// Minutes that are none of the form's own choices.
    fn has_custom_minutes(&self) -> bool {
        !self.stays() && !matches!(self.form.minutes.trim(), "30" | "120")
    }

    fn custom_minutes(&self) -> &str {
        match self.form.minutes.trim() {
            "custom" => &self.form.custom_minutes,
            minutes if self.has_custom_minutes() => minutes,
            _ => "",
        }
    }

    /// Whether a throw-away context has a model of its own.
    fn may_rehearse(&self) -> bool {
        self.agent().is_some_and(|agent| agent.scope == Some(Scope::Context))
    }

    fn is_agent_wide(&self) -> bool {
        self.agent().is_some_and(|agent| agent.scope == Some(Scope::Agent))
    }
}

async fn show(State(state): State<Services>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let receipt = match query.get("swap") {
        "" => None,
        id => state.switcher.find(id).await?,
    };
    let field = |name: &str| query.get(name).to_owned();
    // What was refused can be sent again, with what has to be accepted.
    let again = receipt.as_ref().filter(|swap| swap.outcome == Outcome::Refused && !query.has(&["model"]));
    let again = again.and_then(|swap| swap.model.as_ref()).map(ToString::to_string);
    let context = if query.has(&["new"]) { new_context() } else { field("context") };
    let form = SwitchForm {
        agent: field("agent"),
        context,
        model: again.unwrap_or_else(|| field("model")),
        probe: "1".to_owned(),
        ..SwitchForm::default()
    };
    let data = SwitchData { receipt, ..SwitchData::default() };
    Ok(page(&state, ui, form, data).await?.respond(StatusCode::OK))
}

async fn receipt(
    State(state): State<Services>,
    ui: Ui,
    route::Swap(id): route::Swap,
) -> Result<Response, Problem> {
    let swap = state.switcher.find(&id).await?.ok_or_else(|| Problem::not_found("The swap"))?;
    let again = swap.model.as_ref().filter(|_| swap.outcome == Outcome::Refused).map(ToString::to_string);
    let form = SwitchForm {
        agent: swap.agent.to_string(),
        context: swap.context.to_string(),
        model: again.unwrap_or_default(),
        probe: "1".to_owned(),
        ..SwitchForm::default()
    };
    let data = SwitchData { receipt: Some(swap), ..SwitchData::default() };
    Ok(page(&state, ui, form, data).await?.respond(StatusCode::OK))
}

/// An id that no conversation has.
fn new_context() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("ctx-{}", &id[..10])
}

async fn switch(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    Form(form): Form<SwitchForm>,
) -> Result<Response, Problem> {
    let request = match form.validate(&state) {
        Ok(request) => request,
        Err(errors) => {
            let data = SwitchData { errors, ..SwitchData::default() };
            return Ok(page(&state, ui, form, data).await?.respond(StatusCode::UNPROCESSABLE_ENTITY));
        }
    };
    if !form.check.is_empty() {
        return checked(&state, ui, form, &request).await;
    }
    if !form.rehearse.is_empty() {
        let rehearsal = state.switcher.rehearse(&request, &actor).await?;
        return rehearsed(&state, ui, form, rehearsal).await;
    }
    let result = match ui.wants {
        Wants::Fragment => {
            state.switcher.start(request, &actor).await.map(|progress| progress.borrow().swap.clone())
        }
        Wants::Page | Wants::Json => state.switcher.swap(request, &actor).await,
    };
    match result {
        Ok(swap) if ui.wants == Wants::Fragment => begun(&state, ui, form, swap).await,
        Ok(swap) => answer(&state, ui, form, swap).await,
        Err(error @ (SwapError::Changed { .. } | SwapError::Busy { .. })) if ui.wants != Wants::Json => {
            let (changed, busy) = match error {
                SwapError::Changed { last } => (Some(*last), None),
                other => (None, Some(sentence(&other))),
            };
            let data = SwitchData { changed, busy, ..SwitchData::default() };
            Ok(page(&state, ui, form, data).await?.respond(StatusCode::CONFLICT))
        }
        Err(error) => Err(error.into()),
    }
}

/// What is known before the swap, which is not begun.
async fn checked(
    state: &Services,
    ui: Ui,
    form: SwitchForm,
    request: &SwapRequest,
) -> Result<Response, Problem> {
    let check = state.switcher.check(request).await?;
    if ui.wants == Wants::Json {
        return Ok(Json(check).into_response());
    }
    let data = SwitchData { check: Some(check), ..SwitchData::default() };
    Ok(page(state, ui, form, data).await?.respond(StatusCode::OK))
}

/// What came of the swap in a throw-away context; the form can be sent for the real one.
async fn rehearsed(
    state: &Services,
    ui: Ui,
    form: SwitchForm,
    rehearsal: Rehearsal,
) -> Result<Response, Problem> {
    if ui.wants == Wants::Json {
        return Ok(Json(rehearsal).into_response());
    }
    let data = SwitchData { rehearsal: Some(rehearsal), ..SwitchData::default() };
    Ok(page(state, ui, form, data).await?.respond(StatusCode::OK))
}

/// The page with the receipt of a swap that goes on: its steps come in as they are done.
async fn begun(state: &Services, ui: Ui, form: SwitchForm, swap: Swap) -> Result<Response, Problem> {
    let address = ui.paths.receipt(&swap.id);
    let data = SwitchData { receipt: Some(swap), ..SwitchData::default() };
    let mut response = page(state, ui, form, data).await?.respond(StatusCode::OK);
    if let Ok(address) = HeaderValue::from_str(&address) {
        response.headers_mut().insert("HX-Push-Url", address);
    }
    Ok(response)
}

pub(super) async fn after(state: &Services, ui: Ui, swap: Swap) -> Result<Response, Problem> {
    let form = SwitchForm {
        agent: swap.agent.to_string(),
        context: swap.context.to_string(),
        model: swap.model.as_ref().map(ToString::to_string).unwrap_or_default(),
        probe: "1".to_owned(),
        ..SwitchForm::default()
    };
    answer(state, ui, form, swap).await
}

/// The answer to a swap that has ended: for people the receipt at its own address, so that a reload does not
/// swap again; where it failed, with the form as it was sent.
async fn answer(state: &Services, ui: Ui, form: SwitchForm, swap: Swap) -> Result<Response, Problem> {
    let status = status_of(&swap);
    if ui.wants == Wants::Json {
        return Ok((status, Json(swap)).into_response());
    }
    if swap.outcome.is_success() {
        return Ok(Redirect::to(&ui.paths.receipt(&swap.id)).into_response());
    }
    let data = SwitchData { receipt: Some(swap), ..SwitchData::default() };
    Ok(page(state, ui, form, data).await?.respond(status))
}

fn status_of(swap: &Swap) -> StatusCode {
    match swap.fault {
        _ if swap.outcome.is_success() => StatusCode::OK,
        Some(Fault::Request) => StatusCode::UNPROCESSABLE_ENTITY,
        Some(Fault::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        Some(Fault::Upstream) | None => StatusCode::BAD_GATEWAY,
    }
}

/// The page around a form, however it came to be.
async fn page(
    state: &Services,
    ui: Ui,
    mut form: SwitchForm,
    mut data: SwitchData,
) -> Result<SwitchPage, Problem> {
    let (agents, registry) = tokio::join!(state.agents.views(), state.registry.refresh());
    let agents: Vec<AgentRow> = agents?.into_iter().map(AgentRow::of).collect();
    if form.agent.is_empty()
        && let Some(first) = AgentRow::preferred(&agents)
    {
        form.agent = first.name.to_string();
    }
    let named = (form.agent.parse::<AgentName>().ok(), form.context.parse::<ContextId>().ok());
    (form.seen, form.seen_for) = (String::new(), String::new());
    if let (Some(agent), Some(context)) = named {
        data.context = state.contexts.get(&agent, &context).await?;
        let scope = agents.iter().find(|row| row.name == agent).and_then(|row| row.scope);
        form.seen = last_seen(&state.switcher, scope, &agent, &context).await?;
        form.seen_for = format!("{agent}/{context}");
    }
    let progress = data.receipt.as_ref().and_then(|swap| state.switcher.progress(&swap.id));
    let running = match progress {
        Some(progress) => {
            let progress = progress.borrow();
            data.receipt = Some(progress.swap.clone());
            Some(Running { step: progress.doing })
        }
        // It runs in another replica.
        None => {
            data.receipt.as_ref().filter(|swap| swap.finished_at.is_none()).map(|_| Running { step: None })
        }
    };
    let catalog = registry.value.unwrap_or_default();
    let is_unnamed = |deployment: &&Deployment| !deployment.blocked && deployment.spec().is_none();
    let user = ui.user.as_ref().map_or("", |user| user.name.as_str());
    let quick = quick::find(state, user, &agents, &form.context, &catalog).await?;
    let is_undo = match &data.receipt {
        Some(swap) => state.switcher.takes_back(swap).await?,
        None => false,
    };
    let choices = state.switcher.choices(form.agent.parse().ok().as_ref(), &catalog).await;
    Ok(SwitchPage {
        is_undo,
        quick,
        unnamed: catalog.iter().filter(is_unnamed).count(),
        models: choices,
        wildcards: catalog.patterns.clone(),
        recent: state.contexts.list(RECENT).await?,
        trouble: registry.problem.as_ref().map(Trouble::of),
        models_as_of: AsOf::of(registry.at),
        ui,
        data,
        form,
        agents,
        running,
    })
}

/// What stands beside a model in the list of the form.
fn describe(choice: &Choice) -> String {
    let price = |cost: Option<f64>, what: &str| Some(format!("{} {what}", money(cost? * 1e6)));
    let access = match choice.may_call {
        Some(false) => Some("the agent's key may not call it".to_owned()),
        Some(true) | None => None,
    };
    let window = choice.facts.window.map(|window| format!("{} window", tokens(window)));
    let prices = choice.facts.prices;
    let facts = [price(prices.input, "in"), price(prices.output, "out"), window, access];
    facts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// What the form shows as the last swap: of the context, or of any where one changes them all.
pub(crate) async fn last_seen(
    switcher: &Switcher,
    scope: Option<Scope>,
    agent: &AgentName,
    context: &ContextId,
) -> Result<String, Problem> {
    let context = (scope == Some(Scope::Context)).then_some(context);
    let last = switcher.last(agent, context).await?;
    Ok(last.map_or_else(|| NONE_SEEN.to_owned(), |swap| swap.id))
}
