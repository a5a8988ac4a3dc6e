//! The routes and the layers around them.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use axum_login::AuthManagerLayerBuilder;
use serde_json::json;
use time::Duration;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::csrf::CsrfLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::RequestId;
use tower_http::set_header::SetResponseHeader;
use tower_http::trace::{DefaultOnFailure, TraceLayer};
use tower_sessions::cookie::SameSite;
use tower_sessions::{Expiry, SessionManagerLayer};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::config::Access;
use crate::domain::words::{MAX_REQUEST_TEXT, cut};
use crate::store::Store;
use crate::web::auth::Users;
use crate::web::paths::{Paths, route};
use crate::web::routes::{Route, Routes};
use crate::web::state::AppState;
use crate::web::{
    assets, auth, errors, etag, events, headers, lifetime, metering, openapi, origin, pages, theme,
};

/// Where a request's id stands, and how long a sender's may be, in bytes.
const REQUEST_ID: &str = "x-request-id";
const MAX_ID: usize = 128;

/// Longest method in the log. Any word can be sent as one.
const MAX_METHOD: usize = 20;

/// The whole dashboard.
pub fn router(state: AppState) -> Router {
    let (paths, store) = (state.part::<Paths>(), state.part::<Store>());
    let is_secure = state.part::<Arc<Access>>().is_behind_tls;
    let sessions = SessionManagerLayer::new(store.sessions())
        .with_name(cookie(is_secure, paths.base()))
        .with_path(paths.cookie_path().to_owned())
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_secure(is_secure)
        // Whether it is over is decided by what stands in it; this is when the row goes.
        .with_expiry(Expiry::OnInactivity(Duration::seconds(lifetime::ABSOLUTE.as_secs())));
    let auth = AuthManagerLayerBuilder::new(state.part::<Users>(), sessions).build();

    let (open, for_users) = routes().into_routers();
    let for_users = for_users.route_layer(from_fn_with_state(state.clone(), auth::require_user));
    let for_all = Router::new()
        .route(route::Healthz::PATH, get(healthz))
        .route(route::Readyz::PATH, get(readyz))
        .route(route::Metrics::PATH, get(metering::metrics))
        .nest_service(route::Static::PATH, assets_service());
    let ended = from_fn_with_state(state.clone(), lifetime::end);
    let app = for_users.merge(open).fallback(missing).layer(ended).layer(auth).merge(for_all);
    around(below(paths.base(), app, state.clone()), state)
}

/// The name of the session's cookie. Behind TLS its beginning has browsers take it from this host alone.
fn cookie(is_secure: bool, base: &str) -> &'static str {
    match (is_secure, base.is_empty()) {
        (true, true) => "__Host-patchbay_session",
        (true, false) => "__Secure-patchbay_session",
        (false, _) => "patchbay_session",
    }
}

/// All but those that know of no login: whether the process runs, and its files.
fn routes() -> Routes {
    Routes::new()
        .merge(pages::overview::routes())
        .merge(pages::models::routes())
        .merge(pages::keys::routes())
        .merge(pages::switch::routes())
        .merge(pages::compare::routes())
        .merge(pages::contexts::routes())
        .merge(pages::bulk::routes())
        .merge(pages::agents::routes())
        .merge(pages::audit::routes())
        .merge(pages::usage::routes())
        .merge(pages::calls::routes())
        .merge(pages::search::routes())
        .merge(pages::help::routes())
        .merge(pages::styleguide::routes())
        .merge(theme::routes())
        .merge(pages::danger::routes())
        .merge(pages::settings::routes())
        .merge(pages::users::routes())
        .merge(pages::tokens::routes())
        .merge(pages::login::routes())
        .merge(events::routes())
        .merge(openapi::routes())
}

pub fn table() -> Vec<Route> {
    routes().into_table()
}

fn around(app: Router<AppState>, state: AppState) -> Router {
    app.layer(CsrfLayer::new())
        .layer(from_fn_with_state(state.clone(), origin::check))
        .layer(from_fn_with_state(state.clone(), to_the_end))
        .layer(RequestBodyLimitLayer::new(pages::models::MAX_IMPORT))
        .layer(CatchPanicLayer::custom(errors::panicked))
        .layer(from_fn_with_state(state.clone(), finish))
        .layer(etag::compression())
        .layer(from_fn(metering::count))
        .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(DefaultOnFailure::new()))
        .layer(from_fn(identify))
        .with_state(state)
}

async fn missing() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// The sender's id of a request.
#[derive(Clone)]
struct SentId(HeaderValue);

/// Gives each request an id, and its answer the same. One that was sent, by a reverse proxy or anyone else, is logged
/// beside it if it looks like an id; the layers of tower-http keep any id that was sent.
async fn identify(mut request: Request, next: Next) -> Response {
    let is_id = |id: &HeaderValue| {
        (1..=MAX_ID).contains(&id.len())
            && id.as_bytes().iter().all(|c| c.is_ascii_alphanumeric() || b"-_.:+/=".contains(c))
    };
    let id = Uuid::new_v4().to_string().parse().unwrap_or(HeaderValue::from_static("-"));
    if let Some(sent) = request.headers_mut().insert(REQUEST_ID, id.clone()).filter(is_id) {
        request.extensions_mut().insert(SentId(sent));
    }
    request.extensions_mut().insert(RequestId::new(id.clone()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Makes pages of bare errors, and adds headers and tag to every answer.
async fn finish(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (asked, known) = (errors::Asked::of(&request), etag::Known::of(&request));
    let mut response = errors::render(next.run(request).await, asked, &state);
    headers::add(&state.part::<Arc<Access>>(), response.headers_mut());
    etag::add(response, known).await
}

/// Carries a write to its end though its sender has gone away: what the proxy was told to change must not be
/// missing in the audit.
async fn to_the_end(State(writes): State<TaskTracker>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match writes.spawn(next.run(request).in_current_span()).await {
        Ok(response) => response,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        },
    }
}

/// Puts the application below a path, with and without a slash at its end: some reverse proxies lead the one
/// to the other.
fn below(base: &str, app: Router<AppState>, state: AppState) -> Router<AppState> {
    if base.is_empty() {
        return app;
    }
    let home = app.clone().with_state(state).map_request(|mut request: Request| {
        let query = request.uri().query().map(|query| format!("/?{query}"));
        *request.uri_mut() = query.and_then(|uri| uri.parse().ok()).unwrap_or_default();
        request
    });
    Router::new().nest(base, app).fallback(missing).route_service(&format!("{base}/"), home)
}

/// A service and no router: the fallback of a router that is nested twice is lost.
fn assets_service() -> impl Service<Request, Response: IntoResponse, Error = Infallible, Future: Send> + Clone
{
    SetResponseHeader::overriding(
        assets::service(),
        header::CACHE_CONTROL,
        |response: &axum::http::Response<_>| response.status().is_success().then_some(headers::A_YEAR),
    )
}

/// The address is logged without its query: people search for what they would not want in a log. Method and path are cut,
/// or anyone could fill the disk with one request's log lines.
fn span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let sent_id = request.extensions().get::<SentId>().and_then(|sent| sent.0.to_str().ok());
    let (method, path) =
        (cut(request.method().as_str(), MAX_METHOD), cut(request.uri().path(), MAX_REQUEST_TEXT));
    tracing::info_span!("request", %method, %path, route, id, sent_id)
}

async fn healthz() -> &'static str {
    "ok"
}

async fn readyz(State(store): State<Store>) -> Response {
    match store.ping().await {
        Ok(()) => Json(json!({ "status": "ready" })).into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "database down" }))).into_response()
        }
    }
}
