//! What an agent answers in JSON-RPC, and why it brought no answer.

use serde::Deserialize;
use serde_json::Value;

use super::Route;
use super::task::TaskState;
use crate::clients::http::{self, CallError};
use crate::clients::lenient::{Lenient, Object};
use crate::clients::{ClientError, Meaning, Upstream};
use crate::domain::redact;

/// Why a message brought no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AgentError {
    /// No usable HTTP answer.
    #[error(transparent)]
    Transport(#[from] ClientError),
    /// A JSON-RPC error.
    #[error("the agent refused the message: {message} ({code})")]
    Rpc {
        /// JSON-RPC error code.
        code: i64,
        /// Its text, without secrets.
        message: String,
    },
    /// The task ended otherwise than completed. Agents report this with HTTP 200
    /// (`wire/a2a/text_upstream_401`).
    #[error("the agent's task ended as {state}: {message}")]
    Task {
        /// `failed`, `rejected`, `canceled`, `auth-required`.
        state: &'static str,
        /// The agent's text, without secrets.
        message: String,
    },
}

impl CallError for AgentError {
    fn client(&self) -> Option<&ClientError> {
        match self {
            Self::Transport(error) => Some(error),
            _ => None,
        }
    }
}

impl AgentError {
    /// Whether the agent surely did not act on the message: it did not understand it, does not know what it
    /// names, or does not do such things. An internal error (-32603) may come at any time.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Rpc { code: -32700 | -32602..=-32600 | -32005..=-32001 | -32009..=-32007, .. } => true,
            Self::Rpc { .. } => self.is_wrong_dialect(),
            _ => false,
        }
    }

    /// Method unknown, version unknown, or the internal error that ADK 2 makes of a 0.3 call in a 1.0 request
    /// (`wire/a2a/adk2.13/v03_with_header_1.0`).
    pub(super) fn is_wrong_dialect(&self) -> bool {
        let Self::Rpc { code, message } = self else { return false };
        matches!(code, -32601 | -32009)
            || (*code == -32603 && message.contains("is not supported by this handler"))
    }

    /// Whether messages do not go this way: "operation not supported", or no such method or address for HTTP. What is
    /// an internal error of a stream may be one of streaming alone.
    pub(super) fn is_closed(&self, route: Route) -> bool {
        match self {
            Self::Rpc { code: -32004, .. } => true,
            Self::Rpc { code: -32603, .. } => route == Route::Stream,
            Self::Transport(ClientError::Status { status, .. }) => matches!(status, 404..=406 | 501),
            _ => false,
        }
    }
}

/// The result in an answer, or the error.
pub(super) fn read_answer(answer: &http::Answer) -> Result<Value, AgentError> {
    let rpc: RpcAnswer = match http::tree(&answer.body) {
        Ok(rpc) => rpc,
        Err(_) if !answer.status.is_success() => {
            return Err(status_error(answer.status.as_u16(), &answer.body).into());
        }
        Err(error) => return Err(garbled(&format!("{error}, in {}", http::excerpt(&answer.body)))),
    };
    if let Some(error) = rpc.error.0 {
        // So LiteLLM's A2A gateway refuses keys (1.109.1).
        if matches!(answer.status.as_u16(), 401 | 403) {
            return Err(status_error(answer.status.as_u16(), &answer.body).into());
        }
        return Err(rpc_error(error));
    }
    if !answer.status.is_success() {
        return Err(status_error(answer.status.as_u16(), &answer.body).into());
    }
    let neither = || format!("neither result nor error, but {}", http::excerpt(&answer.body));
    rpc.result.ok_or_else(|| garbled(&neither()))
}

/// `id` is not compared: an ADK agent leaves it out of errors (`wire/a2a/err_no_id`), and on a connection of
/// its own an answer cannot be another request's.
#[derive(Deserialize)]
pub(super) struct RpcAnswer {
    pub(super) result: Option<Value>,
    pub(super) error: Object<RpcError>,
}

#[derive(Deserialize)]
pub(super) struct RpcError {
    code: Lenient<i64>,
    message: Lenient<String>,
}

pub(super) fn rpc_error(error: RpcError) -> AgentError {
    let message = redact::error_text(&error.message.0.unwrap_or_default());
    AgentError::Rpc { code: error.code.0.unwrap_or_default(), message }
}

pub(super) fn status_error(status: u16, body: &[u8]) -> ClientError {
    let meaning = match status {
        401 | 403 => Meaning::Credentials,
        404 => Meaning::NotFound,
        429 => Meaning::RateLimited,
        _ => Meaning::Other,
    };
    // What the framework under the agents says of an unknown path (`wire/a2a/card_agent_json`).
    let json = http::error_json(body);
    let rpc = || json.get("error")?.get("message")?.as_str();
    let detail = json.get("detail").and_then(Value::as_str).or_else(rpc).map(redact::error_text);
    let message = detail.unwrap_or_else(|| http::excerpt(body));
    ClientError::Status { upstream: Upstream::Agent, status, kind: None, message, meaning }
}

pub(super) fn garbled(detail: &str) -> AgentError {
    ClientError::NotUnderstood { upstream: Upstream::Agent, detail: detail.to_owned() }.into()
}

impl TaskState {
    pub(super) fn error(self, message: &str) -> AgentError {
        let text = redact::error_text(message);
        let message = if text.is_empty() { "it gave no reason".to_owned() } else { text };
        AgentError::Task { state: self.as_str(), message }
    }
}
