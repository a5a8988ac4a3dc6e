//! Looks every 10 seconds whether the proxy, its database and the agents answer, and writes down when that changes.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::clients::ClientError;
use crate::clients::litellm::{Database, LiteLlm};
use crate::domain::agent::AgentName;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::services::agents::Agents;
use crate::store::{Result, Store};

const TICK: Duration = Duration::from_secs(10);

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// A failure counts once it is repeated after this time, so that a lost packet is no outage.
const SECOND_LOOK: Duration = Duration::from_secs(1);

const MAX_CONCURRENT: usize = 16;

#[derive(Clone)]
pub struct Health {
    agents: Agents,
    proxy: LiteLlm,
    store: Store,
}

impl Health {
    pub fn new(agents: Agents, proxy: LiteLlm, store: Store) -> Self {
        Self { agents, proxy, store }
    }

    /// Looks until `stop`. One replica does it for all.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if self.store.lead("health").await.is_some()
                && let Err(error) = self.look().await
            {
                tracing::warn!(%error, "it was not written down what is up");
            }
        }
    }

    /// Looks at the proxy and at each agent.
    pub async fn look(&self) -> Result<()> {
        self.look_at_proxy().await?;
        for names in self.agents.names().chunks(MAX_CONCURRENT) {
            try_join_all(names.iter().map(|name| self.look_at_agent(name))).await?;
        }
        Ok(())
    }

    async fn look_at_proxy(&self) -> Result<()> {
        let mut outage = outage(self.proxy.live()).await;
        if outage.is_some() {
            tokio::time::sleep(SECOND_LOOK).await;
            outage = self::outage(self.proxy.live()).await;
        }
        let is_up = outage.is_none();
        self.note("proxy", outage).await?;
        // What a proxy that does not answer has behind it is not known.
        if is_up && let Ok(Ok(health)) = tokio::time::timeout(LIMIT, self.proxy.health()).await {
            let outage =
                (health.database == Database::Down).then(|| "the proxy does not reach it".to_owned());
            self.note("proxy-database", outage).await?;
        }
        Ok(())
    }

    async fn look_at_agent(&self, name: &AgentName) -> Result<()> {
        let Some(agent) = self.agents.get(name) else { return Ok(()) };
        let mut outage = outage(agent.client.check(LIMIT)).await;
        if outage.is_some() {
            tokio::time::sleep(SECOND_LOOK).await;
            outage = self::outage(agent.client.check(LIMIT)).await;
        }
        self.note(&format!("agent/{name}"), outage).await
    }

    async fn note(&self, name: &str, outage: Option<String>) -> Result<()> {
        let outcome = if outage.is_some() { "failed" } else { "ok" };
        let mut entry = NewEntry::new(&Actor::local("patchbay"), Action::Health, name, outcome);
        let is_up = outage.is_none();
        entry.detail = outage;
        self.store.note_health(name, is_up, &entry).await?;
        Ok(())
    }
}

/// Why something does not answer, if it does not.
async fn outage<T>(look: impl Future<Output = std::result::Result<T, ClientError>>) -> Option<String> {
    match tokio::time::timeout(LIMIT, look).await {
        Ok(Ok(_)) => None,
        // What refuses the request is up.
        Ok(Err(ClientError::Status { status, .. })) if status < 500 => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("it did not answer within {} s", LIMIT.as_secs())),
    }
}
