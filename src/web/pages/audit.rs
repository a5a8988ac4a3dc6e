//! Who did what.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::domain::audit::Entry;
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::respond::Page;
use crate::web::routes::{Routes, VIEWER};
use crate::web::state::AppState;
use crate::web::table::Query;
use crate::web::ui::Ui;

const ENTRIES: u32 = 100;

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::AUDIT, list)
}

#[derive(Template)]
#[template(path = "audit/list.html", blocks = ["content"])]
struct AuditPage {
    ui: Ui,
    data: AuditData,
    older: Option<String>,
    is_first: bool,
}

#[derive(Serialize)]
struct AuditData {
    entries: Vec<Entry>,
}

impl Page for AuditPage {
    type Data = AuditData;

    fn ui(&self) -> &Ui {
        &self.ui
    }

    fn data(&self) -> &AuditData {
        &self.data
    }

    fn fragment(&self) -> askama::Result<String> {
        self.as_content().render()
    }
}

/// Newest first; `before` goes on where a page ended, however many entries have come since.
async fn list(State(state): State<AppState>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let before = query.get("before").parse().ok();
    let entries = state.store.audit_entries(before, ENTRIES).await?;
    let last = entries.last().filter(|_| entries.len() == ENTRIES as usize).map(|entry| entry.id.to_string());
    let older = last.map(|id| query.link(&ui.paths.audit(), &[("before", &id)]));
    let page = AuditPage { ui, data: AuditData { entries }, older, is_first: before.is_none() };
    Ok(page.respond(StatusCode::OK))
}

/// The colour of an outcome's badge.
pub(crate) fn tone(outcome: &str) -> &'static str {
    match outcome {
        "ok" | "proven" | "verified" => "good",
        "accepted" | "rolled-back" | "unknown" => "warn",
        "refused" | "failed" => "bad",
        _ => "plain",
    }
}
