//! How the proxy is, and what it has spent.

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::clients::ClientError;
use crate::clients::litellm::{Health, LiteLlm};
use crate::domain::usage::{DailySpend, Share};
use crate::services::snapshot::{Snapshot, View};
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
    health: Snapshot<Health, ClientError>,
    spend: Snapshot<f64, ClientError>,
    usage: Snapshot<Usage, ClientError>,
}

impl Proxy {
    /// The state of the proxy that `client` talks to.
    pub fn new(client: &LiteLlm, clock: &Clock) -> Self {
        let (of_health, of_spend) = (client.clone(), client.clone());
        let (of_usage, clock_of_usage) = (client.clone(), clock.clone());
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
            // The proxy adds up its log for it.
            usage: Snapshot::new(clock.clone(), SignedDuration::from_secs(60), move || {
                let (client, clock) = (of_usage.clone(), clock_of_usage.clone());
                async move { read_usage(&client, &clock).await }
            }),
        }
    }

    /// Its address, without credentials.
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

    pub async fn usage(&self) -> View<Usage, ClientError> {
        self.usage.get().await
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
