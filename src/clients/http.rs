//! What both clients share: how a connection is made, and an answer taken within bounds.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};

use crate::clients::ClientError;
use crate::domain::redact;

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
        .connect_timeout(Duration::from_secs(5))
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        .user_agent(concat!("patchbay/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// A status and a whole body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
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
    let exchange = async {
        let response = request.send().await.map_err(|error| broken(server, &error))?;
        let status = response.status();
        let body = take(server, response, limits.size).await?;
        Ok(Answer { status, body })
    };
    match tokio::time::timeout(limits.time, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(ClientError::Timeout { server, after: limits.time }),
    }
}

async fn take(server: &'static str, mut response: Response, limit: usize) -> Result<Vec<u8>, ClientError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(ClientError::TooLarge { server, limit });
    }
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(server, &error))? {
        if body.len() + chunk.len() > limit {
            return Err(ClientError::TooLarge { server, limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause says most ("connection refused"); the outer ones repeat the address.
fn broken(server: &'static str, error: &reqwest::Error) -> ClientError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    ClientError::Unreachable { server, reason: redact::error_text(&cause.to_string()) }
}

/// How a body begins, for an error text.
pub(super) fn excerpt(body: &[u8]) -> String {
    let head = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let text: String = redact::error_text(&head).chars().take(80).collect();
    if text.is_empty() { "an empty body".to_owned() } else { format!("“{text}”") }
}
