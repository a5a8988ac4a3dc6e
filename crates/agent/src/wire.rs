//! The JSON of messages and tasks, in both versions of A2A.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::contexts::ContextId;
use super::control::Settings;
use super::rpc::{Dialect, Fault};
use super::tasks::{Call, Outcome, Question, Reply, Route, State, Task, Usage};

type Object = Map<String, Value>;

/// The parameters of `message/send`.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) message_id: String,
    pub(super) context: Option<ContextId>,
    pub(super) task: Option<String>,
    pub(super) texts: Vec<String>,
    pub(super) blocking: bool,
    pub(super) history_length: Option<usize>,
}

/// The parameters of `tasks/get`.
#[derive(Debug)]
pub(super) struct Get {
    pub(super) task: String,
    pub(super) history_length: Option<usize>,
}

impl Send {
    pub(super) fn read(params: &Object, dialect: Dialect) -> Result<Self, Fault> {
        let message = object(params, "message")?.ok_or_else(|| Fault::params("message", "is required"))?;
        let empty = Object::new();
        let configuration = object(params, "configuration")?.unwrap_or(&empty);
        let blocking = match dialect {
            Dialect::V03 => flag(configuration, "blocking")?.unwrap_or(true),
            Dialect::V10 => !flag(configuration, "returnImmediately")?.unwrap_or(false),
        };
        read_role(message, dialect)?;
        Ok(Self {
            message_id: required(message, "message", "messageId")?,
            context: read_context(message)?,
            task: optional(message, "message", "taskId")?.filter(|id| !id.is_empty()),
            texts: read_texts(message)?,
            blocking,
            history_length: length(configuration, "configuration.historyLength")?,
        })
    }
}

impl Get {
    pub(super) fn read(params: &Object) -> Result<Self, Fault> {
        Ok(Self { task: task_id(params)?, history_length: length(params, "historyLength")? })
    }
}

pub(super) fn task_id(params: &Object) -> Result<String, Fault> {
    let task = params.get("id").ok_or_else(|| Fault::params("id", "is required"))?;
    Ok(task.as_str().ok_or_else(|| Fault::params("id", "must be a string"))?.to_owned())
}

fn read_role(message: &Object, dialect: Dialect) -> Result<(), Fault> {
    let role = required(message, "message", "role")?;
    let user = match dialect {
        Dialect::V03 => "user",
        Dialect::V10 => "ROLE_USER",
    };
    if role == user { Ok(()) } else { Err(Fault::params("message.role", format!("must be {user}"))) }
}

fn read_context(message: &Object) -> Result<Option<ContextId>, Fault> {
    match optional(message, "message", "contextId")?.filter(|id| !id.is_empty()) {
        Some(id) => match ContextId::parse(&id) {
            Some(id) => Ok(Some(id)),
            None => Err(Fault::params("message.contextId", ContextId::RULE)),
        },
        None => Ok(None),
    }
}

/// The texts of all parts. Files and data are refused, never fetched.
fn read_texts(message: &Object) -> Result<Vec<String>, Fault> {
    let parts = match message.get("parts") {
        Some(Value::Array(parts)) if !parts.is_empty() => parts,
        Some(Value::Array(_)) => return Err(Fault::params("message.parts", "must not be empty")),
        Some(_) => return Err(Fault::params("message.parts", "must be a list")),
        None => return Err(Fault::params("message.parts", "is required")),
    };
    let texts = parts.iter().enumerate().map(|(n, part)| {
        let field = format!("message.parts[{n}]");
        let part = part.as_object().ok_or_else(|| Fault::params(&field, "must be an object"))?;
        let kind = part.get("kind").map_or(Some("text"), Value::as_str);
        let other = ["file", "data", "url", "raw"].iter().any(|key| part.contains_key(*key));
        if kind != Some("text") || other {
            return Err(Fault::NotText(field));
        }
        required(part, &field, "text")
    });
    let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
    if texts.iter().all(|text| text.trim().is_empty()) {
        return Err(Fault::params("message.parts", "must hold some text"));
    }
    Ok(texts)
}

fn object<'a>(parent: &'a Object, key: &str) -> Result<Option<&'a Object>, Fault> {
    match parent.get(key) {
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(Value::Null) | None => Ok(None),
        Some(_) => Err(Fault::params(key, "must be an object")),
    }
}

fn optional(parent: &Object, path: &str, key: &str) -> Result<Option<String>, Fault> {
    match parent.get(key) {
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Null) | None => Ok(None),
        Some(_) => Err(Fault::params(format!("{path}.{key}"), "must be a string")),
    }
}

fn required(parent: &Object, path: &str, key: &str) -> Result<String, Fault> {
    match optional(parent, path, key)? {
        // Empty texts are checked for the message as a whole.
        Some(text) if !text.is_empty() || key == "text" => Ok(text),
        _ => Err(Fault::params(format!("{path}.{key}"), "is required")),
    }
}

fn flag(configuration: &Object, key: &str) -> Result<Option<bool>, Fault> {
    match configuration.get(key) {
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::Null) | None => Ok(None),
        Some(_) => Err(Fault::params(format!("configuration.{key}"), "must be true or false")),
    }
}

pub(super) fn length(parent: &Object, path: &str) -> Result<Option<usize>, Fault> {
    match parent.get("historyLength") {
        Some(Value::Null) | None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(length) => Ok(Some(usize::try_from(length).unwrap_or(usize::MAX))),
            None => Err(Fault::params(path, "must be a whole number, 0 or more")),
        },
    }
}

/// The result of `message/send`. 1.0 wraps the task, since a result can also be a message.
pub(super) fn sent(task: &Task, dialect: Dialect, history_length: Option<usize>) -> Value {
    let task = render(task, dialect, history_length);
    match dialect {
        Dialect::V03 => task,
        Dialect::V10 => Value::Object(Object::from_iter([("task".to_owned(), task)])),
    }
}

pub(super) fn render(task: &Task, dialect: Dialect, history_length: Option<usize>) -> Value {
    let mut history = vec![question(task, dialect)];
    let mut shown = json!({
        "id": *task.id,
        "contextId": task.context.to_string(),
        "status": {"state": state(&task.state, dialect), "timestamp": timestamp(task.since)},
    });
    if let State::Done(reply) = &task.state {
        let words = message(task, reply, dialect);
        if is_success(&reply.outcome) {
            let parts = Value::Array(vec![part(reply.text(), dialect)]);
            shown["artifacts"] = json!([{"artifactId": task.artifact_id.to_string()}]);
            shown["artifacts"][0]["parts"] = parts;
        } else {
            shown["status"]["message"] = words.clone();
        }
        history.push(words);
        shown["metadata"] = metadata(&reply.outcome);
    }
    // Left out rather than empty (1.0, 3.2.4).
    if history_length != Some(0) {
        let skipped = history.len().saturating_sub(history_length.unwrap_or(usize::MAX));
        shown["history"] = Value::Array(history.split_off(skipped));
    }
    if dialect == Dialect::V03 {
        shown["kind"] = "task".into();
    }
    shown
}

impl Reply {
    pub(super) fn text(&self) -> &str {
        match &self.outcome {
            Outcome::Control { text, .. } | Outcome::Failure { text, .. } => text,
            Outcome::Answer { text, .. } => text,
            Outcome::Canceled => "Canceled.",
        }
    }
}

/// True for an answer of a model or of the agent.
pub(super) fn is_success(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Control { .. } | Outcome::Answer { .. })
}

pub(super) fn state(state: &State, dialect: Dialect) -> &'static str {
    let (old, new) = match state {
        State::Submitted => ("submitted", "TASK_STATE_SUBMITTED"),
        State::Working => ("working", "TASK_STATE_WORKING"),
        State::Done(reply) => match reply.outcome {
            Outcome::Failure { .. } => ("failed", "TASK_STATE_FAILED"),
            Outcome::Canceled => ("canceled", "TASK_STATE_CANCELED"),
            Outcome::Control { .. } | Outcome::Answer { .. } => ("completed", "TASK_STATE_COMPLETED"),
        },
    };
    if dialect == Dialect::V03 { old } else { new }
}

fn question(task: &Task, dialect: Dialect) -> Value {
    let Question { message_id, texts } = &*task.question;
    let parts = texts.iter().map(|text| part(text, dialect)).collect();
    let role = if dialect == Dialect::V03 { "user" } else { "ROLE_USER" };
    said(task, message_id, role, parts, dialect)
}

fn message(task: &Task, reply: &Reply, dialect: Dialect) -> Value {
    let role = if dialect == Dialect::V03 { "agent" } else { "ROLE_AGENT" };
    let parts = vec![part(reply.text(), dialect)];
    said(task, &reply.message_id, role, parts, dialect)
}

fn said(task: &Task, id: &str, role: &str, parts: Vec<Value>, dialect: Dialect) -> Value {
    let mut said = json!({
        "messageId": id,
        "contextId": task.context.to_string(),
        "taskId": *task.id,
        "role": role,
    });
    said["parts"] = Value::Array(parts);
    if dialect == Dialect::V03 {
        said["kind"] = "message".into();
    }
    said
}

pub(super) fn part(text: &str, dialect: Dialect) -> Value {
    match dialect {
        Dialect::V03 => json!({"kind": "text", "text": text}),
        Dialect::V10 => json!({"text": text}),
    }
}

fn timestamp(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// Present exactly when a model answered: clients distinguish answers from control replies by it.
fn metadata(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Control { settings, .. } => json!({"adk_actions": state_delta(settings)}),
        Outcome::Answer { settings, usage, call, .. } => json!({
            "adk_actions": state_delta(settings),
            "adk_usage_metadata": tokens(*usage),
            "patchbay": call_facts(call),
        }),
        Outcome::Failure { call: Some(call), .. } => json!({"patchbay": call_facts(call)}),
        Outcome::Failure { call: None, .. } | Outcome::Canceled => json!({}),
    }
}

/// No `app:` prefix: in ADK it means that all contexts share the value.
fn state_delta(settings: &Settings) -> Value {
    json!({"stateDelta": {
        "litellm_agent/model": settings.name.model,
        "litellm_agent/provider": settings.name.provider,
        "litellm_agent/prompt": settings.prompt.as_deref(),
    }})
}

fn tokens(usage: Usage) -> Value {
    let counts = [
        ("promptTokenCount", usage.prompt),
        ("candidatesTokenCount", usage.answer),
        ("totalTokenCount", usage.total),
    ];
    counts.into_iter().filter_map(|(name, count)| Some((name.to_owned(), Value::from(count?)))).collect()
}

fn call_facts(call: &Call) -> Value {
    let mut facts = json!({"model": call.model, "elapsed_ms": call.elapsed_ms});
    if let Some(served) = &call.served {
        facts["served"] = served.as_str().into();
    }
    if let Some(Route { group, deployment, fallbacks }) = &call.route {
        facts["proxy"] = json!({"group": group, "deployment": deployment, "fallbacks": fallbacks});
    }
    facts
}
