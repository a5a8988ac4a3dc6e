//! The entries of a filter, for a spreadsheet.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::filter;
use crate::domain::audit::{Entry, Filter};
use crate::store::{Store, StoreError};
use crate::web::csv::line;
use crate::web::errors::Problem;
use crate::web::table::Query;
use crate::web::ui::Ui;

const HEADINGS: [&str; 11] = [
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
];

const PIECE: usize = 1000;

/// All of them, newest first, read as they are sent: a long audit is never whole in memory.
pub(super) async fn download(State(store): State<Store>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let (filter, _) = filter(&query, &ui);
    // The first piece is read before the answer begins, so that a database that is down is told.
    let (first, next) = piece(&store, &filter, None).await?;
    let head = line(HEADINGS.map(str::to_owned)) + &first;
    let rest = stream::unfold((store.clone(), filter, next), |(store, filter, next)| async move {
        let next = next?;
        Some(match piece(&store, &filter, Some(next)).await {
            Ok((text, next)) => (Ok::<_, StoreError>(text), (store, filter, next)),
            Err(error) => (Err(error), (store, filter, None)),
        })
    });
    let first = stream::once(async { Ok(head) });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""),
    ];
    Ok((headers, Body::from_stream(futures_util::StreamExt::chain(first, rest))).into_response())
}

/// Some lines, and the entry before which the next ones stand.
async fn piece(
    store: &Store,
    filter: &Filter,
    before: Option<i64>,
) -> Result<(String, Option<i64>), StoreError> {
    let entries = store.audit_entries(filter, before, PIECE).await?;
    let next = entries.last().filter(|_| entries.len() == PIECE).map(|entry| entry.id);
    Ok((entries.into_iter().map(|entry| line(fields(entry))).collect(), next))
}

fn fields(entry: Entry) -> [String; 11] {
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
    ]
}
