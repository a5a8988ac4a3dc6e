//! How long a session is one: as long as it is used, and not for ever.

use std::collections::HashMap;
use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use patchbay_clock::Clock;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower_sessions::Session;
use tower_sessions::session::Error;

use crate::web::auth::{AuthSession, CurrentUser, LoginKind};
use crate::web::errors::Problem;

/// A session that is not used ends after this time.
const IDLE: SignedDuration = SignedDuration::from_hours(2);

/// Any session ends this long after the login.
pub(super) const ABSOLUTE: SignedDuration = SignedDuration::from_hours(12);

/// Use is written down this often at most: a page that is looked at is no write.
const NOTED: SignedDuration = SignedDuration::from_mins(1);

const KEY: &str = "lifetime";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lifetime {
    since: Timestamp,
    used: Timestamp,
    /// Where the login came from.
    #[serde(default)]
    address: Option<IpAddr>,
}

/// What admins see of a session. Of an earlier release it has none of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct SessionFacts {
    pub(super) since: Option<Timestamp>,
    /// Noted once a minute at most.
    pub(super) used_at: Option<Timestamp>,
    pub(super) address: Option<IpAddr>,
}

pub(super) fn facts(data: &HashMap<String, Value>) -> SessionFacts {
    match data.get(KEY).map(Lifetime::deserialize) {
        Some(Ok(Lifetime { since, used, address })) => {
            SessionFacts { since: Some(since), used_at: Some(used), address }
        }
        _ => SessionFacts::default(),
    }
}

impl Lifetime {
    fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.used) >= IDLE || now.duration_since(self.since) >= ABSOLUTE
    }
}

pub(super) fn is_live(data: &HashMap<String, Value>, now: Timestamp) -> bool {
    let lifetime = data.get(KEY).and_then(|value| Lifetime::deserialize(value).ok());
    lifetime.is_none_or(|lifetime| !lifetime.is_over(now))
}

pub(super) async fn begin(session: &Session, address: Option<IpAddr>, now: Timestamp) -> Result<(), Error> {
    session.insert(KEY, Lifetime { since: now, used: now, address }).await
}

pub(super) async fn end(
    State(clock): State<Clock>,
    mut auth: AuthSession,
    mut request: Request,
    next: Next,
) -> Response {
    // Without a cookie there is nothing to look up.
    if request.headers().contains_key(header::COOKIE)
        && let Err(error) = look(&mut auth, clock.now()).await
    {
        tracing::error!(%error, "the session could not be read");
        return Problem::of_session().into_response();
    }
    let user = auth.user.as_ref().map(|account| CurrentUser {
        name: account.name.clone(),
        role: account.role,
        by: LoginKind::Password,
    });
    request.extensions_mut().insert(auth);
    let mut response = next.run(request).await;
    if let Some(user) = user.filter(|_| !response.status().is_success()) {
        // An error's page is made further out, and has the navigation for those who are logged in.
        response.extensions_mut().insert(user);
    }
    response
}

async fn look(auth: &mut AuthSession, now: Timestamp) -> Result<(), Error> {
    let lifetime: Option<Lifetime> = auth.session.get(KEY).await?;
    match lifetime {
        Some(lifetime) if auth.user.is_none() || lifetime.is_over(now) => {
            auth.user = None;
            auth.session.flush().await?;
        }
        Some(lifetime) if now.duration_since(lifetime.used) >= NOTED => {
            auth.session.insert(KEY, Lifetime { used: now, ..lifetime }).await?;
        }
        // Of an earlier release, which did not write it down.
        None if auth.user.is_some() => begin(&auth.session, None, now).await?,
        Some(_) | None => {}
    }
    Ok(())
}
