//! Virtual keys: the rows and their look-up.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::deployment::hash;
use super::world::MOST_ROWS;

/// How long a window of the rate limits lasts.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// A virtual key. The secret itself is not kept.
#[derive(Clone, Debug)]
pub(super) struct VirtualKey {
    /// SHA-256 of the secret.
    pub(super) token: String,
    /// `sk-...` and the last four characters.
    pub(super) name: String,
    pub(super) alias: Option<String>,
    pub(super) models: Vec<String>,
    pub(super) spend: f64,
    /// As `spend`, but nothing resets it.
    pub(super) total_spend: f64,
    pub(super) max_budget: Option<f64>,
    pub(super) budget_duration: Option<String>,
    pub(super) budget_reset_at: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
    pub(super) metadata: Map<String, Value>,
    pub(super) aliases: Map<String, Value>,
    pub(super) tpm_limit: Option<i64>,
    pub(super) rpm_limit: Option<i64>,
    pub(super) max_parallel_requests: Option<i64>,
    pub(super) blocked: Option<bool>,
    pub(super) user_id: Option<String>,
    pub(super) team_id: Option<String>,
    pub(super) allowed_routes: Vec<String>,
    /// Settings that change nothing here, by name: kept and shown as they were sent.
    pub(super) extra: Map<String, Value>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) settings_updated_at: Option<Timestamp>,
    pub(super) last_active: Option<Timestamp>,
    /// Known to the cache, so that it works while the database is away.
    pub(super) warm: bool,
    window: Option<Window>,
}

/// What was used since the current window of the rate limits began.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Timestamp,
    requests: i64,
    tokens: i64,
}

#[derive(Debug, Eq, PartialEq)]
pub(super) struct Exceeded {
    pub(super) kind: &'static str,
    pub(super) limit: i64,
    pub(super) resets: Timestamp,
}

impl VirtualKey {
    pub(super) fn new(secret: &str, now: Timestamp) -> Self {
        Self {
            token: hash(secret),
            name: super::text::short_key(secret),
            alias: None,
            models: Vec::new(),
            spend: 0.0,
            total_spend: 0.0,
            max_budget: None,
            budget_duration: None,
            budget_reset_at: None,
            expires: None,
            metadata: Map::new(),
            aliases: Map::new(),
            tpm_limit: None,
            rpm_limit: None,
            max_parallel_requests: None,
            blocked: None,
            user_id: None,
            team_id: None,
            allowed_routes: Vec::new(),
            extra: Map::new(),
            created_at: now,
            updated_at: now,
            settings_updated_at: None,
            last_active: None,
            warm: false,
            window: None,
        }
    }

    pub(super) fn expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    pub(super) fn over_budget(&self) -> bool {
        self.max_budget.is_some_and(|most| self.spend >= most)
    }

    pub(super) fn admit(&mut self, now: Timestamp) -> Result<(), Exceeded> {
        let fresh = Window { since: now, requests: 0, tokens: 0 };
        let mut window =
            self.window.filter(|window| now.duration_since(window.since) < WINDOW).unwrap_or(fresh);
        let resets = window.since.saturating_add(WINDOW).unwrap_or(now);
        let limits =
            [("requests", self.rpm_limit, window.requests), ("tokens", self.tpm_limit, window.tokens)];
        for (kind, limit, used) in limits {
            if let Some(limit) = limit.filter(|limit| used >= *limit) {
                return Err(Exceeded { kind, limit, resets });
            }
        }
        window.requests += 1;
        self.window = Some(window);
        Ok(())
    }

    pub(super) fn charge(&mut self, cost: f64, tokens: i64, now: Timestamp) {
        self.spend += cost;
        self.total_spend += cost;
        self.last_active = Some(now);
        if let Some(window) = &mut self.window {
            window.tokens = window.tokens.saturating_add(tokens);
        }
    }

    /// Sets how often the budget starts anew, and when it does next.
    pub(super) fn set_budget_duration(&mut self, duration: Option<String>, now: Timestamp) {
        self.budget_reset_at = duration.as_deref().and_then(|text| next_reset(text, now));
        self.budget_duration = duration;
    }
}

/// When a budget of `duration` starts anew: days end at midnight, a week on Monday, and 30 days mean the
/// calendar's month (`key_info_by_sk`).
fn next_reset(duration: &str, now: Timestamp) -> Option<Timestamp> {
    let length = super::text::duration(duration)?;
    let zoned = now.to_zoned(TimeZone::UTC);
    let midnight = match duration {
        "30d" | "1mo" => zoned.first_of_month().ok()?.checked_add(1.month()).ok()?,
        "7d" | "1w" => zoned.nth_weekday(1, Weekday::Monday).ok()?,
        _ if length.as_secs() % 86_400 == 0 => zoned.checked_add(length).ok()?,
        _ => return now.checked_add(length).ok(),
    };
    Some(midnight.start_of_day().ok()?.timestamp())
}

#[derive(Clone, Debug)]
pub(super) struct Deleted {
    pub(super) key: VirtualKey,
    pub(super) at: Timestamp,
    pub(super) id: Uuid,
}

/// All keys in the order of their creation.
#[derive(Default)]
pub(super) struct Keys {
    rows: BTreeMap<u64, VirtualKey>,
    tokens: HashMap<String, u64>,
    aliases: HashMap<String, u64>,
    deleted: VecDeque<Deleted>,
    next: u64,
}

impl Keys {
    fn number(&self, given: &str) -> Option<u64> {
        let hashed = given.starts_with("sk-").then(|| hash(given));
        self.tokens.get(hashed.as_deref().unwrap_or(given)).copied()
    }

    pub(super) fn get(&self, given: &str) -> Option<&VirtualKey> {
        self.rows.get(&self.number(given)?)
    }

    pub(super) fn get_mut(&mut self, given: &str) -> Option<&mut VirtualKey> {
        self.rows.get_mut(&self.number(given)?)
    }

    pub(super) fn by_alias(&self, alias: &str) -> Option<&VirtualKey> {
        self.rows.get(self.aliases.get(alias)?)
    }

    /// Whether `alias` belongs to another key than `token`.
    pub(super) fn alias_taken(&self, alias: &str, token: &str) -> bool {
        self.by_alias(alias).is_some_and(|key| key.token != token)
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= MOST_ROWS
    }

    /// Stores a new key; one whose secret exists already is not stored
    /// (`key_generate_custom_value_again`).
    pub(super) fn insert(&mut self, key: VirtualKey) {
        if self.tokens.contains_key(&key.token) {
            return;
        }
        self.tokens.insert(key.token.clone(), self.next);
        if let Some(alias) = &key.alias {
            self.aliases.insert(alias.clone(), self.next);
        }
        self.rows.insert(self.next, key);
        self.next += 1;
    }

    /// Gives the key `token` another alias.
    pub(super) fn rename(&mut self, token: &str, alias: Option<String>) {
        let Some(number) = self.number(token) else { return };
        let Some(key) = self.rows.get_mut(&number) else { return };
        if let Some(old) = &key.alias {
            self.aliases.remove(old);
        }
        if let Some(new) = &alias {
            self.aliases.insert(new.clone(), number);
        }
        key.alias = alias;
    }

    pub(super) fn delete(&mut self, given: &str, now: Timestamp) -> bool {
        let Some(number) = self.number(given) else { return false };
        let Some(key) = self.rows.remove(&number) else { return false };
        self.tokens.remove(&key.token);
        if let Some(alias) = &key.alias {
            self.aliases.remove(alias);
        }
        if self.deleted.len() >= MOST_ROWS {
            self.deleted.pop_front();
        }
        self.deleted.push_back(Deleted { key, at: now, id: Uuid::new_v4() });
        true
    }

    /// All keys, the newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &VirtualKey> {
        self.rows.values().rev()
    }

    /// Deleted keys, the one deleted last first.
    pub(super) fn deleted(&self) -> impl Iterator<Item = &Deleted> {
        self.deleted.iter().rev()
    }

    pub(super) fn find_deleted(&self, given: &str) -> Option<&Deleted> {
        let hashed = given.starts_with("sk-").then(|| hash(given));
        let token = hashed.as_deref().unwrap_or(given);
        self.deleted().find(|deleted| deleted.key.token == token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn counts_requests_by_the_minute() {
        let start = time("2026-11-22T08:14:16Z");
        let mut key = VirtualKey::new("sk-1", start);
        key.rpm_limit = Some(1);
        assert_eq!(key.admit(start), Ok(()));
        let refused = key.admit(time("2026-11-22T08:15:15Z")).unwrap_err();
        assert_eq!((refused.kind, refused.limit), ("requests", 1));
        assert_eq!(refused.resets, time("2026-11-22T08:15:16Z"));
        assert_eq!(key.admit(refused.resets), Ok(()));
    }

    #[test]
    fn resets_budgets_with_the_calendar() {
        let now = time("2026-11-22T08:14:16Z");
        let next = |duration| next_reset(duration, now).unwrap().to_string();
        assert_eq!(next("30d"), "2026-12-01T00:00:00Z");
        assert_eq!(next("7d"), "2026-11-23T00:00:00Z");
        assert_eq!(next("1d"), "2026-11-23T00:00:00Z");
        assert_eq!(next("2h"), "2026-11-22T10:14:16Z");
    }

    #[test]
    fn finds_a_key_by_secret_hash_and_alias() {
        let now = time("2026-11-22T08:14:16Z");
        let mut keys = Keys::default();
        let mut key = VirtualKey::new("sk-1", now);
        key.alias = Some("one".to_owned());
        let token = key.token.clone();
        keys.insert(key);
        assert!(keys.get("sk-1").is_some() && keys.get(&token).is_some() && keys.by_alias("one").is_some());
        keys.rename(&token, Some("uno".to_owned()));
        assert!(keys.by_alias("one").is_none() && keys.alias_taken("uno", "other"));
        assert!(keys.delete("sk-1", now) && !keys.delete("sk-1", now));
        assert!(keys.by_alias("uno").is_none() && keys.find_deleted(&token).is_some());
    }
}
