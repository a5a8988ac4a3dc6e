//! The entries of a filter, for a spreadsheet.

use axum::extract::State;
use axum::response::Response;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::filter;
use crate::domain::audit::{Entry, Filter};
use crate::services::audit::Audit;
use crate::web::csv::{CSV, Reader, line};
use crate::web::errors::Problem;
use crate::web::table::Query;
use crate::web::ui::Ui;

const HEADINGS: [&str; 12] = [
    "id",
    "at",
    "actor",
    "address",
    "action",
    "object",
    "outcome",
    "before",
    "after",
    "detail",
    "request_id",
    "count",
];

/// All of them, newest first, read as they are sent: a long audit is never whole in memory.
pub(super) async fn download(State(audit): State<Audit>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let reader = Reader::join(&ui)?;
    let (filter, _) = filter(&query, &ui);
    // As scripts get it.
    let filter = Filter { without_logins: false, ..filter };
    let lines =
        |entries: Vec<Entry>| entries.into_iter().map(|entry| line(fields(entry))).collect::<String>();
    let mut pages = Box::pin(audit.pages(filter).map_ok(lines));
    // The first page is read before the answer begins, so that a database that is down is told.
    let first = pages.try_next().await?.unwrap_or_default();
    let head = line(HEADINGS.map(str::to_owned)) + &first;
    Ok(reader.send(CSV, "audit.csv", stream::once(async { Ok(head) }).chain(pages)))
}

fn fields(entry: Entry) -> [String; 12] {
    let text = Option::unwrap_or_default;
    [
        entry.id.to_string(),
        entry.at.to_string(),
        entry.actor,
        text(entry.address),
        entry.action,
        entry.object,
        entry.outcome,
        text(entry.before),
        text(entry.after),
        text(entry.detail),
        text(entry.request_id),
        entry.count.to_string(),
    ]
}
