//! What every page needs to know of its request.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Uri, header};
use jiff::Timestamp;
use patchbay_clock::Clock;
use serde::{Deserialize, Serialize};
use tower_http::request_id::RequestId;
use tower_sessions::Session;

use crate::config::{Access, Login};
use crate::domain::role::Role;
use crate::services::live::{Condition, Live};
use crate::store::Store;
use crate::web::auth::{CurrentUser, LoginKind, Users};
use crate::web::errors::Asked;
use crate::web::paths::{Paths, route};
use crate::web::state::AppState;
use crate::web::theme::{Rows, Theme};
use crate::web::zone;

const FLASH: &str = "flash";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Wants {
    Page,
    Fragment,
    Json,
}

impl Wants {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let is = |name: &str| headers.get(name).is_some_and(|value| value == "true");
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
        // Back in the browser needs the whole page, though htmx asks for it.
        let is_htmx = is("HX-Request") && !is("HX-History-Restore-Request") && !is("HX-Boosted");
        // A stream that is refused must neither be led to the login nor ask for a password.
        if is_htmx || accept == "text/event-stream" {
            Self::Fragment
        } else if accept.contains("application/json") && !accept.contains("text/html") {
            Self::Json
        } else {
            Self::Page
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Wants {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

pub(super) struct RequestIdText(pub(super) String);

impl RequestIdText {
    pub(super) fn of(extensions: &Extensions) -> Self {
        let id = extensions.get::<RequestId>().and_then(|id| id.header_value().to_str().ok());
        Self(id.unwrap_or_default().to_owned())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Flash {
    pub(super) text: String,
}

impl Flash {
    /// Keeps the message in the session; without a session, as with HTTP Basic, there is no next page.
    pub(super) async fn set(session: &Session, text: impl Into<String>) {
        let _ = session.insert(FLASH, Self { text: text.into() }).await;
    }
}

#[derive(Debug, Clone)]
pub(super) struct Ui {
    pub(super) paths: Paths,
    pub(super) user: Option<CurrentUser>,
    pub(super) flash: Option<Flash>,
    pub(super) now: Timestamp,
    pub(super) has_default_password: bool,
    /// The database does not answer: nothing can be changed.
    pub(super) has_no_database: bool,
    pub(super) wants: Wants,
    pub(super) seen: i64,
    pub(super) theme: Theme,
    pub(super) rows: Rows,
    /// The viewer's zone, in minutes east of UTC: by a cookie of the script, 0 without it.
    pub(super) offset: i32,
    /// What does not answer: `proxy`, `agent/…`.
    pub(super) condition: Condition,
    /// Name of the environment.
    pub(super) instance: Option<String>,
    /// Where "Log out" leads for those who came by single sign-on, if it leads anywhere.
    sso_logout: Option<String>,
    section: String,
}

impl FromRequestParts<AppState> for Ui {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let wants = Wants::of(&parts.headers);
        // Before anything is read: what happens meanwhile is rather told once too often.
        let seen = state.part::<Live>().seen();
        let section = Self::section_of(&parts.uri);
        let user = parts.extensions.get::<CurrentUser>().cloned();
        let flash = match parts.extensions.get::<Session>() {
            Some(session) if wants == Wants::Page && parts.method == Method::GET => take_flash(session).await,
            _ => None,
        };
        Ok(Self {
            paths: state.part(),
            user,
            flash,
            now: state.part::<Clock>().now(),
            has_default_password: state.part::<Arc<Login>>().is_default,
            has_no_database: state.part::<Store>().is_down(),
            wants,
            seen,
            theme: Theme::of(&parts.headers),
            rows: Rows::of(&parts.headers),
            offset: zone::offset(&parts.headers),
            condition: state.part::<Live>().condition(),
            instance: state.part::<Arc<Access>>().instance.clone(),
            sso_logout: state.part::<Users>().sso_logout().map(str::to_owned),
            section,
        })
    }
}

async fn take_flash(session: &Session) -> Option<Flash> {
    let flash = session.get(FLASH).await.ok().flatten()?;
    let _ = session.remove::<Flash>(FLASH).await;
    flash
}

/// How one logs out.
pub(super) enum LogOut<'a> {
    /// By ending the session.
    Here,
    /// At an address of the reverse proxy, which has the session.
    At(&'a str),
    /// Somewhere that is not known here.
    Elsewhere,
}

pub(super) struct NavEntry {
    pub(super) label: &'static str,
    /// The letter that leads there, behind a `g`.
    pub(super) letter: char,
    pub(super) href: String,
    pub(super) icon: &'static str,
    pub(super) is_current: bool,
    /// Heading of the group that begins with it.
    pub(super) group: Option<&'static str>,
}

impl Ui {
    /// The first part of an address below the base path.
    pub(super) fn section_of(uri: &Uri) -> String {
        uri.path().split('/').nth(1).unwrap_or_default().to_owned()
    }

    /// For the page of an error, whose handler has had the request.
    pub(super) fn of_error(state: &AppState, asked: Asked, user: CurrentUser) -> Self {
        Self {
            paths: state.part(),
            user: Some(user),
            flash: None,
            now: state.part::<Clock>().now(),
            has_default_password: state.part::<Arc<Login>>().is_default,
            has_no_database: state.part::<Store>().is_down(),
            wants: asked.wants,
            seen: state.part::<Live>().seen(),
            theme: asked.theme,
            rows: asked.rows,
            offset: asked.offset,
            condition: state.part::<Live>().condition(),
            instance: state.part::<Arc<Access>>().instance.clone(),
            sso_logout: state.part::<Users>().sso_logout().map(str::to_owned),
            section: asked.section,
        }
    }

    pub(super) fn has_role(&self, role: Role) -> bool {
        self.user.as_ref().is_some_and(|user| user.role >= role)
    }

    pub(super) fn may_operate(&self) -> bool {
        self.has_role(Role::Operator)
    }

    pub(super) fn may_admin(&self) -> bool {
        self.has_role(Role::Admin)
    }

    pub(super) fn own_name(&self) -> Option<String> {
        self.user.as_ref().map(|user| user.name.clone())
    }

    /// Whose limits a script's requests count to as well.
    pub(super) fn owner(&self) -> Option<String> {
        self.user.as_ref().map(|user| user.owner().to_owned())
    }

    pub(super) fn role_with_article(&self) -> &'static str {
        self.user.as_ref().map_or("not logged in", |user| user.role.with_article())
    }

    pub(super) fn log_out(&self) -> LogOut<'_> {
        match (&self.user, &self.sso_logout) {
            (Some(CurrentUser { by: LoginKind::Header, .. }), Some(url)) => LogOut::At(url),
            (Some(CurrentUser { by: LoginKind::Header, .. }), None) => LogOut::Elsewhere,
            _ => LogOut::Here,
        }
    }

    /// What does not answer, in words.
    pub(super) fn down(&self) -> String {
        self.condition.down.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn nav(&self) -> Vec<NavEntry> {
        let entries = [
            ("Overview", route::Home::PATH, "gauge", None),
            ("Switch", route::Switch::PATH, "cable", Some("Agents")),
            ("Contexts", route::Contexts::PATH, "messages", None),
            ("Agents", route::Agents::PATH, "bot", None),
            ("Models", route::Models::PATH, "boxes", Some("Proxy")),
            ("Keys", route::Keys::PATH, "key", None),
            ("Usage", route::Usage::PATH, "chart", Some("Activity")),
            ("Calls", route::Calls::PATH, "list", None),
            ("Audit", route::Audit::PATH, "scroll", None),
        ];
        entries
            .into_iter()
            .map(|(label, route, icon, group)| NavEntry {
                label,
                letter: letter_of(label),
                href: self.paths.to(route),
                icon,
                is_current: route[1..] == *part_of(&self.section),
                group,
            })
            .collect()
    }
}

/// The section that a page without an entry of its own belongs to.
fn part_of(section: &str) -> &str {
    match section {
        "compare" | "swaps" => "switch",
        "bulk" => "contexts",
        other => other,
    }
}

/// Its first letter, but where two labels would share one.
fn letter_of(label: &str) -> char {
    match label {
        "Audit" => 'l',
        "Calls" => 'i',
        _ => label.chars().next().unwrap_or_default().to_ascii_lowercase(),
    }
}

#[cfg(test)]
impl Ui {
    /// As on the models page, at `now`.
    pub(super) fn at(now: Timestamp) -> Self {
        Self {
            paths: Paths::new("", ""),
            user: Some(CurrentUser { name: "ada".to_owned(), role: Role::Admin, by: LoginKind::Password }),
            flash: None,
            now,
            has_default_password: false,
            has_no_database: false,
            wants: Wants::Page,
            seen: 0,
            theme: Theme::System,
            rows: Rows::Normal,
            offset: 0,
            condition: Condition::default(),
            instance: None,
            sso_logout: None,
            section: "models".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_page_is_marked_in_the_navigation() {
        let current: Vec<_> = Ui::at(Timestamp::UNIX_EPOCH)
            .nav()
            .into_iter()
            .filter(|entry| entry.is_current)
            .map(|entry| entry.label)
            .collect();
        assert_eq!(current, ["Models"]);
    }
}
