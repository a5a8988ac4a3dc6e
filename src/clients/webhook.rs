//! Posts alerts to a webhook. Redirects are not followed, and the answer's body is not read.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::{Client, header};
use secrecy::ExposeSecret as _;
use sha2::Sha256;

use crate::domain::alert::{Alert, Webhook};
use crate::domain::key::hex;
use crate::domain::redact;

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("it answered {0}")]
    Status(u16),
    #[error("it did not answer within {} s", LIMIT.as_secs())]
    Timeout,
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
}

#[derive(Clone)]
pub struct WebhookClient {
    http: Client,
    pub webhook: Webhook,
}

impl WebhookClient {
    pub fn new(http: Client, webhook: Webhook) -> Self {
        Self { http, webhook }
    }

    /// Succeeds with a status of 200 to 299.
    pub async fn send(&self, alert: &Alert, now: Timestamp) -> Result<(), WebhookError> {
        let (body, timestamp) = (alert.body(self.webhook.is_slack), now.as_second().to_string());
        let mut request = self
            .http
            .post(self.webhook.url.0.clone())
            .timeout(LIMIT)
            .header(header::CONTENT_TYPE, "application/json")
            .header("patchbay-id", &alert.id)
            .header("patchbay-timestamp", &timestamp);
        if let Some(secret) = &self.webhook.secret {
            let signature = sign(secret.expose_secret(), &timestamp, &body);
            request = request.header("patchbay-signature", format!("sha256={signature}"));
        }
        let answer = request.body(body).send().await.map_err(failed)?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(WebhookError::Status(status.as_u16())) }
    }
}

/// HMAC-SHA-256 of the timestamp, a dot and the body, in hexadecimal digits.
fn sign(secret: &str, timestamp: &str, body: &str) -> String {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    hex(&mac.finalize().into_bytes())
}

fn failed(error: reqwest::Error) -> WebhookError {
    if error.is_timeout() {
        return WebhookError::Timeout;
    }
    let mut cause: &dyn std::error::Error = &error.without_url();
    while let Some(source) = cause.source() {
        cause = source;
    }
    WebhookError::Unreachable(redact::error_text(&cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1700000000.{}' | openssl dgst -sha256 -hmac 'a secret of tests'`
    #[test]
    fn signature_is_that_of_other_tools() {
        let signature = sign("a secret of tests", "1700000000", "{}");
        assert_eq!(signature, "215af73fbfe3068a9737252615356bfb3b4dca198c184312328e63824f721e88");
    }
}
