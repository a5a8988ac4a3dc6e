//! The JSON of chat completions and their chunks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::words::presentable;
use super::{Answer, ChatError, ChatMessage};
use crate::tasks::Usage;

#[derive(Serialize)]
pub(super) struct Completion<'a> {
    pub(super) model: &'a str,
    pub(super) messages: &'a [ChatMessage<'a>],
    pub(super) stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream_options: Option<StreamOptions>,
    /// LiteLLM's own: it groups the calls of a conversation in the proxy's log.
    #[serde(rename = "litellm_session_id")]
    pub(super) session: &'a str,
}

#[derive(Serialize)]
pub(super) struct StreamOptions {
    pub(super) include_usage: bool,
}

#[derive(Deserialize)]
pub(super) struct ModelList {
    pub(super) data: Vec<Listed>,
}

#[derive(Deserialize)]
pub(super) struct Listed {
    pub(super) id: String,
}

#[derive(Deserialize)]
pub(super) struct Refusal {
    #[serde(alias = "detail")]
    pub(super) error: Reason,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Reason {
    Said { message: String },
    Text(String),
    Other(Value),
}

impl Reason {
    pub(super) fn message(self) -> String {
        match self {
            Self::Said { message } => message,
            Self::Text(text) => text,
            Self::Other(value) => value.to_string(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Completed {
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
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

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        Self { prompt: counts.prompt, answer: counts.answer, total: counts.total }
    }
}

impl Completed {
    pub(super) fn answer(self) -> Result<Answer, ChatError> {
        let choice = self.choices.into_iter().next().ok_or(ChatError::NotUnderstood)?;
        let text = choice.message.content.filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| no_text(choice.finish_reason.as_deref()))?;
        Ok(Answer { text, served: self.model, usage: self.usage.unwrap_or_default().into(), route: None })
    }
}

fn no_text(finish_reason: Option<&str>) -> ChatError {
    ChatError::NoText(presentable(finish_reason.unwrap_or("none given"), None))
}

#[derive(Deserialize)]
struct Chunk {
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Piece>,
    usage: Option<Counts>,
    error: Option<Reason>,
}

#[derive(Deserialize)]
struct Piece {
    #[serde(default)]
    delta: Said,
    finish_reason: Option<String>,
}

#[derive(Default)]
pub(super) struct Streamed {
    text: String,
    served: Option<String>,
    usage: Usage,
    finish_reason: Option<String>,
    is_done: bool,
}

impl Streamed {
    /// Adds one event's data and returns its text.
    pub(super) fn take(&mut self, data: &str) -> Result<String, ChatError> {
        if data == "[DONE]" {
            self.is_done = true;
            return Ok(String::new());
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|_| ChatError::NotUnderstood)?;
        if let Some(reason) = chunk.error {
            return Err(ChatError::BrokeOff(presentable(&reason.message(), None)));
        }
        self.served = chunk.model.or(self.served.take());
        if let Some(counts) = chunk.usage {
            self.usage = counts.into();
        }
        let mut said = String::new();
        if let Some(piece) = chunk.choices.into_iter().next() {
            self.finish_reason = piece.finish_reason.or(self.finish_reason.take());
            said = piece.delta.content.unwrap_or_default();
        }
        self.text.push_str(&said);
        Ok(said)
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The complete answer at the end of the stream.
    pub(super) fn end(self) -> Result<Answer, ChatError> {
        if !self.is_done && self.finish_reason.is_none() {
            return Err(ChatError::Broken);
        }
        if self.text.is_empty() {
            return Err(no_text(self.finish_reason.as_deref()));
        }
        Ok(Answer { text: self.text, served: self.served, usage: self.usage, route: None })
    }
}
