//! Contexts as they are known here, and what people say about them.

use std::collections::HashMap;

use crate::domain::agent::AgentName;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::{ContextChange, ContextId, Described, KnownContext};
use crate::store::{Result, Store};

/// Most contexts that are searched.
const SEARCHED: u32 = 10_000;

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

    /// Those with `text` in their id, label, agent or model.
    pub async fn search(&self, text: &str) -> Result<Vec<KnownContext>> {
        let text = text.to_lowercase();
        let mut contexts = self.store.contexts(SEARCHED).await?;
        contexts.retain(|known| known.words().any(|word| word.to_lowercase().contains(&text)));
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
