//! The result of a message, in either dialect: a task, or a bare message.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{AgentError, garbled};
use crate::clients::lenient::{Lenient, Object, Objects};
use crate::domain::agent::Scope;
use crate::domain::control::{AgentConfig, Answer, Tokens};

/// Longest answer text that is kept, in bytes.
pub(super) const MAX_TEXT: usize = 1024 * 1024;

/// How far a message has come.
pub(super) enum Progress {
    Done(Answer),
    Running { task_id: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskState {
    Running,
    Completed,
    InputRequired,
    Failed,
    Rejected,
    Canceled,
    AuthRequired,
}

impl TaskState {
    /// `completed` in 0.3, `TASK_STATE_COMPLETED` in 1.0.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let word = text.strip_prefix("TASK_STATE_").unwrap_or(text).to_ascii_lowercase().replace('_', "-");
        Some(match word.as_str() {
            "submitted" | "working" => Self::Running,
            "completed" => Self::Completed,
            "input-required" => Self::InputRequired,
            "failed" => Self::Failed,
            "rejected" => Self::Rejected,
            "canceled" | "cancelled" => Self::Canceled,
            "auth-required" => Self::AuthRequired,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "working",
            Self::Completed => "completed",
            Self::InputRequired => "input-required",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Canceled => "canceled",
            Self::AuthRequired => "auth-required",
        }
    }
}

#[derive(Deserialize)]
struct Task {
    id: String,
    status: Status,
    artifacts: Objects<Artifact>,
    metadata: Object<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Status {
    state: String,
    message: Object<Message>,
}

#[derive(Deserialize)]
struct Artifact {
    parts: Objects<Part>,
}

#[derive(Deserialize)]
struct Message {
    parts: Objects<Part>,
    metadata: Object<Map<String, Value>>,
}

/// Text parts alone are read; files and data have no place in a control reply.
#[derive(Deserialize)]
struct Part {
    text: Lenient<String>,
}

/// Reads a result: 0.3 tells task and message apart by `kind`, 1.0 by the name of the field they stand in.
pub(super) fn read(result: &Value) -> Result<Progress, AgentError> {
    let within = |name: &str| result.get(name).filter(|inner| inner.is_object());
    let (inner, is_message) = match (within("task"), within("message")) {
        (Some(task), _) => (task, false),
        (None, Some(message)) => (message, true),
        _ => (result, result.get("kind").and_then(Value::as_str) == Some("message")),
    };
    if is_message {
        let message = Message::deserialize(inner).map_err(|error| garbled(&error.to_string()))?;
        let metadata = message.metadata.0.unwrap_or_default();
        return Ok(Progress::Done(answer(text_of(&message.parts.0), &metadata)));
    }
    read_task(Task::deserialize(inner).map_err(|error| garbled(&format!("no task: {error}")))?)
}

fn read_task(task: Task) -> Result<Progress, AgentError> {
    let said = task.status.message.0.as_ref().map(|message| text_of(&message.parts.0)).unwrap_or_default();
    let state = TaskState::parse(&task.status.state)
        .ok_or_else(|| garbled(&format!("a task in the unknown state “{}”", task.status.state)))?;
    match state {
        TaskState::Running => Ok(Progress::Running { task_id: task.id }),
        TaskState::Completed | TaskState::InputRequired => {
            let told: Vec<String> =
                task.artifacts.0.iter().map(|artifact| text_of(&artifact.parts.0)).collect();
            let text = told.join("\n");
            let text = if text.is_empty() { said } else { text };
            Ok(Progress::Done(answer(text, &task.metadata.0.unwrap_or_default())))
        }
        ended => Err(ended.error(&said)),
    }
}

/// The text in the parts of a message or an artifact.
pub(super) fn text_in(holder: &Value) -> String {
    Artifact::deserialize(holder).map(|holder| text_of(&holder.parts.0)).unwrap_or_default()
}

fn text_of(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts.iter().filter_map(|part| part.text.0.as_deref()) {
        text.push_str(&part[..part.floor_char_boundary(MAX_TEXT - text.len())]);
    }
    text
}

/// `adk_usage_metadata` is there only if a model answered; `stateDelta` holds the settings after the answer.
fn answer(text: String, metadata: &Map<String, Value>) -> Answer {
    let usage = metadata.get("adk_usage_metadata").and_then(Value::as_object);
    let delta =
        metadata.get("adk_actions").and_then(|actions| actions.get("stateDelta")).and_then(Value::as_object);
    let state = delta.and_then(settings);
    Answer {
        text,
        from_model: usage.is_some(),
        tokens: usage.and_then(tokens),
        scope: state.as_ref().map(|(_, scope)| *scope),
        state: state.map(|(config, _)| config),
        served: metadata
            .get("patchbay")
            .and_then(|own| own.get("model"))
            .and_then(Value::as_str)
            .map(str::to_owned),
    }
}

/// ADK 2 writes whole numbers as `7.0`.
fn tokens(usage: &Map<String, Value>) -> Option<Tokens> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within the range"
    )]
    let count = |name: &str| {
        let number = usage.get(name)?.as_f64()?;
        (0.0..=1e15).contains(&number).then_some(number as u64)
    };
    Some(Tokens { input: count("promptTokenCount")?, output: count("candidatesTokenCount").unwrap_or(0) })
}

/// ADK keeps what is under `app:` once for all contexts of the app; a key without it belongs to one context.
fn settings(delta: &Map<String, Value>) -> Option<(AgentConfig, Scope)> {
    let (key, model) =
        delta.iter().find_map(|(key, value)| Some((key.strip_suffix("/model")?, value.as_str()?)))?;
    let other = |name: &str| delta.get(&format!("{key}/{name}")).and_then(Value::as_str);
    let scope = if key.starts_with("app:") { Scope::Agent } else { Scope::Context };
    Some((AgentConfig::new(other("provider"), model, other("prompt")), scope))
}
