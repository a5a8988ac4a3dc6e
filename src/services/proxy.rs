//! How the proxy is, and what it has spent.

use jiff::SignedDuration;

use crate::clients::ClientError;
use crate::clients::litellm::{Health, LiteLlm};
use crate::services::snapshot::{Snapshot, Source, View};
use patchbay_clock::Clock;

#[derive(Clone)]
pub struct Proxy {
    address: String,
    health: Snapshot<HealthSource>,
    spend: Snapshot<SpendSource>,
}

struct HealthSource(LiteLlm);

impl Source for HealthSource {
    type Fetched = Health;
    type Copy = Health;
    type Error = ClientError;

    const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(5);

    async fn fetch(&self) -> Result<Health, ClientError> {
        self.0.health().await
    }
}

struct SpendSource(LiteLlm);

impl Source for SpendSource {
    type Fetched = f64;
    type Copy = f64;
    type Error = ClientError;

    const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(30);

    async fn fetch(&self) -> Result<f64, ClientError> {
        self.0.global_spend().await
    }
}

impl Proxy {
    pub fn new(client: &LiteLlm, clock: &Clock) -> Self {
        Self {
            address: client.address(),
            health: Snapshot::new(HealthSource(client.clone()), clock.clone()),
            spend: Snapshot::new(SpendSource(client.clone()), clock.clone()),
        }
    }

    /// Its address, without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The health that it reports of itself.
    pub async fn health(&self) -> View<Health, ClientError> {
        self.health.refresh().await
    }

    /// What it has spent in all, in US dollars.
    pub async fn spend(&self) -> View<f64, ClientError> {
        self.spend.refresh().await
    }
}
