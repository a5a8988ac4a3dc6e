//! Contexts as they are known here, and what people say about them.

use std::collections::HashMap;

use crate::domain::agent::AgentName;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::{ContextChange, ContextId, ContextState, Described, KnownContext};
use crate::domain::control::AgentConfig;
use crate::store::{Result, Store};

/// Most contexts that are searched.
const SEARCHED: u32 = 10_000;

/// What is looked for; empty fields take all.
#[derive(Debug, Default)]
pub struct ContextFilter<'a> {
    /// In the id, label, agent or model.
    pub text: &'a str,
    pub agent: &'a str,
    /// The model that a context is on.
    pub model: &'a str,
    pub state: Option<ContextState>,
}

impl ContextFilter<'_> {
    pub fn fits(&self, known: &KnownContext) -> bool {
        let model = || known.config.as_ref().map(AgentConfig::spec_text).unwrap_or_default();
        let text = self.text.to_lowercase();
        (self.agent.is_empty() || known.agent.as_str() == self.agent)
            && (self.model.is_empty() || model() == self.model)
            && self.state.is_none_or(|state| known.is_in(state))
            && known.words().any(|word| word.to_lowercase().contains(&text))
    }
}

#[derive(Clone)]
pub struct Contexts {
    store: Store,
}

impl Contexts {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The contexts known here, those switched last first, at most `limit`.
    pub async fn list(&self, limit: u32) -> Result<Vec<KnownContext>> {
        self.store.contexts(limit).await
    }

    /// Those that fit, those switched last first.
    pub async fn find(&self, filter: &ContextFilter<'_>) -> Result<Vec<KnownContext>> {
        let mut contexts = self.store.contexts(SEARCHED).await?;
        contexts.retain(|known| filter.fits(known));
        Ok(contexts)
    }

    pub async fn get(&self, agent: &AgentName, context: &ContextId) -> Result<Option<KnownContext>> {
        self.store.context(agent, context).await
    }

    /// How many contexts are on each model.
    pub async fn by_model(&self) -> Result<HashMap<String, u64>> {
        self.store.contexts_by_model().await
    }

    /// Changes what people say about a context.
    pub async fn describe(
        &self,
        agent: &AgentName,
        context: &ContextId,
        change: &ContextChange,
        actor: &Actor,
    ) -> Result<Described> {
        let entry = NewEntry::new(actor, Action::ContextDescribe, format!("{agent}/{context}"), "ok");
        self.store.describe_context(agent, context, change, entry).await
    }

    /// Forgets a context here, with its questions and answers; the conversation goes on, and its swaps stay in the history.
    /// Returns whether there was one.
    pub async fn forget(&self, agent: &AgentName, context: &ContextId, actor: &Actor) -> Result<bool> {
        let entry = NewEntry::new(actor, Action::ContextForget, format!("{agent}/{context}"), "ok");
        self.store.forget_context(agent, context, entry).await
    }
}
