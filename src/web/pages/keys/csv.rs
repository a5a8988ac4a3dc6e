//! The keys of a filter, for a spreadsheet.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use super::Services;
use super::filter;
use super::list::load;
use crate::domain::key::VirtualKey;
use crate::web::csv::{CSV, Reader, line};
use crate::web::errors::Problem;
use crate::web::table::Query;
use crate::web::ui::Ui;

const HEADINGS: [&str; 17] = [
    "alias",
    "masked_name",
    "hash",
    "state",
    "models",
    "spend",
    "max_budget",
    "budget_duration",
    "rpm_limit",
    "tpm_limit",
    "max_parallel_requests",
    "expires",
    "owner",
    "team",
    "created",
    "last_used",
    "is_agents",
];

/// Keys of one part of the file.
const PART: usize = 500;

pub(super) async fn download(
    State(state): State<Services>,
    ui: Ui,
    query: Query,
) -> Result<Response, Problem> {
    let reader = Reader::join(&ui)?;
    let (view, deployments, rules) = load(&state, &query).await;
    if let Some(problem) = view.problem.as_ref().filter(|_| !view.has_data()) {
        return Err(Problem::of_client(problem));
    }
    let head = line(HEADINGS.map(str::to_owned));
    let positions = filter::find(&query, &view, (&deployments, &rules), ui.now).into_positions();
    // A file that holds only part of the keys says so.
    let name = if view.is_complete { "keys.csv" } else { "keys-incomplete.csv" };
    let parts = (0..positions.len()).step_by(PART).map(move |start| {
        let part = &positions[start..positions.len().min(start + PART)];
        let keys = part.iter().filter_map(|position| view.keys.key(*position));
        keys.map(|key| line(fields(&key, ui.now, state.keys.is_agents(&key.hash)))).collect::<String>()
    });
    let parts = stream::iter(std::iter::once(head).chain(parts)).map(Ok::<_, Infallible>);
    Ok(reader.send(CSV, name, parts))
}

fn fields(key: &VirtualKey, now: Timestamp, is_agents: bool) -> [String; 17] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let count = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
    let time = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.to_string());
    [
        text(&key.alias),
        key.masked.clone(),
        key.hash.to_string(),
        key.state(now).as_str().to_owned(),
        key.access.describe(),
        key.spend.to_string(),
        key.max_budget.map_or_else(String::new, |budget| budget.to_string()),
        text(&key.budget_duration),
        count(key.rpm_limit),
        count(key.tpm_limit),
        count(key.max_parallel_requests),
        time(key.expires),
        text(&key.user_id),
        text(&key.team_id),
        time(key.created_at),
        time(key.last_active),
        if is_agents { "yes" } else { "" }.to_owned(),
    ]
}
