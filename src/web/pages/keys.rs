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

use axum::Router;
use axum::routing::{get, post};
use serde::Serialize;

use crate::domain::key::{KeyHash, KeyState, VirtualKey};
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::state::AppState;
use crate::web::ui::Ui;

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route(route::KEYS, get(list::list).post(form::create))
        .route(route::KEYS_CSV, get(csv::download))
        .route(route::KEYS_NEW, get(form::new))
        .route(route::KEYS_MATRIX, get(matrix::show))
        .route(route::KEYS_BULK, post(bulk::prepare))
        .route(route::KEYS_BULK_RUN, post(bulk::run))
        .route(route::KEYS_JOB, get(bulk::show))
        .route(route::KEYS_JOB_RETRY, post(bulk::retry))
        .route(route::KEYS_JOB_CANCEL, post(bulk::cancel))
        .route(route::KEY, get(show::show).post(form::update))
        .route(route::KEY_EDIT, get(form::edit))
        // Whoever only asks for the head must not use up the one look.
        .route(route::KEY_SECRET, get(actions::secret).head(|| async {}))
        .route(route::KEY_RELAX, post(actions::relax))
        .route(route::KEY_RESTRICT, post(actions::restrict))
        .route(route::KEY_ALLOW, post(actions::allow))
        .route(route::KEY_BLOCK, post(actions::block))
        .route(route::KEY_UNBLOCK, post(actions::unblock))
        .route(route::KEY_DELETE, post(actions::delete))
        .route(route::KEY_REPLACE, get(replace::show).post(replace::replace))
        .route(route::KEY_KEEP, post(replace::keep))
}

/// A key, as tables and pages show it.
#[derive(Serialize)]
pub(crate) struct KeyRow {
    #[serde(flatten)]
    key: VirtualKey,
    state: KeyState,
    /// It is the agent's own.
    is_agents: bool,
}

impl KeyRow {
    fn of(key: VirtualKey, ui: &Ui, state: &AppState) -> Self {
        Self { state: key.state(ui.now), is_agents: state.keys.is_agents(&key.hash), key }
    }

    fn tone(&self) -> &'static str {
        match self.state {
            KeyState::Active => "good",
            KeyState::Blocked | KeyState::Expired | KeyState::OverBudget => "bad",
        }
    }

    /// Spend as a share of the budget, for a bar.
    fn spent_share(&self) -> Option<f64> {
        let budget = self.key.max_budget.filter(|budget| *budget > 0.0)?;
        Some((self.key.spend / budget).clamp(0.0, 1.0))
    }
}

fn parse_hash(text: &str) -> Result<KeyHash, Problem> {
    text.parse().map_err(|_| Problem::not_found("The key"))
}
