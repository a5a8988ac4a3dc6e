//! Liveness and readiness.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::auth::Caller;
use super::errors::{Refusal, UNREACHABLE};
use super::generation::Generation;
use super::world::{Database, World};

/// Time for which 1.80 reports a lost database as connected (measured).
const BELIEVED: SignedDuration = SignedDuration::from_secs(40);

/// `GET /health/liveliness`
pub(super) async fn liveliness() -> Json<&'static str> {
    Json("I'm alive!")
}

/// `GET /health/readiness`. The body of 1.109 is always healthy (`1.109/dbdown_readiness_1`).
pub(super) async fn readiness(State(world): State<World>) -> Response {
    let (status, db) = database(&world);
    if world.generation() == Generation::V1_109 {
        return (status, Json(json!({ "status": "healthy", "db": db }))).into_response();
    }
    if status != StatusCode::OK {
        let detail = format!("Service Unhealthy ({UNREACHABLE})");
        return Refusal::detail(status.as_u16(), detail).into_response();
    }
    let mut answer = json!({
        // "healthy" without a database: not recorded for 1.80.17.
        "status": if db == "connected" { "connected" } else { "healthy" },
        "db": db,
        "cache": null,
        "litellm_version": world.generation().version(),
        "success_callbacks": ["sync_deployment_callback_on_success"],
        "use_aiohttp_transport": true,
    });
    if db == "connected" {
        answer["last_updated"] = json!(world.now().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string());
    }
    Json(answer).into_response()
}

/// `GET /health/readiness/details`, 1.109 only, for admins.
pub(super) async fn details(State(world): State<World>, _: Caller) -> Response {
    let (status, db) = database(&world);
    let answer: Value = json!({
        "status": "healthy",
        "db": db,
        "cache": null,
        "litellm_version": world.generation().version(),
        "success_callbacks": ["sync_deployment_callback_on_success"],
        "use_aiohttp_transport": true,
        "log_level": "WARNING",
        "is_detailed_debug": false,
        "show_no_redis_warning": false,
        "show_env_credential_login_warning": true,
    });
    (status, Json(answer)).into_response()
}

fn database(world: &World) -> (StatusCode, &'static str) {
    let state = world.lock();
    match state.database {
        Database::Up => (StatusCode::OK, "connected"),
        Database::None => (StatusCode::OK, "Not connected"),
        Database::Down => {
            let lately = state.lost.is_some_and(|lost| world.now().duration_since(lost) < BELIEVED);
            if world.generation() == Generation::V1_80 && lately {
                return (StatusCode::OK, "connected");
            }
            (StatusCode::SERVICE_UNAVAILABLE, "disconnected")
        }
    }
}
