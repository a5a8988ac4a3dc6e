//! The proxy's log of calls. Measured on 1.74.15, 1.80.17 and 1.109.1: all of them filter it by time, key, served model,
//! status and cost. 1.109 alone orders it by cost and keeps the bodies for an address of their own; a failed call of
//! 1.74 has its key in the metadata only, so that a filter by key misses it.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess};
use serde_json::Value;

use super::models::segment;
use super::usage::LogRow;
use super::{LiteLlm, Request, not_understood, usable, without};
use crate::clients::lenient::{Lenient, Rows, Take};
use crate::clients::{ClientError, Result};
use crate::domain::key::KeyHash;
use crate::domain::redact;
use crate::domain::usage::{Bodies, Body, Call};
use reqwest::Method;

/// Of a body, what is shown, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// What is read beyond it, so that a secret at its end is whole when secrets are looked for.
const MARGIN: usize = 8 * 1024;

/// Pages of a session that are read beside the first.
const SESSION_PAGES: u32 = 5;
const SESSION_PAGE: &str = "100";

/// What the proxy filters its log by.
#[derive(Debug, Clone, PartialEq)]
pub struct LogQuery {
    pub from: Timestamp,
    pub to: Timestamp,
    pub key: Option<KeyHash>,
    /// The provider's model, as the log has it in `model`.
    pub served: Option<String>,
    pub failed: Option<bool>,
    /// US dollars.
    pub min_cost: Option<f64>,
    /// Dearest first; before 1.109 ignored by the proxy.
    pub by_cost: bool,
}

impl LogQuery {
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self { from, to, key: None, served: None, failed: None, min_cost: None, by_cost: false }
    }

    fn pairs(&self) -> Vec<(&'static str, String)> {
        let stamp = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let mut pairs = vec![("start_date", stamp(self.from)), ("end_date", stamp(self.to))];
        pairs.extend(self.key.as_ref().map(|key| ("api_key", key.to_string())));
        pairs.extend(self.served.as_ref().map(|model| ("model", model.clone())));
        let status = |failed| if failed { "failure" } else { "success" };
        pairs.extend(self.failed.map(|failed| ("status_filter", status(failed).to_owned())));
        pairs.extend(self.min_cost.map(|cost| ("min_spend", cost.to_string())));
        if self.by_cost {
            pairs.extend([("sort_by", "spend".to_owned()), ("sort_order", "desc".to_owned())]);
        }
        pairs
    }
}

#[derive(Debug, Clone, Default)]
pub struct LogPage {
    pub calls: Vec<Call>,
    /// Calls of all pages. 1.109 counts no further than a limit of its own.
    pub total: u64,
}

/// `GET /spend/logs/v2`
#[derive(Deserialize)]
struct Log {
    data: Rows<LogRow>,
    total: Lenient<u64>,
    total_pages: Lenient<u64>,
}

/// `GET /spend/logs/session/ui`: 1.74 answers the rows alone, later releases a page of them.
struct SessionRows(Log);

struct Session {
    calls: Vec<Call>,
    pages: u64,
    total: u64,
}

impl<'de> Take<'de> for SessionRows {
    fn list<A: SeqAccess<'de>>(seq: A) -> Result<Option<Self>, A::Error> {
        let data = Rows::deserialize(SeqAccessDeserializer::new(seq))?;
        Ok(Some(Self(Log { data, total: Lenient(None), total_pages: Lenient(None) })))
    }
    fn object<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Log::deserialize(MapAccessDeserializer::new(map)).map(|log| Some(Self(log)))
    }
}

impl LiteLlm {
    /// A page of the log, from 1, the newest first; none where the release has no such log.
    pub async fn log(&self, query: &LogQuery, page: u32, size: u32) -> Result<Option<LogPage>> {
        let mut pairs = query.pairs();
        pairs.extend([("page", page.to_string()), ("page_size", size.to_string())]);
        let read = |answer: Log| {
            let calls = usable(answer.data.0, LogRow::into_call)?;
            let total = answer.total.0.unwrap_or(calls.len() as u64);
            Ok(Some(LogPage { calls, total }))
        };
        // Releases before 1.80 have the same rows at the second address.
        for route in ["spend/logs/v2", "spend/logs/ui"] {
            match self.log_request(route, &pairs).json(read).await {
                Err(error) if is_missing(&error) => {}
                page => return page,
            }
        }
        Ok(None)
    }

    /// The last calls of one key, the newest first; none where the release has no such log.
    pub async fn calls(
        &self,
        hash: &KeyHash,
        from: Timestamp,
        to: Timestamp,
        limit: u32,
    ) -> Result<Option<Vec<Call>>> {
        let query = LogQuery { key: Some(hash.clone()), ..LogQuery::between(from, to) };
        Ok(self.log(&query, 1, limit).await?.map(|page| page.calls))
    }

    /// The last calls of a conversation whose agent names it, the newest first: six pages of 100 at most, but all of them
    /// on 1.74, which has no pages. None where the release has no such list.
    pub async fn session_log(&self, session: &str) -> Result<Option<LogPage>> {
        let Some(Session { calls, pages, total }) = self.session_page(session, 1).await? else {
            return Ok(None);
        };
        let mut calls = calls;
        let last = u32::try_from(pages).unwrap_or(u32::MAX);
        // 1.109 begins with the newest, 1.80 with the oldest.
        let is_newest_first = calls.first().map(|call| call.at) > calls.last().map(|call| call.at);
        let pages = if is_newest_first {
            2..=last.min(SESSION_PAGES)
        } else {
            last.saturating_sub(SESSION_PAGES - 1).max(2)..=last
        };
        for page in pages {
            calls.extend(self.session_page(session, page).await?.map(|more| more.calls).unwrap_or_default());
        }
        calls.sort_by_key(|call| Reverse(call.at));
        Ok(Some(LogPage { total: total.max(calls.len() as u64), calls }))
    }

    async fn session_page(&self, session: &str, page: u32) -> Result<Option<Session>> {
        let page = page.to_string();
        let query = [("session_id", session), ("page", &page), ("page_size", SESSION_PAGE)];
        let request = self.get("spend/logs/session/ui").query(&query).expecting(is_missing);
        let read = |answer: Lenient<SessionRows>| {
            let SessionRows(log) =
                answer.0.ok_or_else(|| not_understood("neither a list of calls nor a page of them"))?;
            let calls = usable(log.data.0, LogRow::into_call)?;
            let (pages, total) = (log.total_pages.0.unwrap_or(1), log.total.0.unwrap_or(0));
            Ok(Session { calls, pages, total })
        };
        match request.json(read).await {
            Err(error) if is_missing(&error) => Ok(None),
            page => page.map(Some),
        }
    }

    /// One call, with what it was asked and answered if `with_bodies`; none if the log has none of that id.
    pub async fn call(&self, id: &str, to: Timestamp, with_bodies: bool) -> Result<Option<(Call, Bodies)>> {
        let mut pairs = LogQuery::between(Timestamp::UNIX_EPOCH, to).pairs();
        pairs.extend([
            ("request_id", id.to_owned()),
            ("page", "1".to_owned()),
            ("page_size", "1".to_owned()),
        ]);
        let read = |mut answer: Value| {
            let rows = answer.get_mut("data").ok_or_else(|| not_understood("an answer without its list"))?;
            let row = rows.get_mut(0).map(Value::take);
            let call = row.as_ref().and_then(|row| LogRow::deserialize(row).ok()?.into_call());
            Ok(call.zip(row))
        };
        let mut found = None;
        for route in ["spend/logs/v2", "spend/logs/ui"] {
            match self.log_request(route, &pairs).tree(read).await {
                Err(error) if is_missing(&error) => {}
                answer => {
                    found = answer?;
                    break;
                }
            }
        }
        let Some((call, row)) = found else { return Ok(None) };
        if !with_bodies {
            return Ok(Some((call, Bodies::default())));
        }
        let bodies = self.bodies(&row);
        let is_elsewhere = bodies.request.is_none() && bodies.answer.is_none();
        let bodies = if is_elsewhere { self.detail(&call).await? } else { bodies };
        Ok(Some((call, bodies)))
    }

    /// `GET /spend/logs/ui/{request_id}`: bodies, where the list has none; `null` where there are none at all.
    async fn detail(&self, call: &Call) -> Result<Bodies> {
        const ROUTE: &str = "spend/logs/ui/{request_id}";
        let path = ROUTE.replace("{request_id}", &segment(&call.id));
        let request = self.request_with(&self.master_key, Method::GET, ROUTE, &path);
        let at = call.at.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let request = request.query(&[("start_date", &at)]).expecting(is_missing);
        match request.tree(|answer: Value| Ok(self.bodies(&answer))).await {
            Err(error) if is_missing(&error) => Ok(Bodies::default()),
            bodies => bodies,
        }
    }

    fn bodies(&self, row: &Value) -> Bodies {
        let body = |name: &str| row.get(name).filter(|value| !is_empty(value)).map(|value| self.body(value));
        Bodies {
            request: body("proxy_server_request").or_else(|| body("messages")),
            answer: body("response"),
        }
    }

    fn body(&self, value: &Value) -> Body {
        // 1.109 stores bookkeeping of its own in the request, with stack traces.
        let mut value = redact::json(value);
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|name, _| name != "metadata" && name != "litellm_metadata");
        }
        let mut text = serde_json::to_string_pretty(&value).unwrap_or_default();
        let is_cut = text.len() > MAX_BODY;
        cut(&mut text, MAX_BODY + MARGIN);
        let mut text = redact::secrets(&without(&text, std::slice::from_ref(&self.master_key)));
        cut(&mut text, MAX_BODY);
        Body { text, is_cut }
    }

    fn log_request(&self, route: &'static str, pairs: &[(&'static str, String)]) -> Request<'_> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.get(route).query(&pairs).expecting(is_missing)
    }
}

/// As the column of a call whose body is not stored.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty() || text == "{}",
        _ => false,
    }
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

/// Whether a release does not have the address.
pub(super) fn is_missing(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { status: 404, .. })
}
