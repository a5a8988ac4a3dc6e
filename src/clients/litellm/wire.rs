//! The proxy's answers, as far as they are used. Shapes from recordings of LiteLLM 1.80.17 and 1.109.1.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use crate::clients::lenient::{Lenient, Object, Objects, Rows, Take, Text};
use crate::domain::key::{Access, BudgetWindow, KeyHash, VirtualKey};
use crate::domain::model::{Deployment, LongPrices, Prices, Source, Team};
use crate::domain::redact;

/// A row of `GET /v2/model/info` and `GET /model/info`.
#[derive(Deserialize)]
pub(super) struct ModelRow {
    model_name: Text,
    litellm_params: Object<Params>,
    model_info: Object<Info>,
}

#[derive(Deserialize, Default)]
struct Params {
    model: Text,
    api_base: Text,
    custom_llm_provider: Text,
}

#[derive(Deserialize, Default)]
struct Info {
    id: Text,
    db_model: Lenient<bool>,
    mode: Text,
    provider: Text,
    litellm_provider: Text,
    description: Text,
    max_input_tokens: Lenient<u64>,
    max_output_tokens: Lenient<u64>,
    input_cost_per_token: Lenient<f64>,
    output_cost_per_token: Lenient<f64>,
    cache_read_input_token_cost: Lenient<f64>,
    // Of calls with long inputs: the lengths that 1.109 lists.
    input_cost_per_token_above_128k_tokens: Lenient<f64>,
    input_cost_per_token_above_200k_tokens: Lenient<f64>,
    input_cost_per_token_above_272k_tokens: Lenient<f64>,
    input_cost_per_token_above_512k_tokens: Lenient<f64>,
    output_cost_per_token_above_128k_tokens: Lenient<f64>,
    output_cost_per_token_above_200k_tokens: Lenient<f64>,
    output_cost_per_token_above_272k_tokens: Lenient<f64>,
    output_cost_per_token_above_512k_tokens: Lenient<f64>,
    cache_read_input_token_cost_above_200k_tokens: Lenient<f64>,
    cache_read_input_token_cost_above_272k_tokens: Lenient<f64>,
    cache_read_input_token_cost_above_512k_tokens: Lenient<f64>,
    access_groups: Lenient<Vec<String>>,
    blocked: Lenient<bool>,
    team_id: Text,
    team_public_model_name: Text,
}

impl Info {
    fn long_prices(&self) -> Vec<LongPrices> {
        let long = |above: u64, input: &Lenient<f64>, cached_input: Option<f64>, output: &Lenient<f64>| {
            let prices = Prices { input: input.0, cached_input, output: output.0 };
            (prices != Prices::default()).then_some(LongPrices { above, prices })
        };
        let steps = [
            long(
                128_000,
                &self.input_cost_per_token_above_128k_tokens,
                None,
                &self.output_cost_per_token_above_128k_tokens,
            ),
            long(
                200_000,
                &self.input_cost_per_token_above_200k_tokens,
                self.cache_read_input_token_cost_above_200k_tokens.0,
                &self.output_cost_per_token_above_200k_tokens,
            ),
            long(
                272_000,
                &self.input_cost_per_token_above_272k_tokens,
                self.cache_read_input_token_cost_above_272k_tokens.0,
                &self.output_cost_per_token_above_272k_tokens,
            ),
            long(
                512_000,
                &self.input_cost_per_token_above_512k_tokens,
                self.cache_read_input_token_cost_above_512k_tokens.0,
                &self.output_cost_per_token_above_512k_tokens,
            ),
        ];
        steps.into_iter().flatten().collect()
    }
}

impl ModelRow {
    /// None for a row without an id: it could be neither shown nor changed.
    pub(super) fn into_deployment(self) -> Option<Deployment> {
        let (params, info) = (self.litellm_params.0.unwrap_or_default(), self.model_info.0?);
        let long_prices = info.long_prices();
        let upstream_model = params.model.0.unwrap_or_default();
        let prefix = upstream_model.split_once('/').map(|(provider, _)| provider.to_owned());
        Some(Deployment {
            id: info.id.0?,
            name: self.model_name.0.unwrap_or_default(),
            provider: params.custom_llm_provider.0.or(info.provider.0).or(prefix).or(info.litellm_provider.0),
            upstream_model,
            api_base: params.api_base.0.map(|base| redact::addresses(&base)),
            source: if info.db_model.0 == Some(false) { Source::Config } else { Source::Database },
            mode: info.mode.0,
            max_input_tokens: info.max_input_tokens.0,
            max_output_tokens: info.max_output_tokens.0,
            input_cost_per_token: info.input_cost_per_token.0,
            output_cost_per_token: info.output_cost_per_token.0,
            cached_input_cost_per_token: info.cache_read_input_token_cost.0,
            long_prices,
            // An empty one is how a description is taken away.
            description: info.description.0.filter(|text| !text.is_empty()),
            access_groups: info.access_groups.0.unwrap_or_default(),
            blocked: info.blocked.0.unwrap_or(false),
            team: info
                .team_id
                .0
                .filter(|team| !team.is_empty())
                .map(|id| Team { name: info.team_public_model_name.0.unwrap_or_default(), id }),
        })
    }
}

/// `GET /key/list?return_full_object=true`
#[derive(Deserialize)]
pub(super) struct KeyList {
    pub(super) keys: Rows<KeyRow>,
    pub(super) total_count: Lenient<u64>,
    pub(super) total_pages: Lenient<u64>,
}

/// `GET /key/info`: the hash is not among the fields.
#[derive(Deserialize)]
pub(super) struct KeyInfo {
    pub(super) info: Object<KeyRow>,
}

#[derive(Deserialize)]
pub(super) struct KeyRow {
    token: Text,
    key_name: Text,
    key_alias: Text,
    models: Lenient<Models>,
    spend: Lenient<f64>,
    max_budget: Lenient<f64>,
    budget_duration: Text,
    expires: Text,
    rpm_limit: Lenient<u64>,
    tpm_limit: Lenient<u64>,
    max_parallel_requests: Lenient<u64>,
    blocked: Lenient<bool>,
    user_id: Text,
    team_id: Text,
    budget_limits: Objects<Window>,
    access_group_ids: Lenient<Vec<String>>,
    aliases: Lenient<Names>,
    config: Lenient<Filled>,
    router_settings: Object<KeyRouter>,
    /// What was spent in each window; in single answers only.
    budget_limits_usage: Lenient<WindowSpend>,
    created_at: Text,
    last_active: Text,
    status: Text,
}

#[derive(Deserialize)]
pub(super) struct Window {
    budget_duration: Text,
    pub(super) max_budget: Lenient<f64>,
}

impl Window {
    fn into_window(self, spend: &WindowSpend) -> Option<BudgetWindow> {
        let budget_duration = self.budget_duration.0.unwrap_or_default();
        let spend = spend.0.get(&budget_duration).copied();
        Some(BudgetWindow { budget_duration, max_budget: self.max_budget.0?, spend })
    }
}

/// An object of names.
#[derive(Default)]
pub(super) struct Names(pub(super) BTreeMap<String, String>);

impl<'de> Take<'de> for Names {
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut names = BTreeMap::new();
        while let Some((name, Lenient(value))) = map.next_entry::<String, Lenient<String>>()? {
            names.extend(value.map(|value| (name, value)));
        }
        Ok(Some(Self(names)))
    }
}

#[derive(Deserialize)]
struct KeyRouter {
    model_group_alias: Lenient<Filled>,
}

/// `{"1d": {"current_spend": 0.5}}`
#[derive(Default)]
struct WindowSpend(BTreeMap<String, f64>);

#[derive(Deserialize)]
struct CurrentSpend {
    current_spend: Lenient<f64>,
}

impl<'de> Take<'de> for WindowSpend {
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut spend = BTreeMap::new();
        while let Some((window, Object(usage))) = map.next_entry::<String, Object<CurrentSpend>>()? {
            spend.extend(usage.and_then(|usage| Some((window, usage.current_spend.0?))));
        }
        Ok(Some(Self(spend)))
    }
}

/// An object with something in it.
struct Filled;

impl<'de> Take<'de> for Filled {
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut is_filled = false;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            is_filled = true;
        }
        Ok(is_filled.then_some(Self))
    }
}

impl KeyRow {
    /// Whether 1.109 says that the key is gone: it answers 200 for a deleted key
    /// (`wire/litellm/1.109/key_info_deleted`).
    pub(super) fn is_deleted(&self) -> bool {
        self.status.0.as_deref() == Some("deleted")
    }

    /// None for a row without a hash.
    pub(super) fn into_key(self, hash: Option<KeyHash>) -> Option<VirtualKey> {
        let usage = self.budget_limits_usage.0.unwrap_or_default();
        let windows = self.budget_limits.0.into_iter().filter_map(|window| window.into_window(&usage));
        Some(VirtualKey {
            hash: hash.or_else(|| self.token.0.as_deref()?.parse().ok())?,
            alias: self.key_alias.0,
            masked: redact::secrets(&self.key_name.0.unwrap_or_else(|| "sk-...".to_owned())),
            access: self.models.0.map_or(Access::All, |Models(access)| access),
            spend: self.spend.0.unwrap_or(0.0),
            max_budget: self.max_budget.0,
            budget_duration: self.budget_duration.0,
            expires: self.expires.0.as_deref().and_then(time),
            rpm_limit: self.rpm_limit.0,
            tpm_limit: self.tpm_limit.0,
            max_parallel_requests: self.max_parallel_requests.0,
            blocked: self.blocked.0.unwrap_or(false),
            budget_limits: windows.collect(),
            access_group_ids: self.access_group_ids.0.unwrap_or_default(),
            aliases: self.aliases.0.map(|Names(names)| names).unwrap_or_default(),
            is_custom: self
                .config
                .0
                .or(self.router_settings.0.and_then(|router| router.model_group_alias.0))
                .is_some(),
            user_id: self.user_id.0,
            team_id: self.team_id.0,
            created_at: self.created_at.0.as_deref().and_then(time),
            last_active: self.last_active.0.as_deref().and_then(time),
        })
    }
}

/// The list `models`. The proxy takes an empty one for "all"; one that cannot be read must not look the same,
/// so it allows nothing that is known.
pub(super) struct Models(pub(super) Access);

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
        while let Some(Lenient(name)) = seq.next_element::<Lenient<String>>()? {
            is_empty = false;
            names.extend(name);
        }
        if names.is_empty() && !is_empty {
            return Ok(Self::unreadable());
        }
        Ok(Some(Self(Access::from_models(names))))
    }
}

/// `POST /key/generate`: the only answer that holds the secret.
#[derive(Deserialize)]
pub(super) struct Generated {
    pub(super) key: Text,
    #[serde(flatten)]
    pub(super) row: KeyRow,
}

/// `2026-11-22T07:53:29.213000Z` in lists, `…+00:00` in single answers; without either it is UTC as well.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let local = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    text.parse().ok().or_else(|| Some(local()?.timestamp()))
}

/// `GET /global/spend`
#[derive(Deserialize)]
pub(super) struct GlobalSpend {
    pub(super) spend: Lenient<f64>,
}

/// `GET /health/readiness` and, on 1.109, `/health/readiness/details`
#[derive(Deserialize)]
pub(super) struct Readiness {
    pub(super) db: Text,
    pub(super) litellm_version: Text,
}

/// `POST /v1/chat/completions`, `/v1/responses` and `/anthropic/v1/messages`
#[derive(Deserialize)]
pub(super) struct Completion {
    pub(super) model: Text,
    #[serde(default)]
    choices: Vec<IgnoredAny>,
    /// Of `/v1/responses`.
    #[serde(default)]
    output: Vec<IgnoredAny>,
    /// Of `/v1/messages`.
    #[serde(default)]
    content: Vec<IgnoredAny>,
}

impl Completion {
    pub(super) fn is_empty(&self) -> bool {
        self.choices.is_empty() && self.output.is_empty() && self.content.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};

    use super::*;

    #[derive(Deserialize)]
    struct Listing {
        data: Rows<ModelRow>,
    }

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
                let read: Listing = serde_json::from_slice(black_box(&answer)).unwrap();
                let rows = read.data.0.unwrap().into_iter().flatten();
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
