//! The JSON-RPC envelope: method, version of A2A, and errors in each version.

use axum::http::HeaderMap;
use serde_json::{Map, Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V03,
    V10,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Send,
    Stream,
    Get,
    Cancel,
    List,
    Subscribe,
    Push,
    ExtendedCard,
}

impl Method {
    pub(super) fn is_streamed(self) -> bool {
        matches!(self, Self::Stream | Self::Subscribe)
    }

    fn named(name: &str) -> Option<(Self, &'static str)> {
        Some(match name {
            "message/send" => (Self::Send, "0.3"),
            "message/stream" => (Self::Stream, "0.3"),
            "tasks/get" => (Self::Get, "0.3"),
            "tasks/cancel" => (Self::Cancel, "0.3"),
            "tasks/resubscribe" => (Self::Subscribe, "0.3"),
            "agent/getAuthenticatedExtendedCard" => (Self::ExtendedCard, "0.3"),
            "SendMessage" => (Self::Send, "1.0"),
            "SendStreamingMessage" => (Self::Stream, "1.0"),
            "GetTask" => (Self::Get, "1.0"),
            "CancelTask" => (Self::Cancel, "1.0"),
            "ListTasks" => (Self::List, "1.0"),
            "SubscribeToTask" => (Self::Subscribe, "1.0"),
            "GetExtendedAgentCard" => (Self::ExtendedCard, "1.0"),
            _ if name.starts_with("tasks/pushNotificationConfig/") => (Self::Push, "0.3"),
            _ if name.contains("TaskPushNotificationConfig") => (Self::Push, "1.0"),
            _ => return None,
        })
    }
}

/// A request with a valid envelope.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Value,
    /// It came without an id: only what is wrong with it is answered.
    pub(super) is_notification: bool,
    pub(super) dialect: Dialect,
    pub(super) method: Method,
    pub(super) params: Map<String, Value>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("Parse error: {0}")]
    Parse(serde_json::Error),
    #[error("Invalid request: {0}")]
    Request(&'static str),
    #[error("Method not found")]
    Method,
    #[error("Invalid parameters: {field} {problem}")]
    Params { field: String, problem: String },
    #[error("{0}")]
    Busy(&'static str),
    #[error("Task not found")]
    TaskNotFound,
    #[error("Task cannot be canceled")]
    NotCancelable,
    #[error("The task has ended: there is nothing to follow, ask for it instead")]
    TaskEnded,
    #[error("Push notifications are not supported")]
    NoPush,
    #[error("The agent has no extended card")]
    NoExtendedCard,
    #[error("{0}")]
    Unsupported(&'static str),
    #[error("{0}")]
    Internal(&'static str),
    #[error("Incompatible content types: only text parts are understood, and {0} is not one")]
    NotText(String),
    #[error("A2A version '{got}' is not supported by this handler. Expected version '{expected}'.")]
    Version { got: String, expected: &'static str },
}

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) id: Value,
    pub(super) dialect: Dialect,
    pub(super) fault: Fault,
}

impl Fault {
    pub(super) fn params(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Params { field: field.into(), problem: problem.into() }
    }

    /// The JSON-RPC code, and its name in 1.0.
    fn code(&self, dialect: Dialect) -> (i32, &'static str) {
        match self {
            Self::Parse(_) => (-32700, "PARSE_ERROR"),
            Self::Request(_) => (-32600, "INVALID_REQUEST"),
            Self::Method => (-32601, "METHOD_NOT_FOUND"),
            Self::Params { .. } => (-32602, "INVALID_PARAMS"),
            Self::Busy(_) => (-32000, "RESOURCE_EXHAUSTED"),
            Self::Internal(_) => (-32603, "INTERNAL_ERROR"),
            Self::TaskNotFound => (-32001, "TASK_NOT_FOUND"),
            Self::NotCancelable => (-32002, "TASK_NOT_CANCELABLE"),
            Self::NoPush => (-32003, "PUSH_NOTIFICATION_NOT_SUPPORTED"),
            // 0.3 has no code for it (`tasks_resubscribe_completed`), and 1.0 none for an optional card.
            Self::TaskEnded if dialect == Dialect::V03 => (-32602, "INVALID_PARAMS"),
            Self::NoExtendedCard if dialect == Dialect::V03 => (-32007, "EXTENDED_CARD_NOT_CONFIGURED"),
            Self::TaskEnded | Self::NoExtendedCard | Self::Unsupported(_) => {
                (-32004, "UNSUPPORTED_OPERATION")
            }
            Self::NotText(_) => (-32005, "CONTENT_TYPE_NOT_SUPPORTED"),
            Self::Version { .. } => (-32009, "VERSION_NOT_SUPPORTED"),
        }
    }

    fn data(&self, dialect: Dialect) -> Option<Value> {
        let info = |metadata: Value| {
            json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": self.code(dialect).1,
                "domain": "a2a-protocol.org",
                "metadata": metadata,
            })
        };
        match (self, dialect) {
            (Self::Params { field, problem }, Dialect::V03) => {
                let below = field.split('.').filter(|step| *step != "params");
                let path: Vec<&str> = std::iter::once("params").chain(below).collect();
                Some(json!([{"loc": path, "msg": problem}]))
            }
            (Self::Params { field, problem }, Dialect::V10) => Some(json!([
                info(json!({"errors": [{"field": field, "message": problem}]})),
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [{"field": field, "description": problem}],
                },
            ])),
            // An unsupported version gets an error that looks the same in all versions.
            (Self::Version { .. }, _) => Some(json!([info(json!({}))])),
            (Self::Parse(_) | Self::Request(_) | Self::Method, _) | (_, Dialect::V03) => None,
            (_, Dialect::V10) => Some(json!([info(json!({}))])),
        }
    }
}

impl Refusal {
    pub(super) fn unread(fault: Fault) -> Self {
        Self { id: Value::Null, dialect: Dialect::V03, fault }
    }

    pub(super) fn into_value(self) -> Value {
        let mut error = json!({"code": self.fault.code(self.dialect).0, "message": self.fault.to_string()});
        if let Some(data) = self.fault.data(self.dialect) {
            error["data"] = data;
        }
        json!({"jsonrpc": "2.0", "id": self.id, "error": error})
    }
}

pub(super) fn answer(id: Value, result: Value) -> Value {
    // `json!` would copy a result of megabytes.
    Value::Object(Map::from_iter([
        ("jsonrpc".to_owned(), Value::from("2.0")),
        ("id".to_owned(), id),
        ("result".to_owned(), result),
    ]))
}

pub(super) fn read(body: &[u8], headers: &HeaderMap) -> Result<Request, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|error| Refusal::unread(Fault::Parse(error)))?;
    let mut body = match body {
        Value::Object(body) => body,
        Value::Array(_) => return Err(Refusal::unread(Fault::Request("batches are not supported"))),
        _ => return Err(Refusal::unread(Fault::Request("it must be an object"))),
    };
    let given = body.remove("id");
    let is_notification = given.is_none();
    let id @ (Value::String(_) | Value::Number(_) | Value::Null) = given.unwrap_or_default() else {
        return Err(Refusal::unread(Fault::Request("id must be a string or a number")));
    };
    let version = version(headers);
    let dialect = if version == "1.0" { Dialect::V10 } else { Dialect::V03 };
    match envelope(&mut body, version) {
        Ok((method, mut params)) => {
            if dialect == Dialect::V10 {
                rename(&mut params);
            }
            Ok(Request { id, is_notification, dialect, method, params })
        }
        Err(fault) => Err(Refusal { id, dialect, fault }),
    }
}

/// The parsers of 1.0 (`ProtoJSON`, 5.5) accept the field names of the proto file as well: `context_id` is `contextId`.
fn rename(params: &mut Map<String, Value>) {
    for below in ["message", "configuration"] {
        if let Some(Value::Object(fields)) = params.get_mut(below) {
            rename_fields(fields);
        }
    }
    rename_fields(params);
}

fn rename_fields(fields: &mut Map<String, Value>) {
    let names: Vec<String> = fields.keys().filter(|name| name.contains('_')).cloned().collect();
    for name in names {
        if let Some(value) = fields.remove(&name) {
            fields.entry(camel_case(&name)).or_insert(value);
        }
    }
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        let initial = letters.next().map(|letter| letter.to_ascii_uppercase());
        name.chars().chain(initial).chain(letters).collect()
    })
}

fn envelope(body: &mut Map<String, Value>, version: String) -> Result<(Method, Map<String, Value>), Fault> {
    if body.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(Fault::Request("jsonrpc must be \"2.0\""));
    }
    let name = body.get("method").and_then(Value::as_str).ok_or(Fault::Request("method must be a string"))?;
    let Some((method, expected)) = Method::named(name) else {
        return Err(match version.as_str() {
            "0.3" | "1.0" => Fault::Method,
            _ => Fault::Version { got: version, expected: "1.0" },
        });
    };
    if version != expected {
        return Err(Fault::Version { got: version, expected });
    }
    match body.remove("params") {
        Some(Value::Object(params)) => Ok((method, params)),
        Some(_) => Err(Fault::params("params", "must be an object")),
        None if matches!(method, Method::List | Method::Push | Method::ExtendedCard) => {
            Ok((method, Map::new()))
        }
        None => Err(Fault::params("params", "is required")),
    }
}

/// The requested version as `major.minor`, without a patch level; 0.3 by default.
fn version(headers: &HeaderMap) -> String {
    let Some(value) = headers.get("a2a-version") else { return "0.3".to_owned() };
    let value = String::from_utf8_lossy(value.as_bytes());
    let value = value.trim();
    if value.is_empty() {
        return "0.3".to_owned();
    }
    let parts: Vec<&str> = value.split('.').collect();
    match parts[..] {
        [major, minor, patch] if patch.parse::<u32>().is_ok() => format!("{major}.{minor}"),
        _ => value.chars().take(32).collect(),
    }
}
