//! Virtual keys: making, changing and deleting them, and what they were used for.
//!
//! The proxy's answers to writes are not believed: it calls a key deleted that it never had
//! (`wire/litellm/1.80/key_delete_mixed`), and "generates" one whose value exists without storing anything. The
//! services read back. `metadata: null` is never sent: both releases store it, and can then neither list any
//! keys nor delete that one (measured on 1.80.17 and 1.109.1).

use jiff::civil::Date;
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize as _;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::calls::is_missing;
use super::{KEY_PAGE, KeyPage, LiteLlm, is_not_found, none_if, not_understood, usable, usage, wire};
use crate::clients::Result;
use crate::clients::lenient::memory_of;
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::usage::{DailySpend, DayParts};

/// Fields of a key that are no settings, beside those of [`is_kept_by_proxy`]: what a replacement does not take over.
/// Two keys may not share an alias; being blocked is a state.
const NO_SETTINGS: [&str; 15] = [
    "key",
    "token",
    "token_id",
    "key_name",
    "key_alias",
    "spend",
    "total_spend",
    "expires",
    "status",
    "last_active",
    "blocked",
    "model_spend",
    "rotation_count",
    "soft_budget_cooldown",
    "jwt_key_mappings",
];

/// Most memory that a key with all that is set in it takes, in bytes.
const MAX_RECORD: usize = 1024 * 1024;

/// A key with its settings as the proxy holds them. The metadata may hold credentials of others: it must be
/// masked before it is shown.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    pub key: VirtualKey,
    pub metadata: Map<String, Value>,
    /// All settings, for a key that is to be like it.
    pub settings: Map<String, Value>,
}

/// A key that was just made. The only time that its secret is known.
pub struct NewKey {
    pub secret: SecretString,
    pub hash: KeyHash,
    /// As the proxy's answer says.
    pub key: VirtualKey,
}

impl LiteLlm {
    /// `GET /key/info` with metadata and settings; none if the proxy does not know it, or has deleted it.
    pub async fn key_record(&self, hash: &KeyHash) -> Result<Option<KeyRecord>> {
        let request = self.get("key/info").query(&[("key", hash.as_str())]).expecting(is_not_found);
        let record = request.tree(|mut answer: Value| {
            let info = answer.get_mut("info").map(Value::take).unwrap_or_default();
            read_record(&info, hash)
        });
        none_if(is_not_found, record.await)
    }

    /// `GET /key/list` of exactly this alias. Uniqueness is racy at the proxy, so that there may be several.
    pub async fn keys_by_alias(&self, alias: &str) -> Result<Vec<VirtualKey>> {
        Ok(self.key_list(1, &[("key_alias", alias)]).await?.keys)
    }

    /// `GET /key/list` with 1.109's search: part of an alias or an owner, the beginning of a hash. 1.80 ignores
    /// it and lists everything, which [`Self::can_search_keys`] finds out.
    pub async fn search_keys(&self, text: &str) -> Result<KeyPage> {
        self.key_list(1, &[("search", text), ("substring_matching", "true")]).await
    }

    /// Whether the proxy searches: it does if a text that no key holds finds none of the `total` keys.
    pub async fn can_search_keys(&self) -> Result<bool> {
        let nowhere = uuid::Uuid::new_v4().simple().to_string();
        Ok(self.search_keys(&nowhere).await?.total == 0)
    }

    pub(super) async fn key_list(&self, page: u32, filter: &[(&str, &str)]) -> Result<KeyPage> {
        let (page, size) = (page.to_string(), KEY_PAGE.to_string());
        let mut query = vec![("return_full_object", "true"), ("size", &*size), ("page", &*page)];
        query.extend_from_slice(filter);
        self.get("key/list")
            .query(&query)
            .json(|answer: wire::KeyList| {
                let mut keys = usable(answer.keys.0, |row| row.into_key(None))?;
                keys.truncate(KEY_PAGE as usize);
                let total = answer.total_count.0.unwrap_or(keys.len() as u64);
                let pages = answer.total_pages.0.and_then(|pages| u32::try_from(pages).ok()).unwrap_or(1);
                Ok(KeyPage { keys, total, pages })
            })
            .await
    }

    /// `POST /key/generate`. The answer alone does not say that the key was stored.
    pub async fn generate_key(&self, body: &Map<String, Value>, actor: &str) -> Result<NewKey> {
        self.post("key/generate", &json!(body), actor)
            .json(|answer: wire::Generated| {
                let key = answer.key.0.ok_or_else(|| not_understood("a new key without `key`"))?;
                let secret = SecretString::from(key);
                let hash = KeyHash::of(&secret);
                let key = answer.row.into_key(Some(hash.clone()));
                Ok(NewKey {
                    secret,
                    hash,
                    key: key.ok_or_else(|| not_understood("a new key without settings"))?,
                })
            })
            .await
    }

    /// `POST /key/update` with `changes` alone; what is not named stays.
    pub async fn update_key(&self, hash: &KeyHash, changes: &Map<String, Value>, actor: &str) -> Result<()> {
        let mut body = changes.clone();
        body.insert("key".to_owned(), json!(hash));
        self.post("key/update", &Value::Object(body), actor).json(|IgnoredAny| Ok(())).await
    }

    /// `POST /key/update` with `blocked`. `/key/unblock` of 1.74 hashes the hash, and then knows no such key.
    pub async fn set_key_blocked(&self, hash: &KeyHash, blocked: bool, actor: &str) -> Result<()> {
        self.update_key(hash, &Map::from_iter([("blocked".to_owned(), json!(blocked))]), actor).await
    }

    /// `POST /key/{hash}/reset_spend` of 1.109, which also begins the periods of budgets anew; on older releases
    /// `POST /key/update` with `spend`.
    pub async fn reset_spend(&self, hash: &KeyHash, actor: &str) -> Result<()> {
        const ROUTE: &str = "key/{hash}/reset_spend";
        let path = format!("key/{hash}/reset_spend");
        let reset = self.request_with(&self.master_key, Method::POST, ROUTE, &path);
        let reset = reset.body(&json!({ "reset_to": 0.0 })).changed_by(actor).expecting(is_missing);
        match reset.json(|IgnoredAny| Ok(())).await {
            Err(error) if is_missing(&error) => {
                self.update_key(hash, &Map::from_iter([("spend".to_owned(), json!(0.0))]), actor).await
            }
            reset => reset,
        }
    }

    /// `POST /key/delete` of one hash. Never by alias: that would delete every key of that alias.
    pub async fn delete_key(&self, hash: &KeyHash, actor: &str) -> Result<()> {
        self.post("key/delete", &json!({ "keys": [hash] }), actor).json(|IgnoredAny| Ok(())).await
    }

    /// What was spent with one key, or with all, by day of UTC, the oldest first.
    pub async fn daily_spend(&self, hash: Option<&KeyHash>, from: Date, to: Date) -> Result<Vec<DailySpend>> {
        let mut days = Vec::new();
        self.activity(hash, from, to, |answer| usage::add_days(&mut days, answer)).await?;
        days.sort_by_key(|day| day.date);
        Ok(days)
    }

    /// The same of all keys, by model and by key. A day may be there in parts.
    pub async fn daily_parts(&self, from: Date, to: Date) -> Result<Vec<DayParts>> {
        let mut days = Vec::new();
        self.activity(None, from, to, |answer| days.extend(usage::day_parts(answer))).await?;
        Ok(days)
    }

    /// `GET /user/daily/activity`, page by page.
    async fn activity(
        &self,
        hash: Option<&KeyHash>,
        from: Date,
        to: Date,
        mut take: impl FnMut(usage::Activity),
    ) -> Result<()> {
        let (from, to) = (from.to_string(), to.to_string());
        // A page has a thousand rows of the proxy's: a day has one for each model. Five are plenty.
        for page in 1..=5 {
            let page = page.to_string();
            let mut query =
                vec![("start_date", &*from), ("end_date", &to), ("page_size", "1000"), ("page", &page)];
            query.extend(hash.map(|hash| ("api_key", hash.as_str())));
            let request = self.get("user/daily/activity").query(&query);
            let answer = request.json(Ok::<usage::Activity, _>).await?;
            let has_more = answer.has_more();
            take(answer);
            if !has_more {
                break;
            }
        }
        Ok(())
    }
}

fn read_record(info: &Value, hash: &KeyHash) -> Result<Option<KeyRecord>> {
    if memory_of(info) > MAX_RECORD {
        return Err(not_understood("a key with more in it than a key has"));
    }
    let row = wire::KeyRow::deserialize(info);
    let row = row.map_err(|_| not_understood("a key without `info`"))?;
    if row.is_deleted() {
        return Ok(None);
    }
    let Some(key) = row.into_key(Some(hash.clone())) else { return Ok(None) };
    let metadata = info.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    let fields = info.as_object().into_iter().flatten();
    let is_setting = |name: &str| !NO_SETTINGS.contains(&name) && !is_kept_by_proxy(name);
    let set = |(name, value): (&String, &Value)| Some((name.clone(), setting(value)?));
    let settings = fields.filter(|(name, _)| is_setting(name)).filter_map(set).collect();
    Ok(Some(KeyRecord { key, metadata, settings }))
}

/// Whether the proxy writes a field itself. `object_permission` is sent whole, and gets a new id.
fn is_kept_by_proxy(name: &str) -> bool {
    let ends = ["_at", "_by", "_table", "_usage"];
    name == "object_permission_id" || ends.iter().any(|end| name.ends_with(end))
}

/// A value without what a new key has anyway (null and empty), and what the proxy writes itself.
fn setting(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => Some(items.iter().map(|item| setting(item).unwrap_or_default()).collect()),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| !is_kept_by_proxy(name));
            let kept: Map<String, Value> =
                fields.filter_map(|(name, value)| Some((name.clone(), setting(value)?))).collect();
            if kept.is_empty() { None } else { Some(Value::Object(kept)) }
        }
        other => Some(other.clone()),
    }
}
