//! One swap and one question at a time, and no swap on top of one that the operator has not seen.

use super::{Parts, ReadError, SwapError};
use crate::domain::agent::{AgentName, Scope};
use crate::domain::context::ContextId;
use crate::domain::swap::SwapRequest;
use crate::services::locks::Held;
use crate::store::LockError;

impl Parts {
    /// Locks swaps of the context, and those of the whole agent where one changes all contexts. A scope that is not known
    /// yet counts as agent-wide: better to wait in vain than to swap twice at once. It may become known while the lock is
    /// held, so the context is locked in any case.
    pub(super) async fn lock_swaps(
        &self,
        scope: Option<Scope>,
        agent: &AgentName,
        context: &ContextId,
        holder: &str,
    ) -> Result<Held, SwapError> {
        let refused = |why| match why {
            LockError::HeldBy(holder) => SwapError::Busy { holder },
            LockError::Store(error) => error.into(),
        };
        let wide = match scope {
            Some(Scope::Context) => None,
            _ => Some(self.locks.take(agent.to_string(), holder).await.map_err(refused)?),
        };
        let held = self.locks.take(format!("{agent}/{context}"), holder).await.map_err(refused)?;
        Ok(match wide {
            None => held,
            Some(wide) => held.and(wide),
        })
    }

    /// Locks the questions of a context.
    pub(super) async fn lock_questions(
        &self,
        agent: &AgentName,
        context: &ContextId,
        holder: &str,
    ) -> Result<Held, ReadError> {
        self.locks.take(format!("ask {agent}/{context}"), holder).await.map_err(|why| match why {
            LockError::HeldBy(holder) => ReadError::Asked { holder },
            LockError::Store(error) => error.into(),
        })
    }

    pub(super) async fn check_seen(
        &self,
        request: &SwapRequest,
        scope: Option<Scope>,
    ) -> Result<(), SwapError> {
        let Some(seen) = &request.seen else { return Ok(()) };
        let context = (scope == Some(Scope::Context)).then_some(&request.context);
        match self.store.last_swap(&request.agent, context).await? {
            Some(last) if last.id != *seen => Err(SwapError::Changed { last: Box::new(last) }),
            _ => Ok(()),
        }
    }
}
