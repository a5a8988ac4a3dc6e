//! The built-in task agent: an A2A server whose model and system prompt are switched while it runs.
//!
//! It answers through a LiteLLM proxy and understands the control messages of hot-swap agents, such as
//! `[HOTSWAP:MODEL:openai/gpt-5]`. Unlike the ADK agents it stands beside, it keeps **model and prompt for
//! each context**, never undoes a swap made while it answers, and asks the proxy whether a model is there
//! before it promises it.
//!
//! It speaks A2A 0.3 and, with the header `A2A-Version: 1.0`, 1.0. All is kept in memory and bounded. It asks
//! for no login: let it listen where only trusted callers reach it.
//!
//! Nothing here is shared with the dashboard but the clock: the two meet on the wire only, so that a mistake
//! in one cannot hide the same mistake in the other.
//!
//! | file | what it does |
//! |---|---|
//! | `card` | the agent card |
//! | `rpc` | the JSON-RPC envelope, versions, errors |
//! | `wire` | messages and tasks as JSON, in both versions |
//! | `control` | the control messages and their replies |
//! | `contexts` | settings and history of each context |
//! | `tasks` | the tasks, to be asked for again |
//! | `turns` | carries a message out |
//! | `chat` | calls the proxy |

mod card;
mod chat;
mod contexts;
mod control;
mod rpc;
mod tasks;
mod turns;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use secrecy::SecretString;
use serde_json::{Value, json};
use tower_http::csrf::CsrfLayer;

use crate::domain::clock::Clock;
use control::ModelName;
use rpc::{Fault, Method, Refusal, Request};
use turns::Agent;

/// Where the agent is asked, the same as with the agents it stands beside.
const PATH: &str = "/a2a/litellm_agent";
const BODY_LIMIT: usize = 1024 * 1024;
/// So much of a body that is too large is still read, so that its sender gets to see the answer.
const DRAIN_LIMIT: usize = 8 * BODY_LIMIT;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How the agent is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The proxy's address, such as `http://127.0.0.1:4000`; a final `/` or `/v1` makes no difference.
    pub proxy: String,
    /// The virtual key that the agent calls the proxy with.
    pub api_key: Option<SecretString>,
    /// The model of a context before its first swap, such as `openai/gpt-5`.
    pub default_model: String,
    /// The whole address of the agent for its card, such as `https://agents.example/a2a/litellm_agent`.
    /// Without it the card names the host that it was asked by.
    pub public_url: Option<String>,
    /// Tells the times of the tasks.
    pub clock: Clock,
    /// How long a call to the proxy may take; [`Options::TIMEOUT`] does for most.
    pub timeout: Duration,
}

impl Options {
    /// The usual bound for a call to the proxy.
    pub const TIMEOUT: Duration = Duration::from_mins(1);
}

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The proxy's address is not an HTTP address, or it holds a user, a query or a fragment.
    #[error("the proxy's address must be like http://127.0.0.1:4000, without user, query or fragment")]
    ProxyUrl,
    /// The public address is not an HTTP address.
    #[error("the agent's public address must be like https://agents.example{PATH}")]
    PublicUrl,
    /// The key has characters that cannot be sent.
    #[error("the agent's key must be printable ASCII, on one line")]
    ApiKey,
    /// The default model is empty or lacks a half.
    #[error("the default model must be like openai/gpt-5: {0}")]
    DefaultModel(&'static str),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up")]
    Client(#[from] reqwest::Error),
}

/// The agent as a router, to be served on a listener of its own.
pub fn router(options: Options) -> Result<Router, StartError> {
    let default_model = ModelName::parse(&options.default_model, None).map_err(StartError::DefaultModel)?;
    let public_url = options.public_url.map(checked_url).transpose()?;
    let proxy = chat::Proxy::new(&options.proxy, options.api_key, options.timeout)?;
    let agent = Arc::new(Agent::new(proxy, default_model, options.clock));
    // The agent knows its callers by nothing, so at least no page in a browser may be one of them.
    let endpoint = post(call).layer(CsrfLayer::new());
    Ok(Router::new()
        .route(PATH, endpoint)
        .route("/a2a/litellm_agent/.well-known/agent-card.json", get(show_card))
        .route("/.well-known/agent-card.json", get(show_card))
        .route("/health", get(async || Json(json!({"status": "ok"}))))
        .with_state(App { agent, public_url }))
}

#[derive(Clone)]
struct App {
    agent: Arc<Agent>,
    public_url: Option<Arc<str>>,
}

fn checked_url(text: String) -> Result<Arc<str>, StartError> {
    let url = reqwest::Url::parse(&text).map_err(|_| StartError::PublicUrl)?;
    let http = matches!(url.scheme(), "http" | "https");
    if http && url.has_host() { Ok(text.into()) } else { Err(StartError::PublicUrl) }
}

async fn show_card(State(app): State<App>, headers: HeaderMap) -> impl IntoResponse {
    let url = app.public_url.as_deref().map_or_else(|| card::url_as_asked(&headers), str::to_owned);
    // It depends on the `Host` header, by which no cache tells answers apart.
    ([(CACHE_CONTROL, "no-store")], Json(card::card(&url)))
}

async fn call(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let (status, fault) = match tokio::time::timeout(BODY_TIMEOUT, read(body)).await {
        Ok(Ok(Some(body))) => return Json(answer(&app.agent, &headers, &body).await).into_response(),
        Ok(Ok(None)) => (StatusCode::PAYLOAD_TOO_LARGE, "it is larger than 1 MiB"),
        Ok(Err(_)) => (StatusCode::BAD_REQUEST, "its body broke off"),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "its body took too long to come"),
    };
    (status, Json(Refusal::unread(Fault::Request(fault)).into_value())).into_response()
}

/// The body, or `None` if it is too large.
async fn read(body: Body) -> Result<Option<Vec<u8>>, axum::Error> {
    let mut stream = body.into_data_stream();
    let (mut bytes, mut size) = (Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        size += chunk.len();
        if size > DRAIN_LIMIT {
            break;
        }
        if size <= BODY_LIMIT {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok((size <= BODY_LIMIT).then_some(bytes))
}

async fn answer(agent: &Arc<Agent>, headers: &HeaderMap, body: &[u8]) -> Value {
    let Request { id, dialect, method, params } = match rpc::read(body, headers) {
        Ok(request) => request,
        Err(refusal) => return refusal.into_value(),
    };
    let result = match method {
        Method::Send => match wire::Send::read(&params, dialect) {
            Ok(send) => {
                let length = send.history_length;
                agent.send(send).await.map(|task| wire::sent(&task, dialect, length))
            }
            Err(fault) => Err(fault),
        },
        Method::Get => wire::Get::read(&params)
            .and_then(|get| Ok(wire::render(&agent.task(&get.task)?, dialect, get.history_length))),
    };
    match result {
        Ok(result) => rpc::answer(id, result),
        Err(fault) => Refusal { id, dialect, fault }.into_value(),
    }
}
