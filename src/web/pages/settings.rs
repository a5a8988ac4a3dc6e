//! The way to what is set up rather than used.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::services::proxy::Proxy;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::ui::Ui;

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Settings::PATH, show)
}

#[derive(Template)]
#[template(path = "settings.html", blocks = ["content"])]
struct SettingsPage {
    ui: Ui,
    data: SettingsData,
}

/// The releases.
#[derive(Serialize)]
struct SettingsData {
    patchbay: &'static str,
    litellm: Option<String>,
}

page!(SettingsPage, SettingsData, as_content);

async fn show(State(proxy): State<Proxy>, ui: Ui) -> Response {
    let litellm = proxy.health().await.value.and_then(|health| health.version.clone());
    let data = SettingsData { patchbay: env!("CARGO_PKG_VERSION"), litellm };
    SettingsPage { ui, data }.respond(StatusCode::OK)
}
