//! Routes that change virtual keys.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::auth::Caller;
use super::body::{Body, Field};
use super::deployment::hash;
use super::errors::{Answer, Refusal, Touch};
use super::generation::Generation;
use super::key_table::VirtualKey;
use super::key_views;
use super::text::{self, Zone};
use super::world::World;

/// `POST /key/generate`
pub(super) async fn generate(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    caller.administrate(&world)?;
    let generation = world.generation();
    let now = world.now();
    let secret = match body.string("key")?.set() {
        Some(secret) => secret,
        None => format!("sk-{}", URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes())),
    };
    let mut key = VirtualKey::new(&secret, now);
    let changes = Changes::read(&body, generation)?;
    refuse_unlicensed(generation, &body)?;
    refuse_negative(generation, &body)?;
    if !secret.starts_with("sk-") {
        return Err(wrong_format(generation, &secret));
    }
    key.alias = body.string("key_alias")?.set();
    key.allowed_routes = body.strings("allowed_routes")?.set().unwrap_or_default();
    if let Field::Set(duration) = body.string("duration")? {
        key.expires = Some(expiry(generation, &duration, now)?);
    }
    changes.apply(&mut key, now);
    let mut state = world.with_database(Touch::KeyWrite)?;
    if let Some(alias) = key.alias.as_deref().filter(|alias| state.keys.alias_taken(alias, "")) {
        return Err(taken(alias));
    }
    if state.keys.is_full() {
        let message = "The sandbox holds no more keys";
        return Err(Refusal::proxy(500, "internal_server_error", generation.no_param(), message));
    }
    let answer = key_views::generated(&key, &secret, generation);
    state.keys.insert(key);
    Ok(Json(answer).into_response())
}

struct Changes {
    models: Field<Vec<String>>,
    max_budget: Field<f64>,
    budget_duration: Field<String>,
    metadata: Field<serde_json::Map<String, Value>>,
    aliases: Field<serde_json::Map<String, Value>>,
    user_id: Field<String>,
    team_id: Field<String>,
    tpm_limit: Field<i64>,
    rpm_limit: Field<i64>,
    max_parallel_requests: Field<i64>,
    blocked: Field<bool>,
    extra: Vec<(String, Value)>,
}

/// Settings that are kept and shown: those of 1.80, then those that 1.109 has beside them.
const EXTRA: [&str; 5] =
    ["config", "model_max_budget", "object_permission", "permissions", "router_settings"];
const EXTRA_1_109: [&str; 6] =
    ["access_group_ids", "agent_id", "budget_fallbacks", "budget_limits", "key_type", "tpd_limit"];

/// As it is stored: windows know when they end, a permission has an id.
fn stored(name: &str, mut value: Value) -> Value {
    match name {
        "budget_limits" => {
            for window in value.as_array_mut().into_iter().flatten() {
                window["reset_at"] = json!("2026-12-01T00:00:00Z");
            }
        }
        "object_permission" if value.is_object() => {
            value["object_permission_id"] = json!(Uuid::new_v4().to_string());
        }
        _ => {}
    }
    value
}

impl Changes {
    fn read(body: &Body, generation: Generation) -> Result<Self, Refusal> {
        let more = if generation == Generation::V1_109 { &EXTRA_1_109[..] } else { &[] };
        let extra = EXTRA.iter().chain(more);
        let extra =
            extra.filter_map(|name| Some(((*name).to_owned(), stored(name, body.map.get(*name)?.clone()))));
        Ok(Self {
            extra: extra.collect(),
            models: body.strings("models")?,
            max_budget: body.float("max_budget")?,
            budget_duration: body.string("budget_duration")?,
            metadata: body.object("metadata")?,
            aliases: body.object("aliases")?,
            user_id: body.string("user_id")?,
            team_id: body.string("team_id")?,
            tpm_limit: body.integer("tpm_limit")?,
            rpm_limit: body.integer("rpm_limit")?,
            max_parallel_requests: body.integer("max_parallel_requests")?,
            blocked: body.boolean("blocked")?,
        })
    }

    /// Null clears, and the metadata is replaced, not merged (`x_key_info_metadata_merge`).
    fn apply(self, key: &mut VirtualKey, now: Timestamp) {
        match self.models {
            Field::Missing => {}
            Field::Null => key.models.clear(),
            Field::Set(models) => key.models = models,
        }
        match self.budget_duration {
            Field::Missing => {}
            Field::Null => key.set_budget_duration(None, now),
            Field::Set(duration) => key.set_budget_duration(Some(duration), now),
        }
        match self.metadata {
            Field::Missing => {}
            Field::Null => key.metadata.clear(),
            Field::Set(metadata) => key.metadata = metadata,
        }
        if let Field::Set(aliases) = self.aliases {
            key.aliases = aliases;
        }
        key.extra.extend(self.extra);
        self.user_id.write(&mut key.user_id);
        self.team_id.write(&mut key.team_id);
        self.max_budget.write(&mut key.max_budget);
        self.tpm_limit.write(&mut key.tpm_limit);
        self.rpm_limit.write(&mut key.rpm_limit);
        self.max_parallel_requests.write(&mut key.max_parallel_requests);
        self.blocked.write(&mut key.blocked);
    }
}

fn refuse_unlicensed(generation: Generation, body: &Body) -> Result<(), Refusal> {
    if body.map.get("tags").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Ok(());
    }
    Err(Refusal::admin(
        generation,
        403,
        "internal_server_error",
        "auth_error",
        "{'error': 'This feature is only available for LiteLLM Enterprise users: tags. You must be a LiteLLM \
         Enterprise user to use this feature. If you have a license please set `LITELLM_LICENSE` in your env. \
         Get a 7 day trial key here: https://www.litellm.ai/enterprise#trial. \\nPricing: \
         https://www.litellm.ai/#pricing'}",
    ))
}

fn refuse_negative(generation: Generation, body: &Body) -> Result<(), Refusal> {
    let Some(budget) =
        body.float("max_budget")?.set().filter(|budget| !(budget.is_finite() && *budget >= 0.0))
    else {
        return Ok(());
    };
    let rule = match generation {
        Generation::V1_80 => "cannot be negative",
        Generation::V1_109 => "must be a non-negative finite number",
    };
    let message = format!("{{'error': 'max_budget {rule}. Received: {}'}}", text::float(budget));
    Err(Refusal::admin(generation, 400, "internal_server_error", "invalid_request_error", message))
}

fn wrong_format(generation: Generation, secret: &str) -> Refusal {
    let shown = match generation {
        Generation::V1_80 => secret.to_owned(),
        Generation::V1_109 => text::masked_key(secret),
    };
    let message = format!(
        "{{'error': \"Invalid key format. LiteLLM Virtual Key must start with 'sk-'. Received: {shown}\"}}"
    );
    Refusal::admin(generation, 400, "internal_server_error", "invalid_request_error", message)
}

fn expiry(generation: Generation, duration: &str, now: Timestamp) -> Result<Timestamp, Refusal> {
    text::duration(duration).and_then(|length| now.checked_add(length).ok()).ok_or_else(|| {
        let message = match generation {
            Generation::V1_80 => "Internal Server Error, Invalid duration format",
            Generation::V1_109 => "Invalid duration format",
        };
        Refusal::proxy(500, "internal_server_error", generation.no_param(), message)
    })
}

fn taken(alias: &str) -> Refusal {
    let message =
        format!("Key with alias '{alias}' already exists. Unique key aliases across all keys are required.");
    Refusal::proxy(400, "bad_request_error", "key_alias", message)
}

/// `POST /key/update`
pub(super) async fn update(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    caller.administrate(&world)?;
    let generation = world.generation();
    let now = world.now();
    let given = named(&world, &body)?;
    let changes = Changes::read(&body, generation)?;
    let spend = body.float("spend")?.set();
    let duration = body.string("duration")?;
    refuse_negative(generation, &body)?;
    let mut state = world.with_database(Touch::KeyUpdate)?;
    let found = state.keys.get(&given).map(|key| key.token.clone());
    let token = found.ok_or_else(|| not_updated(generation, &given))?;
    if body.map.contains_key("key") {
        match body.string("key_alias")? {
            Field::Missing => {}
            Field::Null => state.keys.rename(&token, None),
            Field::Set(alias) if state.keys.alias_taken(&alias, &token) => return Err(taken(&alias)),
            Field::Set(alias) => state.keys.rename(&token, Some(alias)),
        }
    }
    let Some(key) = state.keys.get_mut(&token) else { return Err(not_found()) };
    match duration {
        Field::Set(text) if text == "-1" => key.expires = None,
        Field::Set(text) => key.expires = Some(expiry(generation, &text, now)?),
        // Only 1.109 takes null for "never" (`key_update_duration_null`).
        Field::Null if generation == Generation::V1_109 => key.expires = None,
        Field::Null | Field::Missing => {}
    }
    changes.apply(key, now);
    key.spend = spend.unwrap_or(key.spend);
    touch(key, now);
    let mut answer = key_views::info(key, generation, Zone::Offset);
    answer.insert("key".to_owned(), json!(given));
    answer.insert("token".to_owned(), json!(key.token));
    Ok(Json(answer).into_response())
}

/// The key that an update is for. Only 1.109 finds one by its alias.
fn named(world: &World, body: &Body) -> Result<String, Refusal> {
    match (world.generation(), body.string("key")?.set(), body.string("key_alias")?.set()) {
        (_, Some(key), _) => Ok(key),
        (Generation::V1_80, None, _) => Err(body.missing("key")),
        (Generation::V1_109, None, None) => Err(body.wrong("either key or key_alias must be provided")),
        (Generation::V1_109, None, Some(alias)) => {
            let state = world.with_database(Touch::KeyUpdate)?;
            Ok(state.keys.by_alias(&alias).ok_or_else(not_found)?.token.clone())
        }
    }
}

fn not_updated(generation: Generation, given: &str) -> Refusal {
    match generation {
        Generation::V1_80 => {
            let message = format!(
                "Authentication Error: invalid user key - user key does not exist in db. User Key={given}"
            );
            Refusal::proxy(401, "auth_error", "None", message)
        }
        Generation::V1_109 => not_found(),
    }
}

fn touch(key: &mut VirtualKey, now: Timestamp) {
    key.updated_at = now;
    key.settings_updated_at = Some(now);
}

fn not_found() -> Refusal {
    Refusal::proxy(404, "not_found_error", "key", "Key not found.")
}

/// `POST /key/block`
pub(super) async fn block(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    set_blocked(&world, &caller, &body, true)
}

/// `POST /key/unblock`
pub(super) async fn unblock(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    set_blocked(&world, &caller, &body, false)
}

fn set_blocked(world: &World, caller: &Caller, body: &Body, blocked: bool) -> Answer {
    caller.administrate(world)?;
    let generation = world.generation();
    let now = world.now();
    let given = body.required("key")?;
    let mut state = world.with_database(Touch::KeyBlock)?;
    let Some(key) = state.keys.get_mut(&given) else {
        return Err(match generation {
            Generation::V1_80 => Refusal::proxy(
                401,
                "token_not_found_in_db",
                "key",
                format!(
                    "Authentication Error, Invalid proxy server token passed. key={}, not found in db. Create \
                     key via `/key/generate` call.",
                    if given.starts_with("sk-") { hash(&given) } else { given }
                ),
            ),
            Generation::V1_109 => not_found(),
        });
    };
    key.blocked = Some(blocked);
    touch(key, now);
    let answer = if blocked {
        key_views::row(key, generation)
    } else {
        let mut answer = key_views::info(key, generation, Zone::Letter);
        answer.insert("token".to_owned(), json!(key.token));
        answer
    };
    Ok(Json(answer).into_response())
}

/// `POST /key/delete`: one that exists is enough for all to be called deleted (`key_delete_mixed`).
pub(super) async fn delete(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    caller.administrate(&world)?;
    let generation = world.generation();
    let now = world.now();
    let keys = body.strings("keys")?.set().unwrap_or_default();
    let aliases = body.strings("key_aliases")?.set().unwrap_or_default();
    if keys.is_empty() && aliases.is_empty() {
        return Err(body.wrong("At least one of 'keys' or 'key_aliases' must be provided."));
    }
    let mut state = world.with_database(Touch::KeyWrite)?;
    let mut found = false;
    for given in &keys {
        found |= state.keys.delete(given, now);
    }
    for alias in &aliases {
        let token = state.keys.by_alias(alias).map(|key| key.token.clone());
        found |= token.is_some_and(|token| state.keys.delete(&token, now));
    }
    if !found {
        return Err(Refusal::admin(
            generation,
            404,
            "internal_server_error",
            "invalid_request_error",
            "{'error': 'No keys found'}",
        ));
    }
    let named = if keys.is_empty() { aliases } else { keys };
    Ok(Json(json!({ "deleted_keys": named })).into_response())
}
