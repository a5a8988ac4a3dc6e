//! The answers about spend and calls. Shapes from `wire/litellm/*/daily_activity` and `spend_logs_v2`.

use jiff::civil::Date;
use serde::Deserialize;

use super::LiteLlm;
use super::keys::is_missing;
use super::wire::time;
use crate::clients::Result;
use crate::clients::lenient::{Lenient, Object, Rows, Text};
use crate::domain::calls::Endpoint;
use crate::domain::redact;
use crate::domain::usage::{Call, DailySpend, Share};

/// Longest error text that is read, in characters.
const MAX_MESSAGE: usize = 2_000;

/// `GET /user/daily/activity`
#[derive(Deserialize)]
pub(super) struct Activity {
    results: Rows<DayRow>,
    metadata: Object<ActivityMetadata>,
}

#[derive(Deserialize)]
struct ActivityMetadata {
    has_more: Lenient<bool>,
}

#[derive(Deserialize)]
struct DayRow {
    date: Text,
    metrics: Object<Metrics>,
}

#[derive(Deserialize, Default)]
struct Metrics {
    spend: Lenient<f64>,
    total_tokens: Lenient<u64>,
    api_requests: Lenient<u64>,
    failed_requests: Lenient<u64>,
}

impl Activity {
    pub(super) fn has_more(&self) -> bool {
        self.metadata.0.as_ref().and_then(|metadata| metadata.has_more.0).unwrap_or(false)
    }
}

/// Adds an answer's days; one that goes on from the page before counts once.
pub(super) fn add_days(days: &mut Vec<DailySpend>, answer: Activity) {
    for row in answer.results.0.into_iter().flatten().flatten() {
        let Some(date) = row.date.0.and_then(|date| date.parse::<Date>().ok()) else { continue };
        let metrics = row.metrics.0.unwrap_or_default();
        let day = DailySpend {
            date,
            spend: metrics.spend.0.unwrap_or(0.0),
            tokens: metrics.total_tokens.0.unwrap_or(0),
            requests: metrics.api_requests.0.unwrap_or(0),
            failed: metrics.failed_requests.0.unwrap_or(0),
        };
        match days.iter_mut().find(|known| known.date == date) {
            Some(known) => known.add(&day),
            None => days.push(day),
        }
    }
}

/// `GET /spend/logs/v2`
#[derive(Deserialize)]
pub(super) struct Logs {
    pub(super) data: Rows<LogRow>,
}

#[derive(Deserialize)]
pub(super) struct LogRow {
    #[serde(rename = "startTime")]
    start: Text,
    #[serde(rename = "endTime")]
    end: Text,
    model: Text,
    model_group: Text,
    call_type: Text,
    session_id: Text,
    api_key: Text,
    model_id: Text,
    prompt_tokens: Lenient<u64>,
    completion_tokens: Lenient<u64>,
    spend: Lenient<f64>,
    status: Text,
    metadata: Object<LogMetadata>,
}

#[derive(Deserialize, Default)]
struct LogMetadata {
    usage_object: Object<Usage>,
    error_information: Object<ErrorInformation>,
}

/// As the provider reported it.
#[derive(Deserialize, Default)]
struct Usage {
    prompt_tokens_details: Object<PromptDetails>,
    cache_read_input_tokens: Lenient<u64>,
}

#[derive(Deserialize, Default)]
struct PromptDetails {
    cached_tokens: Lenient<u64>,
}

impl Usage {
    fn cached(self) -> u64 {
        let details = self.prompt_tokens_details.0.and_then(|details| details.cached_tokens.0);
        details.or(self.cache_read_input_tokens.0).unwrap_or_default()
    }
}

#[derive(Deserialize, Default)]
struct ErrorInformation {
    #[serde(rename = "error_message")]
    message: Text,
    #[serde(rename = "error_code")]
    code: Text,
    #[serde(rename = "error_class")]
    class: Text,
}

impl LogRow {
    /// None for a row without a time. The error's stack trace is left: it holds what the caller
    /// sent.
    pub(super) fn into_call(self) -> Option<Call> {
        let at = self.start.0.as_deref().and_then(time)?;
        let named = |text: Option<String>| text.filter(|text| !text.is_empty()).map(|t| redact::secrets(&t));
        let metadata = self.metadata.0.unwrap_or_default();
        let error = metadata.error_information.0;
        let message = error.as_ref().and_then(|error| error.message.0.as_deref()).map(redact::error_text);
        let error = error.and_then(|error| named(error.code.0).or_else(|| named(error.class.0)));
        let usage = metadata.usage_object.0;
        Some(Call {
            at,
            took_ms: self.end.0.as_deref().and_then(time).map(|end| end.duration_since(at).as_millis()),
            model: named(self.model_group.0).or_else(|| named(self.model.0)),
            endpoint: self.call_type.0.as_deref().and_then(Endpoint::of_call_type),
            session: named(self.session_id.0),
            key: self.api_key.0.and_then(|key| key.parse().ok()),
            deployment: named(self.model_id.0),
            cached_tokens: usage.map_or(0, Usage::cached),
            prompt_tokens: self.prompt_tokens.0.unwrap_or(0),
            completion_tokens: self.completion_tokens.0.unwrap_or(0),
            spend: self.spend.0.unwrap_or(0.0),
            has_failed: self.status.0.as_deref() == Some("failure") || error.is_some(),
            error,
            message: message.map(|text| text.chars().take(MAX_MESSAGE).collect()),
        })
    }
}

/// A row of `GET /global/spend/keys` or `/global/spend/models`.
#[derive(Deserialize)]
struct ShareRow {
    api_key: Text,
    key_alias: Text,
    key_name: Text,
    model: Text,
    total_spend: Lenient<f64>,
}

impl ShareRow {
    /// None for a row that names nothing.
    fn into_share(self) -> Option<Share> {
        let named = [self.key_alias.0, self.key_name.0, self.model.0, self.api_key.0.clone()];
        let label = named.into_iter().flatten().find(|text| !text.is_empty())?;
        Some(Share {
            key: self.api_key.0.and_then(|key| key.parse().ok()),
            label: redact::secrets(&label),
            spend: self.total_spend.0.unwrap_or(0.0),
        })
    }
}

impl LiteLlm {
    /// `GET /spend/logs/session/ui?session_id=`: the last calls of a conversation whose agent names it, the newest first.
    /// None where the release has no such list.
    pub async fn session_calls(&self, session: &str) -> Result<Option<Vec<Call>>> {
        let query = [("session_id", session), ("page", "1"), ("page_size", "50")];
        let request = self.get("spend/logs/session/ui").query(&query).expecting(is_missing);
        match request.json(|answer: Logs| super::usable(answer.data.0, LogRow::into_call)).await {
            Err(error) if is_missing(&error) => Ok(None),
            calls => calls.map(|mut calls| {
                calls.sort_by_key(|call| std::cmp::Reverse(call.at));
                Some(calls)
            }),
        }
    }

    /// `GET /global/spend/keys`: what each key spent in 30 days, the most expensive first.
    pub async fn spend_by_key(&self, limit: u32) -> Result<Vec<Share>> {
        self.shares("global/spend/keys", limit).await
    }

    /// `GET /global/spend/models`: the same of each model.
    pub async fn spend_by_model(&self, limit: u32) -> Result<Vec<Share>> {
        self.shares("global/spend/models", limit).await
    }

    async fn shares(&self, route: &'static str, limit: u32) -> Result<Vec<Share>> {
        let request = self.get(route).query(&[("limit", &limit.to_string())]);
        request.json(|rows| super::usable(Some(rows), ShareRow::into_share)).await
    }
}
