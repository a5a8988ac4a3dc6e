//! A2A agents over JSON-RPC, in dialects 0.3 and 1.0.
//!
//! Agents do not keep to their cards: an ADK 2 agent declares 0.3 and speaks both, and every ADK card names a
//! wrong address (`wire/a2a/adk2.13/card`). So the configured address is used, the card's dialect is only the
//! first to try, and the other one is tried where an agent refuses a method or version. Such a refusal comes
//! before any model is called, so sending again is safe.

mod card;
mod list;
mod stream;
mod task;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use reqwest::{Client, Method, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clients::http::{self, Call, CallError, Limits};
use crate::clients::lenient::{Lenient, Object};
use crate::clients::limiter::LargeResponseLimiter;
use crate::clients::{ClientError, Meaning, Upstream};
use crate::domain::agent::{AgentCard, Dialect};
use crate::domain::context::ContextId;
use crate::domain::control::Answer;
use crate::domain::redact;

use self::task::{Progress, TaskState};

/// Largest answer that is taken: agents echo the prompt and a history.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Longest wait for an agent card.
const CARD_TIMEOUT: Duration = Duration::from_secs(5);

/// First pause between two looks at a task that is not done yet; each is twice the one before. An answer
/// takes 45 ms where the model is quick.
const POLL: Duration = Duration::from_millis(50);

/// Longest such pause.
const POLL_MAX: Duration = Duration::from_secs(1);

/// Where a card stands below an agent's address.
const CARD_PATH: &str = "/.well-known/agent-card.json";

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
    fn is_wrong_dialect(&self) -> bool {
        let Self::Rpc { code, message } = self else { return false };
        matches!(code, -32601 | -32009)
            || (*code == -32603 && message.contains("is not supported by this handler"))
    }
}

/// A client of one agent. Clones share what was found out about it.
#[derive(Debug, Clone)]
pub struct Agent {
    http: Client,
    url: Url,
    dialect: Arc<Mutex<Option<Dialect>>>,
    limiter: LargeResponseLimiter,
}

impl Agent {
    /// A client of the agent at `url`, which may be that of its card.
    pub fn new(http: Client, mut url: Url) -> Self {
        // With a trailing slash the agents measured answer 307 (`wire/a2a/err_trailing_slash`).
        let path = url.path().trim_end_matches(CARD_PATH).trim_end_matches('/').to_owned();
        url.set_path(&path);
        Self { http, url, dialect: Arc::default(), limiter: LargeResponseLimiter::new(Upstream::Agent) }
    }

    /// The agent's address, without credentials.
    pub fn address(&self) -> String {
        redact::secrets(self.url.as_str())
    }

    /// The dialect in use, once it is known.
    pub fn dialect(&self) -> Option<Dialect> {
        *self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, dialect: Dialect) {
        *self.dialect.lock().unwrap_or_else(PoisonError::into_inner) = Some(dialect);
    }

    /// The agent card, from the well-known place below the agent's address.
    pub async fn card(&self) -> Result<AgentCard, ClientError> {
        self.card_within(CARD_TIMEOUT).await
    }

    /// The agent card, waited for at most `time` or five seconds.
    pub async fn card_within(&self, time: Duration) -> Result<AgentCard, ClientError> {
        self.fetch_card(time, |error| matches!(error, ClientError::Status { meaning: Meaning::NotFound, .. }))
            .await
    }

    async fn fetch_card(
        &self,
        time: Duration,
        is_expected: fn(&ClientError) -> bool,
    ) -> Result<AgentCard, ClientError> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{CARD_PATH}", self.url.path().trim_end_matches('/')));
        let limits = Limits { time: time.min(CARD_TIMEOUT), size: 1024 * 1024 };
        let call = Call { upstream: Upstream::Agent, method: Method::GET, route: CARD_PATH, is_expected };
        http::observe(call, async {
            let answer = http::send(&self.limiter, self.http.get(url), limits).await?;
            if !answer.status.is_success() {
                return Err(status_error(answer.status.as_u16(), &answer.body));
            }
            card::parse(&answer.body).ok_or_else(|| {
                let detail = format!("no agent card, but {}", http::excerpt(&answer.body));
                ClientError::NotUnderstood { upstream: Upstream::Agent, detail }
            })
        })
        .await
    }

    /// Sends `text` in `context` and waits at most `time` for the answer.
    pub async fn send(&self, context: &ContextId, text: &str, time: Duration) -> Result<Answer, AgentError> {
        observe("message/send", |_| false, time, self.exchange(context, text)).await
    }

    /// The dialect to try first.
    async fn first_dialect(&self) -> Dialect {
        match self.dialect() {
            Some(known) => known,
            // No card, or one that nobody can read, does not mean that the agent cannot answer.
            None => self.fetch_card(CARD_TIMEOUT, |_| true).await.map_or(Dialect::V03, |card| card.dialect),
        }
    }

    async fn exchange(&self, context: &ContextId, text: &str) -> Result<Answer, AgentError> {
        let first = self.first_dialect().await;
        let (dialect, result) = match self.submit(first, context, text).await {
            Err(refusal) if refusal.is_wrong_dialect() => {
                let other = first.other();
                match self.submit(other, context, text).await {
                    // An agent that knows neither keeps its first refusal.
                    Err(second) if second.is_wrong_dialect() => return Err(refusal),
                    result => (other, result),
                }
            }
            result => (first, result),
        };
        if !matches!(result, Err(AgentError::Transport(_))) {
            self.remember(dialect);
        }
        self.follow(dialect, result?).await
    }

    /// Hands the message over. Nothing but this is tried in the other dialect: a refusal that comes later is
    /// of a message that was taken.
    async fn submit(&self, dialect: Dialect, context: &ContextId, text: &str) -> Result<Value, AgentError> {
        let (method, configuration) = match dialect {
            Dialect::V03 => ("message/send", json!({ "blocking": true })),
            Dialect::V10 => ("SendMessage", json!({ "returnImmediately": false })),
        };
        let params = json!({ "message": message(dialect, context, text), "configuration": configuration });
        self.call(dialect, method, &params).await
    }

    /// Waits for the task to end. Asked to wait, an agent may return early all the same; `observe`
    /// bounds the time.
    async fn follow(&self, dialect: Dialect, mut result: Value) -> Result<Answer, AgentError> {
        let mut pause = POLL;
        loop {
            let task_id = match task::read(&result)? {
                Progress::Done(answer) => return Ok(answer),
                Progress::Running { task_id } => task_id,
            };
            // It may be large, and is not needed while the agent works.
            drop(result);
            tokio::time::sleep(pause).await;
            pause = POLL_MAX.min(pause * 2);
            result = self.look_up(dialect, &task_id).await?;
        }
    }

    /// The task as it is now.
    async fn look_up(&self, dialect: Dialect, task_id: &str) -> Result<Value, AgentError> {
        let method = if dialect == Dialect::V03 { "tasks/get" } else { "GetTask" };
        match self.call(dialect, method, &json!({ "id": task_id })).await {
            // The message itself was taken, so this must not read as its refusal.
            Err(AgentError::Rpc { code, message }) => Err(garbled(&format!(
                "it took the message, but not the question how it goes: {message} ({code})"
            ))),
            result => result,
        }
    }

    async fn call(&self, dialect: Dialect, method: &str, params: &Value) -> Result<Value, AgentError> {
        let request = self.request(dialect, method, params);
        // The time of the whole exchange, polling included, is bounded by `observe`.
        let limits = Limits { time: Duration::MAX, size: MAX_ANSWER };
        let answer = http::send(&self.limiter, request, limits).await?;
        read_answer(&answer)
    }

    fn request(&self, dialect: Dialect, method: &str, params: &Value) -> RequestBuilder {
        let id = Uuid::new_v4().to_string();
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let request = self.http.post(self.url.clone()).json(&body);
        match dialect {
            Dialect::V03 => request,
            Dialect::V10 => request.header("A2A-Version", "1.0"),
        }
    }
}

/// Observes a whole exchange, which may take several requests, and bounds its time. `route` is the 0.3 name of its
/// JSON-RPC method.
fn observe<T>(
    route: &'static str,
    is_expected: fn(&AgentError) -> bool,
    time: Duration,
    exchange: impl Future<Output = Result<T, AgentError>>,
) -> impl Future<Output = Result<T, AgentError>> {
    let call = Call { upstream: Upstream::Agent, method: Method::POST, route, is_expected };
    let timeout = ClientError::Timeout { upstream: Upstream::Agent, after: time };
    let bounded = tokio::time::timeout(time, exchange);
    http::observe(call, bounded.map(|result| result.unwrap_or(Err(timeout.into()))))
}

/// The `message` of a request.
fn message(dialect: Dialect, context: &ContextId, text: &str) -> Value {
    let message_id = Uuid::new_v4().to_string();
    match dialect {
        Dialect::V03 => json!({
            "kind": "message", "messageId": message_id, "role": "user", "contextId": context,
            "parts": [{ "kind": "text", "text": text }],
        }),
        Dialect::V10 => json!({
            "messageId": message_id, "role": "ROLE_USER", "contextId": context, "parts": [{ "text": text }],
        }),
    }
}

/// The result in an answer, or the error.
fn read_answer(answer: &http::Answer) -> Result<Value, AgentError> {
    let rpc: RpcAnswer = match http::tree(&answer.body) {
        Ok(rpc) => rpc,
        Err(_) if !answer.status.is_success() => {
            return Err(status_error(answer.status.as_u16(), &answer.body).into());
        }
        Err(error) => return Err(garbled(&format!("{error}, in {}", http::excerpt(&answer.body)))),
    };
    if let Some(error) = rpc.error.0 {
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
struct RpcAnswer {
    result: Option<Value>,
    error: Object<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    code: Lenient<i64>,
    message: Lenient<String>,
}

fn rpc_error(error: RpcError) -> AgentError {
    let message = redact::error_text(&error.message.0.unwrap_or_default());
    AgentError::Rpc { code: error.code.0.unwrap_or_default(), message }
}

fn status_error(status: u16, body: &[u8]) -> ClientError {
    let meaning = match status {
        401 | 403 => Meaning::Credentials,
        404 => Meaning::NotFound,
        429 => Meaning::RateLimited,
        _ => Meaning::Other,
    };
    // What the framework under the agents says of an unknown path (`wire/a2a/card_agent_json`).
    let json = http::error_json(body);
    let detail = json.get("detail").and_then(Value::as_str).map(redact::error_text);
    let message = detail.unwrap_or_else(|| http::excerpt(body));
    ClientError::Status { upstream: Upstream::Agent, status, kind: None, message, meaning }
}

fn garbled(detail: &str) -> AgentError {
    ClientError::NotUnderstood { upstream: Upstream::Agent, detail: detail.to_owned() }.into()
}

impl TaskState {
    fn error(self, message: &str) -> AgentError {
        let text = redact::error_text(message);
        let message = if text.is_empty() { "it gave no reason".to_owned() } else { text };
        AgentError::Task { state: self.as_str(), message }
    }
}
