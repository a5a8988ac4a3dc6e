//! A virtual key as each route shows it. No two agree.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::generation::Generation;
use super::key_table::{Deleted, VirtualKey};
use super::text::{self, Zone};

/// Fields of every list entry that stay null without teams, users and organisations.
const LIST_NULLS: &[&str] = &[
    "allowed_model_region",
    "api_key",
    "end_user_id",
    "end_user_max_budget",
    "end_user_rpm_limit",
    "end_user_tpm_limit",
    "last_refreshed_at",
    "organization_max_budget",
    "organization_metadata",
    "organization_rpm_limit",
    "organization_tpm_limit",
    "parent_otel_span",
    "request_route",
    "rpm_limit_per_model",
    "soft_budget",
    "team_alias",
    "team_max_budget",
    "team_member",
    "team_member_rpm_limit",
    "team_member_spend",
    "team_member_tpm_limit",
    "team_metadata",
    "team_model_aliases",
    "team_object_permission_id",
    "team_rpm_limit",
    "team_spend",
    "team_tpm_limit",
    "tpm_limit_per_model",
    "user",
    "user_email",
    "user_max_budget",
    "user_role",
    "user_rpm_limit",
    "user_spend",
    "user_tpm_limit",
];

const LIST_NULLS_1_109: &[&str] = &[
    "created_by_user",
    "end_user_model_max_budget",
    "end_user_object_permission",
    "end_user_tpd_limit",
    "jwt_claims",
    "organization_alias",
    "project_alias",
    "project_metadata",
    "team_model_max_budget",
    "team_object_permission",
    "team_soft_budget",
    "team_tpd_limit",
    "user_model_max_budget",
];

/// Fields that only the answer to `/key/generate` has, null unless they were asked for.
const NEW_NULLS: &[&str] = &[
    "allowed_passthrough_routes",
    "allowed_vector_store_indexes",
    "duration",
    "enforced_params",
    "guardrails",
    "model_rpm_limit",
    "model_tpm_limit",
    "prompts",
    "rpm_limit_type",
    "tags",
    "tpm_limit_type",
];

const NEW_NULLS_1_109: &[&str] = &[
    "default_estimated_output_tokens",
    "default_estimated_output_tokens_per_model",
    "denied_passthrough_routes",
    "disable_global_guardrails",
    "enable_prompt_caching",
    "end_user_budget_id",
    "mcp_rpm_limit",
    "policies",
    "tag_rpm_limit",
    "throttle_on_budget_exceeded",
];

fn nulls(map: &mut Map<String, Value>, names: &[&str]) {
    map.extend(names.iter().map(|name| ((*name).to_owned(), Value::Null)));
}

fn extend(map: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        map.extend(more);
    }
}

/// What `/key/info`, `/key/list` and the rest have in common.
fn core(key: &VirtualKey, generation: Generation, zone: Zone) -> Map<String, Value> {
    let stamp = |time: Timestamp| text::stamp(time, zone);
    let mut map = Map::new();
    extend(
        &mut map,
        json!({
            "key_name": key.name,
            "key_alias": key.alias,
            "models": key.models,
            "spend": key.spend,
            "max_budget": key.max_budget,
            "budget_duration": key.budget_duration,
            "budget_reset_at": key.budget_reset_at.map(stamp),
            "expires": key.expires.map(stamp),
            "metadata": key.metadata,
            "aliases": key.aliases,
            "tpm_limit": key.tpm_limit,
            "rpm_limit": key.rpm_limit,
            "max_parallel_requests": key.max_parallel_requests,
            "blocked": key.blocked,
            "user_id": key.user_id,
            "team_id": key.team_id,
            "allowed_routes": key.allowed_routes,
            "allowed_cache_controls": [],
            "config": {},
            "permissions": {},
            "model_spend": {},
            "model_max_budget": {},
            "router_settings": {},
            "soft_budget_cooldown": false,
            "rotation_count": 0,
            "auto_rotate": false,
        }),
    );
    extend(
        &mut map,
        json!({
            "created_at": stamp(key.created_at),
            "created_by": "default_user_id",
            "updated_at": stamp(key.updated_at),
            "updated_by": "default_user_id",
        }),
    );
    nulls(
        &mut map,
        &[
            "key_rotation_at",
            "last_rotation_at",
            "litellm_budget_table",
            "object_permission",
            "object_permission_id",
            "rotation_interval",
        ],
    );
    if generation == Generation::V1_109 {
        nulls(&mut map, &["agent_id", "budget_id", "budget_limits", "project_id", "tpd_limit"]);
        extend(
            &mut map,
            json!({
                "total_spend": key.total_spend,
                "key_type": "default",
                "budget_fallbacks": {},
                "access_group_ids": [],
                "settings_updated_at": key.settings_updated_at.map(stamp),
                "last_active": key.last_active.map(stamp),
            }),
        );
    }
    map.extend(key.extra.clone());
    map
}

/// The `info` of `/key/info`; with the token it is what `/key/update` and `/key/unblock` answer.
pub(super) fn info(key: &VirtualKey, generation: Generation, zone: Zone) -> Map<String, Value> {
    let mut map = core(key, generation, zone);
    nulls(&mut map, &["budget_id", "litellm_organization_table", "organization_id"]);
    if generation == Generation::V1_109 {
        nulls(&mut map, &["jwt_key_mappings", "litellm_project_table"]);
        map.insert("policies".to_owned(), json!([]));
    }
    map
}

/// The row that `/key/block` answers.
pub(super) fn row(key: &VirtualKey, generation: Generation) -> Map<String, Value> {
    let mut map = core(key, generation, Zone::Letter);
    map.insert("token".to_owned(), json!(key.token));
    nulls(&mut map, &["org_id"]);
    map
}

/// An entry of `/key/list?return_full_object=true`.
pub(super) fn listed(key: &VirtualKey, generation: Generation) -> Map<String, Value> {
    let mut map = row(key, generation);
    nulls(&mut map, LIST_NULLS);
    extend(&mut map, json!({ "team_models": [], "team_blocked": false }));
    if generation == Generation::V1_109 {
        nulls(&mut map, LIST_NULLS_1_109);
        map.insert("is_session_token".to_owned(), json!(false));
    }
    map
}

/// A deleted key of 1.109, in `/key/info` (with its status) and in `/key/list?status=deleted`.
pub(super) fn deleted(deleted: &Deleted, zone: Zone) -> Map<String, Value> {
    let mut map = core(&deleted.key, Generation::V1_109, zone);
    nulls(&mut map, &["litellm_changed_by", "org_id", "organization_id"]);
    extend(
        &mut map,
        json!({
            "id": deleted.id.to_string(),
            "deleted_at": text::stamp(deleted.at, zone),
            "deleted_by": "default_user_id",
            "deleted_by_api_key": "litellm_proxy_master_key",
        }),
    );
    map
}

/// The answer to `/key/generate`, the only one that holds the secret.
pub(super) fn generated(key: &VirtualKey, secret: &str, generation: Generation) -> Map<String, Value> {
    let mut map = core(key, generation, Zone::Letter);
    for name in [
        "auto_rotate",
        "budget_reset_at",
        "key_rotation_at",
        "last_active",
        "last_rotation_at",
        "model_spend",
        "object_permission_id",
        "rotation_count",
        "rotation_interval",
        "settings_updated_at",
        "soft_budget_cooldown",
        "total_spend",
    ] {
        map.remove(name);
    }
    nulls(&mut map, NEW_NULLS);
    nulls(&mut map, &["budget_id", "organization_id"]);
    if generation == Generation::V1_109 {
        nulls(&mut map, NEW_NULLS_1_109);
    }
    extend(&mut map, json!({ "key": secret, "token": key.token, "token_id": key.token }));
    map
}

/// What 1.109 calls the state of a key (`key_info_blocked`, `key_info_expired`).
pub(super) fn status(key: &VirtualKey, now: Timestamp) -> &'static str {
    if key.blocked == Some(true) {
        "revoked"
    } else if key.expired(now) {
        "expired"
    } else {
        "active"
    }
}
