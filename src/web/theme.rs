//! Light or dark, as the system says unless one was chosen, and the height of table rows. Cookies remember both, so that
//! no script is needed.

use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use serde::Deserialize;
use time::Duration;
use url::Url;

use crate::web::next::local_next;
use crate::web::paths::{Paths, route};
use crate::web::routes::{Access, Routes};
use crate::web::ui::Wants;

const COOKIE: &str = "patchbay_theme";
const ROWS_COOKIE: &str = "patchbay_rows";

/// How high the rows of tables are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rows {
    #[default]
    Normal,
    Compact,
}

impl Rows {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match CookieJar::from_headers(headers).get(ROWS_COOKIE).map(Cookie::value) {
            Some("compact") => Self::Compact,
            _ => Self::Normal,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Compact => "compact",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub(super) const ALL: [(Self, &str, &str); 3] = [
        (Self::System, "As the system", "monitor"),
        (Self::Light, "Light", "sun"),
        (Self::Dark, "Dark", "moon"),
    ];

    pub(super) fn of(headers: &HeaderMap) -> Self {
        match CookieJar::from_headers(headers).get(COOKIE).map(Cookie::value) {
            Some("light") => Self::Light,
            Some("dark") => Self::Dark,
            _ => Self::System,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

pub(super) fn routes() -> Routes {
    Routes::new().post(Access::Open, route::Theme::PATH, choose)
}

#[derive(Deserialize)]
struct ThemeForm {
    theme: Option<Theme>,
    rows: Option<Rows>,
}

async fn choose(
    State(paths): State<Paths>,
    wants: Wants,
    headers: HeaderMap,
    Form(form): Form<ThemeForm>,
) -> Response {
    let cookie = |name, value| {
        Cookie::build((name, value))
            .path(paths.cookie_path().to_owned())
            .max_age(Duration::days(365))
            .same_site(SameSite::Lax)
            .http_only(true)
    };
    let theme = form.theme.map(|theme| cookie(COOKIE, theme.as_str()));
    let rows = form.rows.map(|rows| cookie(ROWS_COOKIE, rows.as_str()));
    let answer = match wants {
        Wants::Page => Redirect::to(&back(&headers, &paths)).into_response(),
        Wants::Fragment | Wants::Json => StatusCode::NO_CONTENT.into_response(),
    };
    let jar = theme.into_iter().chain(rows).fold(CookieJar::new(), CookieJar::add);
    (jar, answer).into_response()
}

fn back(headers: &HeaderMap, paths: &Paths) -> String {
    let from = headers.get(header::REFERER).and_then(|from| from.to_str().ok()?.parse::<Url>().ok());
    let place = from.map(|url| match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    });
    let place = place.as_deref().and_then(|place| local_next(place, paths.base()));
    place.map_or_else(|| paths.to(route::Home), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others_and_nonsense_is_the_system() {
        for (cookie, theme) in [
            ("patchbay_session=a; patchbay_theme=dark", Theme::Dark),
            ("patchbay_theme=light", Theme::Light),
            ("patchbay_theme=blue", Theme::System),
            ("xpatchbay_theme=dark", Theme::System),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            assert_eq!(Theme::of(&headers), theme, "{cookie}");
        }
    }

    #[test]
    fn it_goes_back_to_where_it_was_chosen_and_nowhere_else() {
        let paths = Paths::new("/a", "1");
        for (from, to) in [
            ("http://host/a/models?q=x", "/a/models?q=x"),
            ("http://evil.example/else", "/a/"),
            ("nonsense", "/a/"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::REFERER, from.parse().unwrap());
            assert_eq!(back(&headers, &paths), to);
        }
    }
}
