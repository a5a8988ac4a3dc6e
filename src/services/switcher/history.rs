//! Swaps that were made.

use super::Switcher;
use crate::domain::agent::AgentName;
use crate::domain::context::ContextId;
use crate::domain::swap::Swap;
use crate::store::Result;

/// How many swaps of a context are looked at for the one before.
const LOOKED_AT: u32 = 50;

impl Switcher {
    pub async fn find(&self, id: &str) -> Result<Option<Swap>> {
        self.parts.store.swap(id).await
    }

    /// The newest swaps of all contexts, at most `limit`.
    pub async fn recent(&self, limit: u32) -> Result<Vec<Swap>> {
        self.parts.store.recent_swaps(limit).await
    }

    /// The newest swaps of one context, at most `limit`.
    pub async fn history(&self, agent: &AgentName, context: &ContextId, limit: u32) -> Result<Vec<Swap>> {
        self.parts.store.swaps_of(agent, context, limit).await
    }

    /// Whether a swap took the one before it in its context back.
    pub async fn takes_back(&self, swap: &Swap) -> Result<bool> {
        let history = self.history(&swap.agent, &swap.context, LOOKED_AT).await?;
        let former = history.iter().find(|one| one.id < swap.id && one.outcome.is_success());
        Ok(former.is_some_and(|former| {
            former.before.is_some() && former.before == swap.after && former.after == swap.before
        }))
    }

    /// The newest swap that touched `context`, or with none given any context of the agent.
    pub async fn last(&self, agent: &AgentName, context: Option<&ContextId>) -> Result<Option<Swap>> {
        self.parts.store.last_swap(agent, context).await
    }
}
