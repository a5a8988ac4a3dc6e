//! The two servers that Patchbay talks to: the LiteLLM proxy and the A2A agents.
//!
//! Both clients bound what they take: time, bytes, redirects (none). Their errors say what was seen, without
//! secrets; the web layer turns them into pages.

pub mod a2a;
mod http;
mod lenient;
mod limiter;
pub mod litellm;
pub mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use http::build as build_http;

pub(crate) type Result<T, E = ClientError> = std::result::Result<T, E>;

/// The kind of server that a request went to. It is written as it is named in an error text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    Proxy,
    Agent,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proxy => "the proxy",
            Self::Agent => "the agent",
        })
    }
}

/// Why a request to a proxy or an agent brought no usable answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke. `cause` is not its source, since `reason` is the innermost cause already.
    #[error("{upstream} cannot be reached: {reason}")]
    Unreachable { upstream: Upstream, reason: String, cause: Arc<reqwest::Error> },
    #[error("{upstream} did not answer within {} s", after.as_secs_f64())]
    Timeout { upstream: Upstream, after: Duration },
    /// `limit` is in bytes.
    #[error("{upstream} answered with more than {} MiB", limit / 1024 / 1024)]
    TooLarge { upstream: Upstream, limit: usize },
    #[error("{upstream} sent a large answer while other large answers of its kind were read")]
    Overloaded { upstream: Upstream },
    /// An answer with a success status that is not what it should be.
    #[error("{upstream} answered something that is not understood: {detail}")]
    NotUnderstood { upstream: Upstream, detail: String },
    /// An answer with an error status. `kind` is the `type` in the proxy's error body, and `message` has neither
    /// secrets nor stack traces.
    #[error("{upstream} answered {status}: {message}")]
    Status { upstream: Upstream, status: u16, kind: Option<String>, message: String, meaning: Meaning },
}

/// What an error status means, which the status alone does not tell: see [`litellm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The server does not take the credentials: they are unknown to it, malformed, or not good for this.
    Credentials,
    KeyBlocked,
    KeyExpired,
    OverBudget,
    /// The model is there, but may not be called: not with this key, or by nobody.
    ModelDenied,
    /// The model's provider failed or refused, at whatever status: the proxy itself did its part.
    Upstream,
    DatabaseDown,
    /// The proxy has no database at all: neither keys nor models of its own.
    NoDatabase,
    NotFound,
    /// It is a feature of LiteLLM Enterprise.
    Licence,
    Invalid,
    RateLimited,
    Other,
}

impl ClientError {
    pub fn upstream(&self) -> Upstream {
        match self {
            Self::Unreachable { upstream, .. }
            | Self::Timeout { upstream, .. }
            | Self::TooLarge { upstream, .. }
            | Self::Overloaded { upstream }
            | Self::NotUnderstood { upstream, .. }
            | Self::Status { upstream, .. } => *upstream,
        }
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub fn meaning(&self) -> Option<Meaning> {
        match self {
            Self::Status { meaning, .. } => Some(*meaning),
            _ => None,
        }
    }

    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}
