//! A job as it goes on, and what can be done to it.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::Services;
use crate::domain::context::ContextId;
use crate::domain::job::{BulkSwap, Counts, Item, ItemState, Job, JobKind, JobState, Kind, Limits};
use crate::store::TimedEnds;
use crate::web::auth::ActorOf;
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{OPERATOR, Routes, VIEWER};
use crate::web::table::Query;
use crate::web::ui::{Ui, Wants};

const ITEMS: u32 = 100;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get(VIEWER, route::BulkJob::PATH, show)
        .post(OPERATOR, route::BulkGo::PATH, go)
        .post(OPERATOR, route::BulkRetry::PATH, retry)
        .post(OPERATOR, route::BulkCancel::PATH, cancel)
        .post(OPERATOR, route::BulkUndo::PATH, undo)
}

#[derive(Template)]
#[template(path = "bulk/job.html", blocks = ["content"])]
struct JobPage {
    ui: Ui,
    data: JobData,
    here: String,
    /// The filters: label, address, whether it is the one shown.
    tabs: Vec<(String, String, bool)>,
    next: Option<String>,
}

#[derive(Serialize)]
struct JobData {
    id: String,
    #[serde(flatten)]
    swap: BulkSwap,
    state: JobState,
    why: Option<String>,
    #[serde(flatten)]
    limits: Limits,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    by: String,
    what: String,
    counts: Counts,
    /// None where the contexts stay as they are.
    ends: Option<TimedEnds>,
    items: Vec<ItemData>,
}

#[derive(Serialize)]
struct ItemData {
    n: u32,
    context: ContextId,
    state: ItemState,
    swap: Option<String>,
    why: Option<String>,
}

page!(JobPage, JobData, as_content);

impl JobPage {
    fn is_under_way(&self) -> bool {
        self.data.state == JobState::Running || self.data.counts.running > 0
    }

    fn total(&self) -> String {
        self.ui.count(&self.data.counts.total())
    }

    fn can_undo(&self) -> bool {
        !self.is_under_way() && self.data.swap.undoes.is_none() && self.data.counts.done > 0
    }

    fn notice(&self) -> &'static str {
        match self.data.state {
            JobState::Planned | JobState::Running => "plain",
            JobState::Asking | JobState::Cancelled => "warn",
            JobState::Stopped | JobState::Failed => "bad",
            JobState::Done if self.data.counts.failed > 0 => "bad",
            JobState::Done => "good",
        }
    }
}

fn tone(state: ItemState) -> &'static str {
    match state {
        ItemState::Done => "good",
        ItemState::Failed => "bad",
        ItemState::Running => "accent",
        ItemState::Waiting | ItemState::Skipped => "plain",
    }
}

async fn find(state: &Services, id: &str) -> Result<(Job, BulkSwap), Problem> {
    let job = state.jobs.find(Kind::Swap, id).await?.ok_or_else(|| Problem::not_found("The job"))?;
    match job.kind.clone() {
        JobKind::Swap(swap) => Ok((job, swap)),
        _ => Err(Problem::not_found("The job")),
    }
}

async fn show(
    State(state): State<Services>,
    ui: Ui,
    route::BulkJob(id): route::BulkJob,
    query: Query,
) -> Result<Response, Problem> {
    let (job, swap) = find(&state, &id).await?;
    let (counts, ends) = (state.jobs.counts(&id).await?, state.jobs.timed_ends(&id, &swap).await?);
    let only: Option<ItemState> = query.get("show").parse().ok();
    let after: u32 = query.get("after").parse().unwrap_or(0);
    let items = state.jobs.swap_items(&id, only, after, ITEMS).await?;
    let path = ui.paths.to(route::BulkJob(id.clone()));
    let is_full = items.len() == ITEMS as usize;
    let next =
        items.last().filter(|_| is_full).map(|last| query.link(&path, &[("after", &last.n.to_string())]));
    let tab = |label: &str, count: u64, state: Option<ItemState>| {
        let shown = state.map_or("", ItemState::as_str);
        let href = query.link(&path, &[("show", shown), ("after", "")]);
        (format!("{label} {}", ui.count(&count)), href, only == state)
    };
    let tabs = vec![
        tab("All", counts.total(), None),
        tab("Switched", counts.done, Some(ItemState::Done)),
        tab("Failed", counts.failed, Some(ItemState::Failed)),
        tab("Left alone", counts.skipped, Some(ItemState::Skipped)),
        tab("Not begun", counts.waiting, Some(ItemState::Waiting)),
    ];
    let here = query.link(&path, &[]);
    let items = items.into_iter().filter_map(|item| {
        let Item { n, subject, state, reference: swap, why, .. } = item;
        Some(ItemData { n, context: subject.parse().ok()?, state, swap, why })
    });
    let Job { state, why, limits, started_at, ended_at, created_by: by, .. } = job;
    let (what, items) = (swap.describe(), items.collect());
    let data = JobData { id, swap, state, why, limits, started_at, ended_at, by, what, counts, ends, items };
    Ok(JobPage { ui, data, here, tabs, next }.respond(StatusCode::OK))
}

async fn go(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::BulkGo(id): route::BulkGo,
) -> Result<Response, Problem> {
    let (job, _) = find(&state, &id).await?;
    state.jobs.resume(&job, false, &actor).await?;
    Ok(answer(&ui, &id))
}

/// What failed, again.
async fn retry(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::BulkRetry(id): route::BulkRetry,
) -> Result<Response, Problem> {
    let (job, _) = find(&state, &id).await?;
    state.jobs.resume(&job, true, &actor).await?;
    Ok(answer(&ui, &id))
}

async fn cancel(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::BulkCancel(id): route::BulkCancel,
) -> Result<Response, Problem> {
    let (job, _) = find(&state, &id).await?;
    state.jobs.cancel(&job, &actor).await?;
    Ok(answer(&ui, &id))
}

/// Takes the job's swaps back: a job of its own.
async fn undo(
    State(state): State<Services>,
    ui: Ui,
    ActorOf(actor): ActorOf,
    route::BulkUndo(id): route::BulkUndo,
) -> Result<Response, Problem> {
    let (job, swap) = find(&state, &id).await?;
    let undoing = state.jobs.undo(&job, &swap, &actor).await?;
    Ok(answer(&ui, undoing.as_deref().unwrap_or(&id)))
}

fn answer(ui: &Ui, id: &str) -> Response {
    let href = ui.paths.to(route::BulkJob(id.to_owned()));
    match ui.wants {
        Wants::Json => (StatusCode::ACCEPTED, Json(json!({ "id": id, "href": href }))).into_response(),
        _ => Redirect::to(&href).into_response(),
    }
}
