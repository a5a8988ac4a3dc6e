//! One swap of many contexts: the count and the settings first, then the job as it goes on.

mod job;

use std::time::Duration;

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::domain::agent::{AgentName, Scope};
use crate::domain::job::{BulkSwap, Job, JobKind, Kind, Limits, MAX_CONCURRENT, MAX_CONTEXTS, MAX_PACE_MS};
use crate::domain::model::ModelSpec;
use crate::domain::swap::PromptChange;
use crate::domain::words::money;
use crate::services::agents::Agents;
use crate::services::contexts::{ContextFilter, Contexts};
use crate::services::jobs::{Chosen, Jobs, Plan};
use crate::services::registry::Registry;
use crate::services::switcher::{Fits, Switcher};
use crate::web::auth::ActorOf;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::pages::agents::AgentRow;
use crate::web::pages::switch::{message, minutes, prompt_change};
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{OPERATOR, Routes};
use crate::web::state::services;
use crate::web::table::Query;
use crate::web::ui::{Ui, Wants};

const JOBS: u32 = 10;

/// Largest form: as many ids as a job has contexts, each of 128 characters.
const MAX_FORM: usize = 2 * 1024 * 1024;

pub(in crate::web) fn routes() -> Routes {
    Routes::new()
        .get(OPERATOR, route::BulkNew::PATH, new)
        .post_up_to(OPERATOR, route::BulkNew::PATH, MAX_FORM, count)
        .post_up_to(OPERATOR, route::Bulk::PATH, MAX_FORM, begin)
        .merge(job::routes())
}

services! {
    struct Services {
        agents: Agents,
        contexts: Contexts,
        jobs: Jobs,
        registry: Registry,
        switcher: Switcher,
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct BulkForm {
    agent: String,
    ids: String,
    /// Ticked in the table: `agent/context`.
    context: Vec<String>,
    model: String,
    prompt: String,
    /// Not empty: go back to the agent's own prompt.
    clear_prompt: String,
    canary: String,
    at_once: String,
    pace: String,
    stop_after: String,
    count: String,
    minutes: String,
    message: String,
    /// `keep`: contexts that are on a model for a time are left alone.
    timers: String,
    accept_cost: String,
    /// Makes the form, sent twice, one job.
    request: String,
}

impl Default for BulkForm {
    fn default() -> Self {
        let text = String::new;
        Self {
            agent: text(),
            ids: text(),
            context: Vec::new(),
            model: text(),
            prompt: text(),
            clear_prompt: text(),
            canary: "0".to_owned(),
            at_once: "8".to_owned(),
            pace: "0".to_owned(),
            stop_after: "5".to_owned(),
            count: text(),
            minutes: text(),
            message: text(),
            timers: text(),
            accept_cost: text(),
            request: text(),
        }
    }
}

#[derive(Template)]
#[template(path = "bulk/new.html", blocks = ["content"])]
struct BulkPage {
    ui: Ui,
    data: BulkData,
    form: BulkForm,
    agents: Vec<AgentRow>,
    models: Vec<String>,
    jobs: Vec<Job>,
}

#[derive(Default, Serialize)]
struct BulkData {
    count: usize,
    pinned: usize,
    /// Those to be switched that were never switched or read here.
    unknown: usize,
    repeated: usize,
    malformed: Vec<String>,
    elsewhere: usize,
    /// Those to be switched that go back by themselves at a set time.
    timed: usize,
    /// None until a model is named.
    fits: Option<Fits>,
    errors: FieldErrors,
}

page!(BulkPage, BulkData, as_content);

impl BulkPage {
    fn agent(&self) -> Option<&AgentRow> {
        self.agents.iter().find(|agent| agent.name.as_str() == self.form.agent)
    }

    fn is_agent_wide(&self) -> bool {
        self.agent().is_some_and(|agent| agent.scope == Some(Scope::Agent))
    }

    /// The last jobs, with their agents and what they do.
    fn last(&self) -> impl Iterator<Item = (&Job, &BulkSwap)> {
        self.jobs.iter().filter_map(|job| match &job.kind {
            JobKind::Swap(swap) => Some((job, swap)),
            _ => None,
        })
    }

    fn is_counted(&self) -> bool {
        self.data.count + self.data.pinned + self.data.malformed.len() > 0
    }
}

/// The form; with a search, for all contexts that it finds.
async fn new(State(state): State<Services>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let mut form = BulkForm {
        agent: query.get("agent").to_owned(),
        model: query.get("model").to_owned(),
        ..BulkForm::default()
    };
    let on = query.get("on");
    if query.has(&["filter"]) || !on.is_empty() {
        let filter = ContextFilter {
            text: query.get("q"),
            agent: &form.agent,
            model: on,
            state: query.get("state").parse().ok(),
        };
        let found = state.contexts.find(&filter).await?;
        form.context = found.iter().map(|known| format!("{}/{}", known.agent, known.context)).collect();
    }
    Ok(page(&state, ui, form, FieldErrors::default()).await?.respond(StatusCode::OK))
}

async fn count(
    State(state): State<Services>,
    ui: Ui,
    Form(form): Form<BulkForm>,
) -> Result<Response, Problem> {
    Ok(page(&state, ui, form, FieldErrors::default()).await?.respond(StatusCode::OK))
}

async fn begin(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    Form(mut form): Form<BulkForm>,
) -> Result<Response, Problem> {
    form.take_ticked();
    let mut errors = FieldErrors::default();
    let plan = form.validate(&state, &mut errors).await?;
    let Some((plan, chosen)) = plan.filter(|_| errors.is_empty()) else {
        return Ok(page(&state, ui, form, errors).await?.respond(StatusCode::UNPROCESSABLE_ENTITY));
    };
    let count = chosen.contexts.len();
    let id = state.jobs.begin_swaps(plan, chosen, &actor).await?;
    let href = ui.paths.to(route::BulkJob(id.clone()));
    if ui.wants == Wants::Json {
        return Ok(
            (StatusCode::ACCEPTED, Json(json!({ "id": id, "href": href, "count": count }))).into_response()
        );
    }
    Ok(Redirect::to(&href).into_response())
}

async fn page(
    state: &Services,
    ui: Ui,
    mut form: BulkForm,
    errors: FieldErrors,
) -> Result<BulkPage, Problem> {
    let elsewhere = form.take_ticked();
    let (agents, registry) = tokio::join!(state.agents.views(), state.registry.refresh());
    let agents: Vec<AgentRow> = agents?.into_iter().map(AgentRow::of).collect();
    if form.agent.is_empty()
        && let Some(first) = AgentRow::preferred(&agents)
    {
        form.agent = first.name.to_string();
    }
    let models = registry.value.map_or_else(Vec::new, |catalog| catalog.callable.clone());
    let mut data = BulkData { elsewhere, errors, ..BulkData::default() };
    if let Ok(agent) = form.agent.parse::<AgentName>() {
        let chosen = state.jobs.sort(&agent, &form.ids).await?;
        data.count = chosen.contexts.len();
        data.pinned = chosen.pinned.len();
        data.timed = chosen.timed.len();
        if let (Ok(model), true) = (form.model.trim().parse(), state.agents.get(&agent).is_some()) {
            data.fits = Some(state.switcher.fits(&agent, &chosen.contexts, &model).await?);
        }
        (data.unknown, data.repeated, data.malformed) = (chosen.unknown, chosen.repeated, chosen.malformed);
    }
    form.count = data.count.to_string();
    form.request = Uuid::now_v7().to_string();
    let jobs = state.jobs.newest(Kind::Swap, JOBS).await?;
    Ok(BulkPage { ui, data, form, agents, models, jobs })
}

impl BulkForm {
    /// Adds what was ticked to the ids. How many of them are another agent's; without an agent it is the first's.
    fn take_ticked(&mut self) -> usize {
        let mut elsewhere = 0;
        for ticked in std::mem::take(&mut self.context) {
            let Some((agent, context)) = ticked.split_once('/') else { continue };
            if self.agent.is_empty() {
                agent.clone_into(&mut self.agent);
            }
            if agent == self.agent {
                self.ids.push_str(context);
                self.ids.push('\n');
            } else {
                elsewhere += 1;
            }
        }
        elsewhere
    }

    async fn validate(
        &self,
        state: &Services,
        errors: &mut FieldErrors,
    ) -> Result<Option<(Plan, Chosen)>, Problem> {
        let agent = self.agent.parse::<AgentName>().ok();
        let Some((name, known)) = agent.and_then(|name| Some((name.clone(), state.agents.get(&name)?)))
        else {
            errors.add("agent", "Choose an agent.");
            return Ok(None);
        };
        if state.agents.view(&known).await?.scope == Some(Scope::Agent) {
            errors.add("agent", "All contexts of this agent share one model: one swap changes them all.");
        }
        let chosen = state.jobs.sort(&name, &self.ids).await?;
        let count = chosen.contexts.len();
        if count == 0 {
            errors.add("ids", "Add at least one context.");
        } else if count > MAX_CONTEXTS {
            errors.add("ids", format!("At most {MAX_CONTEXTS} contexts at a time; these are {count}."));
        }
        if let Some(first) = chosen.malformed.first() {
            errors.add("ids", format!("{first} is not a context id."));
        }
        if !self.count.is_empty() && self.count != count.to_string() {
            errors.add(
                "ids",
                format!("There are now {count} contexts, not {}. Check and submit again.", self.count),
            );
        }
        let prompt = prompt_change(&self.prompt, &self.clear_prompt, errors);
        let model = match self.model.trim() {
            "" if prompt == PromptChange::Keep => {
                errors.add("model", "Name a model to switch to, or a prompt.");
                None
            }
            "" => None,
            text => text.parse::<ModelSpec>().map_err(|error| errors.add("model", error.to_string())).ok(),
        };
        if let (Some(model), true) = (&model, self.accept_cost.is_empty()) {
            let fits = state.switcher.fits(&name, &chosen.contexts, model).await?;
            if let (Some(cost), true) = (fits.reread, fits.is_costly) {
                let cost = money(cost);
                errors
                    .add("accept_cost", format!("The new model reads these conversations once for {cost}."));
            }
        }
        let minutes = minutes(&self.minutes, errors);
        let message = message(&self.message, errors);
        let upto = match number(errors, "canary", &self.canary, 0, u32::MAX) {
            0 => u32::MAX,
            canary => canary,
        };
        let concurrency = number(errors, "at_once", &self.at_once, 1, MAX_CONCURRENT);
        let stop_after = number(errors, "stop_after", &self.stop_after, 0, u32::MAX);
        let limits = Limits { upto, concurrency, pace_ms: self.pace_ms(errors), stop_after };
        let swap = BulkSwap { agent: name, model, prompt, undoes: None, minutes, message };
        let plan =
            Plan { swap, limits, request: self.request.parse().ok(), keeps_timers: self.timers == "keep" };
        Ok(Some((plan, chosen)))
    }

    /// Seconds, with a point where they are parts.
    fn pace_ms(&self, errors: &mut FieldErrors) -> u32 {
        let text = self.pace.trim();
        let pace = if text.is_empty() {
            Some(Duration::ZERO)
        } else {
            text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        };
        let pace = pace.and_then(|pace| u32::try_from(pace.as_millis()).ok());
        pace.filter(|pace| *pace <= MAX_PACE_MS).unwrap_or_else(|| {
            errors.add("pace", "Between 0 and 60 seconds.");
            0
        })
    }
}

fn number(errors: &mut FieldErrors, field: &'static str, text: &str, min: u32, max: u32) -> u32 {
    let number = match text.trim() {
        "" => Some(min),
        text => text.parse().ok(),
    };
    number.filter(|number| (min..=max).contains(number)).unwrap_or_else(|| {
        let upto = if max == u32::MAX { " or more".to_owned() } else { format!(" to {max}") };
        errors.add(field, format!("A whole number, {min}{upto}."));
        min
    })
}
