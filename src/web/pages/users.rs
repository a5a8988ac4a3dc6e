//! Who uses the dashboard, for admins: users, their sessions and access tokens.

use std::cmp::Reverse;
use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form, Json};
use jiff::Timestamp;
use patchbay_clock::Clock;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tower_sessions::Session;

use crate::domain::people::{Person, Source};
use crate::domain::role::Role;
use crate::services::people::People;
use crate::store::{Sessions, StoredSession};
use crate::web::auth::{Acting, CurrentUser, Users};
use crate::web::errors::Problem;
use crate::web::lifetime::{self, SessionFacts};
use crate::web::pages::tokens::TokenRow;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{ADMIN, Routes};
use crate::web::state::services;
use crate::web::table::{Pager, Query};
use crate::web::ui::{Flash, Ui, Wants};

/// Most sessions and tokens that the page shows.
const SHOWN: usize = 200;

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(ADMIN, route::Users::PATH, show).post(ADMIN, route::SessionEnd::PATH, end_session)
}

services! {
    struct Services {
        clock: Clock,
        people: People,
        users: Users,
    }
}

#[derive(Debug, Serialize)]
struct UserRow {
    name: String,
    source: Source,
    /// None where no group of theirs has one.
    role: Option<Role>,
    email: Option<String>,
    login_at: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    sessions: usize,
    tokens: usize,
}

impl UserRow {
    fn fits(&self, text: &str) -> bool {
        let words = [Some(self.name.as_str()), self.email.as_deref(), self.role.map(Role::as_str)];
        let source = self.source.label();
        words.into_iter().flatten().chain([source]).any(|word| word.to_lowercase().contains(text))
    }
}

#[derive(Debug, Serialize)]
struct SessionRow {
    /// The hash of its id: with it no one can log in.
    id: String,
    user: String,
    #[serde(flatten)]
    facts: SessionFacts,
    is_own: bool,
}

#[derive(Template)]
#[template(path = "users.html", blocks = ["results"])]
struct UsersPage {
    ui: Ui,
    data: UsersData,
    query: Query,
}

#[derive(Serialize)]
struct UsersData {
    users: Vec<UserRow>,
    pager: Pager,
    sessions: Vec<SessionRow>,
    more_sessions: usize,
    tokens: Vec<TokenRow>,
    more_tokens: usize,
}

page!(UsersPage, UsersData, as_results);

async fn show(
    State(state): State<Services>,
    ui: Ui,
    query: Query,
    session: Option<Extension<Session>>,
) -> Result<Response, Problem> {
    let own = session.and_then(|session| session.id()).map(|id| Sessions::hash(&id));
    let mut sessions = state.sessions(own.as_deref()).await?;
    let mut tokens = state.people.tokens(None).await?;
    let mut users = state.users(&sessions, &count(tokens.iter().map(|token| token.owner.as_str()))).await?;
    let text = query.get("q").to_lowercase();
    users.retain(|user| user.fits(&text));
    let (pager, users) = Pager::cut(&query, &ui.paths.to(route::Users), users);
    let more_sessions = sessions.len().saturating_sub(SHOWN);
    let more_tokens = tokens.len().saturating_sub(SHOWN);
    sessions.truncate(SHOWN);
    tokens.truncate(SHOWN);
    let tokens = tokens.into_iter().map(|token| TokenRow::of(token, ui.now)).collect();
    let data = UsersData { users, pager, sessions, more_sessions, tokens, more_tokens };
    Ok(UsersPage { ui, data, query }.respond(StatusCode::OK))
}

fn count<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for name in names {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

impl Services {
    /// Those who may log in with a password, and those whom the reverse proxy has named.
    async fn users(
        &self,
        sessions: &[SessionRow],
        tokens: &HashMap<String, usize>,
    ) -> Result<Vec<UserRow>, Problem> {
        let mut seen: HashMap<String, Person> =
            self.people.list().await?.into_iter().map(|person| (person.name.clone(), person)).collect();
        let sessions = count(sessions.iter().map(|session| session.user.as_str()));
        let of = |counts: &HashMap<String, usize>, name: &str| counts.get(name).copied().unwrap_or_default();
        let mut rows = Vec::new();
        for account in self.users.accounts().await {
            let last = seen.remove(&account.name);
            rows.push(UserRow {
                source: self.users.source(&account.name),
                role: Some(account.role),
                email: None,
                login_at: last.as_ref().map(|last| last.login_at),
                seen_at: last.map(|last| last.seen_at),
                sessions: of(&sessions, &account.name),
                tokens: of(tokens, &account.name),
                name: account.name,
            });
        }
        // Others that had a password have none any more.
        let by_header = seen.into_values().filter(|person| person.source == Source::Header);
        rows.extend(by_header.map(|person| UserRow {
            source: person.source,
            role: person.role,
            email: person.email,
            login_at: Some(person.login_at),
            seen_at: Some(person.seen_at),
            sessions: 0,
            tokens: of(tokens, &person.name),
            name: person.name,
        }));
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(rows)
    }

    /// Those that still open something, the last used first.
    async fn sessions(&self, own: Option<&str>) -> Result<Vec<SessionRow>, Problem> {
        let mut rows = Vec::new();
        for StoredSession { id_hash, data } in self.people.sessions().await? {
            if !lifetime::is_live(&data, self.clock.now()) {
                continue;
            }
            let Some(user) = self.users.user_of_session(&data).await else { continue };
            let is_own = own == Some(&*id_hash);
            rows.push(SessionRow { id: id_hash, user, facts: lifetime::facts(&data), is_own });
        }
        let order = |row: &SessionRow| (Reverse(row.facts.used_at), Reverse(row.is_own), row.user.clone());
        rows.sort_by_cached_key(order);
        Ok(rows)
    }
}

#[derive(Deserialize)]
struct EndForm {
    session: String,
}

async fn end_session(
    State(state): State<Services>,
    ui: Ui,
    Acting(session, actor): Acting,
    Extension(user): Extension<CurrentUser>,
    Form(form): Form<EndForm>,
) -> Result<Response, Problem> {
    user.check_is_person()?;
    let ended = state.sessions(None).await?.into_iter().find(|row| row.id == form.session);
    let ended = ended.ok_or_else(|| Problem::not_found("The session"))?;
    if !state.people.end_session(&ended.id, &ended.user, &actor).await? {
        return Err(Problem::not_found("The session"));
    }
    if ui.wants == Wants::Json {
        return Ok(Json(json!({ "ended": ended.id })).into_response());
    }
    Flash::set(&session, format!("The session of {} has ended.", ended.user)).await;
    Ok(Redirect::to(&ui.paths.to(route::Users)).into_response())
}
