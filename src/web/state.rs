//! What handlers work with.

use std::ops::Deref;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::config::{Access, Login};
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
use crate::web::auth::Users;
use crate::web::paths::Paths;
use patchbay_clock::Clock;

#[derive(Clone)]
pub struct AppState(Arc<(Parts, Users)>);

pub struct Parts {
    pub paths: Paths,
    pub login: Login,
    pub access: Access,
    /// Whether it is the demo, which shows the style guide as well.
    pub is_demo: bool,
    pub clock: Clock,
    pub store: Store,
    pub proxy: Proxy,
    pub registry: Registry,
    pub models: Models,
    pub keys: Keys,
    pub agents: Agents,
    pub switcher: Switcher,
    pub asks: Asks,
    pub live: Live,
    pub bulk: Bulk,
    /// Requests that change something, which go on whatever becomes of whoever sent them.
    pub writes: TaskTracker,
    pub bootstrap: Bootstrap,
    pub setup: Setup,
}

impl AppState {
    /// Shares `parts`.
    pub fn new(parts: Parts) -> Self {
        let users = Users::new(parts.login.clone(), parts.access.users.clone(), parts.clock.clone());
        Self(Arc::new((parts, users)))
    }

    pub(super) fn users(&self) -> &Users {
        &self.0.1
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.0
    }
}
