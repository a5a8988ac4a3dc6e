//! Who is there: a login session or a reverse proxy's word for people, access tokens and HTTP Basic for scripts.

mod login_queue;
mod login_throttle;
mod refusal_log;
mod sso;
mod tokens;
mod users;
mod verified;

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, OriginalUri, Request, State};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::headers::HeaderMapExt as _;
use axum_extra::headers::authorization::{Authorization, Basic};
use axum_login::{AuthUser, AuthnBackend};
use secrecy::SecretString;
use tower_sessions::Session;

pub(super) use self::users::{Account, Users};
use crate::domain::audit::Actor;
use crate::domain::role::Role;
use crate::services::audit::Audit;
use crate::services::people::People;
use crate::store::{Store, StoreError};
use crate::web::errors::Problem;
use crate::web::origin::Origin;
use crate::web::paths::Paths;
use crate::web::state::services;
use crate::web::ui::{RequestIdText, Wants};

pub(super) type AuthSession = axum_login::AuthSession<Users>;

pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: SecretString,
}

/// Why someone is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// The name or the password is wrong; nobody is told which.
    Wrong,
    /// Too many were wrong: none is looked at before that time has passed.
    TooMany(Duration),
    /// Passwords are switched off.
    Off,
}

impl AuthUser for Account {
    type Id = String;

    fn id(&self) -> String {
        self.name.clone()
    }

    /// Changes with the password, so that a new password ends the sessions of the old one.
    fn session_auth_hash(&self) -> &[u8] {
        &self.tag
    }
}

impl AuthnBackend for Users {
    type User = Account;
    type Credentials = Credentials;
    type Error = Infallible;

    async fn authenticate(&self, credentials: Credentials) -> Result<Option<Account>, Infallible> {
        let Some(turn) = self.turn_to_check().await else { return Ok(None) };
        Ok(self.verify(&credentials.username, &credentials.password, turn).await)
    }

    async fn get_user(&self, name: &String) -> Result<Option<Account>, Infallible> {
        Ok(self.account(name).await)
    }
}

services! {
    pub(super) struct Services {
        pub(super) audit: Audit,
        pub(super) people: People,
        store: Store,
        paths: Paths,
        users: Users,
    }
}

/// Whoever made the request, behind [`require_user`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CurrentUser {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) by: LoginKind,
}

/// How a request shows whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum LoginKind {
    /// A session that began with a password, or HTTP Basic.
    Password,
    /// The headers of a trusted reverse proxy.
    Header,
    /// An access token.
    Token { id: String, owner: String },
}

impl CurrentUser {
    /// Whose sessions and tokens are this user's own.
    pub(super) fn owner(&self) -> &str {
        match &self.by {
            LoginKind::Token { owner, .. } => owner,
            _ => &self.name,
        }
    }

    /// Keeps a token that has leaked from making others, which would outlive it.
    pub(super) fn check_is_person(&self) -> Result<(), Problem> {
        match self.by {
            LoginKind::Token { .. } => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "Not with an access token",
                "Tokens and sessions are managed by people. Nothing was done.",
                "Log in with your password or by single sign-on.",
            )),
            _ => Ok(()),
        }
    }
}

/// Lets only users through. Others are led to the login, or told 401 where nobody looks at a page.
pub(super) async fn require_user(
    State(state): State<Services>,
    auth: AuthSession,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let user = match identify(&state, auth.user, &parts).await? {
        Ok(user) => user,
        Err(response) => return Ok(response),
    };
    // Without the database nothing is changed anywhere, since it could not be written down.
    if !parts.method.is_safe() && state.store.is_down() {
        return Err(Problem::without_database());
    }
    parts.extensions.insert(user);
    let (actor, object) = (actor(&parts.extensions), format!("{} {}", parts.method, parts.uri.path()));
    let response = next.run(Request::from_parts(parts, body)).await;
    if response.status() == StatusCode::FORBIDDEN {
        let why = response.extensions().get::<Problem>().map(|problem| problem.detail.clone());
        state.audit.access_refused(&actor, &object, why).await?;
    }
    Ok(response)
}

/// A token counts first, since it was sent for this request, then the word of the reverse proxy: the browser may keep a
/// session of somebody else.
async fn identify(
    state: &Services,
    session: Option<Account>,
    parts: &Parts,
) -> Result<Result<CurrentUser, Response>, Problem> {
    let (extensions, headers) = (&parts.extensions, &parts.headers);
    if let Some(token) = tokens::sent(headers) {
        let user = state.by_token(&token).await?;
        return Ok(user.ok_or_else(|| {
            state.users.log_bad_token(Origin::of(extensions));
            unauthorized("The access token is not valid: it was revoked, has expired, or its owner is gone.")
        }));
    }
    if let Some(user) = state.users.by_header(extensions, headers).await? {
        if !sso::says_origin(&parts.method, headers) {
            return Ok(Err(StatusCode::FORBIDDEN.into_response()));
        }
        let seen = user.seen();
        let actor = Actor { name: seen.name.clone(), ..actor(extensions) };
        note(state.people.seen_by_proxy(&actor, &seen).await);
        return user.current().map(Ok);
    }
    let account = match (session, basic(headers)) {
        (Some(account), _) => account,
        (None, Some(credentials)) => match state.users.by_basic(&credentials, Origin::of(extensions)).await {
            Ok(account) => {
                note(state.people.script_seen(&state.users.seen(&account)).await);
                account
            }
            Err(denied) => {
                note_denied(state, actor(extensions), &credentials, denied).await?;
                return Ok(Err(denied_to_script(denied)));
            }
        },
        (None, None) => return Ok(Err(to_login(state, parts))),
    };
    Ok(Ok(CurrentUser { name: account.name, role: account.role, by: LoginKind::Password }))
}

/// Pages are there without the database as well.
fn note(written: Result<(), StoreError>) {
    if let Err(error) = written {
        tracing::debug!(%error, "it was not written down who is there");
    }
}

/// Writes a failed login down, with the name if it is someone's: another may be a password in the wrong field.
/// Those that are not looked at are not written down either, or anyone could fill the database.
pub(super) async fn note_denied(
    state: &Services,
    mut actor: Actor,
    credentials: &Credentials,
    denied: Denied,
) -> Result<(), StoreError> {
    "-".clone_into(&mut actor.name);
    if denied == Denied::Off {
        return Ok(());
    }
    if denied != Denied::Wrong {
        state.users.log_refusal(actor.address.as_deref().and_then(|address| address.parse().ok()));
        return Ok(());
    }
    let account = state.users.account(&credentials.username).await;
    let name = account.map_or_else(|| "-".to_owned(), |account| account.name);
    state.audit.login_refused(&actor, &name).await
}

fn to_login(state: &Services, parts: &Parts) -> Response {
    let original = parts.extensions.get::<OriginalUri>().map(|uri| uri.0.clone());
    let next = original.as_ref().and_then(|uri| uri.path_and_query()).map(PathAndQuery::as_str);
    // Nobody comes back to the address of a form that was sent.
    let next = next.filter(|_| parts.method == Method::GET && parts.uri.path() != "/");
    let login = state.paths.login(next);
    match Wants::of(&parts.headers) {
        Wants::Page => Redirect::to(&login).into_response(),
        Wants::Fragment => {
            let mut response = unauthorized("The session has ended.");
            // With it a browser would ask for name and password in a window of its own.
            response.headers_mut().remove(header::WWW_AUTHENTICATE);
            if let Ok(login) = HeaderValue::from_str(&login) {
                response.headers_mut().insert("HX-Redirect", login);
            }
            response
        }
        Wants::Json => unauthorized("Log in, or send name and password with HTTP Basic."),
    }
}

fn denied_to_script(denied: Denied) -> Response {
    match denied {
        Denied::Wrong => unauthorized(WRONG),
        Denied::Off => unauthorized(OFF),
        Denied::TooMany(left) => too_many(left, Problem::too_many(left).into_response()),
    }
}

pub(super) const WRONG: &str = "The name or the password is wrong.";
pub(super) const OFF: &str = "Passwords are switched off here.";

/// Says in a header how long to wait.
pub(super) fn too_many(left: Duration, mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, whole_seconds(left).into());
    response
}

/// Rounded up, since a moment too early is refused again.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn unauthorized(detail: &str) -> Response {
    let advice =
        "Use an access token, or the name and password of UI_USERNAME and UI_PASSWORD or of a named user.";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "Not logged in", detail, advice);
    let mut response = problem.into_response();
    let challenge = HeaderValue::from_static("Basic realm=\"Patchbay\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn basic(headers: &HeaderMap) -> Option<Credentials> {
    let Authorization(basic) = headers.typed_get::<Authorization<Basic>>()?;
    Some(Credentials { username: basic.username().to_owned(), password: basic.password().into() })
}

/// Whoever made the request, for the audit.
pub(super) struct ActorOf(pub(super) Actor);

fn actor(extensions: &Extensions) -> Actor {
    Actor {
        name: extensions.get::<CurrentUser>().map_or_else(String::new, |user| user.name.clone()),
        address: Origin::of(extensions).map(|address| address.to_string()),
        request_id: Some(RequestIdText::of(extensions).0).filter(|id| !id.is_empty()),
    }
}

impl<S: Sync> FromRequestParts<S> for ActorOf {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(actor(&parts.extensions)))
    }
}

/// Who changes something, and the session, which takes the message for the next page.
pub(super) struct Acting(pub(super) Session, pub(super) Actor);

impl<S: Send + Sync> FromRequestParts<S> for Acting {
    type Rejection = <Session as FromRequestParts<S>>::Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(Session::from_request_parts(parts, state).await?, actor(&parts.extensions)))
    }
}
