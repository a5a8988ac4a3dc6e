//! `GET /events`: what happens, as it happens.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
use patchbay_clock::Clock;
use serde::Deserialize;
use tower_sessions::session::Id;
use tower_sessions::{Session, SessionStore as _};

use crate::services::live::{Listener, Listening, Live};
use crate::services::people::People;
use crate::store::Store;
use crate::web::auth::{Account, CurrentUser, LoginKind, Users};
use crate::web::errors::Problem;
use crate::web::lifetime;
use crate::web::paths::route;
use crate::web::routes::{Routes, VIEWER};
use crate::web::state::services;

/// How often a stream looks whether its session is still there, and says that it is.
const LOOK: Duration = Duration::from_secs(4);

/// How long a stream lasts that has no session: its next request shows whether the login still holds. Browsers come back by
/// themselves.
const WITHOUT_SESSION: SignedDuration = SignedDuration::from_mins(5);

/// A comment: nothing on the way closes the connection as an idle one, and one that broke is found.
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

pub(super) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Events::PATH, events)
}

services! {
    struct Services {
        clock: Clock,
        live: Live,
        people: People,
        store: Store,
        users: Users,
    }
}

#[derive(Deserialize)]
struct Asked {
    last: Option<i64>,
}

async fn events(
    State(state): State<Services>,
    Extension(user): Extension<CurrentUser>,
    session: Option<Extension<Session>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    if !["text/event-stream", "*/*"].contains(&accept) || headers.contains_key("hx-request") {
        let detail = "This address answers with events for as long as someone listens.";
        let advice = "Ask for text/event-stream.";
        return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "A stream, no page", detail, advice));
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let session = session.and_then(|session| session.id());
    let listener = Listener {
        name: user.owner().to_owned(),
        session: session.map(|id| id.to_string()),
        last: last.or(asked.last),
    };
    let listening = state.live.listen(listener).map_err(|full| {
        let advice = "Close some of the dashboard's windows.";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "Too many listeners", full.to_string(), advice)
    })?;
    let account = match user.by {
        LoginKind::Password => state.users.account(&user.name).await,
        LoginKind::Header | LoginKind::Token { .. } => None,
    };
    let watched = Watched { session, user, account, begun: state.clock.now(), state };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // nginx would gather the events otherwise.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(pieces(listening, watched))).into_response())
}

/// The stream ends with the session, which may be ended elsewhere, and with its user.
fn pieces(listening: Listening, watched: Watched) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    looks.reset();
    stream::unfold((listening, looks, watched), |(mut listening, mut looks, watched)| async move {
        let piece = tokio::select! {
            piece = listening.next() => piece?,
            _ = looks.tick() => {
                if !watched.is_there().await {
                    return None;
                }
                HEARTBEAT
            }
        };
        Some((Ok(piece), (listening, looks, watched)))
    })
}

/// Whoever listens.
struct Watched {
    session: Option<Id>,
    user: CurrentUser,
    /// Of a login with a password.
    account: Option<Account>,
    begun: Timestamp,
    state: Services,
}

impl Watched {
    async fn is_there(&self) -> bool {
        let is_fresh = || self.state.clock.now().duration_since(self.begun).abs() < WITHOUT_SESSION;
        match &self.user.by {
            LoginKind::Password => self.has_session().await,
            LoginKind::Header => is_fresh(),
            // A database that fails says nothing of the token.
            LoginKind::Token { id, .. } => {
                is_fresh() && !matches!(self.state.people.token(id).await, Ok(None))
            }
        }
    }

    async fn has_session(&self) -> bool {
        let Some(account) = &self.account else { return false };
        let now = self.state.users.account(&account.name).await;
        if now.is_none_or(|now| now.tag != account.tag) {
            return false;
        }
        let Some(id) = &self.session else { return true };
        match self.state.store.sessions().load(id).await {
            Ok(record) => {
                record.is_some_and(|record| lifetime::is_live(&record.data, self.state.clock.now()))
            }
            // A database that fails says nothing of the session.
            Err(_) => true,
        }
    }
}
