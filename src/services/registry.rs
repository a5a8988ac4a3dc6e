//! The proxy's model registry, from a background copy, and what an admin does with it.

mod admin;
mod change;
mod export;
mod import;
mod plan;
mod remove;
mod trial;
mod uses;
mod yaml;

pub use admin::{Found, ModelError, Models, Outcome, Parts};
pub use change::{Edit, changes};
pub use import::{Apply, Import, ItemState, JobState};
pub use plan::{Extra, Item, Plan, PlanError, Step};
pub use remove::{Radius, is_confirmed};
pub use trial::cannot_test;
pub use uses::KeyCount;
pub use yaml::{YamlError, has_model_list, read_document, read_mapping, write_document};

use jiff::SignedDuration;

use crate::clients::ClientError;
use crate::clients::litellm::LiteLlm;
use crate::domain::key::wildcard_matches;
use crate::domain::model::Deployment;
use crate::services::snapshot::{Snapshot, View};
use patchbay_clock::Clock;

const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(5);

#[derive(Clone)]
pub struct Registry {
    snapshot: Snapshot<Vec<Deployment>, ClientError>,
}

impl Registry {
    /// The registry of `proxy`.
    pub fn new(proxy: LiteLlm, clock: Clock) -> Self {
        let fetch = move || {
            let proxy = proxy.clone();
            async move {
                let mut deployments = proxy.deployments().await?;
                // As the models page shows them, which then need not sort a thousand for each who looks.
                deployments
                    .sort_by_cached_key(|one| (one.name.to_lowercase(), one.name.clone(), one.id.clone()));
                Ok(deployments)
            }
        };
        Self { snapshot: Snapshot::new(clock, TIME_TO_LIVE, fetch) }
    }

    pub async fn deployments(&self) -> View<Vec<Deployment>, ClientError> {
        self.snapshot.get().await
    }

    /// The same for a page that only shows them: a copy of up to a minute ago at once, while it is renewed.
    pub async fn glance(&self) -> View<Vec<Deployment>, ClientError> {
        self.snapshot.glance().await
    }

    pub fn peek(&self) -> View<Vec<Deployment>, ClientError> {
        self.snapshot.peek()
    }

    /// The next one who looks is not told of a failure that is over.
    pub fn forget_failure(&self) {
        self.snapshot.forget_failure();
    }

    pub fn drop_copy(&self) {
        self.snapshot.drop_copy();
    }
}

/// The deployments that answer calls of the model `name`: those of that name, or else a wildcard's.
pub fn serving<'a>(deployments: &'a [Deployment], name: &str) -> Vec<&'a Deployment> {
    let exact: Vec<_> = deployments.iter().filter(|deployment| deployment.name == name).collect();
    if exact.is_empty() {
        deployments.iter().filter(|deployment| wildcard_matches(&deployment.name, name)).collect()
    } else {
        exact
    }
}
