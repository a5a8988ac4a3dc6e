//! The answers about spend and calls. Shapes from `wire/litellm/*/daily_activity` and `spend_logs_*`.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Deserialize;

use super::wire::time;
use crate::clients::lenient::{Lenient, Object, Rows, Text};
use crate::domain::calls::Endpoint;
use crate::domain::redact;
use crate::domain::usage::{Call, DailySpend, DayParts, Series, Sums};

/// What 1.109 logs in the place of the master key's hash.
const MASTER: &str = "litellm_proxy_master_key";

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
    breakdown: Object<Breakdown>,
}

/// By the names of the log's columns `model` and `api_key`.
#[derive(Deserialize, Default)]
struct Breakdown {
    models: Object<BTreeMap<String, Object<PartRow>>>,
    api_keys: Object<BTreeMap<String, Object<PartRow>>>,
}

#[derive(Deserialize, Default)]
struct PartRow {
    metrics: Object<Metrics>,
    metadata: Object<PartMetadata>,
}

#[derive(Deserialize, Default)]
struct PartMetadata {
    key_alias: Text,
}

#[derive(Deserialize, Default)]
struct Metrics {
    spend: Lenient<f64>,
    total_tokens: Lenient<u64>,
    api_requests: Lenient<u64>,
    failed_requests: Lenient<u64>,
}

impl Metrics {
    fn sums(&self) -> Sums {
        Sums {
            spend: self.spend.0.unwrap_or(0.0),
            calls: self.api_requests.0.unwrap_or(0),
            failed: self.failed_requests.0.unwrap_or(0),
            tokens: self.total_tokens.0.unwrap_or(0),
        }
    }
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
        let Sums { spend, calls, failed, tokens } = row.metrics.0.unwrap_or_default().sums();
        let day = DailySpend { date, spend, tokens, requests: calls, failed };
        match days.iter_mut().find(|known| known.date == date) {
            Some(known) => known.add(&day),
            None => days.push(day),
        }
    }
}

/// An answer's days by model and by key. One that goes on from the page before is there twice.
pub(super) fn day_parts(answer: Activity) -> Vec<DayParts> {
    let read = |row: DayRow| {
        let date = row.date.0?.parse::<Date>().ok()?;
        let parts = row.breakdown.0.unwrap_or_default();
        let models = split(parts.models, |name, _| Series { label: redact::secrets(&name), key: None });
        let keys = split(parts.api_keys, |hash, alias| key_series(&hash, alias));
        Some(DayParts { date, models, keys })
    };
    answer.results.0.into_iter().flatten().flatten().filter_map(read).collect()
}

fn split(
    parts: Object<BTreeMap<String, Object<PartRow>>>,
    name: impl Fn(String, Option<String>) -> Series,
) -> Vec<(Series, Sums)> {
    let part = |(label, row): (String, Object<PartRow>)| {
        let row = row.0?;
        let alias = row.metadata.0.and_then(|metadata| metadata.key_alias.0);
        Some((name(label, alias), row.metrics.0?.sums()))
    };
    parts.0.into_iter().flatten().filter_map(part).collect()
}

fn key_series(hash: &str, alias: Option<String>) -> Series {
    let alias = alias.filter(|alias| !alias.is_empty()).map(|alias| redact::secrets(&alias));
    let label = alias.or_else(|| (hash == MASTER).then(|| "master key".to_owned()));
    let key = hash.parse().ok();
    let label = label.or_else(|| key.as_ref().map(ToString::to_string)).unwrap_or_default();
    Series { label, key }
}

#[derive(Deserialize)]
pub(super) struct LogRow {
    request_id: Text,
    #[serde(rename = "startTime")]
    start: Text,
    #[serde(rename = "endTime")]
    end: Text,
    #[serde(rename = "completionStartTime")]
    first_token: Text,
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
    /// What was sent, where the proxy stores it and lists it.
    proxy_server_request: Object<Asked>,
}

#[derive(Deserialize, Default)]
struct Asked {
    model: Text,
}

#[derive(Deserialize, Default)]
struct LogMetadata {
    usage_object: Object<Usage>,
    error_information: Object<ErrorInformation>,
    user_api_key: Text,
    user_api_key_alias: Text,
    /// 1.109: what was asked for, before fallbacks.
    original_model_group: Text,
    attempted_fallbacks: Lenient<u64>,
    attempted_retries: Lenient<u64>,
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
        let after =
            |text: Text| text.0.as_deref().and_then(time).map(|end| end.duration_since(at).as_millis());
        let named = |text: Text| {
            text.0.filter(|text| !text.is_empty()).map(|text| redact::addresses(&redact::secrets(&text)))
        };
        let metadata = self.metadata.0.unwrap_or_default();
        let error = metadata.error_information.0;
        let message = error.as_ref().and_then(|error| error.message.0.as_deref()).map(redact::error_text);
        let error = error.and_then(|error| named(error.code).or_else(|| named(error.class)));
        let has_failed = self.status.0.as_deref() == Some("failure") || error.is_some();
        let usage = metadata.usage_object.0;
        let took_ms = after(self.end).filter(|took| *took > 0 || !has_failed);
        let served = named(self.model);
        let model = named(self.model_group).or_else(|| served.clone());
        let asked = named(metadata.original_model_group);
        let asked = asked.or_else(|| named(self.proxy_server_request.0.unwrap_or_default().model));
        // 1.74 leaves the column of a failed call empty.
        let keys = [self.api_key.0, metadata.user_api_key.0].into_iter().flatten();
        let series = keys.filter(|key| !key.is_empty()).map(|key| key_series(&key, None)).next();
        let (key, label) = series.map_or((None, None), |series| (series.key, Some(series.label)));
        let alias = named(metadata.user_api_key_alias).or_else(|| label.filter(|_| key.is_none()));
        let id = self.request_id.0.unwrap_or_default();
        Some(Call {
            at,
            took_ms,
            first_token_ms: after(self.first_token)
                .filter(|first| took_ms.is_some_and(|took| first + 5 < took)),
            asked: asked.or_else(|| model.clone()),
            model,
            served,
            endpoint: self.call_type.0.as_deref().and_then(Endpoint::of_call_type),
            // What the proxy itself makes up of a call without one.
            session: named(self.session_id).filter(|session| *session != id),
            id,
            key,
            key_alias: alias.filter(|alias| !alias.is_empty()),
            deployment: named(self.model_id),
            cached_tokens: usage.map_or(0, Usage::cached),
            prompt_tokens: self.prompt_tokens.0.unwrap_or(0),
            completion_tokens: self.completion_tokens.0.unwrap_or(0),
            spend: self.spend.0.unwrap_or(0.0),
            fallbacks: metadata.attempted_fallbacks.0,
            retries: metadata.attempted_retries.0,
            has_failed,
            error,
            message: message.map(|text| text.chars().take(MAX_MESSAGE).collect()),
        })
    }
}
