//! The result of a message, in either dialect: a task, or a bare message.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::errors::{AgentError, garbled};
use crate::clients::lenient::{Object, Objects, Text};
use crate::domain::agent::Scope;
use crate::domain::control::{AgentConfig, Answer, Route, Tokens};

/// Longest answer text that is kept, in bytes.
pub(super) const MAX_TEXT: usize = 1024 * 1024;

/// How far a message has come.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
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
#[serde(rename_all = "camelCase")]
struct Task {
    id: Text,
    context_id: Text,
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
#[serde(rename_all = "camelCase")]
struct Artifact {
    artifact_id: Text,
    parts: Objects<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    context_id: Text,
    parts: Objects<Part>,
    metadata: Object<Map<String, Value>>,
}

/// A part of either dialect: 1.0 has a file's name, type and content beside each other, 0.3 below `file`. Fields of
/// any other type count as missing.
type Part = Map<String, Value>;

/// Longest name, type or address of a file that is shown, in bytes.
const MAX_NAME: usize = 1024;

/// What is no text, as people read it; none for nothing, and for an ADK agent's calls of its own tools.
fn described(part: &Part) -> Option<String> {
    if part.get("metadata").is_some_and(|metadata| metadata.get("adk_type").is_some_and(Value::is_string)) {
        return None;
    }
    if let Some(data) = part.get("data").filter(|data| !data.is_null()) {
        return serde_json::to_string_pretty(data).ok();
    }
    let file = part.get("file").and_then(Value::as_object).unwrap_or(part);
    let text = |names: &[&str]| names.iter().find_map(|name| file.get(*name)?.as_str());
    let content = text(&["bytes", "raw", "fileWithBytes"]);
    let address = text(&["uri", "url", "fileWithUri"]);
    if content.is_none() && address.is_none() {
        return None;
    }
    let size = content.map(|base64| match base64.trim_end_matches('=').len() * 3 / 4 {
        small @ 0..1024 => format!("{small} bytes"),
        size @ 1024..1_048_576 => format!("{} KiB", size / 1024),
        size => format!("{} MiB", size / 1_048_576),
    });
    let name = text(&["name", "filename"]);
    let kind = text(&["mimeType", "mediaType"]);
    let shown = [name, kind, size.as_deref(), address];
    let shown: Vec<&str> = shown.into_iter().flatten().filter(|text| text.len() <= MAX_NAME).collect();
    Some(format!("[file: {}]", shown.join(", ")))
}

/// What a message or an artifact says.
#[derive(Default)]
pub(super) struct Content {
    /// Its text parts: files and data have no place in a control reply.
    text: String,
    /// All parts in their order, where some are no text.
    whole: Option<String>,
}

impl Content {
    /// Of a message or an artifact.
    pub(super) fn of(holder: &Value) -> Self {
        Artifact::deserialize(holder).map(|holder| Self::of_parts(&holder.parts.0)).unwrap_or_default()
    }

    fn of_parts(parts: &[Part]) -> Self {
        let mut content = Self::default();
        for part in parts {
            if let Some(text) = part.get("text").and_then(Value::as_str) {
                content.append(&Self { text: text.to_owned(), whole: None });
            } else if let Some(described) = described(part) {
                content.append(&Self { text: String::new(), whole: Some(described) });
            }
        }
        content
    }

    /// As people read it.
    pub(super) fn shown(&self) -> &str {
        self.whole.as_deref().unwrap_or(&self.text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shown().is_empty()
    }

    pub(super) fn size(&self) -> usize {
        self.text.len() + self.whole.as_ref().map_or(0, String::len)
    }

    /// Adds what follows in the same message or artifact. What is no text stands on lines of its own.
    pub(super) fn append(&mut self, next: &Self) {
        if self.whole.is_some() || next.whole.is_some() {
            let whole = self.whole.get_or_insert_with(|| self.text.clone());
            if !whole.is_empty() && !whole.ends_with('\n') {
                push(whole, "\n");
            }
            push(whole, next.shown());
        }
        push(&mut self.text, &next.text);
    }

    fn joined(all: impl IntoIterator<Item = Self>) -> Self {
        let mut all = all.into_iter();
        let mut joined = all.next().unwrap_or_default();
        for next in all {
            joined.append(&Self { text: "\n".to_owned(), whole: None });
            joined.append(&next);
        }
        joined
    }
}

fn push(text: &mut String, more: &str) {
    text.push_str(&more[..more.floor_char_boundary(MAX_TEXT.saturating_sub(text.len()))]);
}

/// A task as the agent reported it, whole or in events.
#[derive(Default)]
pub(super) struct TaskReport {
    pub(super) task_id: Option<String>,
    pub(super) context: Option<String>,
    pub(super) state: String,
    /// What the agent says beside its artifacts: an error, or an answer that is still being written.
    pub(super) said: Content,
    /// Id and content of each artifact.
    pub(super) artifacts: Vec<(String, Content)>,
    pub(super) metadata: Map<String, Value>,
}

impl TaskReport {
    pub(super) fn progress(self) -> Result<Progress, AgentError> {
        let state = TaskState::parse(&self.state)
            .ok_or_else(|| garbled(&format!("a task in the unknown state “{}”", self.state)))?;
        match (state, self.task_id) {
            (TaskState::Running, Some(task_id)) => Ok(Progress::Running { task_id }),
            (TaskState::Running, None) => Err(garbled("a task without an id")),
            (TaskState::Completed | TaskState::InputRequired, _) => {
                let joined = Content::joined(self.artifacts.into_iter().map(|(_, content)| content));
                let content = if joined.is_empty() { self.said } else { joined };
                Ok(Progress::Done(answer(content, self.context, &self.metadata)))
            }
            (ended, _) => Err(ended.error(self.said.shown())),
        }
    }
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
        let content = Content::of_parts(&message.parts.0);
        return Ok(Progress::Done(answer(content, message.context_id.0, &metadata)));
    }
    let task = Task::deserialize(inner).map_err(|error| garbled(&format!("no task: {error}")))?;
    let said = task.status.message.0.as_ref().map(|message| Content::of_parts(&message.parts.0));
    let mut artifacts: Vec<(String, Content)> = Vec::new();
    for artifact in task.artifacts.0 {
        let (id, content) =
            (artifact.artifact_id.0.unwrap_or_default(), Content::of_parts(&artifact.parts.0));
        // An id names one artifact of the task: what stands under it again was appended.
        match artifacts.iter_mut().find(|(known, _)| !id.is_empty() && *known == id) {
            Some((_, known)) => known.append(&content),
            None => artifacts.push((id, content)),
        }
    }
    let report = TaskReport {
        task_id: task.id.0,
        context: task.context_id.0,
        state: task.status.state,
        said: said.unwrap_or_default(),
        artifacts,
        metadata: task.metadata.0.unwrap_or_default(),
    };
    report.progress()
}

/// `adk_usage_metadata` or `patchbay.model` is there only if a model answered; `stateDelta` holds the settings after the
/// answer. ADK agents that send no delta (1.16) still name their invocation, and the tokens where a model answered.
fn answer(content: Content, changed_to: Option<String>, metadata: &Map<String, Value>) -> Answer {
    let usage = metadata.get("adk_usage_metadata").and_then(Value::as_object);
    let delta =
        metadata.get("adk_actions").and_then(|actions| actions.get("stateDelta")).and_then(Value::as_object);
    let state = delta.and_then(settings);
    let own = metadata.get("patchbay");
    let served = own.and_then(|own| own.get("model")).and_then(Value::as_str);
    let from_model = usage.is_some() || served.is_some();
    let is_adk = metadata.contains_key("adk_invocation_id");
    Answer {
        text: content.text,
        whole: content.whole,
        context: changed_to.filter(|context| !context.is_empty()),
        from_model,
        is_attested: !from_model && (state.is_some() || is_adk),
        tokens: usage.and_then(tokens),
        scope: state.as_ref().map(|(_, scope)| *scope),
        state: state.map(|(config, _)| config),
        served: served.map(str::to_owned),
        named: named(metadata),
        proxy: own.and_then(|own| Route::deserialize(own.get("proxy")?).ok()),
    }
}

/// The model that frameworks name in fields of their own: at the top, or in one object below it.
fn named(metadata: &Map<String, Value>) -> Option<String> {
    const NAMES: [&str; 6] =
        ["model", "model_name", "modelName", "model_version", "modelVersion", "model_id"];
    let within = |fields: &Map<String, Value>| {
        NAMES.iter().find_map(|name| fields.get(*name)?.as_str().map(str::to_owned))
    };
    let others = metadata.iter().filter(|(name, _)| *name != "patchbay" && *name != "adk_actions");
    let named =
        within(metadata).or_else(|| others.filter_map(|(_, value)| value.as_object()).find_map(within));
    named.filter(|name| !name.is_empty() && name.len() <= MAX_NAME)
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
