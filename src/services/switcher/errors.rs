//! Why no swap was begun, and why a context could not be read.

use super::control::SendError;
use crate::clients::a2a::AgentError;
use crate::domain::agent::AgentName;
use crate::domain::swap::Swap;
use crate::store::{Fenced, StoreError};

/// No swap was begun.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    #[error("no agent is called {0}")]
    UnknownAgent(AgentName),
    #[error("this context is being switched by {holder} right now")]
    Busy { holder: String },
    #[error("the context was switched since the form was loaded")]
    Changed { last: Box<Swap> },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the swap ended as {}, but that could not be written down", .0.outcome.as_str())]
    NotWritten(Box<Swap>),
}

/// A context's configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("no agent is called {0}")]
    UnknownAgent(AgentName),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("nothing was sent: {0}")]
    Fenced(#[from] Fenced),
    #[error("{holder} waits for an answer in this context right now: try again when it has come")]
    Asked { holder: String },
    #[error(transparent)]
    Swap(#[from] SwapError),
    #[error("the agent does not answer control messages: it took the question for chat")]
    NotSwitchable,
    #[error(
        "a prompt that was set for a look could not be taken back: read the agent's contexts, and put them back by hand"
    )]
    NotPutBack,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SendError> for ReadError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Fenced(error) => Self::Fenced(error),
            SendError::Agent(error) => Self::Agent(error),
        }
    }
}
