//! Calls to the proxy.

mod sse;
mod wire;
mod words;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::StartError;
use super::contexts::unpoisoned;
use super::tasks::{Route, Usage};
use wire::{Completed, Completion, ModelList, Refusal, StreamOptions, Streamed};
use words::{base_url, covers, presentable};

const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit for checking whether a model exists before a swap.
const LIST_TIMEOUT: Duration = Duration::from_secs(3);
/// Factor of a stream's time limit to that of an answer in one piece.
const STREAM_FACTOR: u32 = 10;

/// Reads the current key from its file.
pub(super) type KeySource = Arc<dyn Fn() -> Option<SecretString> + Send + Sync>;

pub(super) struct Proxy {
    client: Client,
    base: String,
    key: Mutex<Option<SecretString>>,
    source: Option<KeySource>,
    timeout: Duration,
}

/// Why the model did not answer, as text for the user.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChatError {
    #[error("The proxy did not answer within {} s.", .0.as_secs_f32())]
    Timeout(Duration),
    #[error("The proxy cannot be reached.")]
    Unreachable,
    #[error("The connection to the proxy broke off.")]
    Broken,
    #[error("The proxy refused the call with status {}: {detail}", .status.as_u16())]
    Refused { status: StatusCode, detail: String },
    #[error("The model broke off: {0}")]
    BrokeOff(String),
    #[error("The proxy's answer is larger than 4 MiB.")]
    TooLarge,
    #[error("The proxy's answer is not a chat completion.")]
    NotUnderstood,
    #[error("The model answered without text (finish reason: {0}).")]
    NoText(String),
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) served: Option<String>,
    pub(super) usage: Usage,
    pub(super) route: Option<Route>,
}

#[derive(Serialize)]
pub(super) struct ChatMessage<'a> {
    pub(super) role: &'static str,
    pub(super) content: &'a str,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Proxy {
    pub(super) fn new(
        base: &str,
        key: Option<SecretString>,
        source: Option<KeySource>,
        timeout: Duration,
    ) -> Result<Self, StartError> {
        // Fails if a provider is installed already, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if key.as_ref().is_some_and(|key| !is_sendable(key)) {
            return Err(StartError::ApiKey);
        }
        let mut client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout);
        if let Some(tls) = patchbay_tls::from_environment() {
            client = client.tls_backend_preconfigured(tls);
        }
        let client = client.build()?;
        let key = key.or_else(|| fresh_key(source.as_ref()));
        Ok(Self { client, base: base_url(base)?, key: Mutex::new(key), source, timeout })
    }

    /// True if the proxy lists the model for the agent's key; `None` if it cannot be asked.
    pub(super) async fn offers(&self, alias: &str) -> Option<bool> {
        let timeout = LIST_TIMEOUT.min(self.timeout);
        // With what a wildcard covers, which is not all listed.
        let url = format!("{}/v1/models?return_wildcard_routes=true", self.base);
        let request = || self.client.get(&url).timeout(timeout);
        let response = self.send(request).await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let list: ModelList = serde_json::from_slice(&self.read(response).await.ok()?).ok()?;
        Some(list.data.iter().any(|listed| covers(&listed.id, alias)))
    }

    pub(super) async fn complete(
        &self,
        context: &str,
        model: &str,
        messages: &[ChatMessage<'_>],
    ) -> Result<Answer, ChatError> {
        let body = Completion { model, messages, stream: false, stream_options: None, session: context };
        let response = self.send(|| self.chat().json(&body)).await?;
        self.whole(response).await
    }

    /// Asks the model and passes each piece of its answer to `said`.
    pub(super) async fn stream(
        &self,
        context: &str,
        model: &str,
        messages: &[ChatMessage<'_>],
        said: impl FnMut(&str) + Send,
    ) -> Result<Answer, ChatError> {
        let options = Some(StreamOptions { include_usage: true });
        let body = Completion { model, messages, stream: true, stream_options: options, session: context };
        let longest = self.timeout.saturating_mul(STREAM_FACTOR);
        let sent = self.send(|| self.chat().timeout(longest).json(&body));
        let response = tokio::time::timeout(self.timeout, sent)
            .await
            .map_err(|_| ChatError::Timeout(self.timeout))??;
        let content_type = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if response.status().is_success() && content_type.is_some_and(|t| t.starts_with(b"text/event-stream"))
        {
            return self.pieces(response, said).await;
        }
        match self.whole(response).await {
            // Some models do not stream, or only for verified organisations.
            Err(ChatError::Refused { status: StatusCode::BAD_REQUEST, detail })
                if detail.to_lowercase().contains("stream") =>
            {
                self.complete(context, model, messages).await
            }
            answer => answer,
        }
    }

    fn chat(&self) -> RequestBuilder {
        self.client.post(format!("{}/v1/chat/completions", self.base))
    }

    /// Sends a request. If the proxy rejects the key, reads it again and retries once with a changed one: a new key needs
    /// no restart.
    async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, ChatError> {
        let key = unpoisoned(&self.key).clone();
        let response = self.attempt(request(), key.as_ref()).await?;
        if !matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Ok(response);
        }
        let text = |key: &SecretString| key.expose_secret().to_owned();
        let Some(fresh) =
            fresh_key(self.source.as_ref()).filter(|new| Some(text(new)) != key.as_ref().map(text))
        else {
            return Ok(response);
        };
        tracing::info!("the proxy refuses the agent's key, and another one was read");
        *unpoisoned(&self.key) = Some(fresh.clone());
        self.attempt(request(), Some(&fresh)).await
    }

    async fn attempt(
        &self,
        request: RequestBuilder,
        key: Option<&SecretString>,
    ) -> Result<Response, ChatError> {
        let request = match key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        };
        request.send().await.map_err(|error| self.failed(&error))
    }

    async fn whole(&self, response: Response) -> Result<Answer, ChatError> {
        let (status, route) = (response.status(), Route::read(response.headers()));
        let bytes = self.read(response).await?;
        if !status.is_success() {
            return Err(self.refused(status, &bytes));
        }
        let completed: Completed = serde_json::from_slice(&bytes).map_err(|_| ChatError::NotUnderstood)?;
        Ok(Answer { route, ..completed.answer()? })
    }

    async fn pieces(
        &self,
        mut response: Response,
        mut said: impl FnMut(&str) + Send,
    ) -> Result<Answer, ChatError> {
        let route = Route::read(response.headers());
        let (mut lines, mut streamed, mut size) = (sse::Lines::default(), Streamed::default(), 0);
        loop {
            let chunk = tokio::time::timeout(self.timeout, response.chunk()).await;
            let chunk = chunk.map_err(|_| ChatError::Timeout(self.timeout))?;
            let Some(chunk) = chunk.map_err(|error| self.failed(&error))? else { break };
            size += chunk.len();
            // Each token takes about 200 bytes.
            if lines.len() + chunk.len() > ANSWER_LIMIT || size > 64 * ANSWER_LIMIT {
                return Err(ChatError::TooLarge);
            }
            for data in lines.push(&chunk) {
                said(&streamed.take(&data)?);
            }
            if streamed.len() > ANSWER_LIMIT {
                return Err(ChatError::TooLarge);
            }
        }
        if let Some(data) = lines.rest() {
            said(&streamed.take(&data)?);
        }
        Ok(Answer { route, ..streamed.end()? })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, ChatError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if bytes.len() + chunk.len() > ANSWER_LIMIT {
                return Err(ChatError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The client's own text has the proxy's address.
    fn failed(&self, error: &reqwest::Error) -> ChatError {
        if error.is_connect() {
            ChatError::Unreachable
        } else if error.is_timeout() {
            ChatError::Timeout(self.timeout)
        } else {
            ChatError::Broken
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> ChatError {
        let detail = match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) => refusal.error.message(),
            Err(_) if status.is_redirection() => "it redirects, which is not followed".to_owned(),
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        };
        let key = unpoisoned(&self.key).clone();
        ChatError::Refused {
            status,
            detail: presentable(&detail, key.as_ref().map(ExposeSecret::expose_secret)),
        }
    }
}

impl Route {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| {
            headers.get(name)?.to_str().ok().map(|text| text.chars().take(256).collect::<String>())
        };
        Some(Self {
            group: text("x-litellm-model-group")?,
            deployment: text("x-litellm-model-id"),
            fallbacks: text("x-litellm-attempted-fallbacks")?.parse().ok()?,
        })
    }
}

fn fresh_key(source: Option<&KeySource>) -> Option<SecretString> {
    source.and_then(|read| read()).filter(is_sendable)
}

fn is_sendable(key: &SecretString) -> bool {
    HeaderValue::try_from(format!("Bearer {}", key.expose_secret())).is_ok()
}
