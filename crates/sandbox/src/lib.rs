//! A stateful imitation of the LiteLLM proxy, used over HTTP only.
//!
//! It imitates two generations of the genuine proxy ([`Generation`]): the statuses and the bodies follow
//! recordings of 1.80.17 and 1.109.1 (`tests/wire/litellm`, named in comments where the behaviour surprises).
//! It shares no type with the client that calls it, so that a mistake in one cannot hide in the other.
//!
//! Deliberate differences: spend is booked at once (the real proxy flushes every 10 to 15 s), an upstream
//! failure is not retried, requests and answers are stored (a setting of the real proxy), and the environment is never read.
//!
//! The upstream answers "I am" and its model's name. Words in the last user message steer it:
//! `SLEEP=<s>`, `FAIL=<status>`, `BIG=<n>`, `WORDS=<n>`, `TOKENS=<n>`; a stored `api_key` of `bad-key` is refused.

mod activity;
mod auth;
mod body;
mod calls;
mod catalog;
mod chat;
mod deployment;
mod errors;
mod generation;
mod health;
mod history;
mod key_list;
mod key_table;
mod key_views;
mod keys;
mod model_info;
mod models;
mod redact;
mod router;
mod spend;
mod stream;
mod teams;
mod text;
mod upstream;
mod world;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, patch, post};

pub use calls::ChatCall;
pub use generation::{Generation, UnknownGeneration};
pub use history::PastCall;
pub use world::{Database, Options, World};

/// The most bytes a request may carry.
const BODY_LIMIT: usize = 1024 * 1024;

/// The proxy's HTTP interface onto `world`.
pub fn router(world: World) -> Router {
    let modern = world.generation() == Generation::V1_109;
    let mut router = Router::new()
        .route("/health/liveliness", get(health::liveliness))
        .route("/health/liveness", get(health::liveliness))
        .route("/health/readiness", get(health::readiness))
        .route("/model/info", get(model_info::list))
        .route("/v1/model/info", get(model_info::list))
        .route("/v2/model/info", get(model_info::list_v2))
        .route("/v1/models", get(model_info::names))
        .route("/models", get(model_info::names))
        .route("/v1/models/{id}", get(model_info::name))
        .route("/models/{id}", get(model_info::name))
        .route("/model_group/info", get(model_info::groups))
        .route("/public/providers", get(model_info::providers))
        .route("/router/settings", get(router::settings))
        .route("/get/config/callbacks", get(router::callbacks))
        .route("/config/update", post(router::update))
        .route("/credentials", get(router::credentials).post(router::create_credential))
        .route("/model/new", post(models::create))
        .route("/model/update", post(models::update))
        .route("/model/{id}/update", patch(models::patch))
        .route("/model/delete", post(models::delete))
        .route("/key/generate", post(keys::generate))
        .route("/key/info", get(key_list::info))
        .route("/key/list", get(key_list::list))
        .route("/key/update", post(keys::update))
        .route("/key/block", post(keys::block))
        .route("/key/unblock", post(keys::unblock))
        .route("/key/delete", post(keys::delete))
        .route("/team/new", post(teams::create))
        .route("/v2/team/list", get(teams::list))
        .route("/global/spend", get(spend::total))
        .route("/global/spend/keys", get(history::by_key))
        .route("/global/spend/models", get(history::by_model))
        .route("/spend/logs/v2", get(spend::logs))
        .route("/spend/logs/ui", get(spend::logs))
        .route("/spend/logs/ui/{request_id}", get(spend::bodies))
        .route("/spend/logs/session/ui", get(spend::session))
        .route("/user/daily/activity", get(activity::daily))
        .route("/v1/responses", post(chat::respond))
        .route("/v1/chat/completions", post(chat::complete))
        .route("/chat/completions", post(chat::complete));
    if modern {
        router = router
            .route("/health/readiness/details", get(health::details))
            .route("/model/block", post(models::block))
            .route("/model/unblock", post(models::unblock));
    }
    router
        .fallback(errors::not_found)
        .method_not_allowed_fallback(errors::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(world)
}
