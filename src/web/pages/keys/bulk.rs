//! One change of many keys: choose, see how many, run, watch, try again what failed.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Services;
use super::filter;
use super::input::{budget, lifetime, period};
use super::list::{load, names};
use crate::domain::job::{Counts, Item, ItemState, Job, JobKind, JobState, KeyChange, Kind};
use crate::domain::key::{Access, KeyHash};
use crate::domain::key_changes::Set;
use crate::services::jobs::TooMany;
use crate::web::auth::ActorOf;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::table::Query;
use crate::web::ui::{Ui, Wants};

const NAMED: u32 = 200;

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct BulkForm {
    /// `selected` takes `key`, `filter` takes all that `filter` finds.
    scope: String,
    key: Vec<String>,
    filter: String,
    count: String,
    /// `relax`, `restrict`, `budget`, `expiry`, `block`, `unblock`, `delete`
    action: String,
    models: Vec<String>,
    more_models: String,
    max_budget: String,
    budget_duration: String,
    duration: String,
    never: String,
    confirm: String,
}

#[derive(Template)]
#[template(path = "keys/bulk.html", blocks = ["content"])]
struct BulkPage {
    ui: Ui,
    form: BulkForm,
    data: BulkData,
    models: Vec<String>,
}

#[derive(Serialize)]
struct BulkData {
    count: usize,
    first: Vec<String>,
    has_agents: bool,
    errors: FieldErrors,
}

page!(BulkPage, BulkData, as_content);

/// Actions as the form offers them: name, what it says.
const ACTIONS: [(&str, &str); 7] = [
    ("relax", "Allow all models"),
    ("restrict", "Restrict to models"),
    ("budget", "Set the budget"),
    ("expiry", "Set the expiry"),
    ("block", "Block"),
    ("unblock", "Unblock"),
    ("delete", "Delete"),
];

struct Offer {
    name: &'static str,
    label: &'static str,
    is_chosen: bool,
}

impl BulkPage {
    fn actions(&self) -> Vec<Offer> {
        let offer = |(name, label)| Offer { name, label, is_chosen: self.form.action == name };
        ACTIONS.into_iter().map(offer).collect()
    }
}

async fn chosen(state: &Services, ui: &Ui, form: &BulkForm) -> Result<Vec<(KeyHash, String)>, FieldErrors> {
    let mut errors = FieldErrors::default();
    let query = Query::parse(if form.scope == "filter" { &form.filter } else { "" });
    let (view, deployments, rules) = load(state, &query).await;
    let keys = if form.scope == "filter" {
        if !view.is_complete {
            errors.add("keys", "The keys are still being read. Wait until all are there, then choose again.");
        }
        let found = filter::find(&query, &view, (&deployments, &rules), ui.now);
        found.iter().map(|key| (key.hash.clone(), key.label().to_owned())).collect()
    } else {
        let hashes = form.key.iter().filter_map(|hash| hash.parse::<KeyHash>().ok());
        hashes
            .map(|hash| {
                let label = view.keys.get(&hash).map(|key| key.label().to_owned());
                let label = label.unwrap_or_else(|| hash.as_str()[..12].to_owned());
                (hash, label)
            })
            .collect::<Vec<_>>()
    };
    if keys.is_empty() {
        errors.add("keys", "No key was chosen.");
    }
    if errors.is_empty() { Ok(keys) } else { Err(errors) }
}

pub(super) async fn prepare(
    State(state): State<Services>,
    ui: Ui,
    Form(mut form): Form<BulkForm>,
) -> Response {
    let (keys, errors, status) = match chosen(&state, &ui, &form).await {
        Ok(keys) => (keys, FieldErrors::default(), StatusCode::OK),
        Err(errors) => (Vec::new(), errors, StatusCode::UNPROCESSABLE_ENTITY),
    };
    form.count = keys.len().to_string();
    page(&state, ui, form, &keys, errors).await.respond(status)
}

pub(super) async fn run(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    Form(mut form): Form<BulkForm>,
) -> Result<Response, Problem> {
    let (keys, mut errors) = match chosen(&state, &ui, &form).await {
        Ok(keys) => (keys, FieldErrors::default()),
        Err(errors) => (Vec::new(), errors),
    };
    let change = form.change(&mut errors);
    form.check_count(keys.len(), ui.wants, &mut errors);
    let Some(change) = change.filter(|_| errors.is_empty()) else {
        form.count = keys.len().to_string();
        return Ok(page(&state, ui, form, &keys, errors).await.respond(StatusCode::UNPROCESSABLE_ENTITY));
    };
    match state.jobs.change_keys(change, keys.clone(), &actor).await {
        Ok(job) => answer(&state, &ui, &job).await,
        Err(TooMany::Running) => {
            errors.add("keys", "Too many changes of many keys run. Wait until one has ended.");
            Ok(page(&state, ui, form, &keys, errors).await.respond(StatusCode::UNPROCESSABLE_ENTITY))
        }
        Err(TooMany::Store(error)) => Err(error.into()),
    }
}

/// To the job's page; a script is told where it is.
async fn answer(state: &Services, ui: &Ui, job: &Job) -> Result<Response, Problem> {
    let href = ui.paths.to(route::KeysJob(job.id.clone()));
    if ui.wants == Wants::Json {
        let counts = KeyCounts::of(state.jobs.counts(&job.id).await?);
        let body = json!({ "id": job.id, "href": href, "counts": counts });
        return Ok((StatusCode::ACCEPTED, Json(body)).into_response());
    }
    Ok(Redirect::to(&href).into_response())
}

async fn page(
    state: &Services,
    ui: Ui,
    form: BulkForm,
    keys: &[(KeyHash, String)],
    errors: FieldErrors,
) -> BulkPage {
    let registry = state.registry.refresh().await;
    let models = names(registry.value.as_deref().map_or(&[][..], |all| all));
    let data = BulkData {
        count: keys.len(),
        first: keys.iter().take(NAMED as usize).map(|(_, label)| label.clone()).collect(),
        has_agents: keys.iter().any(|(hash, _)| state.keys.is_agents(hash)),
        errors,
    };
    BulkPage { ui, form, data, models }
}

impl BulkForm {
    fn has_model(&self, name: &str) -> bool {
        self.models.iter().any(|model| model == name)
    }

    fn change(&self, errors: &mut FieldErrors) -> Option<KeyChange> {
        Some(match self.action.as_str() {
            "relax" => KeyChange::Relax,
            "restrict" => KeyChange::Restrict(self.access()),
            "budget" => {
                let period = period("budget_duration", Some(&self.budget_duration), errors);
                KeyChange::Budget(budget(Some(&self.max_budget), errors), period)
            }
            "expiry" => match lifetime(Some(&self.duration), Some(&self.never), errors) {
                Set::Keep => {
                    errors.add("duration", "Say how long from now, or never.");
                    return None;
                }
                duration => KeyChange::Expiry(duration),
            },
            "block" => KeyChange::Block,
            "unblock" => KeyChange::Unblock,
            "delete" => KeyChange::Delete,
            _ => {
                errors.add("action", "Choose an action.");
                return None;
            }
        })
    }

    /// No model at all is a choice: it is said in words on the form.
    fn access(&self) -> Access {
        let typed = self.more_models.lines().flat_map(|line| line.split(','));
        let all = self.models.iter().map(String::as_str).chain(typed).map(str::trim);
        let models: Vec<String> = all.filter(|model| !model.is_empty()).map(str::to_owned).collect();
        if models.is_empty() { Access::None } else { Access::from_models(models) }
    }

    /// The count that was seen is the one that is changed. A deletion wants it typed; a script states it.
    fn check_count(&self, now: usize, wants: Wants, errors: &mut FieldErrors) {
        let is = |text: &str| text.trim().replace(',', "") == now.to_string();
        let need_not_say = wants == Wants::Json && self.count.is_empty();
        if !need_not_say && !is(&self.count) {
            errors.add(
                "keys",
                format!("There are now {now} keys, not {}. Check and submit again.", self.count),
            );
        }
        if self.action == "delete" && !is(&self.confirm) {
            errors.add("confirm", format!("Type {now} to delete that many keys."));
        }
    }
}

#[derive(Template)]
#[template(path = "keys/job.html", blocks = ["content"])]
struct JobPage {
    ui: Ui,
    data: JobData,
    started_at: Timestamp,
    why: Option<String>,
}

#[derive(Serialize)]
struct JobData {
    id: String,
    change: String,
    actor: String,
    is_running: bool,
    #[serde(flatten)]
    counts: KeyCounts,
    /// What failed, then the rest; at most so many as a page names.
    keys: Vec<KeyItem>,
}

#[derive(Serialize)]
struct KeyCounts {
    total: u64,
    done: u64,
    failed: u64,
    waiting: u64,
}

#[derive(Serialize)]
struct KeyItem {
    hash: KeyHash,
    label: String,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

page!(JobPage, JobData, as_content);

impl KeyCounts {
    fn of(counts: Counts) -> Self {
        let Counts { done, failed, .. } = counts;
        Self { total: counts.total(), done, failed, waiting: counts.waiting + counts.running }
    }
}

impl KeyItem {
    fn of(item: Item) -> Option<Self> {
        let result = match item.state {
            ItemState::Waiting | ItemState::Running => "waiting",
            state => state.as_str(),
        };
        let (hash, label) = (item.subject.parse().ok()?, item.task.unwrap_or_default());
        Some(Self { hash, label, result, why: item.why })
    }
}

impl JobPage {
    fn badge(&self, item: &KeyItem) -> (&'static str, &'static str) {
        match item.result {
            "done" => ("good", "done"),
            "failed" => ("bad", "failed"),
            _ if self.data.is_running => ("plain", "waiting"),
            _ => ("plain", "not begun"),
        }
    }
}

async fn find(state: &Services, id: &str) -> Result<(Job, KeyChange), Problem> {
    match state.jobs.find(Kind::Keys, id).await?.map(|job| (job.kind.clone(), job)) {
        Some((JobKind::Keys { change }, job)) => Ok((job, change)),
        _ => Err(Problem::not_found("The change (the last 20 are kept: see the audit)")),
    }
}

pub(super) async fn show(
    State(state): State<Services>,
    ui: Ui,
    route::KeysJob(id): route::KeysJob,
) -> Result<Response, Problem> {
    let (job, change) = find(&state, &id).await?;
    let counts = state.jobs.counts(&id).await?;
    let items = state.jobs.failed_first(&id, NAMED).await?;
    let data = JobData {
        id,
        change: change.describe(),
        actor: job.created_by,
        is_running: job.state == JobState::Running || counts.running > 0,
        counts: KeyCounts::of(counts),
        keys: items.into_iter().filter_map(KeyItem::of).collect(),
    };
    Ok(JobPage { ui, data, started_at: job.started_at, why: job.why }.respond(StatusCode::OK))
}

/// What failed, again; and what was not begun.
pub(super) async fn retry(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::KeysJobRetry(id): route::KeysJobRetry,
) -> Result<Response, Problem> {
    let (job, _) = find(&state, &id).await?;
    let job = Job { actor: actor.clone(), ..job };
    state.jobs.resume(&job, true, &actor).await?;
    answer(&state, &ui, &job).await
}

pub(super) async fn cancel(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::KeysJobCancel(id): route::KeysJobCancel,
) -> Result<Response, Problem> {
    let (job, _) = find(&state, &id).await?;
    state.jobs.cancel(&job, &actor).await?;
    answer(&state, &ui, &job).await
}
