//! Login and logout.

use std::net::IpAddr;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Extension, Form, Json};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use crate::services::audit::Audit;
use crate::web::auth::{
    self, Account, ActorOf, AuthSession, Credentials, Denied, Users, note_denied, too_many, whole_seconds,
};
use crate::web::errors::Problem;
use crate::web::lifetime;
use crate::web::next::local_next;
use crate::web::origin::Origin;
use crate::web::paths::route;
use crate::web::routes::{Access, Routes};
use crate::web::ui::{Ui, Wants};

pub(in crate::web) fn routes() -> Routes {
    Routes::new()
        .get(Access::Open, route::Login::PATH, show)
        .post(Access::Open, route::Login::PATH, login)
        .post(Access::Open, route::Logout::PATH, logout)
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    ui: Ui,
    username: String,
    next: String,
    error: Option<String>,
    /// Passwords are switched off.
    is_off: bool,
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

async fn show(
    auth: AuthSession,
    ui: Ui,
    Query(query): Query<Next>,
    parts: Parts,
) -> Result<Response, Problem> {
    let by_header = auth.backend.by_header(&parts.extensions, &parts.headers).await?;
    if auth.user.is_some() || by_header.is_some() {
        return Ok(Redirect::to(&ui.paths.to(route::Home)).into_response());
    }
    let is_off = auth.backend.are_passwords_off();
    let page = LoginPage { ui, username: String::new(), next: query.next, error: None, is_off };
    Ok(page.respond(StatusCode::OK))
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
    State(state): State<auth::Services>,
    mut auth: AuthSession,
    ui: Ui,
    (ActorOf(mut actor), Extension(Origin(address))): (ActorOf, Extension<Origin>),
    Form(form): Form<LoginForm>,
) -> Result<Response, Problem> {
    let LoginForm { username, password, next } = form;
    let credentials = Credentials { username: username.trim().to_owned(), password };
    let account = match auth.backend.log_in(&credentials, address).await {
        Ok(account) => account,
        Err(denied) => {
            note_denied(&state, actor, &credentials, denied).await?;
            return Ok(refuse(ui, username, next, denied));
        }
    };
    actor.name.clone_from(&account.name);
    if let Err(error) = begin_session(&mut auth, &account, address, ui.now).await {
        tracing::error!(%error, "the session was not kept");
        return Err(Problem::of_session());
    }
    state.people.logged_in(&actor, &auth.backend.seen(&account)).await?;
    let target = local_next(&next, ui.paths.base()).map_or_else(|| ui.paths.to(route::Home), str::to_owned);
    Ok(Redirect::to(&target).into_response())
}

/// The form again, with the name and without the password.
fn refuse(ui: Ui, username: String, next: String, denied: Denied) -> Response {
    let (status, error) = match denied {
        Denied::Wrong => (StatusCode::UNAUTHORIZED, auth::WRONG.to_owned()),
        Denied::Off => (StatusCode::FORBIDDEN, auth::OFF.to_owned()),
        Denied::TooMany(left) => {
            let seconds = whole_seconds(left);
            let unit = if seconds == 1 { "second" } else { "seconds" };
            (StatusCode::TOO_MANY_REQUESTS, format!("Too many attempts have failed. Wait {seconds} {unit}."))
        }
    };
    let response = if ui.wants == Wants::Json {
        (status, Json(json!({ "error": { "title": error } }))).into_response()
    } else {
        let is_off = denied == Denied::Off;
        LoginPage { ui, username, next, error: Some(error), is_off }.respond(status)
    };
    match denied {
        Denied::Wrong | Denied::Off => response,
        Denied::TooMany(left) => too_many(left, response),
    }
}

/// The session always gets a new id, also where someone was logged in already.
async fn begin_session(
    auth: &mut AuthSession,
    account: &Account,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<(), axum_login::Error<Users>> {
    if auth.user.is_some() {
        auth.session.cycle_id().await?;
    }
    auth.login(account).await?;
    Ok(lifetime::begin(&auth.session, address, now).await?)
}

async fn logout(
    State(audit): State<Audit>,
    mut auth: AuthSession,
    ui: Ui,
    ActorOf(mut actor): ActorOf,
) -> Result<Response, Problem> {
    if let Some(account) = auth.user.take() {
        actor.name = account.name;
        if let Err(error) = auth.session.flush().await {
            tracing::error!(%error, "the session was not ended");
            return Err(Problem::of_session());
        }
        audit.logged_out(&actor).await?;
    }
    let mut response = Redirect::to(&ui.paths.login(None)).into_response();
    // What a browser kept of the pages, against the word of their headers.
    response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    Ok(response)
}
