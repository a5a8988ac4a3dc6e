//! The proxy's virtual keys.

mod actions;
mod bulk;
mod csv;
mod filter;
mod find;
mod form;
mod input;
mod list;
mod made;
mod matrix;
mod metadata;
mod replace;
mod show;

use serde::Serialize;

use crate::domain::key::{KeyState, VirtualKey};
use crate::services::agents::Agents;
use crate::services::audit::Audit;
use crate::services::jobs::Jobs;
use crate::services::keys::Keys;
use crate::services::registry::Registry;
use crate::web::paths::route;
use crate::web::routes::{ADMIN, Routes, VIEWER};
use crate::web::state::services;
use crate::web::ui::Ui;

pub(in crate::web) fn routes() -> Routes {
    Routes::new()
        .get(VIEWER, route::Keys::PATH, list::list)
        .post(ADMIN, route::Keys::PATH, form::create)
        .get(VIEWER, route::KeysCsv::PATH, csv::download)
        .get(ADMIN, route::KeysNew::PATH, form::new)
        .get(VIEWER, route::KeysFind::PATH, find::show)
        .post(VIEWER, route::KeysFind::PATH, find::find)
        .get(VIEWER, route::KeysMatrix::PATH, matrix::show)
        .post(ADMIN, route::KeysBulk::PATH, bulk::prepare)
        .post(ADMIN, route::KeysBulkRun::PATH, bulk::run)
        .get(VIEWER, route::KeysJob::PATH, bulk::show)
        .post(ADMIN, route::KeysJobRetry::PATH, bulk::retry)
        .post(ADMIN, route::KeysJobCancel::PATH, bulk::cancel)
        .get(VIEWER, route::Key::PATH, show::show)
        .post(ADMIN, route::Key::PATH, form::update)
        .get(ADMIN, route::KeyEdit::PATH, form::edit)
        .post(ADMIN, route::KeyRelax::PATH, actions::relax)
        .post(ADMIN, route::KeyRestrict::PATH, actions::restrict)
        .post(ADMIN, route::KeyAllow::PATH, actions::allow)
        .post(ADMIN, route::KeyDisallow::PATH, actions::disallow)
        .post(ADMIN, route::KeyBlock::PATH, actions::block)
        .post(ADMIN, route::KeyExtend::PATH, actions::extend)
        .post(ADMIN, route::KeyResetSpend::PATH, actions::reset_spend)
        .post(ADMIN, route::KeyUnblock::PATH, actions::unblock)
        .post(ADMIN, route::KeyDelete::PATH, actions::delete)
        .get(ADMIN, route::KeyReplace::PATH, replace::show)
        .post(ADMIN, route::KeyReplace::PATH, replace::replace)
        .post(ADMIN, route::KeyKeep::PATH, replace::keep)
        .post(ADMIN, route::KeyRetire::PATH, replace::retire)
}

services! {
    struct Services {
        agents: Agents,
        audit: Audit,
        jobs: Jobs,
        keys: Keys,
        registry: Registry,
    }
}

#[derive(Serialize)]
pub(crate) struct KeyRow {
    #[serde(flatten)]
    key: VirtualKey,
    state: KeyState,
    is_agents: bool,
    /// Its deletion takes its name.
    is_in_use: bool,
}

impl KeyRow {
    fn of(key: VirtualKey, ui: &Ui, state: &Services) -> Self {
        Self {
            state: key.state(ui.now),
            is_agents: state.keys.is_agents(&key.hash),
            is_in_use: state.keys.is_in_use(&key),
            key,
        }
    }

    fn tone(&self) -> &'static str {
        match self.state {
            KeyState::Active => "good",
            KeyState::Blocked | KeyState::Expired | KeyState::OverBudget => "bad",
        }
    }

    fn is_usable(&self) -> bool {
        self.state == KeyState::Active
    }

    fn spent_share(&self) -> Option<f64> {
        let budget = self.key.max_budget.filter(|budget| *budget > 0.0)?;
        Some((self.key.spend / budget).clamp(0.0, 1.0))
    }
}
