//! The description of the JSON answers. It is kept by hand in `openapi.json`; `tests/it/openapi.rs` compares it with
//! the route table and with the answers themselves.

use axum::http::header;
use axum::response::IntoResponse;

use crate::web::paths::route;
use crate::web::routes::{Routes, VIEWER};

const DOCUMENT: &str = include_str!("openapi.json");

/// Behind the login like what it describes: `/healthz`, `/readyz` and `/metrics` alone are open.
pub(super) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::OpenApi::PATH, show)
}

async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
