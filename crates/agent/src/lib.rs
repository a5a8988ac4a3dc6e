//! The built-in task agent: an A2A server whose model and system prompt can be switched while it runs.
//!
//! It answers through a LiteLLM proxy and supports the control messages of hot-swap agents, such as
//! `[HOTSWAP:MODEL:openai/gpt-5]`. Unlike ADK agents it keeps **model and prompt per context**, keeps a swap that is
//! made while it answers, and asks the proxy whether a model exists before it confirms a swap.
//!
//! It supports A2A 0.3 and, with the header `A2A-Version: 1.0`, 1.0. Contexts and tasks are stored in SQLite ([`open`])
//! or in memory ([`router`]), with limits. Without a token there is no login: only trusted callers may reach it.
//!
//! The official SDK's crates (`a2a-lf`, `a2a-server-lf`) support 1.0 only, while most clients use 0.3. One set of types
//! is rendered in both versions here.
//!
//! Only the clock is shared with the dashboard, so that one mistake cannot be on both sides of the wire.
//!
//! | file | what it does |
//! |---|---|
//! | `card` | the agent card |
//! | `guard` | the bearer token |
//! | `rpc` | the JSON-RPC envelope, versions, errors |
//! | `wire` | messages and tasks as JSON, in both versions |
//! | `events` | the events of a stream |
//! | `list` | the tasks, in pages |
//! | `control` | the control messages and their replies |
//! | `contexts` | settings and history of each context |
//! | `tasks` | running and finished tasks |
//! | `turns` | processes a message |
//! | `chat` | calls the proxy |
//! | `store` | the database |

mod card;
mod chat;
mod contexts;
mod control;
mod events;
mod guard;
mod list;
mod rpc;
mod store;
mod tasks;
mod turns;
mod wire;

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{StreamExt, stream};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tower_http::csrf::CsrfLayer;

use control::ModelName;
use guard::Guard;
use patchbay_clock::Clock;
use rpc::{Dialect, Fault, Method, Refusal, Request};
use tasks::Progress;
use turns::Agent;

pub use store::StoreError;

/// The path of ADK agents.
const PATH: &str = "/a2a/litellm_agent";
const BODY_LIMIT: usize = 1024 * 1024;
/// Limit for reading the rest of a body that is too large, so that the client gets the error, in bytes.
const DRAIN_LIMIT: usize = 8 * BODY_LIMIT;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Most open streams.
const STREAM_LIMIT: usize = 256;
/// Interval of keepalive comments on idle streams, which reverse proxies would close.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
pub struct Options {
    /// The proxy's address, such as `http://127.0.0.1:4000`; a final `/` or `/v1` makes no difference.
    pub proxy: String,
    pub api_key: Option<SecretString>,
    /// The model of a context before its first swap, such as `openai/gpt-5`.
    pub default_model: String,
    /// The agent's URL for its card, such as `https://agents.example/a2a/litellm_agent`. Otherwise the card has the
    /// host of the request.
    pub public_url: Option<String>,
    pub clock: Clock,
    /// Limit of a call to the proxy; [`Options::TIMEOUT`] is the default.
    pub timeout: Duration,
}

impl Options {
    pub const TIMEOUT: Duration = Duration::from_mins(1);
}

/// Further options, which tests do not need.
#[derive(Clone, Default)]
pub struct Extras {
    /// Such as `sqlite://patchbay-agent.db`. In memory if none.
    pub database_url: Option<String>,
    pub token: Option<SecretString>,
    pub key_source: Option<Arc<dyn Fn() -> Option<SecretString> + Send + Sync>>,
    /// Interval of keepalive comments; 15 s by default.
    pub keep_alive: Option<Duration>,
}

impl fmt::Debug for Extras {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extras").field("database_url", &self.database_url).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "LITELLM_PROXY_URL (--proxy-url): the agent takes an address such as http://127.0.0.1:4000, without user, query \
         or fragment"
    )]
    ProxyUrl,
    #[error("PATCHBAY_AGENT_PUBLIC_URL (--public-url): write it like https://agents.example{PATH}")]
    PublicUrl,
    #[error("TASK_AGENT_API_KEY (--agent-key): a key is printable ASCII, on one line")]
    ApiKey,
    #[error("PATCHBAY_AGENT_TOKEN (--token): a token is printable ASCII, on one line, and not empty")]
    Token,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("LITELLM_MODEL (--model): write it like openai/gpt-5: {0}")]
    DefaultModel(&'static str),
    #[error("the HTTP client cannot be set up")]
    Client(#[from] reqwest::Error),
}

/// An agent that keeps all data in memory.
pub fn router(options: Options) -> Result<Router, StartError> {
    let extras = Extras::default();
    let agent = agent(&options, &extras)?;
    build(agent, options.public_url, &extras)
}

pub async fn open(options: Options, extras: Extras) -> Result<Router, StartError> {
    let mut agent = agent(&options, &extras)?;
    if let Some(url) = &extras.database_url {
        agent.restore(store::Store::open(url).await?).await?;
    }
    build(agent, options.public_url, &extras)
}

fn agent(options: &Options, extras: &Extras) -> Result<Agent, StartError> {
    let default_model = ModelName::parse(&options.default_model, None).map_err(StartError::DefaultModel)?;
    let (key, source) = (options.api_key.clone(), extras.key_source.clone());
    let proxy = chat::Proxy::new(&options.proxy, key, source, options.timeout)?;
    Ok(Agent::new(proxy, default_model, options.clock.clone()))
}

fn build(agent: Agent, public_url: Option<String>, extras: &Extras) -> Result<Router, StartError> {
    let guard = extras.token.as_ref().map(Guard::new).transpose()?;
    let app = App {
        agent: Arc::new(agent),
        public_url: public_url.map(checked_url).transpose()?,
        has_token: guard.is_some(),
        keep_alive: extras.keep_alive.unwrap_or(KEEP_ALIVE),
        streams: Arc::new(Semaphore::new(STREAM_LIMIT)),
    };
    // Without a token, at least pages in a browser are rejected.
    let mut endpoint = post(call).layer(CsrfLayer::new());
    if let Some(guard) = guard {
        endpoint = endpoint.layer(middleware::from_fn_with_state(guard, guard::check));
    }
    Ok(Router::new()
        .route(PATH, endpoint.clone())
        .route(&format!("{PATH}/"), endpoint)
        .route("/a2a/litellm_agent/.well-known/agent-card.json", get(show_card))
        .route("/.well-known/agent-card.json", get(show_card))
        .route("/health", get(async || Json(json!({"status": "ok"}))))
        .with_state(app))
}

#[derive(Clone)]
struct App {
    agent: Arc<Agent>,
    public_url: Option<Arc<str>>,
    has_token: bool,
    keep_alive: Duration,
    streams: Arc<Semaphore>,
}

fn checked_url(text: String) -> Result<Arc<str>, StartError> {
    let url = reqwest::Url::parse(&text).map_err(|_| StartError::PublicUrl)?;
    let http = matches!(url.scheme(), "http" | "https");
    if http && url.has_host() { Ok(text.into()) } else { Err(StartError::PublicUrl) }
}

async fn show_card(State(app): State<App>, headers: HeaderMap) -> Response {
    let url = app.public_url.as_deref().map_or_else(|| card::url_as_asked(&headers), str::to_owned);
    let card = card::card(&url, app.has_token);
    let mut hasher = DefaultHasher::new();
    card.to_string().hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|known| known.to_str().ok());
    let is_known = known.flat_map(|known| known.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    });
    // Without a public address it depends on the `Host` header.
    let caching = [(CACHE_CONTROL, "max-age=60"), (VARY, "host"), (ETAG, tag.as_str())];
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, Json(card)).into_response()
}

async fn call(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let (status, fault) = match tokio::time::timeout(BODY_TIMEOUT, read(body)).await {
        Ok(Ok(Some(body))) => return answer(&app, &headers, &body).await,
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

async fn answer(app: &App, headers: &HeaderMap, body: &[u8]) -> Response {
    let request = match rpc::read(body, headers) {
        Ok(request) => request,
        Err(refusal) => return Json(refusal.into_value()).into_response(),
    };
    let (id, dialect) = (request.id.clone(), request.dialect);
    if request.is_notification {
        let missing = Fault::Request("id is missing, and notifications are not supported");
        let fault = check(request.method, dialect, &request.params).err().unwrap_or(missing);
        return Json(Refusal { id, dialect, fault }.into_value()).into_response();
    }
    if request.method.is_streamed() {
        let refusal = match follow(app, request).await {
            Ok(stream) => return stream,
            Err(fault) => Refusal { id, dialect, fault },
        };
        return refused_stream(refusal);
    }
    Json(match result(&app.agent, request.method, dialect, &request.params).await {
        Ok(result) => rpc::answer(id, result),
        Err(fault) => Refusal { id, dialect, fault }.into_value(),
    })
    .into_response()
}

/// Clients of 0.3 read errors from the stream only. In 1.0 an event would mean that the stream was opened (9.4.6).
fn refused_stream(refusal: Refusal) -> Response {
    let (dialect, refusal) = (refusal.dialect, refusal.into_value());
    if dialect == Dialect::V10 {
        return Json(refusal).into_response();
    }
    let event = Event::default().data(refusal.to_string());
    Sse::new(stream::iter([Ok::<_, std::convert::Infallible>(event)])).into_response()
}

/// Whether the parameters can be read.
fn check(method: Method, dialect: Dialect, params: &Map<String, Value>) -> Result<(), Fault> {
    match method {
        Method::Send | Method::Stream => wire::Send::read(params, dialect).map(|_| ()),
        Method::Get => wire::Get::read(params).map(|_| ()),
        Method::Cancel | Method::Subscribe => wire::task_id(params).map(|_| ()),
        Method::List => list::Wanted::read(params).map(|_| ()),
        Method::Push | Method::ExtendedCard => Ok(()),
    }
}

async fn result(
    agent: &Arc<Agent>,
    method: Method,
    dialect: Dialect,
    params: &Map<String, Value>,
) -> Result<Value, Fault> {
    match method {
        Method::Send => {
            let send = wire::Send::read(params, dialect)?;
            let length = send.history_length;
            Ok(wire::sent(&agent.send(send, dialect).await?, dialect, length))
        }
        Method::Get => {
            let get = wire::Get::read(params)?;
            Ok(wire::render(&agent.task(&get.task)?, dialect, get.history_length))
        }
        Method::Cancel => Ok(wire::render(&agent.cancel(&wire::task_id(params)?).await?, dialect, None)),
        Method::List => {
            let wanted = list::Wanted::read(params)?;
            Ok(agent.list(&wanted).render(&wanted))
        }
        Method::Push => Err(Fault::NoPush),
        Method::ExtendedCard => Err(Fault::NoExtendedCard),
        Method::Stream | Method::Subscribe => Err(Fault::Method),
    }
}

async fn follow(app: &App, request: Request) -> Result<Response, Fault> {
    let Request { id, dialect, method, params, .. } = request;
    let busy = || Fault::Busy("The agent is busy: too many streams at once. Try again.");
    let room = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| busy())?;
    let (first, progress) = if method == Method::Stream {
        let send = wire::Send::read(&params, dialect)?;
        let (task, progress) = app.agent.begin(send, dialect, true).await?;
        (Progress::new(task), progress)
    } else {
        let mut progress = app.agent.watch(&wire::task_id(&params)?)?;
        let now = progress.borrow_and_update().clone();
        (now, progress)
    };
    let events = events::follow(&first, progress, id, dialect).map(move |event| {
        let _room = &room;
        event
    });
    let alive = KeepAlive::new().interval(app.keep_alive).text("ping");
    let headers = [(CACHE_CONTROL, "no-store"), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, Sse::new(events).keep_alive(alive)).into_response())
}
