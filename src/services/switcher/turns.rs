//! One swap and one question at a time, and none on what was not seen.

use super::{Parts, ReadError, SwapError};
use crate::domain::agent::{AgentName, Scope};
use crate::domain::context::ContextId;
use crate::domain::swap::SwapRequest;
use crate::services::locks::{Held, NotTaken};

impl Parts {
    /// One swap at a time: per context, or per agent where one changes them all. A scope that is not known
    /// yet counts as agent-wide: better to wait in vain than to swap twice at once.
    pub(super) async fn lock(
        &self,
        scope: Option<Scope>,
        agent: &AgentName,
        context: &ContextId,
        holder: &str,
    ) -> Result<Held, SwapError> {
        let name =
            if scope == Some(Scope::Context) { format!("{agent}/{context}") } else { agent.to_string() };
        self.locks.take(name, holder).await.map_err(|why| match why {
            NotTaken::HeldBy(holder) => SwapError::Busy { holder },
            NotTaken::Store(error) => error.into(),
        })
    }

    pub(super) async fn take_turn(
        &self,
        agent: &AgentName,
        context: &ContextId,
        holder: &str,
    ) -> Result<Held, ReadError> {
        self.locks.take(format!("ask {agent}/{context}"), holder).await.map_err(|why| match why {
            NotTaken::HeldBy(holder) => ReadError::Asked { holder },
            NotTaken::Store(error) => error.into(),
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
