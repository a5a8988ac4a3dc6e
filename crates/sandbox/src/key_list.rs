//! Routes that show virtual keys.

use std::cmp::Ordering;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::body::{self, Query};
use super::errors::{Answer, Refusal, Touch};
use super::generation::Generation;
use super::key_table::VirtualKey;
use super::key_views;
use super::text::Zone;
use super::world::{State as Held, World};

/// `GET /key/info`, of the caller unless another key is named.
pub(super) async fn info(State(world): State<World>, caller: Caller, query: Query) -> Answer {
    let generation = world.generation();
    let now = world.now();
    let state = world.with_database(Touch::KeyInfo)?;
    let given = match (query.get("key"), &caller.token) {
        (Some(given), _) => given.clone(),
        (None, Some(token)) => token.clone(),
        (None, None) => return Err(missing()),
    };
    let found = state.keys.get(&given);
    if let Some(own) = caller.key(&state)
        && found.is_none_or(|found| found.token != own.token)
    {
        // Not recorded.
        let message = "{'error': \"You are not allowed to access this key's info. Your role=internal_user\"}";
        return Err(Refusal::proxy(403, "auth_error", generation.no_param(), message));
    }
    if let Some(key) = found {
        let mut info = key_views::info(key, generation, Zone::Offset);
        if generation == Generation::V1_109 {
            info.insert("status".to_owned(), json!(key_views::status(key, now)));
        }
        return Ok(Json(json!({ "key": given, "info": info })).into_response());
    }
    match state.keys.find_deleted(&given).filter(|_| generation == Generation::V1_109) {
        Some(deleted) => {
            let mut info = key_views::deleted(deleted, Zone::Offset);
            info.insert("status".to_owned(), json!("deleted"));
            Ok(Json(json!({ "key": given, "info": info })).into_response())
        }
        None => Err(missing()),
    }
}

fn missing() -> Refusal {
    Refusal::proxy(404, "not_found_error", "key", "Key not found in database")
}

/// `GET /key/list`: hashes, or whole objects if asked for.
pub(super) async fn list(State(world): State<World>, caller: Caller, query: Query) -> Answer {
    let generation = world.generation();
    let page = body::page(generation, &query, "page", 1, usize::MAX)?;
    let size = body::page(generation, &query, "size", 10, 100)?;
    let order = Order::read(generation, &query)?;
    let state = world.with_database(Touch::KeyList)?;
    let filter = Filter::read(generation, &query, world.now())?.of(&caller, &state)?;
    let whole = body::flag(&query, "return_full_object")
        || query.get("expand").is_some_and(|expand| expand.split(',').any(|item| item == "user"));
    let (keys, total, pages) = if filter.status == Some("deleted") {
        let mut found: Vec<_> = state.keys.deleted().filter(|deleted| filter.matches(&deleted.key)).collect();
        // By creation, as the living ones (`key_list_status_deleted_after`).
        found.sort_by_key(|deleted| std::cmp::Reverse(deleted.key.created_at));
        let (shown, pages) = body::slice(&found, page, size);
        let keys: Vec<Value> = shown
            .iter()
            .map(|deleted| {
                let mut object = key_views::deleted(deleted, Zone::Letter);
                object.insert("token".to_owned(), json!(deleted.key.token));
                show(&deleted.key, object, whole)
            })
            .collect();
        (keys, found.len(), pages)
    } else {
        let mut found: Vec<&VirtualKey> = state.keys.newest().filter(|key| filter.matches(key)).collect();
        order.sort(&mut found);
        let (shown, pages) = body::slice(&found, page, size);
        let keys = shown.iter().map(|key| show(key, key_views::listed(key, generation), whole)).collect();
        (keys, found.len(), pages)
    };
    let answer = json!({ "keys": keys, "total_count": total, "current_page": page, "total_pages": pages });
    Ok(Json(answer).into_response())
}

fn show(key: &VirtualKey, object: Map<String, Value>, whole: bool) -> Value {
    if whole { Value::Object(object) } else { json!(key.token) }
}

struct Order {
    compare: Option<fn(&VirtualKey, &VirtualKey) -> Ordering>,
    ascending: bool,
}

impl Order {
    fn read(generation: Generation, query: &Query) -> Result<Self, Refusal> {
        let ascending = query.get("sort_order").is_some_and(|order| order.eq_ignore_ascii_case("asc"));
        let Some(column) = query.get("sort_by").filter(|column| !column.is_empty()) else {
            return Ok(Self { compare: None, ascending: false });
        };
        let compare: fn(&VirtualKey, &VirtualKey) -> Ordering = match (column.as_str(), generation) {
            ("spend", _) => |a, b| a.spend.total_cmp(&b.spend),
            ("max_budget", _) => |a, b| option(a.max_budget, b.max_budget, f64::total_cmp),
            ("created_at", _) => |a, b| a.created_at.cmp(&b.created_at),
            ("updated_at", _) => |a, b| a.updated_at.cmp(&b.updated_at),
            ("token", _) => |a, b| a.token.cmp(&b.token),
            ("key_alias", _) => |a, b| option(a.alias.as_ref(), b.alias.as_ref(), Ord::cmp),
            ("expires", Generation::V1_109) => |a, b| option(a.expires, b.expires, Ord::cmp),
            ("last_active", Generation::V1_109) => |a, b| option(a.last_active, b.last_active, Ord::cmp),
            ("budget_reset_at", Generation::V1_109) => {
                |a, b| option(a.budget_reset_at, b.budget_reset_at, Ord::cmp)
            }
            ("total_spend", Generation::V1_109) => |a, b| a.total_spend.total_cmp(&b.total_spend),
            ("tpm_limit", Generation::V1_109) => |a, b| option(a.tpm_limit, b.tpm_limit, Ord::cmp),
            ("rpm_limit", Generation::V1_109) => |a, b| option(a.rpm_limit, b.rpm_limit, Ord::cmp),
            _ => return Err(Self::unknown(generation)),
        };
        Ok(Self { compare: Some(compare), ascending })
    }

    fn unknown(generation: Generation) -> Refusal {
        let more = match generation {
            Generation::V1_80 => "",
            Generation::V1_109 => {
                ", expires, last_active, budget_reset_at, total_spend, tpm_limit, rpm_limit"
            }
        };
        let message = format!(
            "{{'error': 'Invalid sort column. Must be one of: spend, max_budget, created_at, updated_at, token, \
             key_alias{more}'}}"
        );
        Refusal::admin(generation, 400, "internal_server_error", "invalid_request_error", message)
    }

    fn sort(&self, found: &mut [&VirtualKey]) {
        let Some(compare) = self.compare else { return };
        found.sort_by(|a, b| if self.ascending { compare(a, b) } else { compare(b, a) });
    }
}

/// What has no value sorts after everything else, as in the database.
fn option<T>(a: Option<T>, b: Option<T>, compare: impl FnOnce(&T, &T) -> Ordering) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare(&a, &b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

struct Filter<'a> {
    alias: Option<&'a str>,
    token: Option<&'a str>,
    user: Option<String>,
    team: Option<&'a str>,
    /// Lower case; 1.109 only.
    search: Option<String>,
    /// Whether `alias` and `user` need only be a part; 1.109 only.
    partial: bool,
    status: Option<&'static str>,
    now: Timestamp,
}

impl<'a> Filter<'a> {
    /// The older proxy ignores what it does not know and lists everything (`1.80/key_list_search`).
    fn read(generation: Generation, query: &'a Query, now: Timestamp) -> Result<Self, Refusal> {
        let text = |name: &str| query.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let modern = generation == Generation::V1_109;
        let status = match text("status").or_else(|| text("expires")).filter(|_| modern) {
            None => None,
            Some("active") => Some("active"),
            Some("expired") => Some("expired"),
            Some("revoked") => Some("revoked"),
            Some("deleted") => Some("deleted"),
            Some(_) => {
                let message = "{'error': \"Invalid status value. Supported: 'active', 'expired', 'revoked', \
                               'deleted'.\"}";
                return Err(Refusal::proxy(400, "invalid_request_error", Value::Null, message));
            }
        };
        Ok(Self {
            alias: text("key_alias"),
            token: text("key_hash"),
            user: text("user_id").map(str::to_owned),
            team: text("team_id"),
            search: text("search").filter(|_| modern).map(str::to_lowercase),
            partial: modern && body::flag(query, "substring_matching"),
            status,
            now,
        })
    }

    /// Limits a virtual key to its user's keys (`virtual_key_key_list`).
    fn of(mut self, caller: &Caller, state: &Held) -> Result<Self, Refusal> {
        if let Some(own) = caller.key(state) {
            let message = "You are not authorized to access this endpoint. No 'user_id' is associated with your \
                           API key.";
            let user = own.user_id.clone();
            let refuse = || Refusal::proxy(403, "bad_request_error", "user_id", message);
            self.user = Some(user.ok_or_else(refuse)?);
        }
        Ok(self)
    }

    fn matches(&self, key: &VirtualKey) -> bool {
        let is = |value: Option<&str>, wanted: Option<&str>| match (value, wanted) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(value), Some(wanted)) if self.partial => {
                value.to_lowercase().contains(&wanted.to_lowercase())
            }
            (Some(value), Some(wanted)) => value == wanted,
        };
        is(key.alias.as_deref(), self.alias)
            && is(key.user_id.as_deref(), self.user.as_deref())
            && self.token.is_none_or(|token| key.token == token)
            && self.team.is_none_or(|team| key.team_id.as_deref() == Some(team))
            && self.search.as_deref().is_none_or(|search| found_by(key, search))
            && self
                .status
                .is_none_or(|status| status == "deleted" || key_views::status(key, self.now) == status)
    }
}

/// 1.109's search looks at the alias, the user and the hash.
fn found_by(key: &VirtualKey, search: &str) -> bool {
    let contains =
        |text: &Option<String>| text.as_ref().is_some_and(|text| text.to_lowercase().contains(search));
    contains(&key.alias) || contains(&key.user_id) || key.token.starts_with(search)
}
