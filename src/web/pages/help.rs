//! How to do what, in a few steps each.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::domain::swap::Outcome;
use crate::web::paths::route;
use crate::web::recipes::Recipe;
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::ui::Ui;

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Help::PATH, show)
}

#[derive(Template)]
#[template(path = "help.html", blocks = ["content"])]
struct HelpPage {
    ui: Ui,
    data: HelpData,
}

#[derive(Serialize)]
struct HelpData {
    outcomes: Vec<Explained>,
}

#[derive(Serialize)]
struct Explained {
    outcome: &'static str,
    meaning: &'static str,
}

page!(HelpPage, HelpData, as_content);

async fn show(ui: Ui) -> Response {
    let outcomes = [
        Outcome::Proven,
        Outcome::Verified,
        Outcome::Accepted,
        Outcome::RolledBack,
        Outcome::Failed,
        Outcome::Refused,
        Outcome::Unknown,
    ];
    let outcomes =
        outcomes.map(|outcome| Explained { outcome: outcome.as_str(), meaning: outcome.meaning() }).into();
    HelpPage { ui, data: HelpData { outcomes } }.respond(StatusCode::OK)
}
