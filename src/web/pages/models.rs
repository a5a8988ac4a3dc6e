//! The proxy's model registry: the table, one deployment, its form, import and export.

mod actions;
mod edit;
mod form;
mod import;
mod list;
mod presets;
mod register;
mod show;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::domain::model::{Deployment, Source};
use crate::web::paths::route;
use crate::web::state::AppState;

/// Largest list that is imported, in bytes as it is sent.
const MAX_IMPORT: usize = 8 * 1024 * 1024;

pub(crate) fn router() -> Router<AppState> {
    let import = get(import::form).post(import::plan).layer(DefaultBodyLimit::max(MAX_IMPORT));
    Router::new()
        .route(route::MODELS, get(list::list).post(register::create))
        .route(route::MODEL_NEW, get(register::new))
        .route(route::MODELS_EXPORT, get(import::export))
        .route(route::MODELS_IMPORT, import)
        .route(route::IMPORT, get(import::show))
        .route(route::IMPORT_APPLY, post(import::apply))
        .route(route::MODEL, get(show::show).post(edit::update))
        .route(route::MODEL_EDIT, get(edit::edit))
        .route(route::MODEL_TEST, post(actions::test))
        .route(route::MODEL_BLOCK, post(actions::block))
        .route(route::MODEL_UNBLOCK, post(actions::unblock))
        .route(route::MODEL_DELETE, get(actions::confirm).post(actions::delete))
}

impl Deployment {
    /// The name, or words that can be clicked on where it has none.
    fn label(&self) -> &str {
        if self.name.trim().is_empty() { "(no name)" } else { &self.name }
    }

    /// Why it cannot be changed, if it cannot.
    fn read_only_reason(&self) -> Option<&'static str> {
        (self.source == Source::Config).then_some(
            "It is defined in the proxy's configuration file, so only whoever owns that file can change it.",
        )
    }
}
