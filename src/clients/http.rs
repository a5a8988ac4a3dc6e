//! What both clients share: how a connection is made, and an answer taken within bounds.

use std::time::{Duration, Instant};

use metrics::histogram;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, StatusCode, header, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clients::{ClientError, Meaning};
use crate::domain::redact;
use crate::telemetry;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Most values of an answer, nulls left out: 1,000 deployments have 60,000.
const MAX_VALUES: usize = 400_000;

/// Largest error body that is read.
const ERROR_BYTES: usize = 256 * 1024;

/// Of this much of a body an error text is made.
const EXCERPT_BYTES: usize = 2048;

/// An HTTP client for proxies and agents: no redirects (they would carry the master key along), no proxy from
/// the environment, TLS by ring.
///
/// # Errors
/// Where the system's CA certificates cannot be read.
pub fn build() -> Result<Client, reqwest::Error> {
    // Fails only if a provider is there already, which then serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        // Proxies and agents run on uvicorn, which closes an idle connection after 5 s. A request sent into
        // the closing is lost, and nobody knows whether a swap was among it.
        .pool_idle_timeout(Duration::from_secs(4))
        .tcp_nodelay(true)
        .user_agent(concat!("patchbay/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// A status, headers and a whole body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Limits of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From the first byte sent to the last one read.
    pub(super) time: Duration,
    /// Of the body, in bytes.
    pub(super) size: usize,
}

/// Sends `request` to `server` (a name for errors) and takes the whole answer within `limits`.
pub(super) async fn send(
    server: &'static str,
    request: RequestBuilder,
    limits: Limits,
) -> Result<Answer, ClientError> {
    let exchange = async { close(server, open(server, request).await?, limits.size).await };
    let begun = Instant::now();
    let answer = match tokio::time::timeout(limits.time, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(ClientError::Timeout { server, after: limits.time }),
    };
    let result = if answer.is_ok() { "answer" } else { "none" };
    histogram!(telemetry::UPSTREAM_SECONDS, "server" => server, "result" => result)
        .record(begun.elapsed().as_secs_f64());
    answer
}

/// Sends `request`, and leaves the body to come. The caller bounds time and size.
pub(super) async fn open(server: &'static str, request: RequestBuilder) -> Result<Response, ClientError> {
    let response = request.send().await.map_err(|error| broken(server, &error))?;
    if response.status().is_redirection() {
        return Err(redirected(server, &response));
    }
    Ok(response)
}

/// Takes the rest of an answer that was opened.
pub(super) async fn close(
    server: &'static str,
    response: Response,
    limit: usize,
) -> Result<Answer, ClientError> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = take(server, response, limit).await?;
    Ok(Answer { status, headers, body })
}

async fn take(server: &'static str, mut response: Response, limit: usize) -> Result<Vec<u8>, ClientError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(ClientError::TooLarge { server, limit });
    }
    // What is announced need not come.
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0).min(1024 * 1024));
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(server, &error))? {
        if body.len() + chunk.len() > limit {
            return Err(ClientError::TooLarge { server, limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// To follow it would carry the credentials to wherever it points.
fn redirected(server: &'static str, response: &Response) -> ClientError {
    let target = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let message = match target {
        Some(target) => {
            format!(
                "a redirect to {}, which is not followed: correct the address",
                redact::error_text(target)
            )
        }
        None => "a redirect to nowhere".to_owned(),
    };
    let status = response.status().as_u16();
    ClientError::Status { server, status, kind: None, message, meaning: Meaning::Other }
}

/// The innermost cause says most ("connection refused"); the outer ones repeat the address.
fn broken(server: &'static str, error: &reqwest::Error) -> ClientError {
    // The only time limit that reqwest is given.
    if error.is_timeout() {
        return ClientError::Timeout { server, after: CONNECT };
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    ClientError::Unreachable { server, reason: redact::error_text(&cause.to_string()) }
}

/// Reads an answer that is not made of more values than there is room for.
///
/// A text of two bytes may become a value of a hundred, so that the size alone bounds nothing.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let values = memchr::memchr3_iter(b',', b'[', b'{', body).count();
    // The proxy adds some two hundred to each of its deployments.
    let nulls = memchr::memmem::find_iter(body, "null").count();
    if values.saturating_sub(nulls / 4 * 3) > MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} values"));
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Reads an error body; nothing, if it is no JSON or too much to be a message.
pub(super) fn error_json(body: &[u8]) -> Value {
    if body.len() > ERROR_BYTES { Value::Null } else { serde_json::from_slice(body).unwrap_or_default() }
}

/// How a body begins, for an error text.
pub(super) fn excerpt(body: &[u8]) -> String {
    let head = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]);
    if let Some(page) = web_page(&head) {
        return page;
    }
    let text: String = redact::error_text(&head).chars().take(80).collect();
    if text.is_empty() { "an empty body".to_owned() } else { format!("“{text}”") }
}

/// What a web page in the place of an answer is: mostly the error page of a gateway in between.
fn web_page(head: &str) -> Option<String> {
    let lower = head.trim_start().to_ascii_lowercase();
    if !["<!doctype html", "<html", "<head", "<body"].iter().any(|start| lower.starts_with(start)) {
        return None;
    }
    let lower = head.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|tag| {
        let start = tag + lower[tag..].find('>')? + 1;
        let end = start + lower[start..].find('<')?;
        Some(redact::error_text(&head[start..end]))
    });
    Some(match title.filter(|title| !title.is_empty()) {
        Some(title) => format!("a web page titled “{}”", title.chars().take(80).collect::<String>()),
        None => "a web page".to_owned(),
    })
}
