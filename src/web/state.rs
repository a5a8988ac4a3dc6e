//! What handlers work with. Each takes the parts it needs, by their types.

use std::sync::Arc;

use axum::extract::FromRef;
use tokio_util::task::TaskTracker;

use crate::config::{Access, Login};
use crate::domain::setup::Setup;
use crate::services::agents::Agents;
use crate::services::alerts::Alerts;
use crate::services::audit::Audit;
use crate::services::calls::Calls;
use crate::services::contexts::Contexts;
use crate::services::conversation::Asks;
use crate::services::gateway::Gateway;
use crate::services::jobs::Jobs;
use crate::services::keys::Keys;
use crate::services::live::Live;
use crate::services::people::People;
use crate::services::proxy::Proxy;
use crate::services::registry::{Models, Registry};
use crate::services::switcher::Switcher;
use crate::store::Store;
use crate::web::auth::Users;
use crate::web::paths::Paths;
use patchbay_clock::Clock;

#[derive(Clone)]
pub struct AppState(Arc<Inner>);

struct Inner {
    parts: Parts,
    users: Users,
}

impl AppState {
    pub fn new(parts: Parts) -> Self {
        let users = Users::new(Arc::clone(&parts.login), &parts.access, parts.clock.clone());
        Self(Arc::new(Inner { parts, users }))
    }

    pub(super) fn part<T: FromRef<Self>>(&self) -> T {
        T::from_ref(self)
    }
}

macro_rules! parts {
    ($($field:ident: $part:ty,)+) => {
        /// What the application is made of.
        pub struct Parts {
            $(pub $field: $part,)+
        }

        // Not axum's `FromRef` derive: it wants the parts side by side in the state, whose clones, several for each
        // request, would then copy them all.
        $(impl FromRef<AppState> for $part {
            fn from_ref(state: &AppState) -> Self {
                state.0.parts.$field.clone()
            }
        })+
    };
}

parts! {
    paths: Paths,
    login: Arc<Login>,
    access: Arc<Access>,
    is_demo: IsDemo,
    clock: Clock,
    store: Store,
    proxy: Proxy,
    calls: Calls,
    registry: Registry,
    models: Models,
    keys: Keys,
    agents: Agents,
    gateway: Gateway,
    audit: Audit,
    people: People,
    alerts: Alerts,
    contexts: Contexts,
    switcher: Switcher,
    asks: Asks,
    live: Live,
    jobs: Jobs,
    writes: TaskTracker,
    setup: Arc<Setup>,
}

/// Whether it is the demo, which shows the style guide as well.
#[derive(Debug, Clone, Copy)]
pub struct IsDemo(pub bool);

impl FromRef<AppState> for Users {
    fn from_ref(state: &AppState) -> Self {
        state.0.users.clone()
    }
}

/// Declares the parts of the state that the handlers of a page family use together.
macro_rules! services {
    ($visibility:vis struct $name:ident { $($of_field:vis $field:ident: $part:ty,)+ }) => {
        #[derive(Clone)]
        $visibility struct $name {
            $($of_field $field: $part,)+
        }

        impl ::axum::extract::FromRef<$crate::web::state::AppState> for $name {
            fn from_ref(state: &$crate::web::state::AppState) -> Self {
                Self { $($field: state.part(),)+ }
            }
        }
    };
}
pub(super) use services;
