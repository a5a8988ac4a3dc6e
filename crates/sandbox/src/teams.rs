//! Teams, as far as they decide what their keys may call.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::auth::Caller;
use super::body::Body;
use super::errors::{Answer, Refusal, Touch};
use super::generation::Generation;
use super::key_table::VirtualKey;
use super::world::{MOST_ROWS, State as Held, World};

/// `POST /team/new`
pub(super) async fn create(State(world): State<World>, caller: Caller, body: Body) -> Answer {
    caller.administrate(&world)?;
    let id = body.string("team_id")?.set().unwrap_or_else(|| Uuid::new_v4().to_string());
    let models = body.strings("models")?.set().unwrap_or_default();
    let mut team = Map::new();
    for name in ["team_alias", "max_budget", "metadata", "budget_limits"] {
        team.insert(name.to_owned(), body.map.get(name).cloned().unwrap_or_default());
    }
    team.extend([
        ("team_id".to_owned(), json!(id)),
        ("models".to_owned(), json!(models)),
        ("blocked".to_owned(), json!(body.boolean("blocked")?.set().unwrap_or(false))),
        ("spend".to_owned(), json!(body.float("spend")?.set().unwrap_or(0.0))),
    ]);
    let mut state = world.with_database(Touch::KeyWrite)?;
    if state.teams.len() < MOST_ROWS {
        state.teams.insert(id, team.clone());
    }
    Ok(Json(team).into_response())
}

/// `GET /v2/team/list`
pub(super) async fn list(State(world): State<World>, caller: Caller) -> Answer {
    caller.administrate(&world)?;
    let state = world.with_database(Touch::KeyList)?;
    let teams: Vec<&Map<String, Value>> = state.teams.values().collect();
    let total = teams.len();
    Ok(Json(json!({ "teams": teams, "total": total, "page": 1, "page_size": total, "total_pages": 1 }))
        .into_response())
}

/// Whether a key's team lets it call a model.
pub(super) fn admit(
    generation: Generation,
    state: &Held,
    key: &VirtualKey,
    allows: impl Fn(&[String]) -> bool,
) -> Result<(), Refusal> {
    let Some(team) = key.team_id.as_ref().and_then(|id| state.teams.get(id)) else { return Ok(()) };
    if team["blocked"] == true {
        let message =
            format!("Authentication Error, Team={} is blocked. Update via `/team/unblock`.", team["team_id"]);
        return Err(Refusal::proxy(401, "auth_error", generation.no_param(), message));
    }
    let number = |name: &str| team.get(name).and_then(Value::as_f64);
    if number("max_budget").is_some_and(|most| number("spend").unwrap_or(0.0) > most) {
        let status = if generation == Generation::V1_80 { 400 } else { 422 };
        return Err(Refusal::proxy(status, "budget_exceeded", Value::Null, "Budget has been exceeded! Team"));
    }
    let models = team["models"].as_array().into_iter().flatten();
    let models: Vec<String> = models.filter_map(|name| Some(name.as_str()?.to_owned())).collect();
    if allows(&models) {
        return Ok(());
    }
    let status = if generation == Generation::V1_80 { 401 } else { 403 };
    let message = "team not allowed to access model.";
    Err(Refusal::proxy(status, "team_model_access_denied", "model", message))
}
