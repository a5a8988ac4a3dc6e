//! Checks what a swap needs, with advice for what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;

use crate::clients::litellm::{Database, LiteLlm};
use crate::clients::{ClientError, Meaning};
use crate::domain::agent::Scope;
use crate::domain::key::{Access, KeyHash, KeyState};
use crate::domain::model_detail::REFERENCE;
use crate::domain::release;
use crate::domain::words::counted;
use crate::services::agents::{AgentView, Agents, remedy};
use crate::services::bootstrap::{EnvFile, StoredKey, classify_key};
use crate::services::keys::Keys;
use crate::store::Store;

const LOOK_AT_LOG: &str = "Look at the proxy's log.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    Note,
    Bad,
}

#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub what: String,
    pub verdict: Verdict,
    pub found: String,
    pub advice: Option<String>,
}

impl Check {
    fn good(what: &str, found: impl Into<String>) -> Self {
        Self { what: what.to_owned(), verdict: Verdict::Good, found: found.into(), advice: None }
    }

    fn note(what: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Self { what: what.to_owned(), verdict: Verdict::Note, found: found.into(), advice }
    }

    fn bad(what: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, ..Self::note(what, found, advice) }
    }
}

pub struct Doctor {
    pub proxy: LiteLlm,
    pub keys: Keys,
    pub store: Store,
    pub agents: Agents,
    pub env: EnvFile,
}

impl Doctor {
    /// Skips what depends on the proxy if the proxy does not answer.
    pub async fn examine(&self) -> Vec<Check> {
        let mut checks = vec![self.database().await];
        let is_up = self.proxy_is_up(&mut checks).await;
        if is_up && self.master_key(&mut checks).await {
            checks.extend(self.agent_keys().await);
            self.references(&mut checks).await;
        }
        if let Some(problem) = self.agents.problem() {
            checks.push(Check::bad("agents file", problem, "Correct it. The agents are those of before."));
        }
        match self.agents.views().await {
            Ok(views) => checks.extend(views.iter().map(agent)),
            Err(error) => {
                checks.push(Check::bad("agents", error.to_string(), "Look at the dashboard's database."));
            }
        }
        checks
    }

    async fn database(&self) -> Check {
        match self.store.ping().await {
            Ok(()) => Check::good("dashboard's database", "it answers"),
            Err(error) => {
                Check::bad("dashboard's database", error.to_string(), "Look at PATCHBAY_DATABASE_URL.")
            }
        }
    }

    async fn proxy_is_up(&self, checks: &mut Vec<Check>) -> bool {
        let address = self.proxy.address();
        if let Err(error) = self.proxy.live().await {
            let advice = "Is it started, and is LITELLM_PROXY_URL (or FF_LLM_PROXY_BASE_URL) its address as seen \
                          from here? Within a compose network it is another one than on the machine.";
            checks.push(Check::bad("proxy", format!("{address}: {error}"), advice));
            return false;
        }
        let health = self.proxy.health().await;
        let version = health.as_ref().ok().and_then(|health| health.version.as_deref());
        let shown = version.map(|version| format!(", LiteLLM {version} (tested: {})", release::TESTED));
        checks.push(Check::good("proxy", format!("{address}{}", shown.unwrap_or_default())));
        let missing = version.map(release::missing).unwrap_or_default();
        let note = |missing| Check::note("proxy's release", missing, "Update the proxy if you need it.");
        checks.extend(missing.into_iter().map(note));
        let what = "proxy's database";
        checks.push(match health.map(|health| health.database) {
            Ok(Database::Connected) => Check::good(what, "connected"),
            Ok(Database::Down) => {
                Check::bad(what, "it does not answer", "Start it; the proxy connects again by itself.")
            }
            Ok(Database::None) => Check::bad(what, "the proxy has none", "Set DATABASE_URL at the proxy."),
            Err(error) => Check::bad(what, error.to_string(), LOOK_AT_LOG),
        });
        true
    }

    async fn master_key(&self, checks: &mut Vec<Check>) -> bool {
        let what = "master key";
        let check = match self.proxy.keys(1).await {
            Ok(page) => {
                let keys = counted(usize::try_from(page.total).unwrap_or(usize::MAX), "key");
                Check::good(what, format!("the proxy takes it, and has {keys}"))
            }
            Err(error) if error.meaning() == Some(Meaning::Credentials) => {
                let advice = "LITELLM_MASTER_KEY must be what the proxy was started with.";
                Check::bad(what, "the proxy refuses it", advice)
            }
            Err(error) => Check::bad(what, error.to_string(), "Look at the proxy's database and log."),
        };
        let is_good = check.verdict == Verdict::Good;
        checks.push(check);
        is_good
    }

    async fn agent_keys(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for name in self.agents.names() {
            let key = self.agents.get(&name).and_then(|agent| agent.key.clone());
            checks.push(self.agent_key(&format!("key of {name}"), key.as_ref()).await);
        }
        checks
    }

    async fn agent_key(&self, what: &str, key: Option<&SecretString>) -> Check {
        let good = |found: String| Check::good(what, found);
        let bad = |found: String, advice| Check::bad(what, found, advice);
        let Some(key) = key else {
            let advice =
                "Set TASK_AGENT_API_KEY, or `key` in the agents file. `patchbay bootstrap` issues one.";
            let verdict = if self.agents.key_hashes().is_empty() { Verdict::Bad } else { Verdict::Note };
            return Check { verdict, ..Check::note(what, "it is not in the settings", advice) };
        };
        match classify_key(Some(key.expose_secret())) {
            StoredKey::Placeholder => {
                return bad(
                    "it is a placeholder".to_owned(),
                    "`patchbay bootstrap` puts a key in its place.",
                );
            }
            StoredKey::Other(other) => return bad(format!("it is {other}"), "Look at the env file."),
            StoredKey::Secret(_) => {}
        }
        let found = match self.keys.key(&KeyHash::of(key)).await {
            Err(error) => return bad(error.to_string(), LOOK_AT_LOG),
            Ok(None) => {
                let advice = "`patchbay bootstrap` issues it again with the same secret.";
                return bad("the proxy does not know it".to_owned(), advice);
            }
            Ok(Some(found)) => found,
        };
        let text = format!("{} ({}), may call {}", found.label(), found.masked, found.access.describe());
        match (found.state(self.keys.now()), &found.access) {
            (KeyState::Active, Access::All) => good(text),
            (KeyState::Active, _) => {
                let advice = "A swap to another model is refused: relax it on its page.";
                Check::note(what, text, advice)
            }
            (state, _) => bad(format!("{text}; it is {}", state.label()), "Change it on its page."),
        }
    }

    /// Finds variables that models refer to and the env file lacks.
    async fn references(&self, checks: &mut Vec<Check>) {
        let what = "secrets of models";
        let path = self.env.path().display();
        let names = match self.referred().await {
            Ok(names) => names,
            Err(error) => return checks.push(Check::bad(what, error.to_string(), LOOK_AT_LOG)),
        };
        if !self.env.is_there() {
            let advice = "Set PATCHBAY_ENV_FILE to see whether it has all that models refer to.";
            return checks.push(Check::note(what, format!("there is no {path}"), advice));
        }
        let variables = match self.env.variables() {
            Ok(variables) => variables,
            Err(error) => {
                return checks.push(Check::bad(what, error.to_string(), "Let this user read the env file."));
            }
        };
        let is_set = |name: &str| variables.get(name).is_some_and(|value| !value.trim().is_empty());
        let missing: Vec<_> = names.iter().filter(|(name, _)| !is_set(name)).collect();
        for (name, models) in &missing {
            let models = models.iter().cloned().collect::<Vec<_>>().join(", ");
            let advice = format!("Add {name} to {path}, and restart the proxy with it.");
            checks.push(Check::bad(what, format!("{name} is not in the env file: {models} fail"), advice));
        }
        if missing.is_empty() {
            checks.push(Check::good(what, format!("{} referred to, all in {path}", names.len())));
        }
    }

    async fn referred(&self) -> Result<BTreeMap<String, BTreeSet<String>>, ClientError> {
        let details = self.proxy.details().await?;
        let ids: Vec<&str> = details.iter().map(|detail| detail.id.as_str()).collect();
        let notes = self.store.deployment_notes(&ids).await.unwrap_or_default();
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for detail in &details {
            let given = notes.get(&detail.id).into_iter().flat_map(|note| note.references.values());
            for name in detail.params.values().chain(given).filter_map(reference) {
                found.entry(name.to_owned()).or_default().insert(detail.name.clone());
            }
        }
        Ok(found)
    }
}

fn reference(value: &Value) -> Option<&str> {
    value.as_str()?.strip_prefix(REFERENCE)
}

fn agent(view: &AgentView) -> Check {
    let what = format!("agent {}", view.name);
    if let Some(problem) = &view.problem {
        let advice = remedy(problem, view.has_credentials);
        return Check::bad(&what, format!("{}: {problem}", view.address), advice);
    }
    if let Some(card) = &view.card.value {
        let scope = match view.scope {
            Some(Scope::Context) => "a model for each context",
            Some(Scope::Agent) => "one model for all contexts",
            None => "its scope is seen at the first swap",
        };
        return Check::good(&what, format!("{}: {}, {scope}", view.address, card.name));
    }
    let problem = view.card.problem.as_ref().map_or_else(|| "no card".to_owned(), ToString::to_string);
    let advice =
        "It can be switched all the same. Its card is looked for below its address, then at its host.";
    Check::note(&what, format!("{}: it takes messages, but shows no card: {problem}", view.address), advice)
}
