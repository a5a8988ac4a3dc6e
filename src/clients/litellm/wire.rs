//! The proxy's answers, as far as they are used. Shapes from recordings of LiteLLM 1.80.17 and 1.109.1.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use crate::clients::lenient::{Take, object, rows, scalar, text, texts};
use crate::domain::key::{Access, KeyHash, VirtualKey};
use crate::domain::model::{Deployment, Source};
use crate::domain::redact;

/// `GET /model/info`
#[derive(Deserialize)]
pub(super) struct ModelInfo {
    #[serde(default, deserialize_with = "rows")]
    pub(super) data: Option<Vec<Option<ModelRow>>>,
}

#[derive(Deserialize)]
pub(super) struct ModelRow {
    #[serde(default, deserialize_with = "text")]
    model_name: Option<String>,
    #[serde(default, deserialize_with = "object")]
    litellm_params: Option<Params>,
    #[serde(default, deserialize_with = "object")]
    model_info: Option<Info>,
}

#[derive(Deserialize, Default)]
struct Params {
    #[serde(default, deserialize_with = "text")]
    model: Option<String>,
    #[serde(default, deserialize_with = "text")]
    api_base: Option<String>,
    #[serde(default, deserialize_with = "text")]
    custom_llm_provider: Option<String>,
}

#[derive(Deserialize, Default)]
struct Info {
    #[serde(default, deserialize_with = "text")]
    id: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    db_model: Option<bool>,
    #[serde(default, deserialize_with = "text")]
    mode: Option<String>,
    #[serde(default, deserialize_with = "text")]
    provider: Option<String>,
    #[serde(default, deserialize_with = "text")]
    litellm_provider: Option<String>,
    #[serde(default, deserialize_with = "text")]
    description: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    max_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    max_output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    input_cost_per_token: Option<f64>,
    #[serde(default, deserialize_with = "scalar")]
    output_cost_per_token: Option<f64>,
    #[serde(default, deserialize_with = "texts")]
    access_groups: Vec<String>,
    #[serde(default, deserialize_with = "scalar")]
    blocked: Option<bool>,
}

impl ModelRow {
    /// None for a row without an id: it could be neither shown nor changed.
    pub(super) fn into_deployment(self) -> Option<Deployment> {
        let (params, info) = (self.litellm_params.unwrap_or_default(), self.model_info?);
        let upstream_model = params.model.unwrap_or_default();
        let prefix = upstream_model.split_once('/').map(|(provider, _)| provider.to_owned());
        Some(Deployment {
            id: info.id?,
            name: self.model_name.unwrap_or_default(),
            provider: params.custom_llm_provider.or(info.provider).or(prefix).or(info.litellm_provider),
            upstream_model,
            api_base: params.api_base.map(|base| redact::secrets(&base)),
            source: if info.db_model == Some(false) { Source::Config } else { Source::Database },
            mode: info.mode,
            max_input_tokens: info.max_input_tokens,
            max_output_tokens: info.max_output_tokens,
            input_cost_per_token: info.input_cost_per_token,
            output_cost_per_token: info.output_cost_per_token,
            // An empty one is how a description is taken away.
            description: info.description.filter(|text| !text.is_empty()),
            access_groups: info.access_groups,
            blocked: info.blocked.unwrap_or(false),
        })
    }
}

/// `GET /key/list?return_full_object=true`
#[derive(Deserialize)]
pub(super) struct KeyList {
    #[serde(default, deserialize_with = "rows")]
    pub(super) keys: Option<Vec<Option<KeyRow>>>,
    #[serde(default, deserialize_with = "scalar")]
    pub(super) total_count: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    pub(super) total_pages: Option<u64>,
}

/// `GET /key/info`: the hash is not among the fields.
#[derive(Deserialize)]
pub(super) struct KeyInfo {
    #[serde(default, deserialize_with = "object")]
    pub(super) info: Option<KeyRow>,
}

#[derive(Deserialize)]
pub(super) struct KeyRow {
    #[serde(default, deserialize_with = "text")]
    token: Option<String>,
    #[serde(default, deserialize_with = "text")]
    key_name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    key_alias: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    models: Option<Models>,
    #[serde(default, deserialize_with = "scalar")]
    spend: Option<f64>,
    #[serde(default, deserialize_with = "scalar")]
    max_budget: Option<f64>,
    #[serde(default, deserialize_with = "text")]
    budget_duration: Option<String>,
    #[serde(default, deserialize_with = "text")]
    expires: Option<String>,
    #[serde(default, deserialize_with = "scalar")]
    rpm_limit: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    tpm_limit: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    max_parallel_requests: Option<u64>,
    #[serde(default, deserialize_with = "scalar")]
    blocked: Option<bool>,
    #[serde(default, deserialize_with = "text")]
    user_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    team_id: Option<String>,
    #[serde(default, deserialize_with = "text")]
    created_at: Option<String>,
    #[serde(default, deserialize_with = "text")]
    last_active: Option<String>,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
}

impl KeyRow {
    /// Whether 1.109 says that the key is gone: it answers 200 for a deleted key
    /// (`wire/litellm/1.109/key_info_deleted`).
    pub(super) fn is_deleted(&self) -> bool {
        self.status.as_deref() == Some("deleted")
    }

    /// None for a row without a hash.
    pub(super) fn into_key(self, hash: Option<KeyHash>) -> Option<VirtualKey> {
        Some(VirtualKey {
            hash: hash.or_else(|| self.token.as_deref()?.parse().ok())?,
            alias: self.key_alias,
            masked: redact::secrets(&self.key_name.unwrap_or_else(|| "sk-...".to_owned())),
            access: self.models.map_or(Access::All, |Models(access)| access),
            spend: self.spend.unwrap_or(0.0),
            max_budget: self.max_budget,
            budget_duration: self.budget_duration,
            expires: self.expires.as_deref().and_then(time),
            rpm_limit: self.rpm_limit,
            tpm_limit: self.tpm_limit,
            max_parallel_requests: self.max_parallel_requests,
            blocked: self.blocked.unwrap_or(false),
            user_id: self.user_id,
            team_id: self.team_id,
            created_at: self.created_at.as_deref().and_then(time),
            last_active: self.last_active.as_deref().and_then(time),
        })
    }
}

/// The list `models`. The proxy takes an empty one for "all"; one that cannot be read must not look the same,
/// so it allows nothing that is known.
struct Models(Access);

impl Models {
    #[expect(clippy::unnecessary_wraps, reason = "the shape that `Take` asks for")]
    fn unreadable() -> Option<Self> {
        Some(Self(Access::List(Vec::new())))
    }
}

impl<'de> Take<'de> for Models {
    fn text(_: &str) -> Option<Self> {
        Self::unreadable()
    }
    fn number(_: f64) -> Option<Self> {
        Self::unreadable()
    }
    fn flag(_: bool) -> Option<Self> {
        Self::unreadable()
    }
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::unreadable())
    }
    fn list<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let (mut names, mut is_empty) = (Vec::new(), true);
        while let Some(Entry(name)) = seq.next_element()? {
            is_empty = false;
            names.extend(name);
        }
        if names.is_empty() && !is_empty {
            return Ok(Self::unreadable());
        }
        Ok(Some(Self(Access::from_models(names))))
    }
}

#[derive(Deserialize)]
struct Entry(#[serde(deserialize_with = "scalar")] Option<String>);

/// `POST /key/generate`: the only answer that holds the secret.
#[derive(Deserialize)]
pub(super) struct Generated {
    #[serde(default, deserialize_with = "text")]
    pub(super) key: Option<String>,
}

/// `2026-11-22T07:53:29.213000Z` in lists, `…+00:00` in single answers; without either it is UTC as well.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let local = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    text.parse().ok().or_else(|| Some(local()?.timestamp()))
}

/// `GET /global/spend`
#[derive(Deserialize)]
pub(super) struct GlobalSpend {
    #[serde(default, deserialize_with = "scalar")]
    pub(super) spend: Option<f64>,
}

/// `GET /health/readiness` and, on 1.109, `/health/readiness/details`
#[derive(Deserialize)]
pub(super) struct Readiness {
    #[serde(default, deserialize_with = "text")]
    pub(super) db: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) litellm_version: Option<String>,
}

/// `POST /v1/chat/completions`
#[derive(Deserialize)]
pub(super) struct Completion {
    #[serde(default, deserialize_with = "text")]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Vec<serde::de::IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};

    use super::*;

    /// An answer of 1,000 deployments, as a genuine proxy gives it.
    fn large() -> Vec<u8> {
        let recording = include_str!("../../../tests/wire/litellm/1.109/model_info.json");
        let recording: Value = serde_json::from_str(recording).unwrap();
        let row = recording["response"]["body"]["data"][0].clone();
        let rows: Vec<Value> = (0..1_000)
            .map(|n| {
                let mut row = row.clone();
                row["model_info"]["id"] = json!(n.to_string());
                row
            })
            .collect();
        serde_json::to_vec(&json!({ "data": rows })).unwrap()
    }

    fn shortest(mut run: impl FnMut()) -> Duration {
        let once = |_| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        };
        (0..15).map(once).min().unwrap()
    }

    #[test]
    #[ignore = "a measurement of a release build, for tests/bench/run"]
    fn parse_speed() {
        let answer = large();
        let (mut ours, mut bare) = (Duration::MAX, Duration::MAX);
        for _ in 0..3 {
            ours = ours.min(shortest(|| {
                let read: ModelInfo = serde_json::from_slice(black_box(&answer)).unwrap();
                let rows = read.data.unwrap().into_iter().flatten();
                assert_eq!(rows.filter_map(ModelRow::into_deployment).count(), 1_000);
            }));
            bare = bare.min(shortest(|| {
                black_box(serde_json::from_slice::<IgnoredAny>(black_box(&answer)).unwrap());
            }));
        }
        let (ours, bare) = (ours.as_secs_f64() * 1e3, bare.as_secs_f64() * 1e3);
        println!("parse_speed: {ours:.2} of {bare:.2} ms, {} MB", answer.len() / 1_000_000);
    }
}
