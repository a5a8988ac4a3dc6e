//! What was spent by day (`daily_activity`), and by model and key within a day.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::auth::Caller;
use super::body::Query;
use super::errors::{Answer, Refusal, Touch};
use super::spend::Entry;
use super::world::World;

#[derive(Default)]
struct Day {
    spend: f64,
    prompt: i64,
    completion: i64,
    good: i64,
    failed: i64,
    models: BTreeMap<String, Day>,
    keys: BTreeMap<String, Day>,
    /// Of a key.
    alias: Option<String>,
}

impl Day {
    fn add(&mut self, entry: &Entry) {
        self.spend += entry.cost;
        self.prompt += entry.usage.prompt;
        self.completion += entry.usage.completion;
        if entry.error.is_some() { self.failed += 1 } else { self.good += 1 }
    }

    /// Adds it to the day, its model and its key.
    fn add_parts(&mut self, entry: &Entry) {
        self.add(entry);
        self.models.entry(entry.model.clone()).or_default().add(entry);
        let key = self.keys.entry(entry.token.clone()).or_default();
        key.add(entry);
        key.alias.clone_from(&entry.alias);
    }

    fn breakdown(&self) -> Value {
        let part = |(name, day): (&String, &Day)| {
            let metadata = json!({ "key_alias": day.alias, "team_id": null });
            (name.clone(), json!({ "metrics": day.json(""), "metadata": metadata }))
        };
        let models: Value = self.models.iter().map(part).collect();
        let keys: Value = self.keys.iter().map(part).collect();
        json!({ "mcp_servers": {}, "models": models, "api_keys": keys })
    }

    fn json(&self, prefix: &str) -> Value {
        let fields = [
            ("spend", json!(self.spend)),
            ("prompt_tokens", json!(self.prompt)),
            ("completion_tokens", json!(self.completion)),
            ("cache_read_input_tokens", json!(0)),
            ("cache_creation_input_tokens", json!(0)),
            ("total_tokens", json!(self.prompt + self.completion)),
            ("successful_requests", json!(self.good)),
            ("failed_requests", json!(self.failed)),
            ("api_requests", json!(self.good + self.failed)),
        ];
        fields.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect()
    }
}

/// `GET /user/daily/activity`: the newest day first.
pub(super) async fn daily(State(world): State<World>, caller: Caller, query: Query) -> Answer {
    caller.administrate(&world)?;
    let date = |name: &str| query.get(name).and_then(|text| text.parse::<Date>().ok());
    let (Some(from), Some(to)) = (date("start_date"), date("end_date")) else {
        // Not recorded.
        let message = "Please provide start_date and end_date";
        return Err(Refusal::proxy(400, "bad_request", world.generation().no_param(), message));
    };
    let state = world.with_database(Touch::Spend("/user/daily/activity"))?;
    let (mut days, mut total) = (BTreeMap::<Date, Day>::new(), Day::default());
    for entry in state.ledger.entries() {
        let day = entry.start.to_zoned(TimeZone::UTC).date();
        if day >= from && day <= to && query.get("api_key").is_none_or(|key| *key == entry.token) {
            days.entry(day).or_default().add_parts(entry);
            total.add(entry);
        }
    }
    let results: Vec<Value> = days
        .iter()
        .rev()
        .map(|(day, sums)| json!({ "date": day.to_string(), "metrics": sums.json(""), "breakdown": sums.breakdown() }))
        .collect();
    let mut metadata = total.json("total_");
    metadata["page"] = json!(1);
    metadata["total_pages"] = json!(i32::from(!results.is_empty()));
    metadata["has_more"] = json!(false);
    Ok(Json(json!({ "results": results, "metadata": metadata })).into_response())
}
