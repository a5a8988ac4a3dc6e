//! The ledger of calls and the routes that read it.

use std::cmp::Reverse;
use std::collections::VecDeque;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::auth::Caller;
use super::body::{self, Query};
use super::chat::Completion;
use super::errors::{Answer, Refusal, Touch};
use super::generation::Generation;
use super::text::{self, Zone};
use super::world::World;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) prompt: i64,
    pub(super) completion: i64,
}

impl Usage {
    pub(super) fn total(self) -> i64 {
        self.prompt.saturating_add(self.completion)
    }

    pub(super) fn json(self) -> Value {
        json!({
            "completion_tokens": self.completion,
            "prompt_tokens": self.prompt,
            "total_tokens": self.total(),
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) request_id: String,
    pub(super) token: String,
    pub(super) alias: Option<String>,
    pub(super) user: Option<String>,
    /// The public name that was asked for, and what served it: `openai/gpt-5`, its id, its provider and base.
    pub(super) group: String,
    /// `acompletion`, `aresponses`.
    pub(super) call_type: &'static str,
    /// By the body's `litellm_session_id`.
    pub(super) session: Option<String>,
    pub(super) model: String,
    pub(super) model_id: String,
    pub(super) provider: String,
    pub(super) api_base: String,
    pub(super) usage: Usage,
    pub(super) cost: f64,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) error: Option<(u16, String)>,
    /// What was asked for, before this many fallbacks.
    pub(super) asked: String,
    pub(super) fallbacks: usize,
    /// The request and the answer, as with `store_prompts_in_spend_logs`.
    pub(super) bodies: Option<(Value, Value)>,
}

#[derive(Default)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
    total: f64,
}

impl Ledger {
    const MOST: usize = 100_000;
    /// Entries that keep their bodies.
    const MOST_BODIES: usize = 1_000;

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn book(&mut self, entry: Entry) {
        if self.entries.len() >= Self::MOST {
            self.entries.pop_front();
        }
        self.total += entry.cost;
        self.entries.push_back(entry);
        if let Some(old) = self.entries.len().checked_sub(Self::MOST_BODIES + 1) {
            self.entries[old].bodies = None;
        }
    }
}

/// `GET /global/spend`: null until something was spent.
pub(super) async fn total(State(world): State<World>, caller: Caller) -> Answer {
    caller.administrate(&world)?;
    let state = world.with_database(Touch::Spend("/global/spend"))?;
    let spend = (!state.ledger.entries.is_empty()).then_some(state.ledger.total);
    Ok(Json(json!({ "spend": spend, "max_budget": 0.0 })).into_response())
}

/// `GET /spend/logs/v2`: the calls between two times, the newest first.
pub(super) async fn logs(State(world): State<World>, caller: Caller, query: Query) -> Answer {
    caller.administrate(&world)?;
    let generation = world.generation();
    let (Some(start), Some(end)) = (query.get("start_date"), query.get("end_date")) else {
        // Not recorded.
        let message = "Start date and end date are required";
        return Err(Refusal::proxy(400, "bad_request", generation.no_param(), message));
    };
    let (start, end) = (time(generation, start)?, time(generation, end)?);
    let page = body::page(generation, &query, "page", 1, usize::MAX)?;
    let most = if generation == Generation::V1_109 { 1000 } else { 100 };
    let size = body::page(generation, &query, "page_size", 50, most)?;
    let state = world.with_database(Touch::Spend("/spend/logs"))?;
    let mut found: Vec<&Entry> = state
        .ledger
        .entries
        .iter()
        .rev()
        .filter(|entry| entry.start >= start && entry.start <= end && entry.matches(generation, &query))
        .collect();
    sort(generation, &query, &mut found)?;
    let (shown, pages) = body::slice(&found, page, size);
    let data: Vec<Value> = shown.iter().map(|entry| entry.json(generation)).collect();
    let mut answer = json!({
        "data": data,
        "total": found.len(),
        "page": page,
        "page_size": size,
        "total_pages": pages,
    });
    if generation == Generation::V1_109 {
        answer["total_is_capped"] = json!(false);
    }
    Ok(Json(answer).into_response())
}

/// The columns by which 1.109 sorts, of those it knows; 1.80 ignores the wish (`spend_logs_sorted`).
fn sort(generation: Generation, query: &Query, found: &mut [&Entry]) -> Result<(), Refusal> {
    found.sort_by_key(|entry| Reverse(entry.start));
    if generation == Generation::V1_80 {
        return Ok(());
    }
    match query.get("sort_by").map_or("startTime", String::as_str) {
        "startTime" => {}
        "spend" => found.sort_by(|a, b| b.cost.total_cmp(&a.cost)),
        other => {
            let message = format!(
                "Invalid sort_by: {other}. Must be one of: endTime, model, request_duration_ms, spend, startTime, \
                 total_tokens, ttft_ms"
            );
            return Err(Refusal::proxy(400, "bad_request", json!("sort_by"), message));
        }
    }
    if query.get("sort_order").is_some_and(|order| order.eq_ignore_ascii_case("asc")) {
        found.reverse();
    }
    Ok(())
}

/// `GET /spend/logs/ui/{request_id}`: request and answer, which 1.109 leaves out of the list; 1.80 knows them there alone.
pub(super) async fn bodies(State(world): State<World>, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.administrate(&world)?;
    let state = world.with_database(Touch::Spend("/spend/logs"))?;
    let entry = state.ledger.entries.iter().rev().find(|entry| entry.request_id == id);
    let entry = entry.filter(|_| world.generation() == Generation::V1_109);
    let answer = entry.map_or(Value::Null, |entry| {
        let (request, response) = entry.stored();
        json!({ "messages": {}, "response": response, "proxy_server_request": request })
    });
    Ok(Json(answer).into_response())
}

/// `GET /spend/logs/session/ui`: the calls of one session, on 1.109 the newest first.
pub(super) async fn session(State(world): State<World>, caller: Caller, query: Query) -> Answer {
    caller.administrate(&world)?;
    let generation = world.generation();
    let wanted = query.get("session_id").map_or("", String::as_str);
    let page = body::page(generation, &query, "page", 1, usize::MAX)?;
    let size = body::page(generation, &query, "page_size", 50, 100)?;
    let state = world.with_database(Touch::Spend("/spend/logs"))?;
    let is_of = |entry: &&Entry| entry.session.as_deref() == Some(wanted);
    let mut found: Vec<&Entry> = state.ledger.entries.iter().rev().filter(is_of).collect();
    // `spend_logs_session`: the older release begins with the oldest.
    if generation == Generation::V1_80 {
        found.reverse();
    }
    let (shown, pages) = body::slice(&found, page, size);
    let data: Vec<Value> = shown.iter().map(|entry| entry.json(generation)).collect();
    let answer = json!({
        "data": data, "total": found.len(), "page": page, "page_size": size, "total_pages": pages,
    });
    Ok(Json(answer).into_response())
}

fn time(generation: Generation, text: &str) -> Result<Timestamp, Refusal> {
    let parsed = DateTime::strptime("%Y-%m-%d %H:%M:%S", text)
        .and_then(|time| time.to_zoned(TimeZone::UTC))
        .map(|time| time.timestamp());
    parsed.map_err(|_| {
        // As `spend_logs_bad_date` words it for `/spend/logs`.
        let message =
            format!("/spend/logs Errortime data '{text}' does not match format '%Y-%m-%d %H:%M:%S'");
        Refusal::proxy(500, "internal_error", generation.no_param(), message)
    })
}

/// Longest text that the log keeps, in bytes.
const MAX_STORED: usize = 2_048;

/// A request as the proxy stores it: long texts in part.
pub(super) fn stored(model: Option<&str>, messages: &[Value], session: Option<&str>) -> Value {
    let mut messages = messages.to_vec();
    for message in &mut messages {
        if let Some(Value::String(text)) = message.get_mut("content")
            && text.len() > MAX_STORED
        {
            text.truncate(text.floor_char_boundary(MAX_STORED));
            text.push_str("... (litellm_truncated)");
        }
    }
    json!({ "model": model, "messages": messages, "litellm_session_id": session })
}

pub(super) fn stored_answer(completion: &Completion) -> Value {
    let text = &completion.text[..completion.text.floor_char_boundary(MAX_STORED)];
    let message = json!({ "role": "assistant", "content": text });
    json!({
        "id": completion.id,
        "model": completion.model,
        "choices": [{ "index": 0, "finish_reason": "stop", "message": message }],
        "usage": completion.usage.json(),
    })
}

impl Entry {
    fn status(&self) -> &'static str {
        if self.error.is_some() { "failure" } else { "success" }
    }

    /// The request and the answer; empty objects where they are not stored.
    fn stored(&self) -> (Value, Value) {
        self.bodies.clone().unwrap_or_else(|| (json!({}), json!({})))
    }

    fn matches(&self, generation: Generation, query: &Query) -> bool {
        let is = |name: &str, value: &str| {
            query.get(name).is_none_or(|wanted| wanted.is_empty() || wanted == value)
        };
        is("api_key", &self.token)
            && is("key_alias", self.alias.as_deref().unwrap_or_default())
            && is("user_id", self.user.as_deref().unwrap_or_default())
            && is("request_id", &self.request_id)
            && is("model", &self.model)
            && is("status_filter", self.status())
            && query
                .get("min_spend")
                .and_then(|least| least.parse().ok())
                .is_none_or(|least: f64| self.cost >= least)
            && (generation == Generation::V1_80
                || is("model_id", &self.model_id) && is("model_group", &self.group))
    }

    fn json(&self, generation: Generation) -> Value {
        let stamp = |time: Timestamp| match generation {
            Generation::V1_80 => text::stamp(time, Zone::Letter),
            Generation::V1_109 => format!("{}+00:00", time.strftime("%Y-%m-%dT%H:%M:%S%.3f")),
        };
        let mut row = json!({
            "request_id": self.request_id,
            "call_type": if self.error.is_some() && generation == Generation::V1_80 { "" } else { self.call_type },
            "api_key": self.token,
            "spend": self.cost,
            "total_tokens": self.usage.total(),
            "prompt_tokens": self.usage.prompt,
            "completion_tokens": self.usage.completion,
            "startTime": stamp(self.start),
            "endTime": stamp(self.end),
            "completionStartTime": stamp(self.end),
            "model": self.model,
            "model_id": self.model_id,
            "model_group": self.group,
            "custom_llm_provider": self.provider,
            "api_base": self.api_base,
            "user": self.user.as_deref().unwrap_or_default(),
            "metadata": self.metadata(generation),
            "cache_hit": if self.error.is_some() { "False" } else { "None" },
            "cache_key": "Cache OFF",
            "request_tags": [],
            "team_id": "",
            "organization_id": "",
            "end_user": "",
            "requester_ip_address": "127.0.0.1",
            "session_id": self.session.as_ref().unwrap_or(&self.request_id),
            "status": self.status(),
            "mcp_namespaced_tool_name": null,
            "agent_id": null,
        });
        if generation == Generation::V1_80 {
            let (request, response) = self.stored();
            (row["messages"], row["response"], row["proxy_server_request"]) = (json!({}), response, request);
        } else {
            row["litellm_call_id"] = json!(self.request_id);
            row["request_duration_ms"] = json!(self.end.duration_since(self.start).as_millis());
        }
        row
    }

    fn metadata(&self, generation: Generation) -> Value {
        let mut metadata = json!({
            "user_api_key": self.token,
            "user_api_key_alias": self.alias,
            "user_api_key_user_id": self.user,
            "user_api_key_team_id": null,
            "user_api_key_org_id": null,
            "usage_object": self.error.is_none().then(|| self.usage.json()),
            "cost_breakdown": self.error.is_none().then(|| json!({ "total_cost": self.cost })),
            "applied_guardrails": [],
        });
        match &self.error {
            Some((code, message)) => {
                metadata["status"] = json!("failure");
                metadata["error_information"] = json!({
                    "traceback": "",
                    "error_code": code.to_string(),
                    "error_class": "ProxyException",
                    "llm_provider": "",
                    "error_message": message,
                });
            }
            None if generation == Generation::V1_109 => {
                metadata["status"] = Value::Null;
                metadata["error_information"] = Value::Null;
            }
            None => {}
        }
        if generation == Generation::V1_109 {
            metadata["original_model_group"] = json!(self.asked);
            metadata["attempted_fallbacks"] = json!(self.fallbacks);
            metadata["attempted_retries"] = json!(0);
        }
        metadata
    }
}
