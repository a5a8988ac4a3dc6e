//! The receipt of a swap while it runs.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::Running;
use super::Services;
use crate::services::switcher::Progress;
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::routes::{Routes, VIEWER};
use crate::web::stream::html_events;
use crate::web::ui::Ui;

pub(super) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::SwapEvents::PATH, events)
}

#[derive(Template)]
#[template(path = "switch_receipt.html")]
struct ReceiptFragment {
    ui: Ui,
    progress: Progress,
}

impl ReceiptFragment {
    fn running(&self) -> Option<Running> {
        (!self.progress.is_done).then_some(Running { step: self.progress.doing })
    }
}

/// The whole receipt at each step, then an end. A swap may have ended before the page came to listen.
async fn events(
    State(state): State<Services>,
    ui: Ui,
    route::SwapEvents(id): route::SwapEvents,
) -> Result<Response, Problem> {
    let progress = if let Some(progress) = state.switcher.progress(&id) {
        progress
    } else {
        let swap = state.switcher.find(&id).await?;
        state.switcher.follow(swap.ok_or_else(|| Problem::not_found("The swap"))?)
    };
    let render = move |progress: &Progress| {
        let mut ui = ui.clone();
        ui.now = progress.swap.finished_at.unwrap_or(ui.now);
        ReceiptFragment { ui, progress: progress.clone() }.render()
    };
    Ok(html_events(progress, render, |progress| progress.is_done))
}
