//! How the proxy is, and what it has spent.

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::clients::ClientError;
use crate::clients::litellm::{Health, LiteLlm};
use crate::domain::usage::{DailySpend, Share};
use crate::services::snapshot::{Snapshot, Source, View};
use patchbay_clock::Clock;

/// How many days of spend are kept, which is also how far the proxy's own sums look back.
pub const DAYS: i64 = 30;

const SHARES: u32 = 10;

/// What was spent in the last [`DAYS`] days.
#[derive(Debug, Clone, Serialize)]
pub struct Usage {
    pub days: Vec<DailySpend>,
    pub keys: Vec<Share>,
    pub models: Vec<Share>,
}

#[derive(Clone)]
pub struct Proxy {
    address: String,
    health: Snapshot<HealthSource>,
    spend: Snapshot<SpendSource>,
    usage: Snapshot<UsageSource>,
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

struct UsageSource(LiteLlm, Clock);

impl Source for UsageSource {
    type Fetched = Usage;
    type Copy = Usage;
    type Error = ClientError;

    /// The proxy adds up its log for it.
    const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(60);

    async fn fetch(&self) -> Result<Usage, ClientError> {
        read_usage(&self.0, &self.1).await
    }
}

impl Proxy {
    pub fn new(client: &LiteLlm, clock: &Clock) -> Self {
        Self {
            address: client.address(),
            health: Snapshot::new(HealthSource(client.clone()), clock.clone()),
            spend: Snapshot::new(SpendSource(client.clone()), clock.clone()),
            usage: Snapshot::new(UsageSource(client.clone(), clock.clone()), clock.clone()),
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

    pub async fn usage(&self) -> View<Usage, ClientError> {
        self.usage.refresh().await
    }
}

async fn read_usage(client: &LiteLlm, clock: &Clock) -> Result<Usage, ClientError> {
    let today = clock.now().to_zoned(TimeZone::UTC).date();
    let first = today.checked_sub(jiff::Span::new().days(DAYS - 1)).unwrap_or(today);
    let (days, keys, models) = tokio::try_join!(
        client.daily_spend(None, first, today),
        client.spend_by_key(SHARES),
        client.spend_by_model(SHARES),
    )?;
    Ok(Usage { days: DailySpend::every_day(days, first, today), keys, models })
}
