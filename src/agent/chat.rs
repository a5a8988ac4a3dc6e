//! The agent's calls to the proxy.

use std::borrow::Cow;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::StartError;
use super::tasks::Usage;

const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
const DETAIL_LIMIT: usize = 500;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A swap waits this long at most to hear whether the model is there.
const LIST_TIMEOUT: Duration = Duration::from_secs(3);

/// The proxy, as the agent's key sees it.
pub(super) struct Proxy {
    client: Client,
    base: String,
    key: Option<SecretString>,
    timeout: Duration,
}

/// Why the model did not answer, in words for the one who asked.
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
    #[error("The proxy's answer is larger than 4 MiB.")]
    TooLarge,
    #[error("The proxy's answer is not a chat completion.")]
    NotUnderstood,
    #[error("The model answered without text (finish reason: {0}).")]
    NoText(String),
}

/// What the model said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) served: Option<String>,
    pub(super) usage: Usage,
}

/// A message to the model.
#[derive(Serialize)]
pub(super) struct ChatMessage<'a> {
    pub(super) role: &'static str,
    pub(super) content: &'a str,
}

impl Proxy {
    pub(super) fn new(base: &str, key: Option<SecretString>, timeout: Duration) -> Result<Self, StartError> {
        // Another part of the process may have chosen a provider already, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .default_headers(credentials(key.as_ref())?)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .build()?;
        Ok(Self { client, base: base_url(base)?, key, timeout })
    }

    /// Whether the proxy lists the model for the agent's key; `None` when it cannot tell.
    pub(super) async fn offers(&self, alias: &str) -> Option<bool> {
        let url = format!("{}/v1/models", self.base);
        let timeout = LIST_TIMEOUT.min(self.timeout);
        let response = self.client.get(url).timeout(timeout).send().await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let list: ModelList = serde_json::from_slice(&self.read(response).await.ok()?).ok()?;
        Some(list.data.iter().any(|listed| covers(&listed.id, alias)))
    }

    /// Asks the model.
    pub(super) async fn complete(
        &self,
        model: &str,
        messages: &[ChatMessage<'_>],
    ) -> Result<Answer, ChatError> {
        let body = Completion { model, messages, stream: false };
        let url = format!("{}/v1/chat/completions", self.base);
        let response = self.client.post(url).json(&body).send().await.map_err(|error| self.failed(&error))?;
        let status = response.status();
        let bytes = self.read(response).await?;
        if !status.is_success() {
            return Err(self.refused(status, &bytes));
        }
        let completed: Completed = serde_json::from_slice(&bytes).map_err(|_| ChatError::NotUnderstood)?;
        completed.answer()
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

    /// The client's own words are not used: they hold the proxy's address.
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
        let key = self.key.as_ref().map(ExposeSecret::expose_secret);
        ChatError::Refused { status, detail: presentable(&detail, key) }
    }
}

fn credentials(key: Option<&SecretString>) -> Result<HeaderMap, StartError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let bearer = format!("Bearer {}", key.expose_secret());
        let mut value = HeaderValue::try_from(bearer).map_err(|_| StartError::ApiKey)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// The address without a final `/` or `/v1`, both of which people give.
fn base_url(text: &str) -> Result<String, StartError> {
    let url = Url::parse(text.trim()).map_err(|_| StartError::ProxyUrl)?;
    let plain = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https")
        || !plain
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(StartError::ProxyUrl);
    }
    let base = url.as_str().trim_end_matches('/');
    Ok(base.strip_suffix("/v1").unwrap_or(base).trim_end_matches('/').to_owned())
}

/// Whether a listed name stands for the alias: a proxy may list `openai/*` for all that OpenAI has.
fn covers(listed: &str, alias: &str) -> bool {
    listed == alias || listed.strip_suffix('*').is_some_and(|start| alias.starts_with(start))
}

/// A proxy's words on one line, without what looks like a key, and not too many of them.
fn presentable(text: &str, key: Option<&str>) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = match key {
        Some(key) if !key.is_empty() => line.replace(key, "[redacted]"),
        _ => line,
    };
    let mut shown = String::new();
    let mut rest = line.as_str();
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c| is_wordy(c) != is_wordy(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        shown.push_str(&redacted(word));
        rest = after;
    }
    shown.retain(|c| !c.is_control());
    if shown.is_empty() {
        shown.push_str("it gave no reason");
    }
    match shown.char_indices().nth(DETAIL_LIMIT) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

fn is_wordy(c: char) -> bool {
    c.is_alphanumeric() || "-_.".contains(c)
}

/// LiteLLM quotes the key in part, and its hash in whole, when it refuses one.
fn redacted(word: &str) -> Cow<'_, str> {
    let hash = word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    if hash || word.starts_with("sk-") { "[redacted]".into() } else { word.into() }
}

#[derive(Serialize)]
struct Completion<'a> {
    model: &'a str,
    messages: &'a [ChatMessage<'a>],
    stream: bool,
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(alias = "detail")]
    error: Reason,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reason {
    Said { message: String },
    Text(String),
    Other(serde_json::Value),
}

impl Reason {
    fn message(self) -> String {
        match self {
            Self::Said { message } => message,
            Self::Text(text) => text,
            Self::Other(value) => value.to_string(),
        }
    }
}

#[derive(Deserialize)]
struct Completed {
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    #[serde(rename = "prompt_tokens")]
    prompt: Option<u64>,
    #[serde(rename = "completion_tokens")]
    answer: Option<u64>,
    #[serde(rename = "total_tokens")]
    total: Option<u64>,
}

impl Completed {
    fn answer(self) -> Result<Answer, ChatError> {
        let choice = self.choices.into_iter().next().ok_or(ChatError::NotUnderstood)?;
        let text = choice.message.content.filter(|text| !text.is_empty()).ok_or_else(|| {
            let reason = choice.finish_reason.as_deref().unwrap_or("none given");
            ChatError::NoText(presentable(reason, None))
        })?;
        let counts = self.usage.unwrap_or_default();
        let usage = Usage { prompt: counts.prompt, answer: counts.answer, total: counts.total };
        Ok(Answer { text, served: self.model, usage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_end_as_people_write_it() {
        for given in ["http://h:4000", "http://h:4000/", "http://h:4000/v1", " http://h:4000/v1/ "] {
            assert_eq!(base_url(given).unwrap(), "http://h:4000");
        }
        assert_eq!(base_url("https://h/llm/v1").unwrap(), "https://h/llm");
        for bad in ["", "h:4000", "ftp://h", "http://u:p@h", "http://h/?a=b"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_for_the_rest() {
        assert!(covers("openai/*", "openai/gpt-5") && covers("*", "a/b") && covers("a/b", "a/b"));
        assert!(!covers("openai/*", "anthropic/x") && !covers("openai/gpt-5", "openai/gpt-5-mini"));
    }

    #[test]
    fn keys_and_hashes_are_not_shown() {
        let hash = "0123456789abcdef".repeat(4);
        let text = format!("Key 'sk-...abcd' (hash={hash})\nor my-key? see\tdocs.");
        assert_eq!(
            presentable(&text, Some("my-key")),
            "Key '[redacted]' (hash=[redacted]) or [redacted]? see docs."
        );
        assert_eq!(presentable(&"ä ".repeat(1000), None).chars().count(), DETAIL_LIMIT + 1);
        assert_eq!(presentable(" ", None), "it gave no reason");
    }
}
