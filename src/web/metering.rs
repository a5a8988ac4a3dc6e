//! Counts requests and serves `GET /metrics`. It needs no login: no label holds an address or anything that a user
//! typed. Agents are labelled with their names in the settings.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use metrics::{counter, gauge, histogram};
use patchbay_clock::Clock;

use crate::services::agents::Agents;
use crate::services::keys::Keys;
use crate::services::live::Live;
use crate::services::registry::Registry;
use crate::store::Store;
use crate::telemetry;
use crate::web::state::services;

pub(super) async fn count(request: Request, next: Next) -> Response {
    // Any word can be sent as a method.
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "other",
    };
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned());
    let begun = Instant::now();
    let response = next.run(request).await;
    histogram!(telemetry::REQUEST_SECONDS, "method" => method, "route" => route.clone())
        .record(begun.elapsed().as_secs_f64());
    let status = response.status().as_u16().to_string();
    counter!(telemetry::REQUESTS, "method" => method, "route" => route, "status" => status).increment(1);
    response
}

services! {
    pub(super) struct Services {
        agents: Agents,
        clock: Clock,
        keys: Keys,
        live: Live,
        registry: Registry,
        store: Store,
    }
}

pub(super) async fn metrics(State(state): State<Services>) -> Response {
    let now = state.clock.now();
    let age = |of: &'static str, at: Option<Timestamp>| {
        if let Some(at) = at {
            gauge!(telemetry::SNAPSHOT_AGE, "of" => of).set(now.duration_since(at).as_secs_f64());
        }
    };
    age("models", state.registry.cached().at);
    age("keys", state.keys.cached().at);
    let down = state.live.condition().down;
    for agent in state.agents.names() {
        let is_up = !down.contains(&format!("agent/{agent}"));
        gauge!(telemetry::AGENT_UP, "agent" => agent.to_string()).set(f64::from(u8::from(is_up)));
    }
    for (of, name) in [("proxy", "proxy"), ("proxy's database", "proxy-database"), ("database", "database")] {
        gauge!(telemetry::UP, "of" => of).set(f64::from(u8::from(!down.contains(name))));
    }
    #[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
    gauge!(telemetry::LISTENERS).set(state.live.listeners() as f64);
    // Without a database there is no number.
    if let Ok(sessions) = state.store.sessions().count().await {
        gauge!(telemetry::SESSIONS).set(sessions);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], telemetry::render())
        .into_response()
}
