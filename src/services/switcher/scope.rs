//! Whether an agent keeps its model for each context or once for all of them.
//!
//! Most agents tell: by the keys of their state, or on their card. Others are found out, in throw-away contexts
//! alone: along with a swap, where a fresh context is read before and after; or when someone asks for it.

use uuid::Uuid;

use super::{Parts, ReadError, SwapError, Switcher};
use crate::domain::agent::{AgentName, Scope};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::ContextId;
use crate::domain::control::{AgentConfig, ControlMessage, Prompt};
use crate::domain::words::sentence;
use crate::services::agents::KnownAgent;
use crate::services::journal::{Failure, Record, journaled};
use crate::services::locks::Held;
use crate::store::OwnRow;

/// The prompt that stands in a throw-away context for the time of a look, where the agent has none to add to.
const TRIAL_PROMPT: &str = "You are a helpful assistant.";

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ScopeFound {
    /// The scope; none where it could not be told.
    pub scope: Option<Scope>,
    pub detail: String,
}

impl ScopeFound {
    fn new(scope: Option<Scope>, detail: &str) -> Self {
        Self { scope, detail: detail.to_owned() }
    }
}

impl Switcher {
    /// Looks whether the agent's model is per context or agent-wide, remembers and audits it.
    pub async fn check_scope(&self, name: &AgentName, actor: &Actor) -> Result<ScopeFound, SwapError> {
        let parts = &self.parts;
        let agent = parts.agents.get(name).ok_or_else(|| SwapError::UnknownAgent(name.clone()))?;
        let before = parts.agents.view(&agent).await?.scope;
        // A swap at the same time would be taken for an effect of the look.
        let held = parts.lock_swaps(None, name, &fresh(), &actor.name).await?;
        let mut entry = NewEntry::new(actor, Action::AgentScope, name.as_str(), "ok");
        entry.before = before.map(|scope| scope.as_str().to_owned());
        journaled(&parts.store, entry, async |Record { entry, rows, .. }| {
            let looked = parts.look_for_scope(&agent, &held).await;
            drop(held);
            let found = looked.unwrap_or_else(|error| {
                "failed".clone_into(&mut entry.outcome);
                ScopeFound { scope: None, detail: sentence(&error) }
            });
            if let Some(scope) = found.scope {
                *agent.noted_scope() = Some(scope);
                rows.push(OwnRow::Scope(name.clone(), scope));
            }
            entry.after = found.scope.map(|scope| scope.as_str().to_owned());
            entry.detail = Some(found.detail.clone());
            Ok(found)
        })
        .await
    }
}

impl Failure for SwapError {}

impl Parts {
    async fn look_for_scope(&self, agent: &KnownAgent, held: &Held) -> Result<ScopeFound, ReadError> {
        let (here, there) = (fresh(), fresh());
        let question = ControlMessage::GetConfig.to_text();
        if let Some(scope) = agent.client.send(&here, &question, self.timeouts.control).await?.scope {
            let detail = "The agent's own state says so: it was read in a throw-away context.";
            return Ok(ScopeFound::new(Some(scope), detail));
        }
        let (before, elsewhere) =
            (self.config(agent, &here, None).await?, self.config(agent, &there, None).await?);
        let Some(trial) = trial_prompt(&before) else {
            return Ok(ScopeFound::new(
                None,
                "The agent's prompt cannot be sent back, so nothing was tried.",
            ));
        };
        let tried =
            self.control(agent, &here, &ControlMessage::Prompt(Some(trial.clone())), Some(held)).await;
        let after = (self.config(agent, &here, None).await, self.config(agent, &there, None).await);
        // Put back whatever was seen: on an agent-wide agent it counts for every conversation.
        self.put_back(agent, (&here, &before), (&there, &elsewhere), held).await?;
        tried?;
        let (here, there) = (after.0?, after.1?);
        let is_on_it = |config: &AgentConfig| config.prompt.as_deref() == Some(trial.as_str());
        Ok(match (is_on_it(&here), is_on_it(&there)) {
            (true, true) => ScopeFound::new(
                Some(Scope::Agent),
                "A prompt that was set in one throw-away context was in another as well. It was taken back.",
            ),
            (true, false) => ScopeFound::new(
                Some(Scope::Context),
                "A prompt that was set in one throw-away context was not in another. It was taken back.",
            ),
            (false, _) => ScopeFound::new(None, "The agent took no prompt in a throw-away context."),
        })
    }

    async fn put_back(
        &self,
        agent: &KnownAgent,
        (here, before): (&ContextId, &AgentConfig),
        (there, elsewhere): (&ContextId, &AgentConfig),
        held: &Held,
    ) -> Result<(), ReadError> {
        let former = before.prompt.as_deref().and_then(|prompt| prompt.parse().ok());
        let sent = self.control(agent, here, &ControlMessage::Prompt(former), Some(held)).await;
        let is_back = matches!(self.config(agent, here, None).await, Ok(config) if config == *before)
            && matches!(self.config(agent, there, None).await, Ok(config) if config == *elsewhere);
        match sent {
            _ if is_back => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err(ReadError::NotPutBack),
        }
    }

    /// The configuration of a fresh context, to be looked at again after a swap; none where the scope is known,
    /// or where the agent does not tell.
    pub(super) async fn look_elsewhere(
        &self,
        agent: &KnownAgent,
        known: Option<Scope>,
    ) -> Option<(ContextId, AgentConfig)> {
        if known.is_some() || agent.has_shown_scope() {
            return None;
        }
        let there = fresh();
        let config = self.config(agent, &there, None).await.ok()?;
        Some((there, config))
    }

    /// What a swap from `before` to `after` in another context shows, seen from the fresh one. None where it
    /// shows nothing, such as a swap to what the fresh one is on anyway.
    pub(super) async fn look_again_elsewhere(
        &self,
        agent: &KnownAgent,
        (there, then): (ContextId, AgentConfig),
        before: &AgentConfig,
        after: &AgentConfig,
    ) -> Option<ScopeFound> {
        if before == after {
            return None;
        }
        let now = self.config(agent, &there, None).await.ok()?;
        let found = if now == *after && then != *after {
            ScopeFound::new(Some(Scope::Agent), "A fresh context has changed with this one.")
        } else if now == then && now != *after {
            ScopeFound::new(Some(Scope::Context), "A fresh context has not changed with this one.")
        } else {
            return None;
        };
        if let Some(scope) = found.scope {
            self.agents.note_scope(agent, scope).await;
        }
        Some(found)
    }
}

/// A context that no conversation has.
fn fresh() -> ContextId {
    ContextId::throw_away(Uuid::new_v4().as_u128())
}

/// A prompt that differs from the one in use as little as may be, since on an agent-wide agent it counts for
/// every conversation for as long as it stands. None where the one in use could not be sent back.
fn trial_prompt(config: &AgentConfig) -> Option<Prompt> {
    match &config.prompt {
        None => TRIAL_PROMPT.parse().ok(),
        Some(prompt) => {
            let prompt: Prompt = prompt.parse().ok().filter(|prompt: &Prompt| !prompt.is_multiline())?;
            format!("{}.", prompt.as_str()).parse().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_differs_as_little_as_may_be() {
        let with = |prompt| trial_prompt(&AgentConfig::new(Some("openai"), "gpt-5", prompt));
        assert_eq!(with(Some("Be brief.")).unwrap().as_str(), "Be brief..");
        assert_eq!(with(None).unwrap().as_str(), TRIAL_PROMPT);
        assert_eq!(with(Some("Two\nlines")), None);
    }
}
