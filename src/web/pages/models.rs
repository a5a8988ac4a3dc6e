//! The proxy's model registry: the table, one deployment, its form, import and export.

mod actions;
mod edit;
mod form;
mod import;
mod list;
mod presets;
mod register;
mod several;
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
        .get(VIEWER, route::Models::PATH, list::list)
        .post(ADMIN, route::Models::PATH, register::create)
        .get(ADMIN, route::ModelNew::PATH, register::new)
        .get(VIEWER, route::ModelsExport::PATH, import::export)
        .get(ADMIN, route::ModelsImport::PATH, import::form)
        .post_up_to(ADMIN, route::ModelsImport::PATH, MAX_IMPORT, import::plan)
        .get(ADMIN, route::Import::PATH, import::show)
        .post(ADMIN, route::ImportApply::PATH, import::apply)
        .get(VIEWER, route::Model::PATH, show::show)
        .post(ADMIN, route::Model::PATH, edit::update)
        .get(ADMIN, route::ModelEdit::PATH, edit::edit)
        // A question like any other: it costs a few tokens and changes nothing.
        .post(OPERATOR, route::ModelTest::PATH, actions::test)
        .post(ADMIN, route::ModelBlock::PATH, actions::block)
        .post(ADMIN, route::ModelUnblock::PATH, actions::unblock)
        .get(ADMIN, route::ModelDelete::PATH, actions::confirm)
        .post(ADMIN, route::ModelDelete::PATH, actions::delete)
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
        (self.source == Source::Config)
            .then_some("It is defined in the proxy's configuration file and can only be changed there.")
    }
}
