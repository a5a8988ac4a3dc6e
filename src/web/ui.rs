//! What every page needs to know of its request, and how values are written for people.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, header};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tower_http::request_id::RequestId;
use tower_sessions::Session;

use crate::web::auth::CurrentUser;
use crate::web::paths::{Paths, route};
use crate::web::state::AppState;

const FLASH: &str = "flash";

/// Which of its three forms an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        if is("HX-Request") && !is("HX-History-Restore-Request") && !is("HX-Boosted") {
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

/// The request's id, as the log and the error page show it.
pub(super) struct RequestIdText(pub(super) String);

impl RequestIdText {
    pub(super) fn of(extensions: &Extensions) -> Self {
        let id = extensions.get::<RequestId>().and_then(|id| id.header_value().to_str().ok());
        Self(id.unwrap_or_default().to_owned())
    }
}

/// A message for the next page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Flash {
    /// Its text.
    pub(super) text: String,
}

impl Flash {
    /// Keeps the message in the session; without a session, as with HTTP Basic, there is no next page.
    pub(super) async fn set(session: &Session, text: impl Into<String>) {
        let _ = session.insert(FLASH, Self { text: text.into() }).await;
    }
}

/// Navigation, user, flash, clock.
#[derive(Debug, Clone)]
pub(super) struct Ui {
    pub(super) paths: Paths,
    pub(super) user: Option<String>,
    pub(super) flash: Option<Flash>,
    pub(super) now: Timestamp,
    pub(super) has_default_password: bool,
    pub(super) wants: Wants,
    section: String,
}

impl FromRequestParts<AppState> for Ui {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let wants = Wants::of(&parts.headers);
        let section = parts.uri.path().split('/').nth(1).unwrap_or_default().to_owned();
        let user = parts.extensions.get::<CurrentUser>().map(|user| user.0.clone());
        let flash = match parts.extensions.get::<Session>() {
            Some(session) if wants == Wants::Page && parts.method == Method::GET => take_flash(session).await,
            _ => None,
        };
        Ok(Self {
            paths: state.paths.clone(),
            user,
            flash,
            now: state.clock.now(),
            has_default_password: state.login.is_default,
            wants,
            section,
        })
    }
}

async fn take_flash(session: &Session) -> Option<Flash> {
    let flash = session.get(FLASH).await.ok().flatten()?;
    let _ = session.remove::<Flash>(FLASH).await;
    flash
}

/// An entry of the navigation.
pub(super) struct NavEntry {
    pub(super) label: &'static str,
    pub(super) href: String,
    pub(super) icon: &'static str,
    pub(super) is_current: bool,
}

impl Ui {
    pub(super) fn nav(&self) -> Vec<NavEntry> {
        let entries = [
            ("Overview", route::HOME, "gauge"),
            ("Switch", route::SWITCH, "cable"),
            ("Contexts", route::CONTEXTS, "messages"),
            ("Models", route::MODELS, "boxes"),
            ("Keys", route::KEYS, "key"),
            ("Agents", route::AGENTS, "bot"),
            ("Audit", route::AUDIT, "scroll"),
        ];
        entries
            .into_iter()
            .map(|(label, route, icon)| NavEntry {
                label,
                href: self.paths.at(route),
                icon,
                is_current: self.section == route[1..],
            })
            .collect()
    }

    /// How long ago, or until: `3 min ago`, `in 2 days`.
    pub(super) fn ago(&self, at: &Timestamp) -> String {
        let since = self.now.duration_since(*at);
        let text = span(since.abs());
        match (text.as_str(), since.is_negative()) {
            ("now", _) => "just now".to_owned(),
            (text, true) => format!("in {text}"),
            (text, false) => format!("{text} ago"),
        }
    }

    /// The same moment in UTC, to the second.
    pub(super) fn utc(&self, at: &Timestamp) -> String {
        at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    }

    /// US dollars; small sums keep two digits that say something.
    pub(super) fn money(&self, dollars: &f64) -> String {
        money(*dollars)
    }

    /// A price per token as US dollars per million tokens.
    pub(super) fn per_million(&self, per_token: &f64) -> String {
        money(per_token * 1e6)
    }

    /// A number of tokens: `272k`, `1.05M`.
    pub(super) fn tokens(&self, count: &u64) -> String {
        match *count {
            0..1_000 => count.to_string(),
            #[expect(clippy::cast_precision_loss, reason = "rounded to three digits anyway")]
            1_000..1_000_000 => trimmed(*count as f64 / 1e3, "k"),
            #[expect(clippy::cast_precision_loss, reason = "rounded to three digits anyway")]
            _ => trimmed(*count as f64 / 1e6, "M"),
        }
    }

    /// A whole number with thousands separated: `10,015`.
    pub(super) fn count(&self, number: &u64) -> String {
        let digits = number.to_string();
        let mut text = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    }

    /// Milliseconds: `4.2 ms`, `350 ms`, `1.2 s`.
    pub(super) fn ms(&self, milliseconds: &f64) -> String {
        match *milliseconds {
            ms if ms < 10.0 => format!("{ms:.1} ms"),
            ms if ms < 1000.0 => format!("{ms:.0} ms"),
            ms => format!("{:.1} s", ms / 1000.0),
        }
    }
}

fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..5 => "now".to_owned(),
        5..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400..172_800 => "1 day".to_owned(),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn money(dollars: f64) -> String {
    let size = dollars.abs();
    if size == 0.0 || size >= 0.1 {
        format!("${dollars:.2}")
    } else if size >= 0.0001 {
        let text = format!("${dollars:.4}");
        text.trim_end_matches('0').to_owned()
    } else {
        format!("${dollars:.1e}")
    }
}

fn trimmed(number: f64, unit: &str) -> String {
    let text = format!("{number:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ui() -> Ui {
        Ui {
            paths: Paths::new("", ""),
            user: None,
            flash: None,
            now: Timestamp::from_second(1_000_000).unwrap(),
            has_default_password: false,
            wants: Wants::Page,
            section: "models".to_owned(),
        }
    }

    #[test]
    fn times_are_told_as_people_tell_them() {
        let ui = ui();
        let at = |seconds| Timestamp::from_second(1_000_000 + seconds).unwrap();
        for (offset, text) in [
            (0, "just now"),
            (-59, "59 s ago"),
            (-60, "1 min ago"),
            (-7_200, "2 h ago"),
            (-90_000, "1 day ago"),
            (864_000, "in 10 days"),
        ] {
            assert_eq!(ui.ago(&at(offset)), text);
        }
    }

    #[test]
    fn numbers_are_short_and_true() {
        let ui = ui();
        for (dollars, text) in
            [(0.0, "$0.00"), (1.25, "$1.25"), (1001.168, "$1001.17"), (0.0031, "$0.0031"), (0.000_002_5, "$2.5e-6")]
        {
            assert_eq!(ui.money(&dollars), text);
        }
        assert_eq!(ui.per_million(&1.25e-6), "$1.25");
        assert_eq!((ui.tokens(&272_000), ui.tokens(&1_047_576), ui.tokens(&999)), ("272k".into(), "1.05M".into(), "999".into()));
        assert_eq!((ui.count(&10_015), ui.count(&999), ui.count(&1_000_000)), ("10,015".into(), "999".into(), "1,000,000".into()));
        assert_eq!((ui.ms(&4.24), ui.ms(&350.4), ui.ms(&1234.0)), ("4.2 ms".into(), "350 ms".into(), "1.2 s".into()));
    }

    #[test]
    fn the_current_page_is_marked_in_the_navigation() {
        let current: Vec<_> = ui().nav().into_iter().filter(|entry| entry.is_current).map(|entry| entry.label).collect();
        assert_eq!(current, ["Models"]);
    }
}
