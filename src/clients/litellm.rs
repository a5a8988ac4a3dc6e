//! The LiteLLM proxy's admin API, as releases 1.80 and 1.109 really answer it.

mod errors;
mod keys;
mod models;
mod usage;
mod wire;

pub use models::Tried;

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;

pub use self::keys::{KeyRecord, NewKey};
use crate::clients::http::{self, Limits};
use crate::clients::room::Room;
use crate::clients::{ClientError, Meaning};
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::model::{Deployment, ModelSpec};
use crate::domain::redact;

const SERVER: &str = "the proxy";

/// Largest answer that is taken. 1,000 deployments are 8.6 MB on 1.109.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Largest page of `/key/list`: the proxy answers 422 beyond (`wire/litellm/1.80/key_list_size_101`).
pub const KEY_PAGE: u32 = 100;

/// Time limits of the client.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Of an admin request.
    pub admin: Duration,
    /// Of a chat completion, which waits for the model.
    pub chat: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { admin: Duration::from_secs(15), chat: Duration::from_mins(1) }
    }
}

/// A client of one proxy, with its admin key.
#[derive(Debug, Clone)]
pub struct LiteLlm {
    http: Client,
    base: Url,
    master_key: SecretString,
    timeouts: Timeouts,
    room: Room,
}

/// The proxy's own word on its health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Its release, where it tells.
    pub version: Option<String>,
    /// The state of its database.
    pub database: Database,
}

/// The state of the proxy's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Database {
    /// It answers.
    Connected,
    /// It does not answer.
    Down,
    /// The proxy was started without one.
    None,
}

/// One page of `/key/list`.
#[derive(Debug, Clone)]
pub struct KeyPage {
    /// Its keys, newest first.
    pub keys: Vec<VirtualKey>,
    /// How many keys the proxy has.
    pub total: u64,
    /// How many pages they fill.
    pub pages: u32,
}

/// The answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The model that the proxy says has answered.
    pub model: Option<String>,
}

impl LiteLlm {
    /// A client of the proxy at `base` (scheme, host, port and path, without `/v1`).
    pub fn new(http: Client, base: Url, master_key: SecretString, timeouts: Timeouts) -> Self {
        Self { http, base, master_key, timeouts, room: Room::of_proxy() }
    }

    /// The proxy's address, without credentials.
    pub fn address(&self) -> String {
        redact::secrets(self.base.as_str().trim_end_matches('/'))
    }

    /// `GET /health/liveliness`: whether it answers at all.
    pub async fn live(&self) -> Result<(), ClientError> {
        self.get::<IgnoredAny>("health/liveliness", &[]).await.map(drop)
    }

    /// `GET /model/info`: every live deployment. Rows without an id are left out.
    pub async fn deployments(&self) -> Result<Vec<Deployment>, ClientError> {
        let answer: wire::ModelInfo = self.get("model/info", &[]).await?;
        usable(answer.data, wire::ModelRow::into_deployment)
    }

    /// `GET /key/list`: page `page` (from 1) of [`KEY_PAGE`] keys, newest first.
    pub async fn keys(&self, page: u32) -> Result<KeyPage, ClientError> {
        let (page, size) = (page.to_string(), KEY_PAGE.to_string());
        let query = [("return_full_object", "true"), ("size", &size), ("page", &page)];
        let answer: wire::KeyList = self.get("key/list", &query).await?;
        let mut keys = usable(answer.keys, |row| row.into_key(None))?;
        keys.truncate(KEY_PAGE as usize);
        let total = answer.total_count.unwrap_or(keys.len() as u64);
        let pages = answer.total_pages.and_then(|pages| u32::try_from(pages).ok()).unwrap_or(1);
        Ok(KeyPage { keys, total, pages })
    }

    /// `GET /key/info`: one key; none if the proxy does not know it, or has deleted it.
    pub async fn key(&self, hash: &KeyHash) -> Result<Option<VirtualKey>, ClientError> {
        let answer: Result<wire::KeyInfo, _> = self.get("key/info", &[("key", hash.as_str())]).await;
        match answer {
            Ok(wire::KeyInfo { info: Some(info) }) if info.is_deleted() => Ok(None),
            Ok(wire::KeyInfo { info: Some(info) }) => Ok(info.into_key(Some(hash.clone()))),
            Ok(wire::KeyInfo { info: None }) => Err(not_understood("a key without `info`".to_owned())),
            Err(error) if error.meaning() == Some(Meaning::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `POST /key/update` with `models: []`: the key may call whatever is registered.
    ///
    /// `actor` goes along as `LiteLLM-Changed-By`, since the master key hides who acts.
    pub async fn relax_key(&self, hash: &KeyHash, actor: &str) -> Result<(), ClientError> {
        let body = json!({ "key": hash, "models": [] });
        let request = self.request(Method::POST, "key/update").json(&body);
        let _: IgnoredAny =
            self.answer(changed_by(request, actor), &self.master_key, self.timeouts.admin).await?;
        Ok(())
    }

    /// `GET /global/spend`, in US dollars. A proxy that has seen no call answers `null`.
    pub async fn global_spend(&self) -> Result<f64, ClientError> {
        let answer: wire::GlobalSpend = self.get("global/spend", &[]).await?;
        Ok(answer.spend.unwrap_or(0.0))
    }

    /// `GET /health/readiness`, and on releases that keep their version for admins
    /// `/health/readiness/details`.
    pub async fn health(&self) -> Result<Health, ClientError> {
        let answer: Result<wire::Readiness, _> = self.get("health/readiness", &[]).await;
        let (database, version) = match answer {
            Ok(answer) => (read_database(answer.db.as_deref()), answer.litellm_version),
            // 1.80 says so in words, 1.109 in `db`. A 503 that says neither is not the proxy's.
            Err(error) if error.meaning() == Some(Meaning::DatabaseDown) => (Database::Down, None),
            Err(error) => return Err(error),
        };
        if version.is_some() {
            return Ok(Health { version, database });
        }
        let details: Result<wire::Readiness, _> = self.get("health/readiness/details", &[]).await;
        Ok(Health { version: details.ok().and_then(|details| details.litellm_version), database })
    }

    /// One tiny chat completion of `model` with the virtual key `key`: finds a bad upstream credential, a key
    /// that may not call the model, a model that is registered but dead.
    pub async fn probe(&self, key: &SecretString, model: &ModelSpec) -> Result<Probe, ClientError> {
        // Some models refuse fewer output tokens than 16.
        let body = json!({
            "model": model,
            "messages": [{ "role": "user", "content": "Reply with the word ok." }],
            "max_tokens": 16,
        });
        let request =
            self.http.post(self.url("v1/chat/completions")).bearer_auth(key.expose_secret()).json(&body);
        let answer: wire::Completion = self.answer(request, key, self.timeouts.chat).await?;
        if answer.choices.is_empty() {
            return Err(not_understood("a completion without choices".to_owned()));
        }
        Ok(Probe { model: answer.model })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path).query(query);
        self.answer(request, &self.master_key, self.timeouts.admin).await
    }

    /// The same, where whatever is in the answer is kept.
    async fn get_tree<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path).query(query);
        self.read(request, &self.master_key, self.timeouts.admin, http::tree).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).bearer_auth(self.master_key.expose_secret())
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&joined);
        url
    }

    /// `key` is the one sent along, which must not come back in an error text.
    async fn answer<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        key: &SecretString,
        time: Duration,
    ) -> Result<T, ClientError> {
        self.read(request, key, time, http::json).await
    }

    async fn read<T>(
        &self,
        request: RequestBuilder,
        key: &SecretString,
        time: Duration,
        read: fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, ClientError> {
        let answer = http::send(&self.room, request, Limits { time, size: MAX_ANSWER }).await?;
        if !answer.status.is_success() {
            return Err(errors::read(answer.status.as_u16(), &answer.body, key));
        }
        read(&answer.body).map_err(|error| {
            let detail = format!("{error}, in {}", http::excerpt(&answer.body));
            not_understood(redact::error_text(&redact::known(&detail, key.expose_secret())))
        })
    }
}

/// The rows that can be read. A list of which none can is not the list that was asked for.
fn usable<R, T>(rows: Option<Vec<Option<R>>>, read: impl Fn(R) -> Option<T>) -> Result<Vec<T>, ClientError> {
    let rows = rows.ok_or_else(|| not_understood("an answer without its list".to_owned()))?;
    let count = rows.len();
    let read: Vec<T> = rows.into_iter().flatten().filter_map(read).collect();
    if read.is_empty() && count > 0 {
        return Err(not_understood(format!("a list of {count}, none of which can be read")));
    }
    Ok(read)
}

fn not_understood(detail: String) -> ClientError {
    ClientError::NotUnderstood { server: SERVER, detail }
}

fn read_database(db: Option<&str>) -> Database {
    match db {
        Some("connected") => Database::Connected,
        Some("Not connected") => Database::None,
        _ => Database::Down,
    }
}

/// A header must not break on a name with odd characters: such a name is left out.
fn changed_by(request: RequestBuilder, actor: &str) -> RequestBuilder {
    match reqwest::header::HeaderValue::from_str(actor) {
        Ok(value) => request.header("LiteLLM-Changed-By", value),
        Err(_) => request,
    }
}
