//! How an agent calls the proxy, found in the proxy's log after an answered message.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::Instrument as _;

use super::{Parts, Switcher};
use crate::clients::litellm::PROBE_SESSION;
use crate::domain::agent::AgentName;
use crate::domain::calls::{CallProfile, ObservedCall};
use crate::domain::control::AgentConfig;
use crate::domain::key::KeyHash;
use crate::domain::model::ModelSpec;
use crate::domain::swap::Proof;

/// Clocks of proxy and dashboard differ.
const LEEWAY: SignedDuration = SignedDuration::from_secs(1);

/// Calls of a turn and beside it.
const CALLS: u32 = 20;

/// Age from which a call is looked for again.
const OLD: SignedDuration = SignedDuration::from_hours(24);

impl Switcher {
    /// Looks for the call of an answer that just came from a context on `config`, in the background: the proxy writes
    /// its log 10 to 20 s later.
    pub fn learn_call(&self, agent: &AgentName, config: Option<&AgentConfig>, answer: &Proof) {
        self.parts.learn_from(agent, config, answer);
    }
}

impl Parts {
    pub(super) fn learn_from(
        self: &Arc<Self>,
        agent: &AgentName,
        config: Option<&AgentConfig>,
        answer: &Proof,
    ) {
        let Some(model) = config.and_then(AgentConfig::spec).filter(|_| !answer.answer.is_empty()) else {
            return;
        };
        let (parts, agent) = (Arc::clone(self), agent.clone());
        let to = parts.clock.now();
        let took = SignedDuration::try_from_secs_f64(answer.elapsed_ms / 1000.0).unwrap_or_default();
        let learning = async move { parts.learn_call(&agent, model, to - took, to).await };
        tokio::spawn(learning.in_current_span());
    }

    async fn learn_call(&self, agent: &AgentName, model: ModelSpec, from: Timestamp, to: Timestamp) {
        let Some(known) = self.agents.get(agent) else { return };
        let Some(key) = known.key.as_ref().map(KeyHash::of) else { return };
        let is_shared = self.agents.key_hashes().iter().filter(|(_, hash)| *hash == key).count() > 1;
        let Ok(view) = self.agents.view(&known).await else { return };
        let is_new = |seen: &ObservedCall| seen.model == model && to.duration_since(seen.at) < OLD;
        if is_shared || view.calls.stated != CallProfile::Auto || view.calls.observed.iter().any(is_new) {
            return;
        }
        for wait in self.timeouts.find_call {
            tokio::time::sleep(wait).await;
            match self.find_call(&key, &model, from - LEEWAY, to + LEEWAY).await {
                Ok(None) => {}
                Ok(Some(call)) => {
                    if let Err(error) = self.store.note_agent_call(agent, &call).await {
                        tracing::warn!(%error, %agent, "how the agent calls the proxy was not stored");
                    }
                    return;
                }
                // Logged by the client.
                Err(_) => return,
            }
        }
    }

    async fn find_call(
        &self,
        key: &KeyHash,
        model: &ModelSpec,
        from: Timestamp,
        to: Timestamp,
    ) -> crate::clients::Result<Option<ObservedCall>> {
        let second = SignedDuration::from_secs(1);
        let logged = self.proxy.calls(key, from - second, to + second, CALLS).await?;
        // A release without a log of calls.
        let Some(mut calls) = logged else { return Ok(None) };
        calls.retain(|call| {
            let is_in_time = call.at >= from && call.at <= to;
            let is_turn = !call.has_failed && !call.is_message();
            is_in_time && is_turn && call.session.as_deref() != Some(PROBE_SESSION)
        });
        // A probe that bears no mark, of a pass-through, comes before the turn.
        let last = calls.into_iter().max_by_key(|call| call.at);
        Ok(last.and_then(|call| {
            Some(ObservedCall {
                model: model.clone(),
                endpoint: call.endpoint?,
                name: call.model?,
                at: call.at,
            })
        }))
    }
}

/// When the log is looked at after an answer.
pub(super) const FIND_CALL: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(10), Duration::from_secs(20)];
