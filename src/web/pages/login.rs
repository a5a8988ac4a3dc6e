//! Login and logout.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Form, Json};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use crate::domain::audit::{Action, NewEntry};
use crate::web::auth::{ActorOf, AuthSession, Backend, Credentials, User, local_next};
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::routes::{Access, Routes};
use crate::web::state::AppState;
use crate::web::ui::{Ui, Wants};

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(Access::Open, route::LOGIN, show).post(Access::Open, route::LOGIN, login).post(
        Access::Open,
        route::LOGOUT,
        logout,
    )
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    ui: Ui,
    username: String,
    next: String,
    error: Option<&'static str>,
}

impl LoginPage {
    fn respond(&self, status: StatusCode) -> Response {
        match self.render() {
            Ok(html) => (status, Html(html)).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

async fn show(auth: AuthSession, ui: Ui, Query(query): Query<Next>) -> Response {
    if auth.user.is_some() {
        return Redirect::to(&ui.paths.home()).into_response();
    }
    LoginPage { ui, username: String::new(), next: query.next, error: None }.respond(StatusCode::OK)
}

#[derive(Deserialize)]
struct LoginForm {
    #[serde(default)]
    username: String,
    #[serde(default = "empty")]
    password: SecretString,
    #[serde(default)]
    next: String,
}

fn empty() -> SecretString {
    SecretString::from("")
}

async fn login(
    State(state): State<AppState>,
    mut auth: AuthSession,
    ui: Ui,
    ActorOf(mut actor): ActorOf,
    Form(form): Form<LoginForm>,
) -> Result<Response, Problem> {
    let LoginForm { username, password, next } = form;
    let credentials = Credentials { username: username.trim().to_owned(), password };
    // The backend's error cannot occur.
    let Ok(Some(user)) = auth.authenticate(credentials).await else {
        // The name that was typed is not written down: it may be a password in the wrong field.
        "-".clone_into(&mut actor.name);
        state.store.audit(&NewEntry::new(&actor, Action::Login, "-", "refused")).await?;
        let error = Some("The name or the password is wrong.");
        return Ok(match ui.wants {
            Wants::Json => {
                (StatusCode::UNAUTHORIZED, Json(json!({ "error": { "title": error } }))).into_response()
            }
            _ => LoginPage { ui, username, next, error }.respond(StatusCode::UNAUTHORIZED),
        });
    };
    actor.name.clone_from(&state.login.username);
    if let Err(error) = begin_session(&mut auth, &user).await {
        tracing::error!(%error, "the session was not kept");
        return Err(Problem::of_session());
    }
    state.store.audit(&NewEntry::new(&actor, Action::Login, actor.name.as_str(), "ok")).await?;
    let target = local_next(&next, ui.paths.base()).map_or_else(|| ui.paths.home(), str::to_owned);
    Ok(Redirect::to(&target).into_response())
}

/// The session always gets a new id, also where someone was logged in already.
async fn begin_session(auth: &mut AuthSession, user: &User) -> Result<(), axum_login::Error<Backend>> {
    if auth.user.is_some() {
        auth.session.cycle_id().await?;
    }
    auth.login(user).await
}

async fn logout(
    State(state): State<AppState>,
    mut auth: AuthSession,
    ui: Ui,
    ActorOf(mut actor): ActorOf,
) -> Result<Response, Problem> {
    if auth.user.is_some() {
        actor.name.clone_from(&state.login.username);
        if let Err(error) = auth.logout().await {
            tracing::error!(%error, "the session was not ended");
            return Err(Problem::of_session());
        }
        state.store.audit(&NewEntry::new(&actor, Action::Logout, actor.name.as_str(), "ok")).await?;
    }
    Ok(Redirect::to(&ui.paths.login(None)).into_response())
}
