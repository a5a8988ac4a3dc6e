//! Agents of the proxy's own A2A gateway: which there are, and which of them are used here.
//!
//! Measured on LiteLLM 1.109.1: the gateway passes messages, streams, metadata and tasks on as they are. Its card leaves out
//! extensions, so that scope and call profile are found out by use, and prompts with line breaks are refused. Each message
//! is a row of the key's log as well ([`Call::is_message`](crate::domain::usage::Call::is_message)).

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::clients::ClientError;
use crate::clients::litellm::LiteLlm;
use crate::config::dotenv;
use crate::domain::agent::{AdoptedAgent, AgentName, AgentSettings, Credentials, GatewayAgent};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::services::agents::Agents;
use crate::services::snapshot::{PATIENCE, Snapshot, Source};
use crate::store::{Store, StoreError};
use patchbay_clock::Clock;

/// The variable of an adopted agent's virtual key, where none is named.
pub const DEFAULT_VARIABLE: &str = "TASK_AGENT_API_KEY";

/// How often it is looked which agents were adopted, here or on another replica, and what their keys are.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

struct Inner {
    agents: Agents,
    store: Store,
    proxy: Url,
    master_key: SecretString,
    /// The value of [`DEFAULT_VARIABLE`], or of what stands in for it.
    default_key: Option<SecretString>,
    found: Snapshot<FoundSource>,
}

/// Settings that the gateway's agents are reached with.
pub struct GatewaySettings {
    pub proxy: Url,
    pub master_key: SecretString,
    pub default_key: Option<SecretString>,
}

struct FoundSource(LiteLlm);

impl Source for FoundSource {
    type Fetched = Vec<GatewayAgent>;
    type Copy = Vec<GatewayAgent>;
    type Error = ClientError;

    const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(15);
    /// The page can do without them.
    const FIRST: Duration = PATIENCE;

    async fn fetch(&self) -> Result<Vec<GatewayAgent>, ClientError> {
        Ok(self.0.gateway_agents().await?.unwrap_or_default())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("the proxy's gateway has no such agent")]
    Missing,
    #[error("this agent is used here already")]
    Used,
    #[error("{0}")]
    Key(String),
    #[error(transparent)]
    Proxy(#[from] ClientError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gateway {
    pub fn new(
        settings: GatewaySettings,
        proxy: LiteLlm,
        agents: Agents,
        store: Store,
        clock: &Clock,
    ) -> Self {
        let GatewaySettings { proxy: url, master_key, default_key } = settings;
        let found = Snapshot::new(FoundSource(proxy), clock.clone());
        Self { inner: Arc::new(Inner { agents, store, proxy: url, master_key, default_key, found }) }
    }

    /// Uses the adopted agents now, and reads them every two seconds for as long as the gateway is in use.
    pub async fn follow(&self) -> Result<(), StoreError> {
        self.inner.load().await?;
        let weak = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let Some(inner) = weak.upgrade() else { return };
                // Logged by the store's own watch; those of before stay.
                let _ = inner.load().await;
            }
        });
        Ok(())
    }

    /// Agents of the gateway that are not used here, neither by way of it nor at their own address; beside them what was
    /// wrong when the proxy was asked last.
    pub async fn found(&self) -> (Vec<GatewayAgent>, Option<ClientError>) {
        let inner = &self.inner;
        let view = inner.found.refresh().await;
        let mut found = view.value.as_deref().cloned().unwrap_or_default();
        let used: Vec<String> = inner.agents.urls().iter().map(bare).collect();
        found.retain(|agent| {
            let own = agent.url.as_deref().and_then(|url| url.parse().ok());
            let ways = [inner.url(&agent.id), inner.url(&agent.name), own];
            !ways.iter().flatten().any(|url| used.contains(&bare(url)))
        });
        (found, view.problem)
    }

    /// Uses an agent of the gateway from now on, with the virtual key that `variable` holds.
    pub async fn adopt(&self, id: &str, variable: &str, actor: &Actor) -> Result<AgentName, AdoptError> {
        let inner = &self.inner;
        let variable = Some(variable.trim()).filter(|name| !name.is_empty() && *name != DEFAULT_VARIABLE);
        inner.key(variable).map_err(AdoptError::Key)?;
        inner.found.invalidate();
        let (found, problem) = self.found().await;
        let Some(agent) = found.into_iter().find(|agent| agent.id == id) else {
            return Err(problem.map_or(AdoptError::Missing, AdoptError::Proxy));
        };
        let mut taken = inner.agents.names();
        taken.extend(inner.store.adopted_agents().await?.into_iter().map(|adopted| adopted.name));
        let name = AgentName::like(&agent.name, |name| taken.contains(name)).ok_or(AdoptError::Used)?;
        let mut entry = NewEntry::new(actor, Action::AgentAdopt, name.as_str(), "ok");
        entry.after = Some(format!("a2a/{id}"));
        entry.detail = Some(format!("with the key in {}", variable.unwrap_or(DEFAULT_VARIABLE)));
        let adopted = AdoptedAgent {
            name: name.clone(),
            gateway_id: agent.id,
            key_variable: variable.map(str::to_owned),
        };
        if !inner.store.adopt_agent(&adopted, &entry).await? {
            return Err(AdoptError::Used);
        }
        inner.load().await?;
        Ok(name)
    }

    /// Uses an adopted agent no more; false where there is none of that name.
    pub async fn remove(&self, name: &AgentName, actor: &Actor) -> Result<bool, StoreError> {
        let entry = NewEntry::new(actor, Action::AgentRemove, name.as_str(), "ok");
        let was_there = self.inner.store.release_agent(name, &entry).await?;
        self.inner.load().await?;
        Ok(was_there)
    }
}

impl Inner {
    async fn load(&self) -> Result<(), StoreError> {
        let adopted = self.store.adopted_agents().await?;
        self.agents.set_adopted(adopted.into_iter().filter_map(|agent| self.settings(agent)).collect());
        Ok(())
    }

    fn settings(&self, agent: AdoptedAgent) -> Option<AgentSettings> {
        let url = self.url(&agent.gateway_id)?;
        // Without it the gateway refuses messages, which the page shows.
        let key = self.key(agent.key_variable.as_deref()).ok();
        let has_login = !url.username().is_empty() || url.password().is_some();
        let auth = key.as_ref().map(|key| {
            let (header, prefix) =
                if has_login { ("x-litellm-api-key", "") } else { ("authorization", "Bearer ") };
            let value = SecretString::from(format!("{prefix}{}", key.expose_secret()));
            Credentials { header: header.to_owned(), value }
        });
        Some(AgentSettings { key, auth, is_adopted: true, ..AgentSettings::new(agent.name, url) })
    }

    fn url(&self, id: &str) -> Option<Url> {
        let mut url = self.proxy.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(["a2a", id]);
        Some(url)
    }

    /// The virtual key in a variable. What is none is not sent to the proxy, nor is the master key.
    fn key(&self, variable: Option<&str>) -> Result<SecretString, String> {
        let name = variable.unwrap_or(DEFAULT_VARIABLE);
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.len() > 128 || !name.chars().all(is_word) {
            return Err("Write the name of an environment variable, not the key itself.".to_owned());
        }
        let value = match variable {
            None => self.default_key.clone(),
            Some(name) => dotenv::find(name).map(|(_, value)| SecretString::from(value.trim())),
        };
        let value = value.ok_or_else(|| format!("{name} is not set: it holds the agent's virtual key."))?;
        let text = value.expose_secret();
        let is_key = text.starts_with("sk-") && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_key || text == self.master_key.expose_secret() {
            return Err(format!("{name} does not hold a virtual key of the proxy."));
        }
        Ok(value)
    }
}

/// An address to compare.
fn bare(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}
