//! Why no swap was begun, and why a context could not be read.

use crate::clients::a2a::AgentError;
use crate::domain::agent::AgentName;
use crate::domain::swap::Swap;
use crate::store::StoreError;

/// No swap was begun.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// There is no such agent in the settings.
    #[error("no agent is called {0}")]
    UnknownAgent(AgentName),
    /// Another swap runs on what this one would change.
    #[error("this context is being switched by {holder} right now")]
    Busy {
        /// Who runs it.
        holder: String,
    },
    /// The context was swapped after the form was loaded.
    #[error("the context was switched since the form was loaded")]
    Changed {
        /// The swap that came between.
        last: Box<Swap>,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The swap ended, and that could not be written down.
    #[error("the swap ended as {}, but that could not be written down", .0.outcome.as_str())]
    NotWritten(Box<Swap>),
}

/// A context's configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such agent in the settings.
    #[error("no agent is called {0}")]
    UnknownAgent(AgentName),
    /// The agent failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Somebody's question is being answered there, and an agent may fail a turn whose session changes under it.
    #[error("{holder} waits for an answer in this context right now: try again when it has come")]
    Asked {
        /// Who asked.
        holder: String,
    },
    /// A swap runs there.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// It answered something else than a configuration.
    #[error("the agent does not answer control messages: it took the question for chat")]
    NotSwitchable,
    /// A look for the scope changed something, and it could not be put back.
    #[error(
        "a prompt that was set for a look could not be taken back: read the agent's contexts, and put them back by hand"
    )]
    NotPutBack,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
