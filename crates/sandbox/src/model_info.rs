//! Routes that show deployments.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::body::{self, Query};
use super::catalog;
use super::deployment::{Deployment, Row};
use super::errors::{Answer, Refusal, Touch};
use super::generation::Generation;
use super::redact;
use super::world::{State as Held, World};

/// Fields of `model_info` that are null for a model the price map does not know; the real proxy has some
/// sixty (1.80) or two hundred (1.109) of them.
const UNKNOWN: &[&str] = &[
    "input_cost_per_token",
    "litellm_provider",
    "max_input_tokens",
    "max_output_tokens",
    "max_tokens",
    "mode",
    "output_cost_per_token",
    "rpm",
    "supports_audio_input",
    "supports_audio_output",
    "supports_function_calling",
    "supports_native_streaming",
    "supports_pdf_input",
    "supports_prompt_caching",
    "supports_reasoning",
    "supports_response_schema",
    "supports_system_messages",
    "supports_tool_choice",
    "supports_vision",
    "supports_web_search",
    "tpm",
];

const PRICES: &[&str] = &["input_cost_per_token", "output_cost_per_token"];

/// Fields of every chat model, newer proxy only.
const COMMON_1_109: &[&str] = &["supports_parallel_function_calling", "supports_web_search"];

const COMMON: &[&str] = &[
    "supports_function_calling",
    "supports_native_streaming",
    "supports_pdf_input",
    "supports_prompt_caching",
    "supports_response_schema",
    "supports_system_messages",
    "supports_tool_choice",
    "supports_vision",
];

/// `GET /model/info` and `GET /v1/model/info`; a limited key sees its own models only.
pub(super) async fn list(State(world): State<World>, caller: Caller, query: Query) -> Answer {
    let generation = world.generation();
    let now = world.now();
    let state = world.with_database(Touch::ModelInfo)?;
    if let Some(id) = query.get("litellm_model_id") {
        let found = state.models.get(id).and_then(|deployment| Some((deployment, deployment.live(now)?)));
        let Some((deployment, row)) = found else {
            let error = format!("Model id = {id} not found on litellm proxy");
            return Err(Refusal::detail(400, json!({ "error": error })));
        };
        return Ok(Json(json!({ "data": [entry(generation, deployment, row)] })).into_response());
    }
    let allowed = caller.models(&state);
    let listed = listed(generation, &state, now);
    let mut found: Vec<(&Deployment, &Row)> = listed
        .iter()
        .map(|(deployment, row)| (*deployment, row.as_ref()))
        // The older proxy leaves out a deployment without a name (`1.80/model_info`).
        .filter(|(_, row)| generation == Generation::V1_109 || !row.name.is_empty())
        .filter(|(_, row)| row.is_open_to(&allowed))
        .collect();
    if generation == Generation::V1_80 {
        group(&mut found);
    }
    let data: Vec<Value> = found
        .into_iter()
        .map(|(deployment, row)| {
            let mut entry = entry(generation, deployment, row);
            if generation == Generation::V1_109 {
                let master = caller.token.is_none();
                entry["model_info"]["direct_access"] = json!(master);
                // Virtual keys do not see teams (`1.109/virtual_key_model_info`).
                if master {
                    entry["model_info"]["access_via_team_ids"] = json!([]);
                }
            }
            entry
        })
        .collect();
    Ok(Json(json!({ "data": data })).into_response())
}

/// The rows of `/model/info`: each alias shows those of its target, and each pattern the known models of its provider,
/// all with the same id. The newer proxy leaves out the pattern itself (`x_model_info_wildcard`).
fn listed(generation: Generation, state: &Held, now: Timestamp) -> Vec<(&Deployment, Cow<'_, Row>)> {
    let mut listed = Vec::new();
    for (alias, _) in state.router.shown_aliases() {
        let serving = state.models.serving(state.router.resolve(alias), now);
        let named = serving.into_iter().filter(|(_, row)| !row.is_pattern());
        listed.extend(named.map(|(deployment, row)| {
            (deployment, Cow::Owned(Row { name: alias.to_owned(), ..row.clone() }))
        }));
    }
    for (deployment, row) in state.models.live(now) {
        if !row.is_pattern() || generation == Generation::V1_80 {
            listed.push((deployment, Cow::Borrowed(row)));
        }
        let Some((provider, _)) = row.upstream().filter(|_| row.is_pattern()) else { continue };
        listed.extend(catalog::models_of(provider).map(|known| {
            let mut row = row.clone();
            row.name = row.name.replace('*', known.key);
            row.params.insert("model".to_owned(), json!(format!("{provider}/{}", known.key)));
            (deployment, Cow::Owned(row))
        }));
    }
    listed
}

/// `GET /model_group/info?model_group=`: what the proxy knows of a name, also of one that only a pattern serves.
pub(super) async fn groups(State(world): State<World>, caller: Caller, query: Query) -> Answer {
    caller.administrate(&world)?;
    let state = world.lock();
    let asked = query.get("model_group").map_or("", String::as_str);
    let name = state.router.resolve(asked);
    let serving = state.models.serving(name, world.now());
    let group = serving.first().and_then(|(_, row)| {
        let upstream = row.upstream_model(name)?;
        let known = catalog::entry(&upstream);
        // For a name that only a pattern serves there is data only if the price map has it.
        if known.is_none() && row.is_pattern() {
            return None;
        }
        let mode = row.info.get("mode").cloned().or_else(|| Some(json!(known?.mode)));
        Some(json!({ "model_group": asked, "providers": [row.upstream()?.0], "mode": mode }))
    });
    let data: Vec<Value> = group.into_iter().collect();
    Ok(Json(json!({ "data": data })).into_response())
}

/// The older proxy lists deployments of one name together, where the first of them stands.
fn group(found: &mut [(&Deployment, &Row)]) {
    let mut first = HashMap::new();
    for (place, (_, row)) in found.iter().enumerate() {
        first.entry(row.name.clone()).or_insert(place);
    }
    found.sort_by_key(|(_, row)| first.get(&row.name).copied());
}

/// `GET /v2/model/info`: every key sees every model (`virtual_key_v2_model_info`).
pub(super) async fn list_v2(State(world): State<World>, _: Caller, query: Query) -> Answer {
    let generation = world.generation();
    let now = world.now();
    let state = world.with_database(Touch::ModelInfoV2)?;
    let wanted = query.get("model").filter(|name| !name.is_empty());
    let mut found: Vec<(&Deployment, &Row)> =
        state.models.live(now).filter(|(_, row)| wanted.is_none_or(|name| row.name == *name)).collect();
    if generation == Generation::V1_80 {
        let data: Vec<Value> =
            found.into_iter().map(|(deployment, row)| entry(generation, deployment, row)).collect();
        return Ok(Json(json!({ "data": data })).into_response());
    }
    let page = body::page(generation, &query, "page", 1, usize::MAX)?;
    let size = body::page(generation, &query, "size", 50, usize::MAX)?;
    if let Some(id) = query.get("modelId").filter(|id| !id.is_empty()) {
        // The only route that shows ghosts (`x_ghost_v2_model_info`).
        found = state.models.get(id).map(|deployment| (deployment, &deployment.row)).into_iter().collect();
    }
    if let Some(search) = query.get("search").filter(|search| !search.is_empty()) {
        let search = search.to_lowercase();
        // Finds the upstream model's name too (`v2_model_info_search`).
        found.retain(|(_, row)| {
            row.name.to_lowercase().contains(&search) || row.text("model").to_lowercase().contains(&search)
        });
    }
    sort(&mut found, &query);
    let (shown, pages) = body::slice(&found, page, size);
    let data: Vec<Value> = shown.iter().map(|(deployment, row)| entry(generation, deployment, row)).collect();
    let answer = json!({
        "data": data,
        "total_count": found.len(),
        "current_page": page,
        "total_pages": pages,
        "size": size,
    });
    Ok(Json(answer).into_response())
}

/// An unknown column is ignored (`v2_model_info_sort_bad`), and so are the times, which the router does not
/// keep (`v2_model_info_sort`).
fn sort(found: &mut [(&Deployment, &Row)], query: &Query) {
    if query.get("sortBy").is_none_or(|column| column != "model_name") {
        return;
    }
    found.sort_by_key(|(_, row)| row.name.to_lowercase());
    if query.get("sortOrder").is_some_and(|order| order == "desc") {
        found.reverse();
    }
}

/// One deployment, readable and without its secrets.
fn entry(generation: Generation, deployment: &Deployment, row: &Row) -> Value {
    let mut info = Map::new();
    let upstream = row.upstream();
    let known = upstream.and_then(|(_, model)| catalog::entry(model));
    // The older proxy adds nothing for a model it does not know (`1.80/model_info`, "dead").
    if known.is_some() || (upstream.is_some() && generation == Generation::V1_109) || !deployment.db_model {
        info.extend(UNKNOWN.iter().map(|name| ((*name).to_owned(), Value::Null)));
        info.insert("key".to_owned(), json!(known.map_or(row.text("model"), |entry| entry.key)));
        info.insert("litellm_provider".to_owned(), json!(upstream.map(|(provider, _)| provider)));
    }
    if let Some(known) = known {
        info.extend(priced(known));
        if generation == Generation::V1_109 {
            info.extend(COMMON_1_109.iter().map(|name| ((*name).to_owned(), json!(true))));
        }
    } else if generation == Generation::V1_80 && !deployment.db_model {
        // `1.80/model_info_empty`
        info.extend(PRICES.iter().map(|name| ((*name).to_owned(), json!(0))));
    }
    info.extend(row.info.clone());
    let own: Vec<&str> = PRICES.iter().copied().filter(|price| row.params.contains_key(*price)).collect();
    for price in &own {
        info.insert((*price).to_owned(), row.params[*price].clone());
    }
    info.insert("id".to_owned(), json!(deployment.id));
    info.insert("db_model".to_owned(), json!(deployment.db_model));
    if generation == Generation::V1_109 {
        info.insert("member_auto_router".to_owned(), json!(false));
        info.insert("pricing_overrides".to_owned(), json!(own));
        if deployment.db_model {
            info.insert("blocked".to_owned(), json!(deployment.row.blocked));
        }
    }
    json!({
        "model_name": row.name,
        "litellm_params": redact::public(&row.params, generation),
        "model_info": info,
    })
}

fn priced(known: &catalog::Entry) -> Map<String, Value> {
    let mut info = Map::new();
    info.insert("mode".to_owned(), json!(known.mode));
    info.insert("litellm_provider".to_owned(), json!(known.provider));
    info.insert("max_tokens".to_owned(), json!(known.max_output_tokens));
    info.insert("max_input_tokens".to_owned(), json!(known.max_input_tokens));
    info.insert("max_output_tokens".to_owned(), json!(known.max_output_tokens));
    info.insert("input_cost_per_token".to_owned(), json!(known.prices.0));
    info.insert("output_cost_per_token".to_owned(), json!(known.prices.1));
    info.insert("supports_reasoning".to_owned(), json!(known.reasoning));
    info.extend(COMMON.iter().map(|name| ((*name).to_owned(), json!(true))));
    info
}

/// `GET /v1/models`: the names the caller may use, each once.
pub(super) async fn names(State(world): State<World>, caller: Caller, query: Query) -> Answer {
    let state = world.lock();
    let data = visible(&world, &caller, &state, body::flag(&query, "return_wildcard_routes"));
    Ok(Json(json!({ "data": data, "object": "list" })).into_response())
}

/// `GET /v1/models/{id}`
pub(super) async fn name(State(world): State<World>, Path(id): Path<String>, caller: Caller) -> Answer {
    let state = world.lock();
    match visible(&world, &caller, &state, false).into_iter().find(|model| model["id"] == id) {
        Some(model) => Ok(Json(model).into_response()),
        None => Err(Refusal::detail(404, format!("The model `{id}` does not exist or is not accessible"))),
    }
}

fn visible(world: &World, caller: &Caller, state: &Held, wildcards: bool) -> Vec<Value> {
    let (generation, now) = (world.generation(), world.now());
    let allowed = caller.models(state);
    // The older proxy lists the deny-all marker as if it were a model (`v1_models_key_no_default`).
    if generation == Generation::V1_80 && allowed == ["no-default-models"] {
        return vec![model_object(generation, "no-default-models", None)];
    }
    let mut seen = HashSet::new();
    let listed = listed(generation, state, now);
    let rows = listed.iter().map(|(_, row)| row.as_ref());
    let patterns = state.models.live(now).map(|(_, row)| row).filter(|row| row.is_pattern() && wildcards);
    let rows = rows.filter(|row| !row.is_pattern()).chain(patterns);
    let rows = rows.filter(|row| seen.insert(row.name.clone())).filter(|row| row.is_open_to(&allowed));
    let mut models: Vec<Value> = rows
        .map(|row| {
            let known = row.upstream().and_then(|(_, model)| catalog::entry(model));
            model_object(generation, &row.name, known)
        })
        .collect();
    // Aliases of names that only a pattern serves, or nothing.
    let aliases = state.router.shown_aliases().map(|(name, _)| name);
    let more = aliases.filter(|name| allowed.is_empty() && !seen.contains(*name));
    models.extend(more.map(|name| model_object(generation, name, None)));
    models
}

fn model_object(generation: Generation, name: &str, known: Option<&catalog::Entry>) -> Value {
    let mut model = json!({ "id": name, "object": "model", "created": 1_677_610_602, "owned_by": "openai" });
    if let Some(known) = known.filter(|_| generation == Generation::V1_109) {
        model["mode"] = json!(known.mode);
        model["max_input_tokens"] = json!(known.max_input_tokens);
        model["max_output_tokens"] = json!(known.max_output_tokens);
    }
    model
}
/// `GET /public/providers`
pub(super) async fn providers() -> Json<&'static [&'static str]> {
    Json(catalog::PROVIDERS)
}
