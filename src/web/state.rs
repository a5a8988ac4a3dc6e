//! What handlers work with.

use std::ops::Deref;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::config::{Access, Login};
use crate::domain::clock::Clock;
use crate::domain::setup::Setup;
use crate::services::agents::Agents;
use crate::services::asks::Asks;
use crate::services::bootstrap::Bootstrap;
use crate::services::bulk::Bulk;
use crate::services::keys::Keys;
use crate::services::live::Live;
use crate::services::proxy::Proxy;
use crate::services::registry::{Models, Registry};
use crate::services::switcher::Switcher;
use crate::store::Store;
use crate::web::again::Again;
use crate::web::auth::Users;
use crate::web::paths::Paths;

/// The parts, shared by all requests.
#[derive(Clone)]
pub struct AppState(Arc<(Parts, Users, Again)>);

/// The parts of the application that pages use.
pub struct Parts {
    /// The addresses.
    pub paths: Paths,
    /// The shared login.
    pub login: Login,
    /// Who else may come in, and from where.
    pub access: Access,
    /// Whether it is the demo, which shows the style guide as well.
    pub is_demo: bool,
    /// The clock.
    pub clock: Clock,
    /// The database.
    pub store: Store,
    /// The proxy's health and spend.
    pub proxy: Proxy,
    /// The models.
    pub registry: Registry,
    /// The deployments, to be changed.
    pub models: Models,
    /// The keys.
    pub keys: Keys,
    /// The agents.
    pub agents: Agents,
    /// The swaps.
    pub switcher: Switcher,
    /// The questions.
    pub asks: Asks,
    /// What happens, for those who look.
    pub live: Live,
    /// The swaps of many contexts.
    pub bulk: Bulk,
    /// Requests that change something, which go on whatever becomes of whoever sent them.
    pub writes: TaskTracker,
    /// The proxy's bootstrap and reset.
    pub bootstrap: Bootstrap,
    /// What is bootstrapped.
    pub setup: Setup,
}

impl AppState {
    /// Shares `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let users = Users::new(parts.login.clone(), parts.access.users.clone(), parts.clock.clone());
        Self(Arc::new((parts, users, Again::default())))
    }

    /// Who may log in.
    pub(super) fn users(&self) -> &Users {
        &self.0.1
    }

    /// The pages made last.
    pub(super) fn again(&self) -> &Again {
        &self.0.2
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.0
    }
}
