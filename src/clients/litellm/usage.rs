//! The answers about spend and calls. Shapes from `wire/litellm/*/daily_activity` and `spend_logs_v2`.

use jiff::civil::Date;
use serde::Deserialize;

use super::LiteLlm;
use super::wire::time;
use crate::clients::ClientError;
use crate::clients::lenient::{object, rows, scalar, text};
use crate::domain::redact;
use crate::domain::usage::{Call, DailySpend, Share};

/// `GET /user/daily/activity`
#[derive(Deserialize)]
pub(super) struct Activity {
    #[serde(default, deserialize_with = "rows")]
    results: Option<Vec<Option<DayRow>>>,
    #[serde(default, deserialize_with = "object")]
    metadata: Option<ActivityMetadata>,
}

#[derive(Deserialize)]
struct ActivityMetadata {
    #[serde(default, deserialize_with = "scalar")]
    has_more: Option<bool>,
}

#[derive(Deserialize)]
struct DayRow {
    #[serde(default, deserialize_with = "text")]
    date: Option<String>,
    #[serde(default, deserialize_with = "object")]
    metrics: Option<Metrics>,
}

#[derive(Deserialize, Default)]
struct Metrics {
    #[serde(default, deserialize_with = "scalar")]
    spend: Option<f64>,
    #[serde(default, deserialize_with = "scalar")]
    total_tokens: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    api_requests: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    failed_requests: Option<u64>,
}

impl Activity {
    pub(super) fn has_more(&self) -> bool {
        self.metadata.as_ref().and_then(|metadata| metadata.has_more).unwrap_or(false)
    }
}

/// Adds an answer's days; one that goes on from the page before counts once.
pub(super) fn add_days(days: &mut Vec<DailySpend>, answer: Activity) {
    for row in answer.results.into_iter().flatten().flatten() {
        let Some(date) = row.date.and_then(|date| date.parse::<Date>().ok()) else { continue };
        let metrics = row.metrics.unwrap_or_default();
        let day = DailySpend {
            date,
            spend: metrics.spend.unwrap_or(0.0),
            tokens: metrics.total_tokens.unwrap_or(0),
            requests: metrics.api_requests.unwrap_or(0),
            failed: metrics.failed_requests.unwrap_or(0),
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
    #[serde(default, deserialize_with = "rows")]
    pub(super) data: Option<Vec<Option<LogRow>>>,
}

#[derive(Deserialize)]
pub(super) struct LogRow {
    #[serde(default, rename = "startTime", deserialize_with = "text")]
    start: Option<String>,
    #[serde(default, rename = "endTime", deserialize_with = "text")]
    end: Option<String>,
    #[serde(default, deserialize_with = "text")]
    model: Option<String>,
    #[serde(default, deserialize_with = "text")]
    model_group: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    spend: Option<f64>,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "object")]
    metadata: Option<LogMetadata>,
}

#[derive(Deserialize)]
struct LogMetadata {
    #[serde(default, deserialize_with = "object")]
    error_information: Option<ErrorInformation>,
}

#[derive(Deserialize)]
struct ErrorInformation {
    #[serde(default, deserialize_with = "text")]
    error_code: Option<String>,
    #[serde(default, deserialize_with = "text")]
    error_class: Option<String>,
}

impl LogRow {
    /// None for a row without a time. The error's message and stack trace are left: they hold what the caller
    /// sent.
    pub(super) fn into_call(self) -> Option<Call> {
        let at = self.start.as_deref().and_then(time)?;
        let named = |text: Option<String>| text.filter(|text| !text.is_empty()).map(|t| redact::secrets(&t));
        let error = self.metadata.and_then(|metadata| metadata.error_information);
        let error = error.and_then(|error| named(error.error_code).or_else(|| named(error.error_class)));
        Some(Call {
            at,
            took_ms: self.end.as_deref().and_then(time).map(|end| end.duration_since(at).as_millis()),
            model: named(self.model_group).or_else(|| named(self.model)),
            prompt_tokens: self.prompt_tokens.unwrap_or(0),
            completion_tokens: self.completion_tokens.unwrap_or(0),
            spend: self.spend.unwrap_or(0.0),
            has_failed: self.status.as_deref() == Some("failure") || error.is_some(),
            error,
        })
    }
}

/// A row of `GET /global/spend/keys` or `/global/spend/models`.
#[derive(Deserialize)]
struct ShareRow {
    #[serde(default, deserialize_with = "text")]
    api_key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    key_alias: Option<String>,
    #[serde(default, deserialize_with = "text")]
    key_name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    model: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    total_spend: Option<f64>,
}

impl ShareRow {
    /// None for a row that names nothing.
    fn into_share(self) -> Option<Share> {
        let named = [self.key_alias, self.key_name, self.model, self.api_key.clone()];
        let label = named.into_iter().flatten().find(|text| !text.is_empty())?;
        Some(Share {
            key: self.api_key.and_then(|key| key.parse().ok()),
            label: redact::secrets(&label),
            spend: self.total_spend.unwrap_or(0.0),
        })
    }
}

impl LiteLlm {
    /// `GET /global/spend/keys`: what each key spent in 30 days, the most expensive first.
    pub async fn spend_by_key(&self, limit: u32) -> Result<Vec<Share>, ClientError> {
        self.shares("global/spend/keys", limit).await
    }

    /// `GET /global/spend/models`: the same of each model.
    pub async fn spend_by_model(&self, limit: u32) -> Result<Vec<Share>, ClientError> {
        self.shares("global/spend/models", limit).await
    }

    async fn shares(&self, route: &'static str, limit: u32) -> Result<Vec<Share>, ClientError> {
        let request = self.get(route).query(&[("limit", &limit.to_string())]);
        request.json(|rows| super::usable(Some(rows), ShareRow::into_share)).await
    }
}
