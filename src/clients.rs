//! The two servers that Patchbay talks to: the LiteLLM proxy and the A2A agents.
//!
//! Both clients bound what they take: time, bytes, redirects (none). Their errors say what was seen, without
//! secrets; the web layer turns them into pages.

pub mod a2a;
mod http;
mod lenient;
pub mod litellm;
mod room;

use std::time::Duration;

pub use http::build as build_http;

/// Why a request to a proxy or an agent brought no usable answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// `the proxy` or `the agent`.
        server: &'static str,
        /// What the connection said.
        reason: String,
    },
    /// No whole answer in time.
    #[error("{server} did not answer within {} s", after.as_secs_f64())]
    Timeout {
        /// `the proxy` or `the agent`.
        server: &'static str,
        /// The limit.
        after: Duration,
    },
    /// More than the limit.
    #[error("{server} answered with more than {} MiB", limit / 1024 / 1024)]
    TooLarge {
        /// `the proxy` or `the agent`.
        server: &'static str,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Too many large answers at once.
    #[error("{server} sent a large answer while other large answers of its kind were read")]
    Crowded {
        /// `the proxy` or `the agent`.
        server: &'static str,
    },
    /// An answer with a good status that is not what it should be.
    #[error("{server} answered something that is not understood: {detail}")]
    NotUnderstood {
        /// `the proxy` or `the agent`.
        server: &'static str,
        /// What is wrong with it, and how it begins.
        detail: String,
    },
    /// An answer with an error status.
    #[error("{server} answered {status}: {message}")]
    Status {
        /// `the proxy` or `the agent`.
        server: &'static str,
        /// The HTTP status.
        status: u16,
        /// The `type` in the proxy's error body.
        kind: Option<String>,
        /// The error's text, without secrets and stack traces.
        message: String,
        /// What it means.
        meaning: Meaning,
    },
}

/// What an error status means, which the status alone does not tell: see [`litellm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The server does not take the credentials: they are unknown to it, malformed, or not good for this.
    Credentials,
    /// The proxy knows the virtual key, which is set aside.
    KeyBlocked,
    /// The proxy knows the virtual key, which is past its expiry.
    KeyExpired,
    /// The proxy knows the virtual key, whose budget is spent.
    OverBudget,
    /// The model is there, but may not be called: not with this key, or by nobody.
    ModelDenied,
    /// The model's provider failed or refused, at whatever status: the proxy itself did its part.
    Upstream,
    /// The proxy's database does not answer.
    DatabaseDown,
    /// The proxy has no database at all: neither keys nor models of its own.
    NoDatabase,
    /// There is no such thing: no such key, no such model.
    NotFound,
    /// The request was wrong.
    Invalid,
    /// Too many requests.
    RateLimited,
    /// Something else.
    Other,
}

impl ClientError {
    /// What the error status means; none for other errors.
    pub fn meaning(&self) -> Option<Meaning> {
        match self {
            Self::Status { meaning, .. } => Some(*meaning),
            _ => None,
        }
    }

    /// Whether time ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}
