//! The models that a form offers, with what decides between them.

use super::Switcher;
use crate::domain::agent::AgentName;
use crate::domain::assessment::ModelFacts;
use crate::domain::key::KeyHash;
use crate::domain::permission::Verdict;
use crate::services::registry::Catalog;

#[derive(Debug, Clone)]
pub struct Choice {
    pub name: String,
    pub facts: ModelFacts,
    /// Whether the agent's key may call it; none where that is not known.
    pub may_call: Option<bool>,
}

impl Switcher {
    /// The names that can be called, by copies of what the proxy has: a swap asks again.
    pub async fn choices(&self, agent: Option<&AgentName>, catalog: &Catalog) -> Vec<Choice> {
        let parts = &self.parts;
        let secret = agent.and_then(|agent| parts.agents.get(agent)?.key.as_ref().map(KeyHash::of));
        let key = match secret {
            Some(hash) => parts.keys.of(&hash).key.get().await.value.as_deref().cloned().flatten(),
            None => None,
        };
        let rules = match &key {
            Some(key) if key.grant().needs_rules() => parts.rules.get().await.value.unwrap_or_default(),
            _ => std::sync::Arc::default(),
        };
        let now = parts.clock.now();
        let choice = |name: &String| {
            let verdict = key.as_ref().map(|key| rules.may_call(key, &catalog.target(name), now));
            Choice {
                name: name.clone(),
                facts: ModelFacts::of(&catalog.serving(name).deployments),
                may_call: match verdict {
                    Some(Verdict::Allowed) => Some(true),
                    Some(Verdict::Denied(_)) => Some(false),
                    Some(Verdict::NotKnown(_)) | None => None,
                },
            }
        };
        catalog.callable.iter().map(choice).collect()
    }
}
