//! Who is there: a login session for people, HTTP Basic for scripts.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use argon2::Argon2;
use axum::extract::{ConnectInfo, FromRequestParts, OriginalUri, Request, State};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum_login::{AuthUser, AuthnBackend};
use base64::Engine as _;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::OnceCell;

use crate::config::Login;
use crate::domain::audit::Actor;
use crate::domain::role::Role;
use crate::web::errors::Problem;
use crate::web::state::AppState;
use crate::web::ui::{RequestIdText, Wants};

/// A session, and the user in it.
pub(super) type AuthSession = axum_login::AuthSession<Backend>;

/// Checks names and passwords.
#[derive(Clone)]
pub(super) struct Backend(Arc<Shared>);

struct Shared {
    login: Login,
    tag: OnceCell<Vec<u8>>,
}

/// Someone who is logged in.
#[derive(Clone)]
pub(super) struct User {
    name: String,
    tag: Vec<u8>,
}

/// What was typed into the login form.
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: SecretString,
}

/// The session layer writes users to the log at level debug: without what is made of the password.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AuthUser for User {
    type Id = String;

    fn id(&self) -> String {
        self.name.clone()
    }

    /// Changes with the password, so that a new password ends the sessions of the old one.
    fn session_auth_hash(&self) -> &[u8] {
        &self.tag
    }
}

impl Backend {
    pub(super) fn new(login: Login) -> Self {
        Self(Arc::new(Shared { login, tag: OnceCell::new() }))
    }

    /// Compares hashes, in a time that does not depend on what was typed or on which of both was wrong.
    fn knows(&self, credentials: &Credentials) -> bool {
        let same = |typed: &str, known: &str| Sha256::digest(typed).ct_eq(&Sha256::digest(known));
        let login = &self.0.login;
        let name = same(&credentials.username, &login.username);
        let password = same(credentials.password.expose_secret(), login.password.expose_secret());
        (name & password).into()
    }

    async fn user(&self) -> User {
        let shared = Arc::clone(&self.0);
        // Once in the life of the process, and not before someone logs in: it takes tens of milliseconds.
        let tag = self.0.tag.get_or_init(|| async move {
            tokio::task::spawn_blocking(move || tag(&shared.login)).await.unwrap_or_default()
        });
        User { name: self.0.login.username.clone(), tag: tag.await.clone() }
    }
}

/// A value that is stored with each session and tells whether the password is still the same. It is slow to
/// make, so that whoever reads the database cannot try passwords against it at speed.
fn tag(login: &Login) -> Vec<u8> {
    let salt = Sha256::digest(format!("patchbay session of {}", login.username));
    let mut tag = vec![0; 32];
    let made =
        Argon2::default().hash_password_into(login.password.expose_secret().as_bytes(), &salt, &mut tag);
    // Only a password beyond 4 GiB or a lack of memory can fail here; then no session is kept.
    if made.is_err() { uuid::Uuid::new_v4().as_bytes().to_vec() } else { tag }
}

impl AuthnBackend for Backend {
    type User = User;
    type Credentials = Credentials;
    type Error = Infallible;

    async fn authenticate(&self, credentials: Credentials) -> Result<Option<User>, Infallible> {
        if self.knows(&credentials) { Ok(Some(self.user().await)) } else { Ok(None) }
    }

    async fn get_user(&self, name: &String) -> Result<Option<User>, Infallible> {
        if *name == self.0.login.username { Ok(Some(self.user().await)) } else { Ok(None) }
    }
}

/// Whoever made the request, behind [`require_user`].
#[derive(Debug, Clone)]
pub(super) struct CurrentUser {
    pub(super) name: String,
    pub(super) role: Role,
}

/// Lets only users through. Others are led to the login, or told 401 where nobody looks at a page.
pub(super) async fn require_user(
    State(state): State<AppState>,
    auth: AuthSession,
    mut request: Request,
    next: Next,
) -> Response {
    let name = match (&auth.user, basic(request.headers())) {
        (Some(user), _) => user.name.clone(),
        (None, Some(credentials)) if auth.backend.knows(&credentials) => credentials.username,
        (None, Some(_)) => return unauthorized("The name or the password is wrong."),
        (None, None) => return to_login(&state, &request),
    };
    request.extensions_mut().insert(CurrentUser { name, role: Role::Admin });
    next.run(request).await
}

fn to_login(state: &AppState, request: &Request) -> Response {
    let original = request.extensions().get::<OriginalUri>().map(|uri| uri.0.clone());
    let next = original.as_ref().and_then(|uri| uri.path_and_query()).map(PathAndQuery::as_str);
    // Nobody comes back to the address of a form that was sent.
    let next = next.filter(|_| request.method() == Method::GET && !request.uri().path().eq("/"));
    let login = state.paths.login(next);
    match Wants::of(request.headers()) {
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

fn unauthorized(detail: &str) -> Response {
    let problem = Problem {
        status: StatusCode::UNAUTHORIZED,
        title: "Not logged in".to_owned(),
        detail: detail.to_owned(),
        advice: "Use the name and password of UI_USERNAME and UI_PASSWORD.".to_owned(),
    };
    let mut response = problem.into_response();
    let challenge = HeaderValue::from_static("Basic realm=\"Patchbay\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// Name and password of HTTP Basic (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<Credentials> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Credentials { username: username.to_owned(), password: SecretString::from(password) })
}

/// Whoever made the request, for the audit.
pub(super) struct ActorOf(pub(super) Actor);

impl<S: Sync> FromRequestParts<S> for ActorOf {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let name = parts.extensions.get::<CurrentUser>().map_or_else(String::new, |user| user.name.clone());
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let request_id = RequestIdText::of(&parts.extensions).0;
        let actor = Actor {
            name,
            address: address.map(|info| info.0.ip().to_string()),
            request_id: Some(request_id).filter(|id| !id.is_empty()),
        };
        Ok(Self(actor))
    }
}

/// `next`, if it is an address of this dashboard and nothing that a browser could read as another site's.
pub(super) fn local_next<'a>(next: &'a str, base: &str) -> Option<&'a str> {
    let below = next.strip_prefix(base)?;
    let is_local = below.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && !next.chars().any(char::is_control)
        && next.len() <= 2000;
    // The parser that browsers' rules were written down for decides in the end.
    let root: url::Url = "http://patchbay.invalid/".parse().ok()?;
    let joined = root.join(next).ok()?;
    let stays_below = joined.path().strip_prefix(base).is_some_and(|below| below.starts_with('/'));
    let stays = joined.host_str() == Some("patchbay.invalid") && stays_below;
    (is_local && stays).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_addresses_are_gone_to_after_the_login() {
        for good in ["/", "/models?q=a%20b&page=2", "/keys/abc#x", "/switch?agent=a"] {
            assert_eq!(local_next(good, ""), Some(good));
        }
        for bad in [
            "",
            "models",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil",
            "http://evil.example",
            "https:evil",
            "javascript:alert(1)",
            "/\tevil",
            "/\n/evil",
            "/%0a\r",
            " /x",
            "/a\\..\\b",
        ] {
            assert_eq!(local_next(bad, ""), None, "{bad:?}");
        }
        assert_eq!(local_next("/a/b/models", "/a/b"), Some("/a/b/models"));
        for bad in ["/models", "/a/bc", "/a/b/../../x", "/a/b/../bc", "/a/b//../../../x"] {
            assert_eq!(local_next(bad, "/a/b"), None, "{bad:?}");
        }
    }
}
