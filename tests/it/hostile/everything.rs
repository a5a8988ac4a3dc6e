//! Every page and every action there is: read from the table of addresses, so that a new one is met as well.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures_util::{StreamExt as _, stream};
use reqwest::header;

use crate::support::{Browser, Page};

/// Left out: they have no page, or end the session.
const LEFT_OUT: [&str; 6] = ["/login", "/logout", "/healthz", "/readyz", "/metrics", "/static"];

/// The patterns of all addresses that have a page or an action.
pub(crate) fn patterns() -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for route in patchbay::web::table() {
        if !LEFT_OUT.contains(&route.path) && !found.iter().any(|path| path == route.path) {
            found.push(route.path.to_owned());
        }
    }
    assert!(found.len() > 40 && found.contains(&"/switch".to_owned()), "{found:?}");
    found
}

/// What stands in the place of a pattern's parts.
pub(crate) struct Places {
    pub(crate) id: String,
    pub(crate) hash: String,
}

impl Places {
    pub(crate) fn fill(&self, pattern: &str) -> String {
        // A key's hash does for what else has an id of its own: it is not found, in time.
        let id = if pattern.starts_with("/models") { &self.id } else { &self.hash };
        pattern
            .replace("{id}", id)
            .replace("{request_id}", "0193")
            .replace("{hash}", &self.hash)
            .replace("{agent}", "task-agent")
            .replace("{name}", "task-agent")
            .replace("{context}", "c1")
            .replace("{job}", "0193")
    }
}

/// Fields of all forms in one: each takes what it knows.
pub(super) const FIELDS: [(&str, &str); 27] = [
    ("agent", "task-agent"),
    ("context", "c1"),
    ("model", "openai/gpt-5-mini"),
    ("prompt", ""),
    ("probe", "1"),
    ("message", "Hello?"),
    ("name", "openai/gpt-5"),
    ("provider", "openai"),
    ("secret", "os.environ/OPENAI_API_KEY"),
    ("alias", "hostile"),
    ("access", "list"),
    ("models", "openai/gpt-5"),
    ("confirm", "openai/gpt-5"),
    ("old", "block"),
    ("grace", "2h"),
    ("scope", "selected"),
    ("action", "block"),
    ("count", "1"),
    ("label", "of a test"),
    ("max_budget", "3"),
    ("rpm_limit", "7"),
    ("duration", "30d"),
    ("pinned", "1"),
    ("yaml", "model_list:\n- model_name: a/b\n  litellm_params: {model: openai/x}\n"),
    ("to", "before"),
    ("q", "gpt"),
    ("contexts", "task-agent/c1"),
];

/// One request of the walk, and how it was answered.
pub(super) struct Met {
    pub(super) what: String,
    pub(super) page: Page,
    took: Duration,
}

impl Met {
    #[track_caller]
    pub(super) fn took_less_than(&self, patience: Duration, lie: &str) {
        assert!(self.took < patience, "{lie}: {} took {:?}", self.what, self.took);
    }
}

/// Looks at every page and does everything, a few at a time.
pub(super) async fn all(browser: &Browser, places: &Places) -> Vec<Met> {
    some(browser, places, &patterns()).await
}

/// The same at these patterns alone.
pub(super) async fn some(browser: &Browser, places: &Places, patterns: &[String]) -> Vec<Met> {
    let mut asked = Vec::new();
    for pattern in patterns {
        let path = places.fill(pattern);
        asked.push((path.clone(), false));
        asked.push((path, true));
    }
    // What deletes comes last.
    asked.sort_by_key(|(path, is_post)| (*is_post, path.ends_with("/delete")));
    let key = &places.hash;
    stream::iter(asked)
        .map(|(path, is_post)| async move {
            let what = format!("{} {path}", if is_post { "POST" } else { "GET" });
            let begun = Instant::now();
            let url = browser.url(&path);
            let request = if is_post {
                browser.http.post(url).form(&[&FIELDS[..], &[("key", key.as_str())]].concat())
            } else {
                browser.http.get(url)
            };
            let answer = request.header(header::ACCEPT, "text/html").send().await;
            let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
            let kind = answer.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec());
            let page = if kind.unwrap_or_default().starts_with(b"text/event-stream") {
                // It has no end of its own.
                let (status, url, headers) =
                    (answer.status(), answer.url().clone(), answer.headers().clone());
                Page { status, url, headers, body: String::new() }
            } else {
                Page::of(answer).await
            };
            Met { what, page, took: begun.elapsed() }
        })
        .buffer_unordered(8)
        .collect()
        .await
}

/// What holds of every answer, whoever lied: no failure of our own, no secret, an error that says what to do.
pub(super) fn check(met: &Met, lie: &str, secrets: &[&str]) {
    let Met { what, page, .. } = met;
    assert_ne!(page.status, StatusCode::INTERNAL_SERVER_ERROR, "{lie}: {what}: {}", page.text());
    for secret in secrets {
        let headers = format!("{:?} {}", page.headers, page.url);
        assert!(!page.body.contains(secret) && !headers.contains(secret), "{lie}: {what} tells {secret}");
    }
    let is_page = page.body.contains("<html");
    if (page.status.is_client_error() || page.status.is_server_error()) && is_page {
        assert!(page.has("h1"), "{lie}: {what}: {}", page.body);
        let said = page.text();
        assert!(said.len() > 20, "{lie}: {what} says only {said:?}");
    }
}
