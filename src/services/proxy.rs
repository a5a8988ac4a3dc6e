//! How the proxy is, and what it has spent.

use jiff::SignedDuration;

use crate::clients::ClientError;
use crate::clients::litellm::{Health, LiteLlm};
use crate::domain::clock::Clock;
use crate::services::snapshot::{Snapshot, View};

/// The proxy's state, from background copies.
#[derive(Clone)]
pub struct Proxy {
    address: String,
    health: Snapshot<Health, ClientError>,
    spend: Snapshot<f64, ClientError>,
}

impl Proxy {
    /// The state of the proxy that `client` talks to.
    #[must_use]
    pub fn new(client: &LiteLlm, clock: &Clock) -> Self {
        let (of_health, of_spend) = (client.clone(), client.clone());
        Self {
            address: client.address(),
            health: Snapshot::new(clock.clone(), SignedDuration::from_secs(5), move || {
                let client = of_health.clone();
                async move { client.health().await }
            }),
            spend: Snapshot::new(clock.clone(), SignedDuration::from_secs(30), move || {
                let client = of_spend.clone();
                async move { client.global_spend().await }
            }),
        }
    }

    /// Its address, without credentials.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its own word on its health.
    pub async fn health(&self) -> View<Health, ClientError> {
        self.health.get().await
    }

    /// What it has spent in all, in US dollars.
    pub async fn spend(&self) -> View<f64, ClientError> {
        self.spend.get().await
    }
}
