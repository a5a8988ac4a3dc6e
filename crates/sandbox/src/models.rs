//! Routes that change deployments.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::auth::Caller;
use super::body::{Body, Field};
use super::deployment::{Deployment, Row, Served};
use super::errors::{Answer, MODEL_NOT_ADDED, Refusal, Touch};
use super::generation::Generation;
use super::redact;
use super::text::{self, Zone};
use super::world::{MOST_ROWS, World};

/// How long 1.80 goes on serving what `POST /model/update` replaced: measured 20 s, at most its 30 s of
/// synchronisation.
const OLD_SYNC: SignedDuration = SignedDuration::from_secs(20);

/// `POST /model/new`
pub(super) async fn create(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    caller.edit_models(&world)?;
    let generation = world.generation();
    let name = body.required("model_name")?;
    let params = new_params(generation, &body)?;
    let mut info = body.object("model_info")?.set().unwrap_or_default();
    let id = match info.remove("id") {
        Some(Value::String(id)) => id,
        _ => Uuid::new_v4().to_string(),
    };
    let now = world.now();
    let row = Row { name, params, info, blocked: false, created_at: now, updated_at: now, shown_id: None };
    let deployment = Deployment { id, db_model: true, row, served: Served::Current };
    let answer = stored(generation, &deployment);
    let live = not_live(generation, &deployment, "create");
    let mut state = world.with_database(Touch::ModelNew)?;
    if state.models.len() >= MOST_ROWS || !state.models.insert(deployment) {
        return Err(Refusal::admin(generation, 500, "auth_error", "internal_server_error", MODEL_NOT_ADDED));
    }
    live?;
    Ok(Json(answer).into_response())
}

/// The parameters of a new deployment. The proxies crash on what they did not expect
/// (`model_new_missing_params`, `model_new_missing_model`).
fn new_params(generation: Generation, body: &Body) -> Result<Map<String, Value>, Refusal> {
    let params = body.object("litellm_params")?.set();
    match (generation, params) {
        (_, Some(mut params)) if params.get("model").is_some_and(Value::is_string) => {
            drop_nulls(&mut params);
            Ok(params)
        }
        (Generation::V1_80, _) => Err(Refusal::crash()),
        (Generation::V1_109, None) => {
            let error = json!({ "message": "Internal server error", "type": "internal_server_error" });
            Err(Refusal::json(500, json!({ "error": error })))
        }
        (Generation::V1_109, Some(params)) => Err(Refusal::validation(
            generation,
            "missing",
            json!(["body", "litellm_params", "model"]),
            "Field required",
            Value::Object(params),
        )),
    }
}

/// A row the router cannot place: 1.80 says nothing, 1.109 complains although the row is stored
/// (`model_new_unknown_provider`).
fn not_live(generation: Generation, deployment: &Deployment, verb: &str) -> Result<(), Refusal> {
    if generation == Generation::V1_80 || deployment.row.upstream().is_some() {
        return Ok(());
    }
    Err(Refusal::proxy(
        500,
        "internal_server_error",
        Value::Null,
        format!(
            "Model {verb} was saved to the database, but the model id(s) ['{}'] are not live in this pod's \
             router after the reload and are not being served by this pod. Other pods reload on their own \
             interval. Check server logs for 'Error upserting deployment' or 'Error creating deployment' \
             for the cause.",
            deployment.id
        ),
    ))
}

/// `POST /model/update`
pub(super) async fn update(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    caller.edit_models(&world)?;
    let generation = world.generation();
    let info = body.object("model_info")?.set();
    let id = info.as_ref().and_then(|info| info.get("id")).and_then(Value::as_str).unwrap_or_default();
    let now = world.now();
    let mut state = world.with_database(Touch::ModelEdit)?;
    if state.models.get(id).is_some_and(|deployment| !deployment.db_model) {
        let message =
            r#"{'error': "Can't edit model. Model in config. Store model in db via `/model/new`. to edit."}"#;
        return Err(refused(generation, message));
    }
    let said = |message: &str| match generation {
        Generation::V1_80 => refused(generation, format!("Authentication Error, {message}")),
        Generation::V1_109 => refused(generation, message),
    };
    let Some(info) = info.as_ref() else { return Err(said("model_info not provided")) };
    if body.object("litellm_params")?.set().is_none() {
        return Err(said("litellm_params not provided"));
    }
    let Some(deployment) = state.models.get_mut(id) else { return Err(said("model not found")) };
    let before = deployment.live(now).cloned();
    merge(&mut deployment.row, &body, now)?;
    deployment.row.info.extend(info.iter().filter(|(name, _)| *name != "id").map(owned));
    deployment.served = match before {
        Some(row) if generation == Generation::V1_80 => {
            Served::Old { row: Box::new(row), until: now.saturating_add(OLD_SYNC).unwrap_or(now) }
        }
        _ => Served::Current,
    };
    let answer = stored(generation, deployment);
    not_live(generation, deployment, "update")?;
    Ok(Json(answer).into_response())
}

/// `PATCH /model/{id}/update`: served at once in both generations.
pub(super) async fn patch(
    State(world): State<World>,
    Path(id): Path<String>,
    caller: Caller,
    body: Body,
) -> Answer {
    // The genuine server decodes a slash before it looks for the route.
    if id.contains('/') {
        return Err(Refusal::detail(404, json!("Not Found")));
    }
    caller.edit_models(&world)?;
    let generation = world.generation();
    let now = world.now();
    let mut state = world.with_database(Touch::ModelEdit)?;
    let Some(deployment) = state.models.get_mut(&id) else {
        let message = format!("Model {id} not found on proxy.");
        return Err(Refusal::proxy(404, "not_found_error", Value::Null, message));
    };
    if !deployment.db_model {
        let message = "Cannot edit config-based model. Store model in DB via /model/new first.";
        return Err(Refusal::proxy(400, "validation_error", Value::Null, message));
    }
    let info = body.object("model_info")?;
    merge(&mut deployment.row, &body, now)?;
    if let Field::Set(info) = info {
        let named = info.get("id").and_then(Value::as_str).map(str::to_owned);
        deployment.row.shown_id = Some(named.unwrap_or_else(|| Uuid::new_v4().to_string()));
        deployment
            .row
            .info
            .extend(info.iter().filter(|(name, value)| *name != "id" && !value.is_null()).map(owned));
    }
    deployment.served = Served::Current;
    let answer = stored(generation, deployment);
    not_live(generation, deployment, "update")?;
    Ok(Json(answer).into_response())
}

/// Merges the name and the parameters into `row`; null never clears (`model_patch_null`).
fn merge(row: &mut Row, body: &Body, now: Timestamp) -> Result<(), Refusal> {
    let name = body.string("model_name")?.set();
    let mut params = body.object("litellm_params")?.set().unwrap_or_default();
    drop_nulls(&mut params);
    row.params.extend(params);
    if let Some(name) = name {
        row.name = name;
    }
    row.updated_at = now;
    Ok(())
}

/// `POST /model/delete`
pub(super) async fn delete(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    caller.edit_models(&world)?;
    let generation = world.generation();
    let id = body.required("id")?;
    let mut state = world.with_database(Touch::ModelEdit)?;
    if !state.models.remove(&id) {
        return Err(refused(generation, format!("{{'error': 'Model with id={id} not found in db'}}")));
    }
    Ok(Json(json!({ "message": format!("Model: {id} deleted successfully") })).into_response())
}

/// `POST /model/block`
pub(super) async fn block(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    set_blocked(&world, &caller, &body, true)
}

/// `POST /model/unblock`
pub(super) async fn unblock(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    set_blocked(&world, &caller, &body, false)
}

fn set_blocked(world: &World, caller: &Caller, body: &Body, blocked: bool) -> Answer {
    caller.edit_models(world)?;
    let id = body.required("model_id")?;
    let now = world.now();
    let mut state = world.with_database(Touch::ModelBlock)?;
    let Some(deployment) = state.models.get_mut(&id).filter(|deployment| deployment.db_model) else {
        // Not recorded.
        let message = format!("Model {id} not found on proxy.");
        return Err(Refusal::proxy(404, "not_found_error", Value::Null, message));
    };
    deployment.row.blocked = blocked;
    deployment.row.updated_at = now;
    Ok(Json(stored(world.generation(), deployment)).into_response())
}

fn refused(generation: Generation, message: impl Into<String>) -> Refusal {
    Refusal::admin(generation, 400, "auth_error", "invalid_request_error", message)
}

fn drop_nulls(map: &mut Map<String, Value>) {
    map.retain(|_, value| !value.is_null());
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// The row as the database keeps it: encrypted, and with a `db_model` that is always false.
fn stored(generation: Generation, deployment: &Deployment) -> Value {
    let row = &deployment.row;
    let mut info = row.info.clone();
    let id = row.shown_id.as_ref().unwrap_or(&deployment.id);
    info.insert("id".to_owned(), json!(id));
    info.insert("db_model".to_owned(), json!(false));
    if generation == Generation::V1_109 {
        info.insert("member_auto_router".to_owned(), json!(false));
    }
    let mut answer = json!({
        "model_id": deployment.id,
        "model_name": row.name,
        "litellm_params": redact::encrypted(&row.params, generation),
        "model_info": info,
        "created_at": text::stamp(row.created_at, Zone::Letter),
        "created_by": "default_user_id",
        "updated_at": text::stamp(row.updated_at, Zone::Letter),
        "updated_by": "default_user_id",
    });
    if generation == Generation::V1_109 {
        answer["blocked"] = json!(row.blocked);
    }
    answer
}
