//! The proxy's model registry: the table, one deployment, its form, import and export.

mod actions;
mod edit;
mod form;
mod import;
mod list;
mod presets;
mod register;
mod show;

use crate::domain::model::{Deployment, Source};
use crate::services::audit::Audit;
use crate::services::keys::Keys;
use crate::services::registry::{Models, Registry};
use crate::web::paths::route;
use crate::web::routes::{ADMIN, OPERATOR, Routes, VIEWER};
use crate::web::state::services;

/// Largest list that is imported, in bytes as it is sent: no other body is larger.
pub(in crate::web) const MAX_IMPORT: usize = 8 * 1024 * 1024;

pub(in crate::web) fn routes() -> Routes {
    Routes::new()
        .get(VIEWER, route::MODELS, list::list)
        .post(ADMIN, route::MODELS, register::create)
        .get(ADMIN, route::MODEL_NEW, register::new)
        .get(VIEWER, route::MODELS_EXPORT, import::export)
        .get(ADMIN, route::MODELS_IMPORT, import::form)
        .post_up_to(ADMIN, route::MODELS_IMPORT, MAX_IMPORT, import::plan)
        .get(ADMIN, route::IMPORT, import::show)
        .post(ADMIN, route::IMPORT_APPLY, import::apply)
        .get(VIEWER, route::MODEL, show::show)
        .post(ADMIN, route::MODEL, edit::update)
        .get(ADMIN, route::MODEL_EDIT, edit::edit)
        // A question like any other: it costs a few tokens and changes nothing.
        .post(OPERATOR, route::MODEL_TEST, actions::test)
        .post(ADMIN, route::MODEL_BLOCK, actions::block)
        .post(ADMIN, route::MODEL_UNBLOCK, actions::unblock)
        .get(ADMIN, route::MODEL_DELETE, actions::confirm)
        .post(ADMIN, route::MODEL_DELETE, actions::delete)
}

services! {
    struct Services {
        audit: Audit,
        keys: Keys,
        models: Models,
        registry: Registry,
    }
}

impl Deployment {
    /// The name, or words that can be clicked on where it has none.
    pub(super) fn label(&self) -> &str {
        if self.name.trim().is_empty() { "(no name)" } else { &self.name }
    }

    /// Why it cannot be changed, if it cannot.
    fn read_only_reason(&self) -> Option<&'static str> {
        (self.source == Source::Config).then_some(
            "It is defined in the proxy's configuration file, so only whoever owns that file can change it.",
        )
    }
}
