//! A client of the dashboard's JSON answers.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::process::reason;
use super::{Exit, Failure};

/// Longer than the dashboard's own limits, so that it answers first.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Longest wait for a dashboard that may not run.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Dashboard {
    http: Client,
    base: Url,
    username: String,
    password: SecretString,
}

impl Dashboard {
    pub(super) fn new(http: Client, base: Url, username: String, password: SecretString) -> Self {
        Self { http, base, username, password }
    }

    /// Without user and password.
    pub(super) fn address(&self) -> String {
        patchbay::config::shown(self.base.as_str()).unwrap_or_default().trim_end_matches('/').to_owned()
    }

    /// Whether a dashboard answers there. Sends no password.
    pub(super) async fn is_there(&self) -> bool {
        let Ok(url) = self.url(&["healthz"]) else { return false };
        let Ok(answer) = self.http.get(url).timeout(LOOK_TIMEOUT).send().await else { return false };
        // Other servers have this address too.
        let is_own = answer.status().is_success() && answer.headers().contains_key("x-request-id");
        is_own && answer.text().await.is_ok_and(|text| text == "ok")
    }

    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.send(self.http.get(self.url(path)?).query(query)).await
    }

    pub(super) async fn post(&self, path: &[&str], form: &[(&str, &str)]) -> Result<Value, Failure> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(self.url(path)?);
        self.send(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        let mut segments =
            url.path_segments_mut().map_err(|()| Failure::usage("--dashboard: no such address"))?;
        segments.pop_if_empty().extend(path);
        drop(segments);
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let request = request
            .basic_auth(&self.username, Some(self.password.expose_secret()))
            .header("accept", "application/json")
            .timeout(TIMEOUT);
        let unreachable = |error: reqwest::Error| {
            let what = format!("the dashboard cannot be reached: {}", reason(&error));
            Failure::at(self.base.as_str(), "--dashboard, PATCHBAY_DASHBOARD", what)
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if status == StatusCode::UNAUTHORIZED || status.is_redirection() {
            return Err(Failure::failed("the dashboard refuses the login: give --username and --password"));
        }
        match refusal(&body) {
            Some(text) => {
                let exit = if status.is_client_error() { Exit::Refused } else { Exit::Failed };
                Err(Failure::new(exit, format!("the dashboard refuses: {text}")))
            }
            None if body.is_object() => Ok(body),
            None => {
                let what = format!("no dashboard answers there, but something with {status}");
                Err(Failure::at(self.base.as_str(), "--dashboard, PATCHBAY_DASHBOARD", what))
            }
        }
    }
}

/// The text of an error, or the messages at the fields of a form.
fn refusal(body: &Value) -> Option<String> {
    if let Some(error) = body.get("error") {
        let parts = ["title", "detail", "advice"].map(|name| error[name].as_str().unwrap_or_default());
        return Some(parts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" "));
    }
    let fields = body.get("errors")?.as_object().filter(|fields| !fields.is_empty())?;
    let message =
        |(field, text): (&String, &Value)| format!("{field}: {}", text.as_str().unwrap_or_default());
    Some(fields.iter().map(message).collect::<Vec<_>>().join(" "))
}
