//! The proxy's virtual keys.

mod actions;
mod bulk;
mod csv;
mod filter;
mod form;
mod input;
mod list;
mod matrix;
mod metadata;
mod replace;
mod show;

use serde::Serialize;

use crate::domain::key::{KeyHash, KeyState, VirtualKey};
use crate::services::audit::Audit;
use crate::services::keys::Keys;
use crate::services::registry::Registry;
use crate::services::switcher::Switcher;
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::routes::{ADMIN, Routes, VIEWER};
use crate::web::state::services;
use crate::web::ui::Ui;

pub(in crate::web) fn routes() -> Routes {
    Routes::new()
        .get(VIEWER, route::KEYS, list::list)
        .post(ADMIN, route::KEYS, form::create)
        .get(VIEWER, route::KEYS_CSV, csv::download)
        .get(ADMIN, route::KEYS_NEW, form::new)
        .get(VIEWER, route::KEYS_MATRIX, matrix::show)
        .post(ADMIN, route::KEYS_BULK, bulk::prepare)
        .post(ADMIN, route::KEYS_BULK_RUN, bulk::run)
        .get(VIEWER, route::KEYS_JOB, bulk::show)
        .post(ADMIN, route::KEYS_JOB_RETRY, bulk::retry)
        .post(ADMIN, route::KEYS_JOB_CANCEL, bulk::cancel)
        .get(VIEWER, route::KEY, show::show)
        .post(ADMIN, route::KEY, form::update)
        .get(ADMIN, route::KEY_EDIT, form::edit)
        .get(ADMIN, route::KEY_SECRET, actions::secret)
        // Whoever only asks for the head must not use up the one look.
        .head(ADMIN, route::KEY_SECRET, || async {})
        .post(ADMIN, route::KEY_RELAX, actions::relax)
        .post(ADMIN, route::KEY_RESTRICT, actions::restrict)
        .post(ADMIN, route::KEY_ALLOW, actions::allow)
        .post(ADMIN, route::KEY_BLOCK, actions::block)
        .post(ADMIN, route::KEY_UNBLOCK, actions::unblock)
        .post(ADMIN, route::KEY_DELETE, actions::delete)
        .get(ADMIN, route::KEY_REPLACE, replace::show)
        .post(ADMIN, route::KEY_REPLACE, replace::replace)
        .post(ADMIN, route::KEY_KEEP, replace::keep)
}

services! {
    struct Services {
        audit: Audit,
        keys: Keys,
        registry: Registry,
        switcher: Switcher,
    }
}

#[derive(Serialize)]
pub(crate) struct KeyRow {
    #[serde(flatten)]
    key: VirtualKey,
    state: KeyState,
    is_agents: bool,
}

impl KeyRow {
    fn of(key: VirtualKey, ui: &Ui, state: &Services) -> Self {
        Self { state: key.state(ui.now), is_agents: state.keys.is_agents(&key.hash), key }
    }

    fn tone(&self) -> &'static str {
        match self.state {
            KeyState::Active => "good",
            KeyState::Blocked | KeyState::Expired | KeyState::OverBudget => "bad",
        }
    }

    fn spent_share(&self) -> Option<f64> {
        let budget = self.key.max_budget.filter(|budget| *budget > 0.0)?;
        Some((self.key.spend / budget).clamp(0.0, 1.0))
    }
}

fn parse_hash(text: &str) -> Result<KeyHash, Problem> {
    text.parse().map_err(|_| Problem::not_found("The key"))
}
