//! A2A agents over JSON-RPC, in dialects 0.3 and 1.0.
//!
//! Agents do not keep to their cards: an ADK 2 agent declares 0.3 and speaks both, and every ADK card names a
//! wrong address (`wire/a2a/adk2.13/card`). So the configured address is used, the card's dialect is only the
//! first to try, and the other one is tried where an agent refuses a method or version. Such a refusal comes
//! before any model is called, so sending again is safe.

mod card;
mod echo;
mod errors;
mod list;
mod send;
mod stream;
mod task;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Url};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use uuid::Uuid;

use self::echo::Echo;
pub use self::errors::AgentError;
use self::errors::{read_answer, status_error};
use crate::clients::http::{self, Call, Limits};
use crate::clients::limiter::LargeResponseLimiter;
use crate::clients::{ClientError, Meaning, Upstream};
use crate::domain::agent::{AgentCard, Credentials, Dialect};
use crate::domain::redact;

/// Largest answer that is taken: agents echo the prompt and a history.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Longest wait for an agent card.
const CARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a card stands below an agent's address.
const CARD_PATH: &str = "/.well-known/agent-card.json";

/// A client of one agent. Clones share what was found out about it.
#[derive(Debug, Clone)]
pub struct Agent {
    http: Client,
    url: Url,
    /// Sent with every request, all of which go to the origin of `url`: redirects are not followed.
    credentials: Option<(HeaderName, HeaderValue)>,
    echo: Echo,
    known: Arc<Mutex<Known>>,
    limiter: LargeResponseLimiter,
}

/// What was found out about an agent.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Of its last answer.
    dialect: Option<Dialect>,
    /// By its card.
    announced: Option<Dialect>,
    streams: Option<bool>,
    /// Its last answer came in another context than it was asked in.
    is_stray: bool,
}

/// How a message is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    /// `message/send`
    Plain,
    /// `message/stream`
    Stream,
}

impl Agent {
    /// A client of the agent at `url`, which may be that of its card.
    pub fn new(http: Client, mut url: Url) -> Self {
        if let Some(path) = url.path().strip_suffix(CARD_PATH).map(str::to_owned) {
            url.set_path(&path);
        }
        let limiter = LargeResponseLimiter::new(Upstream::Agent);
        Self { http, url, credentials: None, echo: Echo::default(), known: Arc::default(), limiter }
    }

    /// Sends this header with every request. One that cannot be a header is not sent.
    #[must_use]
    pub fn with_credentials(self, credentials: Option<Credentials>) -> Self {
        let header = |given: Credentials| {
            let mut value = HeaderValue::from_str(given.value.expose_secret()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(given.header.as_bytes()).ok()?, value))
        };
        let echo = credentials.as_ref().map(Echo::of).unwrap_or_default();
        Self { credentials: credentials.and_then(header), echo, ..self }
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Some((name, value)) => request.header(name, value),
            None => request,
        }
    }

    /// The agent's address, without credentials.
    pub fn address(&self) -> String {
        redact::addresses(self.url.as_str())
    }

    /// The dialect in use, once it is known.
    pub fn dialect(&self) -> Option<Dialect> {
        self.remembered().dialect
    }

    /// Whether it answered last in another context than it was asked in.
    pub fn is_stray(&self) -> bool {
        self.remembered().is_stray
    }

    fn remembered(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The agent card, from the well-known place below the agent's address, or else at the root of its host.
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
        let below = format!("{}{CARD_PATH}", self.url.path().trim_end_matches('/'));
        let limits = Limits { time: time.min(CARD_TIMEOUT), size: 1024 * 1024 };
        let call = Call { upstream: Upstream::Agent, method: Method::GET, route: CARD_PATH, is_expected };
        http::observe(call, async {
            let answered = |error: &ClientError| {
                matches!(error, ClientError::Status { .. } | ClientError::NotUnderstood { .. })
            };
            match self.card_at(&below, limits).await {
                // Where there is none either, what the address itself answers says more.
                Err(error) if below != CARD_PATH && answered(&error) => {
                    self.card_at(CARD_PATH, limits).await.map_err(|_| error)
                }
                result => result,
            }
        })
        .await
        .inspect(|card| {
            self.remember(|known| (known.announced, known.streams) = (Some(card.dialect), card.streaming));
        })
    }

    async fn card_at(&self, path: &str, limits: Limits) -> Result<AgentCard, ClientError> {
        let mut url = self.url.clone();
        url.set_path(path);
        let mut answer = http::send(&self.limiter, self.authorized(self.http.get(url)), limits).await?;
        self.echo.remove(&mut answer.body);
        if !answer.status.is_success() {
            return Err(status_error(answer.status.as_u16(), &answer.body));
        }
        card::parse(&answer.body).ok_or_else(|| {
            let detail = format!("no agent card, but {}", http::excerpt(&answer.body));
            ClientError::NotUnderstood { upstream: Upstream::Agent, detail }
        })
    }

    async fn call(&self, dialect: Dialect, method: &str, params: &Value) -> Result<Value, AgentError> {
        read_answer(&self.exchange(dialect, method, params).await?)
    }

    async fn exchange(
        &self,
        dialect: Dialect,
        method: &str,
        params: &Value,
    ) -> Result<http::Answer, ClientError> {
        let request = self.request(dialect, method, params);
        // The time of the whole exchange, polling included, is bounded by `observe`.
        let limits = Limits { time: Duration::MAX, size: MAX_ANSWER };
        let mut answer = http::send(&self.limiter, request, limits).await?;
        self.echo.remove(&mut answer.body);
        Ok(answer)
    }

    fn request(&self, dialect: Dialect, method: &str, params: &Value) -> RequestBuilder {
        let id = Uuid::new_v4().to_string();
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let request = self.authorized(self.http.post(self.url.clone()).json(&body));
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

fn get_task(dialect: Dialect) -> &'static str {
    if dialect == Dialect::V03 { "tasks/get" } else { "GetTask" }
}
