//! Spend of 30 days by key and by model (`global_spend_keys`, `global_spend_models`), and calls added to the past.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::auth::Caller;
use super::body::Query;
use super::catalog;
use super::errors::{Answer, Touch};
use super::spend::{Entry, Usage};
use super::world::World;

/// The period of the proxy's own views.
const WINDOW: SignedDuration = SignedDuration::from_hours(30 * 24);

#[derive(Clone, Copy, Debug)]
pub struct PastCall<'a> {
    pub key: &'a str,
    /// The requested model, as `provider/model`.
    pub model: &'a str,
    pub at: Timestamp,
    pub tokens: (i64, i64),
}

impl World {
    /// Adds a call to the spend log; ignored if the key does not exist.
    pub fn remember(&self, call: &PastCall<'_>) {
        let (provider, model) = call.model.split_once('/').unwrap_or(("openai", call.model));
        let prices = catalog::entry(model).map_or((0.0, 0.0), |entry| entry.prices);
        let mut state = self.lock();
        let Some(key) = state.keys.by_alias(call.key) else { return };
        let token = key.token.clone();
        #[expect(clippy::cast_precision_loss, reason = "tokens of one call")]
        let cost = call.tokens.0 as f64 * prices.0 + call.tokens.1 as f64 * prices.1;
        let entry = Entry {
            request_id: format!("past-{}-{}", call.at.as_second(), call.tokens.0),
            alias: key.alias.clone(),
            user: key.user_id.clone(),
            token: token.clone(),
            group: call.model.to_owned(),
            call_type: "acompletion",
            session: None,
            model: call.model.to_owned(),
            model_id: String::new(),
            provider: provider.to_owned(),
            api_base: String::new(),
            usage: Usage { prompt: call.tokens.0, completion: call.tokens.1 },
            cost,
            start: call.at,
            end: call.at + SignedDuration::from_millis(900),
            error: None,
            asked: call.model.to_owned(),
            fallbacks: 0,
            bodies: None,
        };
        if let Some(key) = state.keys.get_mut(&token) {
            key.spend += cost;
            key.total_spend += cost;
        }
        state.ledger.book(entry);
    }
}

/// `GET /global/spend/keys`: the most expensive first.
pub(super) async fn by_key(State(world): State<World>, caller: Caller, query: Query) -> Answer {
    caller.administrate(&world)?;
    let state = world.with_database(Touch::Spend("/global/spend/keys"))?;
    let sums = sums(state.ledger.entries(), world.now(), |entry| entry.token.clone());
    let rows: Vec<Value> = sums
        .into_iter()
        .take(limit(&query))
        .map(|(token, spend)| {
            let key = state.keys.get(&token);
            let (alias, name) = (key.and_then(|key| key.alias.clone()), key.map(|key| key.name.clone()));
            json!({ "api_key": token, "key_alias": alias, "key_name": name, "total_spend": spend })
        })
        .collect();
    Ok(Json(rows).into_response())
}

/// `GET /global/spend/models`: the most expensive first.
pub(super) async fn by_model(State(world): State<World>, caller: Caller, query: Query) -> Answer {
    caller.administrate(&world)?;
    let state = world.with_database(Touch::Spend("/global/spend/models"))?;
    let sums = sums(state.ledger.entries(), world.now(), |entry| entry.model.clone());
    let rows: Vec<Value> = sums
        .into_iter()
        .take(limit(&query))
        .map(|(model, spend)| json!({ "model": model, "total_spend": spend }))
        .collect();
    Ok(Json(rows).into_response())
}

fn limit(query: &Query) -> usize {
    query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX)
}

fn sums<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    now: Timestamp,
    by: impl Fn(&Entry) -> String,
) -> Vec<(String, f64)> {
    let mut sums = BTreeMap::<String, f64>::new();
    for entry in entries.filter(|entry| now.duration_since(entry.start) < WINDOW) {
        *sums.entry(by(entry)).or_default() += entry.cost;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|one, other| other.1.total_cmp(&one.1));
    sums
}
