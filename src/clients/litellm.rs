//! The LiteLLM proxy's admin API, as releases 1.80 and 1.109 really answer it.

mod agents;
mod calls;
mod errors;
mod keys;
mod models;
mod registry;
mod teams;
mod usage;
mod wire;

pub use calls::{LogPage, LogQuery};
pub use models::{Tried, is_segment};
pub use registry::{Credential, GroupInfo, Registered};

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::header::HeaderValue;
use reqwest::{Client, Method, RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value, json};

pub use self::keys::{KeyRecord, NewKey};
use crate::clients::http::{self, Call, Limits};
use crate::clients::limiter::LargeResponseLimiter;
use crate::clients::{ClientError, Meaning, Result, Upstream};
use crate::domain::calls::{Endpoint, ModelCall};
use crate::domain::control::Route;
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::redact;

/// Largest answer that is taken. 1,000 deployments are 8.6 MB on 1.109.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Largest page of `/key/list`: the proxy answers 422 beyond (`wire/litellm/1.80/key_list_size_101`).
pub const KEY_PAGE: u32 = 100;

/// The session that the proxy's log shows for calls of Patchbay's own.
pub const PROBE_SESSION: &str = "patchbay-probe";

const TINY_QUESTION: &str = "Reply with the word ok.";

/// In tokens. Some models refuse a limit below 16.
const TINY_ANSWER: u32 = 16;

#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub admin: Duration,
    /// Of a chat completion, which waits for the model.
    pub chat: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { admin: Duration::from_secs(15), chat: Duration::from_mins(1) }
    }
}

#[derive(Debug, Clone)]
pub struct LiteLlm {
    http: Client,
    base: Url,
    master_key: SecretString,
    timeouts: Timeouts,
    limiter: LargeResponseLimiter,
}

/// The proxy's own word on its health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Its release.
    pub version: Option<String>,
    pub database: Database,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Database {
    Connected,
    Down,
    /// The proxy was started without one.
    None,
}

/// One page of `/key/list`.
#[derive(Debug, Clone)]
pub struct KeyPage {
    /// Newest first.
    pub keys: Vec<VirtualKey>,
    /// Keys of all pages.
    pub total: u64,
    pub pages: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The model that the proxy says has answered.
    pub model: Option<String>,
    pub route: Option<Route>,
}

impl LiteLlm {
    /// A client of the proxy at `base` (scheme, host, port and path, without `/v1`).
    pub fn new(http: Client, base: Url, master_key: SecretString, timeouts: Timeouts) -> Self {
        Self { http, base, master_key, timeouts, limiter: LargeResponseLimiter::new(Upstream::Proxy) }
    }

    /// The proxy's address, without credentials.
    pub fn address(&self) -> String {
        redact::addresses(self.base.as_str().trim_end_matches('/'))
    }

    /// `GET /health/liveliness`: whether it answers at all.
    pub async fn live(&self) -> Result<()> {
        self.get("health/liveliness").json(|IgnoredAny| Ok(())).await
    }

    /// `GET /key/list`: page `page` (from 1) of [`KEY_PAGE`] keys, newest first.
    pub async fn keys(&self, page: u32) -> Result<KeyPage> {
        self.key_list(page, &[]).await
    }

    /// `GET /key/info`: one key; none if the proxy does not know it, or has deleted it.
    pub async fn key(&self, hash: &KeyHash) -> Result<Option<VirtualKey>> {
        let answer = self.get("key/info").query(&[("key", hash.as_str())]).expecting(is_not_found);
        let key = answer.json(|answer: wire::KeyInfo| match answer.info.0 {
            Some(info) if info.is_deleted() => Ok(None),
            Some(info) => Ok(info.into_key(Some(hash.clone()))),
            None => Err(not_understood("a key without `info`")),
        });
        none_if(is_not_found, key.await)
    }

    /// `POST /key/update` with `models: []`: the key may call whatever is registered.
    pub async fn relax_key(&self, hash: &KeyHash, actor: &str) -> Result<()> {
        let changes = Map::from_iter([("models".to_owned(), json!([]))]);
        self.update_key(hash, &changes, actor).await
    }

    /// `GET /global/spend`, in US dollars. A proxy that has seen no call answers `null`.
    pub async fn global_spend(&self) -> Result<f64> {
        self.get("global/spend").json(|answer: wire::GlobalSpend| Ok(answer.spend.0.unwrap_or(0.0))).await
    }

    /// `GET /health/readiness`, and on releases that keep their version for admins
    /// `/health/readiness/details`.
    pub async fn health(&self) -> Result<Health> {
        let readiness = self.get("health/readiness").expecting(is_database_down);
        let (database, version) = match readiness.json(Ok::<wire::Readiness, _>).await {
            Ok(answer) => (read_database(answer.db.0.as_deref()), answer.litellm_version.0),
            // 1.80 says so in words, 1.109 in `db`. A 503 that says neither is not the proxy's.
            Err(error) if is_database_down(&error) => (Database::Down, None),
            Err(error) => return Err(error),
        };
        let version = if version.is_some() {
            version
        } else {
            let details = self.get("health/readiness/details").expecting(is_status);
            details.json(|details: wire::Readiness| Ok(details.litellm_version.0)).await.ok().flatten()
        };
        // Any server may answer, and commands print it.
        let is_release =
            |version: &String| version.len() <= 64 && version.chars().all(|c| c.is_ascii_graphic());
        Ok(Health { version: version.filter(is_release), database })
    }

    /// One tiny call as an agent makes it, with the virtual key `key`: finds a bad upstream credential, a key that may
    /// not call the model, a model that is registered but dead. None for a pass-through whose requests are not known
    /// here.
    pub async fn probe(&self, key: &SecretString, call: &ModelCall) -> Result<Option<Probe>> {
        let request = match (call.endpoint, call.provider.as_deref()) {
            (Endpoint::Chat, _) => self.tiny_completion(key, &call.name),
            (Endpoint::Responses, _) => {
                let body = json!({
                    "model": call.name,
                    "input": TINY_QUESTION,
                    "max_output_tokens": TINY_ANSWER,
                    "litellm_session_id": PROBE_SESSION,
                });
                self.tiny_call(key, "v1/responses", &body)
            }
            (Endpoint::PassThrough, Some("anthropic")) => {
                let body = json!({
                    "model": call.name,
                    "messages": [{ "role": "user", "content": TINY_QUESTION }],
                    "max_tokens": TINY_ANSWER,
                });
                let mut request = self.tiny_call(key, "anthropic/v1/messages", &body);
                request.builder = request.builder.header("anthropic-version", "2023-06-01");
                request
            }
            (Endpoint::PassThrough, _) => return Ok(None),
        };
        let read = |answer: http::Answer| {
            let route = route(&answer.headers);
            let answer: wire::Completion = http::json(&answer.body).map_err(not_understood)?;
            if answer.is_empty() {
                return Err(not_understood("an answer without content"));
            }
            Ok(Some(Probe { model: answer.model.0, route }))
        };
        request.answer(read).await
    }

    fn tiny_completion<'a>(&'a self, key: &'a SecretString, model: &str) -> Request<'a> {
        let body = json!({
            "model": model,
            "messages": [{ "role": "user", "content": TINY_QUESTION }],
            "max_tokens": TINY_ANSWER,
            "litellm_session_id": PROBE_SESSION,
        });
        self.tiny_call(key, "v1/chat/completions", &body)
    }

    fn tiny_call<'a>(&'a self, key: &'a SecretString, route: &'static str, body: &Value) -> Request<'a> {
        let mut request = self.request_with(key, Method::POST, route, route).body(body).expecting(is_status);
        request.limits.time = self.timeouts.chat;
        request
    }

    fn get(&self, route: &'static str) -> Request<'_> {
        self.request_with(&self.master_key, Method::GET, route, route)
    }

    /// `actor` goes along as `LiteLLM-Changed-By`, since the master key hides who acts.
    fn post(&self, route: &'static str, body: &Value, actor: &str) -> Request<'_> {
        self.request_with(&self.master_key, Method::POST, route, route).body(body).changed_by(actor)
    }

    /// `path` is `route` with its placeholders filled in.
    fn request_with<'a>(
        &'a self,
        key: &'a SecretString,
        method: Method,
        route: &'static str,
        path: &str,
    ) -> Request<'a> {
        let mut url = self.base.clone();
        let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&joined);
        let has_login = !url.username().is_empty() || url.password().is_some();
        let builder = self.http.request(method.clone(), url);
        // The HTTP client sends the address's user and password as `Authorization`. LiteLLM takes its key from the
        // other header too, on 1.74, 1.80 and 1.109.
        let builder = if has_login {
            builder.header("x-litellm-api-key", key.expose_secret())
        } else {
            builder.bearer_auth(key.expose_secret())
        };
        Request {
            client: self,
            builder,
            call: Call { upstream: Upstream::Proxy, method, route, is_expected: |_| false },
            secrets: vec![key.clone()],
            limits: Limits { time: self.timeouts.admin, size: MAX_ANSWER },
        }
    }
}

/// A request that is not sent yet.
struct Request<'a> {
    client: &'a LiteLlm,
    builder: RequestBuilder,
    call: Call<ClientError>,
    /// Were sent along, and must not come back in an error text.
    secrets: Vec<SecretString>,
    limits: Limits,
}

impl Request<'_> {
    fn query(mut self, query: &[(&str, &str)]) -> Self {
        self.builder = self.builder.query(query);
        self
    }

    fn body(mut self, body: &Value) -> Self {
        self.builder = self.builder.json(body);
        self
    }

    /// A header must not break on a name with odd characters: such a name is left out.
    fn changed_by(mut self, actor: &str) -> Self {
        if let Ok(actor) = HeaderValue::from_str(actor) {
            self.builder = self.builder.header("LiteLLM-Changed-By", actor);
        }
        self
    }

    /// Errors that the caller takes for an answer.
    fn expecting(mut self, is_expected: fn(&ClientError) -> bool) -> Self {
        self.call.is_expected = is_expected;
        self
    }

    /// Reads an answer whose form is known.
    async fn json<A: DeserializeOwned, T>(self, convert: impl FnOnce(A) -> Result<T>) -> Result<T> {
        self.parsed(http::json, convert).await
    }

    /// Reads an answer of which everything is kept.
    async fn tree<A: DeserializeOwned, T>(self, convert: impl FnOnce(A) -> Result<T>) -> Result<T> {
        self.parsed(http::tree, convert).await
    }

    async fn parsed<A, T>(
        self,
        parse: fn(&[u8]) -> Result<A, String>,
        convert: impl FnOnce(A) -> Result<T>,
    ) -> Result<T> {
        let secrets = self.secrets.clone();
        self.answer(|answer| {
            let parsed = parse(&answer.body).map_err(|error| {
                let detail = format!("{error}, in {}", http::excerpt(&answer.body));
                not_understood(redact::error_text(&without(&detail, &secrets)))
            });
            drop(answer);
            convert(parsed?)
        })
        .await
    }

    async fn answer<T>(self, read: impl FnOnce(http::Answer) -> Result<T>) -> Result<T> {
        http::observe(self.call, async {
            let answer = http::send(&self.client.limiter, self.builder, self.limits).await?;
            if !answer.status.is_success() {
                return Err(errors::read(answer.status.as_u16(), &answer.body, &self.secrets));
            }
            read(answer)
        })
        .await
    }
}

fn route(headers: &HeaderMap) -> Option<Route> {
    let text =
        |name: &str| headers.get(name)?.to_str().ok().map(|text| text.chars().take(256).collect::<String>());
    Some(Route {
        group: text("x-litellm-model-group")?,
        deployment: text("x-litellm-model-id"),
        fallbacks: text("x-litellm-attempted-fallbacks")?.parse().ok()?,
    })
}

/// Takes the errors that `is_none` accepts for the answer that there is no such thing.
fn none_if<T>(is_none: fn(&ClientError) -> bool, answer: Result<Option<T>>) -> Result<Option<T>> {
    match answer {
        Err(error) if is_none(&error) => Ok(None),
        answer => answer,
    }
}

fn is_not_found(error: &ClientError) -> bool {
    error.meaning() == Some(Meaning::NotFound)
}

fn is_database_down(error: &ClientError) -> bool {
    error.meaning() == Some(Meaning::DatabaseDown)
}

fn is_status(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { .. })
}

fn without(text: &str, secrets: &[SecretString]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| redact::known(&text, secret.expose_secret()))
}

/// The rows that can be read. A list of which none can is not the list that was asked for.
fn usable<R, T>(rows: Option<Vec<Option<R>>>, read: impl Fn(R) -> Option<T>) -> Result<Vec<T>> {
    let rows = rows.ok_or_else(|| not_understood("an answer without its list"))?;
    let count = rows.len();
    let read: Vec<T> = rows.into_iter().flatten().filter_map(read).collect();
    if read.is_empty() && count > 0 {
        return Err(not_understood(format!("a list of {count}, none of which can be read")));
    }
    Ok(read)
}

fn not_understood(detail: impl Into<String>) -> ClientError {
    ClientError::NotUnderstood { upstream: Upstream::Proxy, detail: detail.into() }
}

fn read_database(db: Option<&str>) -> Database {
    match db {
        Some("connected") => Database::Connected,
        Some("Not connected") => Database::None,
        _ => Database::Down,
    }
}
