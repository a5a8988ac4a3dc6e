//! Requested settings of a new key, or requested changes of an existing one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::domain::key::{Access, VirtualKey};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum Set<T> {
    /// A new key gets none.
    #[default]
    Keep,
    Clear,
    To(T),
}

impl<T: Serialize> Set<T> {
    fn write(&self, name: &str, body: &mut Map<String, Value>) {
        match self {
            Self::Keep => {}
            Self::Clear => _ = body.insert(name.to_owned(), Value::Null),
            Self::To(value) => _ = body.insert(name.to_owned(), json!(value)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct KeyChanges {
    pub alias: Set<String>,
    pub access: Option<Access>,
    /// US dollars.
    pub max_budget: Set<f64>,
    /// `30d`.
    pub budget_duration: Set<String>,
    /// Time to live from now on: `90d`.
    pub duration: Set<String>,
    /// Requests per minute.
    pub rpm_limit: Set<u64>,
    /// Tokens per minute.
    pub tpm_limit: Set<u64>,
    pub max_parallel_requests: Set<u64>,
    pub user_id: Set<String>,
    pub blocked: Option<bool>,
    /// Complete: the proxy replaces metadata and does not merge it.
    pub metadata: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub what: &'static str,
    pub before: String,
    pub after: String,
}

impl KeyChanges {
    /// The proxy's fields. `"-1"` clears an expiry; 1.80 ignores null (`wire/litellm/1.80/key_update_duration_null`).
    pub fn to_json(&self) -> Map<String, Value> {
        let mut body = Map::new();
        self.alias.write("key_alias", &mut body);
        if let Some(access) = &self.access {
            body.insert("models".to_owned(), json!(access.to_models()));
        }
        self.max_budget.write("max_budget", &mut body);
        self.budget_duration.write("budget_duration", &mut body);
        match &self.duration {
            Set::Clear => _ = body.insert("duration".to_owned(), json!("-1")),
            other => other.write("duration", &mut body),
        }
        self.rpm_limit.write("rpm_limit", &mut body);
        self.tpm_limit.write("tpm_limit", &mut body);
        self.max_parallel_requests.write("max_parallel_requests", &mut body);
        self.user_id.write("user_id", &mut body);
        if let Some(blocked) = self.blocked {
            body.insert("blocked".to_owned(), json!(blocked));
        }
        if let Some(metadata) = &self.metadata {
            body.insert("metadata".to_owned(), json!(metadata));
        }
        body
    }

    /// Drops settings that are in force already and describes the rest. Metadata is described by names only, since
    /// values may be secret.
    pub fn against(
        &mut self,
        key: &VirtualKey,
        metadata: &Map<String, Value>,
        now: Timestamp,
    ) -> Vec<Difference> {
        let mut all = Vec::new();
        settle(&mut all, "Alias", key.alias.as_ref(), &mut self.alias, Clone::clone, "none");
        if self.access.as_ref() == Some(&key.access) {
            self.access = None;
        }
        if let Some(access) = &self.access {
            all.push(Difference { what: "Models", before: key.access.describe(), after: access.describe() });
        }
        let dollars = |dollars: &f64| format!("${dollars}");
        settle(&mut all, "Budget", key.max_budget.as_ref(), &mut self.max_budget, dollars, "none");
        let period = key.budget_duration.as_ref();
        settle(&mut all, "Budget period", period, &mut self.budget_duration, Clone::clone, "none");
        self.settle_expiry(&mut all, key, now);
        let count = ToString::to_string;
        let [rpm, tpm] = [key.rpm_limit.as_ref(), key.tpm_limit.as_ref()];
        settle(&mut all, "Requests per minute", rpm, &mut self.rpm_limit, count, "unlimited");
        settle(&mut all, "Tokens per minute", tpm, &mut self.tpm_limit, count, "unlimited");
        let parallel = key.max_parallel_requests.as_ref();
        settle(&mut all, "Requests at once", parallel, &mut self.max_parallel_requests, count, "unlimited");
        settle(&mut all, "Owner", key.user_id.as_ref(), &mut self.user_id, Clone::clone, "no owner");
        let state = |blocked| if blocked { "blocked" } else { "not blocked" }.to_owned();
        self.blocked = self.blocked.filter(|blocked| *blocked != key.blocked);
        if let Some(blocked) = self.blocked {
            all.push(Difference { what: "State", before: state(key.blocked), after: state(blocked) });
        }
        if self.metadata.as_ref() == Some(metadata) {
            self.metadata = None;
        }
        if let Some(after) = &self.metadata {
            all.push(metadata_difference(metadata, after));
        }
        all
    }

    fn settle_expiry(&mut self, all: &mut Vec<Difference>, key: &VirtualKey, now: Timestamp) {
        let before = key.expires.map_or_else(|| "never".to_owned(), moment);
        let after = match &self.duration {
            Set::Keep => return,
            Set::Clear if key.expires.is_none() => {
                self.duration = Set::Keep;
                return;
            }
            Set::Clear => "never".to_owned(),
            Set::To(duration) => match span(duration).and_then(|span| now.checked_add(span).ok()) {
                Some(at) => format!("{duration} from now, {}", moment(at)),
                None => format!("{duration} from now"),
            },
        };
        all.push(Difference { what: "Expires", before, after });
    }
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn settle<T: PartialEq>(
    all: &mut Vec<Difference>,
    what: &'static str,
    now: Option<&T>,
    wanted: &mut Set<T>,
    show: impl Fn(&T) -> String,
    none: &str,
) {
    let before = now.map_or_else(|| none.to_owned(), &show);
    let after = match &*wanted {
        Set::Keep => return,
        Set::Clear if now.is_none() => None,
        Set::Clear => Some(none.to_owned()),
        Set::To(value) if Some(value) == now => None,
        Set::To(value) => Some(show(value)),
    };
    match after {
        None => *wanted = Set::Keep,
        Some(after) => all.push(Difference { what, before, after }),
    }
}

fn metadata_difference(before: &Map<String, Value>, after: &Map<String, Value>) -> Difference {
    let names = |map: &Map<String, Value>| match map.len() {
        0 => "none".to_owned(),
        _ => map.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
    };
    let changed: Vec<_> = after
        .iter()
        .filter(|(name, value)| before.get(*name).is_some_and(|old| old != *value))
        .map(|(name, _)| name.as_str())
        .collect();
    let note = if changed.is_empty() { String::new() } else { format!(" (changed: {})", changed.join(", ")) };
    Difference { what: "Metadata", before: names(before), after: format!("{}{note}", names(after)) }
}

/// A budget's period as the proxy reads it: a length of time, or a word (1.109).
pub fn is_period(text: &str) -> bool {
    span(text).is_some() || ["hourly", "daily", "weekly", "monthly"].contains(&text.to_lowercase().as_str())
}

/// A duration as the proxy reads it: a number and `s`, `m`, `h`, `d`, `w` or `mo`.
pub fn span(text: &str) -> Option<jiff::SignedDuration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let count: i64 = text[..at].parse().ok().filter(|count| *count > 0)?;
    let unit = match &text[at..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        "mo" => 2_592_000,
        _ => return None,
    };
    Some(jiff::SignedDuration::from_secs(count.checked_mul(unit).filter(|seconds| *seconds < 3_200_000_000)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn key() -> VirtualKey {
        VirtualKey {
            hash: "a".repeat(64).parse().unwrap(),
            alias: Some("a".to_owned()),
            masked: "sk-...abcd".to_owned(),
            access: Access::All,
            spend: 0.0,
            max_budget: Some(5.0),
            budget_duration: None,
            expires: None,
            rpm_limit: Some(3),
            tpm_limit: None,
            max_parallel_requests: None,
            blocked: false,
            user_id: None,
            team_id: None,
            created_at: None,
            budget_limits: Vec::new(),
            access_group_ids: Vec::new(),
            aliases: BTreeMap::new(),
            is_custom: false,
            last_active: None,
        }
    }

    #[test]
    fn drops_settings_in_force_and_describes_the_rest() {
        let metadata = Map::from_iter([("team".to_owned(), json!("core")), ("old".to_owned(), json!(1))]);
        let mut changes = KeyChanges {
            alias: Set::To("a".to_owned()),
            access: Some(Access::None),
            max_budget: Set::Clear,
            duration: Set::Clear,
            rpm_limit: Set::To(4),
            tpm_limit: Set::Clear,
            metadata: Some(Map::from_iter([("team".to_owned(), json!("hush"))])),
            ..KeyChanges::default()
        };
        let all = changes.against(&key(), &metadata, Timestamp::UNIX_EPOCH);
        let described: Vec<_> =
            all.iter().map(|d| format!("{}: {} > {}", d.what, d.before, d.after)).collect();
        assert_eq!(
            described,
            [
                "Models: all models > no models",
                "Budget: $5 > none",
                "Requests per minute: 3 > 4",
                "Metadata: old, team > team (changed: team)",
            ]
        );
        let sent = Value::Object(changes.to_json());
        assert_eq!(
            sent,
            json!({
                "models": ["no-default-models"], "max_budget": null, "rpm_limit": 4,
                "metadata": { "team": "hush" }
            })
        );
    }

    #[test]
    fn clears_expiry_with_minus_one() {
        let changes = KeyChanges { duration: Set::Clear, ..KeyChanges::default() };
        assert_eq!(Value::Object(changes.to_json()), json!({ "duration": "-1" }));
    }

    #[test]
    fn reads_durations_like_the_proxy() {
        let seconds = |text| span(text).map(|span| span.as_secs());
        assert_eq!(
            (seconds("90d"), seconds("1mo"), seconds("45s")),
            (Some(7_776_000), Some(2_592_000), Some(45))
        );
        for bad in ["", "d", "30", "0d", "-1d", "1y", "1 d", "99999999999999999999d", "999999999w", "é1d"] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }
}
