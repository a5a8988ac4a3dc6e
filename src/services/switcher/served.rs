//! Which model really answered: the proxy's log of the agent's key.
//!
//! The log is per key and names no context. What it says can be held against a selection only where the key has
//! one agent and the agent one model.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Switcher;
use crate::clients::ClientError;
use crate::clients::litellm::LiteLlm;
use crate::domain::agent::{AgentName, Scope};
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::swap::Swap;
use crate::domain::usage::Call;
use crate::services::snapshot::{PATIENCE, Snapshot, Source};
use crate::store::StoreError;
use patchbay_clock::Clock;

const SINCE: SignedDuration = SignedDuration::from_hours(24 * 30);
const CALLS: u32 = 50;

const LEEWAY: SignedDuration = SignedDuration::from_secs(2);

/// Swaps whose own calls are told apart from the agent's.
const SWAPS: u32 = 50;

/// An agent's own key at the proxy; `None` where the proxy does not know it.
pub(super) struct AgentKey {
    pub(super) proxy: LiteLlm,
    pub(super) hash: KeyHash,
}

impl Source for AgentKey {
    type Fetched = Option<VirtualKey>;
    type Copy = Option<VirtualKey>;
    type Error = ClientError;

    const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(5);

    async fn fetch(&self) -> Result<Option<VirtualKey>, ClientError> {
        self.proxy.key(&self.hash).await
    }
}

/// What is known of each agent's virtual key at the proxy.
pub(super) struct KeyCopies {
    proxy: LiteLlm,
    clock: Clock,
    by_hash: Mutex<BTreeMap<KeyHash, KeyCopy>>,
}

#[derive(Clone)]
pub(super) struct KeyCopy {
    pub(super) key: Snapshot<AgentKey>,
    pub(super) log: Snapshot<Log>,
}

impl KeyCopies {
    pub(super) fn new(proxy: &LiteLlm, clock: &Clock) -> Self {
        Self { proxy: proxy.clone(), clock: clock.clone(), by_hash: Mutex::default() }
    }

    pub(super) fn of(&self, hash: &KeyHash) -> KeyCopy {
        let (proxy, clock) = (&self.proxy, &self.clock);
        let new = || KeyCopy {
            key: Snapshot::new(AgentKey { proxy: proxy.clone(), hash: hash.clone() }, clock.clone()),
            log: Snapshot::new(
                Log { proxy: proxy.clone(), key: hash.clone(), clock: clock.clone() },
                clock.clone(),
            ),
        };
        let mut by_hash = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        by_hash.entry(hash.clone()).or_insert_with(new).clone()
    }

    pub(super) fn invalidate(&self) {
        let by_hash = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        by_hash.values().for_each(|copy| copy.key.invalidate());
    }
}

/// The last calls of an agent's key in the proxy's log.
pub(super) struct Log {
    pub(super) proxy: LiteLlm,
    pub(super) key: KeyHash,
    pub(super) clock: Clock,
}

impl Source for Log {
    /// None where the proxy's release has no log of calls.
    type Fetched = Option<Vec<Call>>;
    type Copy = Option<Vec<Call>>;
    type Error = ClientError;

    /// The proxy books with a delay of its own.
    const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(10);
    /// Pages can do without it.
    const FIRST: Duration = PATIENCE;

    async fn fetch(&self) -> Result<Option<Vec<Call>>, ClientError> {
        let now = self.clock.now();
        // The proxy's clock may be ahead.
        let to = now + SignedDuration::from_mins(5);
        self.proxy.calls(&self.key, now - SINCE, to, CALLS).await
    }

    fn derive(&self, calls: Option<Vec<Call>>) -> Option<Vec<Call>> {
        let mut calls = calls?;
        calls.retain(|call| !call.has_failed && !call.is_message() && call.model.is_some());
        calls.sort_by_key(|call| std::cmp::Reverse(call.at));
        Some(calls)
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    pub last: Option<Call>,
    pub selected: Option<String>,
    pub standing: Standing,
    pub as_of: Option<Timestamp>,
    #[serde(skip)]
    pub problem: Option<ClientError>,
    #[serde(skip)]
    calls: Vec<Call>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Nothing,
    Unavailable,
    Shared,
    PerContext,
    Unselected,
    Older,
    Agrees,
    Differs,
}

impl Standing {
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Nothing => "The log has no answered call of the last 30 days.",
            Self::Unavailable => "Not available on this release: the proxy has no log of single calls.",
            Self::Shared => "Several agents use this key, so the log cannot show which agent made a call.",
            Self::PerContext => {
                "The log is per key, not per context: it cannot show which conversation made the call."
            }
            Self::Unselected => "No swap from here says what it should have been.",
            Self::Older => "That was before the last swap, so it says nothing of it.",
            Self::Agrees => "That is the model that is selected.",
            Self::Differs => {
                "Another model than the selected one answered after the last swap: to a turn that ran during it, as a \
                 fallback of the proxy's router, or to someone else who uses the key."
            }
        }
    }

    pub fn is_odd(self) -> bool {
        self == Self::Differs
    }
}

impl Evidence {
    pub fn has(&self, model: &str, from: Timestamp, took_ms: f64) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "an answer takes minutes at most")]
        let to = from + SignedDuration::from_millis(took_ms.clamp(0.0, 1e7) as i64) + LEEWAY;
        let in_window = |call: &&Call| call.at >= from - LEEWAY && call.at <= to;
        self.calls.iter().filter(in_window).any(|call| call.model.as_deref() == Some(model))
    }
}

impl Switcher {
    /// What the proxy's log of the agent's key says; none where the settings do not name the key.
    pub async fn evidence(
        &self,
        agent: &AgentName,
        scope: Option<Scope>,
    ) -> Result<Option<Evidence>, StoreError> {
        let parts = &self.parts;
        let Some(key) = parts.agents.get(agent).and_then(|known| known.key.as_ref().map(KeyHash::of)) else {
            return Ok(None);
        };
        let log = parts.keys.of(&key).log.refresh().await;
        let is_unavailable = log.value.as_deref().is_some_and(Option::is_none);
        let calls = log.value.as_deref().cloned().flatten().unwrap_or_default();
        let mut evidence = Evidence {
            last: calls.first().cloned(),
            selected: None,
            standing: if is_unavailable { Standing::Unavailable } else { Standing::Nothing },
            as_of: log.at,
            problem: log.problem,
            calls,
        };
        if evidence.last.is_some() {
            evidence.standing = match scope {
                _ if parts.agents.key_hashes().iter().filter(|(_, hash)| *hash == key).count() > 1 => {
                    Standing::Shared
                }
                Some(Scope::Agent) => {
                    let last = parts.store.last_swap(agent, None).await?;
                    let last = last.filter(|swap| swap.outcome.is_success());
                    evidence.selected = last.as_ref().and_then(|swap| Some(swap.after.as_ref()?.spec_text()));
                    let mut swaps = parts.store.recent_swaps(SWAPS).await?;
                    swaps.retain(|swap| swap.agent == *agent);
                    compare(&evidence.calls, last.as_ref(), &swaps)
                }
                Some(Scope::Context) | None => Standing::PerContext,
            };
        }
        Ok(Some(evidence))
    }
}

/// The calls, the newest first, against the last swap. Calls that were made in the time of a swap may be its own:
/// the one that tried the model, the one that proved it.
fn compare(calls: &[Call], last: Option<&Swap>, swaps: &[Swap]) -> Standing {
    let Some((swap, after)) = last.and_then(|swap| Some((swap, swap.after.as_ref()?))) else {
        return Standing::Unselected;
    };
    let is_own = |call: &&Call| {
        swaps.iter().any(|swap| {
            let end = swap.finished_at.unwrap_or(Timestamp::MAX);
            call.at >= swap.started_at - LEEWAY && call.at <= end.saturating_add(LEEWAY).unwrap_or(end)
        })
    };
    let is_of = |call: &Call| call.model.as_deref().is_some_and(|model| after.is_called(model));
    let since = swap.finished_at.unwrap_or(Timestamp::MAX);
    match calls.iter().find(|call| !is_own(call)).filter(|call| call.at > since) {
        Some(call) if is_of(call) => Standing::Agrees,
        Some(_) => Standing::Differs,
        // The answer that proved the swap is in the log too.
        None if calls.first().is_some_and(|call| call.at >= swap.started_at && is_of(call)) => {
            Standing::Agrees
        }
        None => Standing::Older,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::assessment::Assessment;
    use crate::domain::control::AgentConfig;
    use crate::domain::swap::{Outcome, PromptChange};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn call(seconds: i64, model: &str) -> Call {
        let model = Some(model.to_owned());
        let at = at(seconds);
        Call { at, model, prompt_tokens: 1, completion_tokens: 1, ..Call::default() }
    }

    fn swap(from: i64, to: i64) -> Swap {
        Swap {
            id: from.to_string(),
            agent: "a".parse().unwrap(),
            context: "c".parse().unwrap(),
            actor: "ada".to_owned(),
            model: None,
            prompt: PromptChange::Keep,
            before: None,
            after: Some(AgentConfig::new(Some("openai"), "gpt-5", None)),
            steps: Vec::new(),
            assessment: Assessment::default(),
            proof: None,
            outcome: Outcome::Verified,
            fault: None,
            started_at: at(from),
            finished_at: Some(at(to)),
        }
    }

    #[test]
    fn only_a_later_call_of_another_model_is_odd() {
        let last = swap(100, 110);
        let of = |calls: &[Call]| compare(calls, Some(&last), std::slice::from_ref(&last));
        assert_eq!(of(&[call(90, "openai/gpt-5-mini")]), Standing::Older);
        assert_eq!(of(&[call(105, "openai/gpt-5-mini")]), Standing::Older, "made in the time of the swap");
        assert_eq!(of(&[call(111, "openai/gpt-5-mini")]), Standing::Older, "the clocks may differ");
        assert_eq!(of(&[call(120, "openai/gpt-5-mini")]), Standing::Differs);
        assert_eq!(of(&[call(120, "openai/gpt-5")]), Standing::Agrees);
        assert_eq!(of(&[call(120, "gpt-5")]), Standing::Agrees, "without its provider");
        assert_eq!(of(&[call(106, "openai/gpt-5"), call(90, "x/y")]), Standing::Agrees, "the proof");
        assert_eq!(compare(&[call(120, "x/y")], None, &[]), Standing::Unselected);
        // A refused swap tried its model with the agent's key.
        let refused = swap(200, 203);
        assert_eq!(
            compare(&[call(201, "x/y"), call(120, "openai/gpt-5")], Some(&last), &[refused, last.clone()]),
            Standing::Agrees
        );
    }
}
