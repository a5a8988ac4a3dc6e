//! The proxy's error formats.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::generation::Generation;
use super::world::Database;

pub(super) type Answer = Result<Response, Refusal>;

#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    body: Form,
    retry_after: Option<i64>,
}

#[derive(Debug)]
enum Form {
    Json(Value),
    Text(&'static str),
}

impl Refusal {
    /// `{error: {message, type, param, code}}`; the code repeats the status as a string.
    pub(super) fn proxy(
        status: u16,
        kind: impl Into<Value>,
        param: impl Into<Value>,
        message: impl Into<String>,
    ) -> Self {
        let error = json!({
            "message": message.into(),
            "type": kind.into(),
            "param": param.into(),
            "code": status.to_string(),
        });
        Self::json(status, json!({ "error": error }))
    }

    /// An admin route's refusal. The generations differ in the type they give the same message.
    pub(super) fn admin(
        generation: Generation,
        status: u16,
        old: &str,
        new: &str,
        message: impl Into<String>,
    ) -> Self {
        let kind = match generation {
            Generation::V1_80 => old,
            Generation::V1_109 => new,
        };
        Self::proxy(status, kind, generation.no_param(), message)
    }

    /// `{detail: …}`
    pub(super) fn detail(status: u16, detail: impl Into<Value>) -> Self {
        Self::json(status, json!({ "detail": detail.into() }))
    }

    pub(super) fn json(status: u16, body: Value) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, body: Form::Json(body), retry_after: None }
    }

    pub(super) fn crash() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            body: Form::Text("Internal Server Error"),
            retry_after: None,
        }
    }

    /// 422 in the framework's form. Only the older generation repeats the input.
    pub(super) fn validation(
        generation: Generation,
        kind: &str,
        loc: impl Into<Value>,
        msg: impl Into<String>,
        input: Value,
    ) -> Self {
        let mut item = json!({ "type": kind, "loc": loc.into(), "msg": msg.into() });
        if generation == Generation::V1_80 {
            item["input"] = input;
        }
        Self::detail(422, json!([item]))
    }

    /// The older generation's `ctx` of the first validation item.
    pub(super) fn with_context(mut self, generation: Generation, ctx: Value) -> Self {
        if generation == Generation::V1_80
            && let Form::Json(body) = &mut self.body
        {
            body["detail"][0]["ctx"] = ctx;
        }
        self
    }

    pub(super) fn retry_after(mut self, seconds: i64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(super) fn message(&self) -> String {
        match &self.body {
            Form::Json(body) => body["error"]["message"].as_str().unwrap_or_default().to_owned(),
            Form::Text(text) => (*text).to_owned(),
        }
    }

    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Form::Json(body) => (self.status, Json(body)).into_response(),
            Form::Text(text) => (self.status, text).into_response(),
        };
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An unknown path.
pub(super) async fn not_found() -> Refusal {
    Refusal::detail(404, "Not Found")
}

/// A known path with another method (`x_get_model_new`).
pub(super) async fn method_not_allowed() -> Refusal {
    Refusal::detail(405, "Method Not Allowed")
}

/// Kinds of database access, which fail differently in an outage.
#[derive(Clone, Copy, Debug)]
pub(super) enum Touch {
    KeyBlock,
    KeyInfo,
    KeyList,
    KeyUpdate,
    /// `/key/generate` and `/key/delete`.
    KeyWrite,
    ModelBlock,
    ModelEdit,
    ModelInfo,
    ModelInfoV2,
    ModelNew,
    Spend(&'static str),
}

/// The database driver's text.
pub(super) const UNREACHABLE: &str = "Can't reach database server at `127.0.0.1`:`5433`\n\nPlease make sure \
     your database server is running at `127.0.0.1`:`5433`.";

/// 1.109's answer if it detects the outage itself.
pub(super) fn database_unavailable() -> Refusal {
    Refusal::proxy(
        503,
        "no_db_connection",
        Value::Null,
        "Service Unavailable, the authentication database is temporarily unreachable. Please retry shortly.",
    )
}

const KEY_INFO_FAILED: &str = "Internal server error from /key/info. Details are in the proxy server logs.";

/// Refuses `touch` when the database cannot serve it.
pub(super) fn require(database: Database, generation: Generation, touch: Touch) -> Result<(), Refusal> {
    match (database, generation) {
        (Database::Up, _) => Ok(()),
        (Database::Down, Generation::V1_80) => down_1_80(touch),
        (Database::Down, Generation::V1_109) => Err(down_1_109(touch)),
        (Database::None, _) => without_database(generation, touch),
    }
}

/// The recordings `1.80/dbdown_*`. An outage may look like a bad request here.
fn down_1_80(touch: Touch) -> Result<(), Refusal> {
    let proxy = |status, kind: &str, message: String| Refusal::proxy(status, kind, "None", message);
    Err(match touch {
        Touch::ModelInfo => return Ok(()),
        Touch::KeyBlock | Touch::ModelInfoV2 => Refusal::crash(),
        Touch::KeyInfo | Touch::KeyWrite => {
            proxy(500, "internal_server_error", format!("Internal Server Error, {UNREACHABLE}"))
        }
        Touch::KeyList => proxy(500, "internal_server_error", format!("Authentication Error, {UNREACHABLE}")),
        Touch::KeyUpdate | Touch::ModelEdit | Touch::ModelBlock => {
            proxy(400, "auth_error", format!("Authentication Error, {UNREACHABLE}"))
        }
        Touch::ModelNew => proxy(500, "auth_error", MODEL_NOT_ADDED.to_owned()),
        Touch::Spend(route) => proxy(500, "internal_error", format!("{route} Error{UNREACHABLE}")),
    })
}

/// The recordings `1.109/dbdown_*`.
fn down_1_109(touch: Touch) -> Refusal {
    let proxy = |kind: &str, message: String| Refusal::proxy(500, kind, Value::Null, message);
    match touch {
        Touch::KeyWrite => proxy("internal_server_error", UNREACHABLE.to_owned()),
        Touch::KeyInfo => proxy("internal_error", KEY_INFO_FAILED.to_owned()),
        Touch::Spend(route) => proxy("internal_error", format!("{route} Error{UNREACHABLE}")),
        _ => database_unavailable(),
    }
}

/// A proxy without a database, in its documented words, which a genuine 1.109 keeps to itself about one key.
fn without_database(generation: Generation, touch: Touch) -> Result<(), Refusal> {
    const NOT_CONNECTED: &str =
        "{'error': 'DB not connected. See https://docs.litellm.ai/docs/proxy/virtual_keys'}";
    if let (Touch::KeyInfo, Generation::V1_109) = (touch, generation) {
        return Err(Refusal::proxy(500, "internal_error", Value::Null, KEY_INFO_FAILED));
    }
    let old = match touch {
        Touch::ModelInfo | Touch::ModelInfoV2 => return Ok(()),
        Touch::ModelBlock | Touch::ModelEdit | Touch::ModelNew => "auth_error",
        Touch::KeyBlock | Touch::KeyInfo | Touch::KeyList | Touch::KeyUpdate | Touch::KeyWrite => {
            "internal_server_error"
        }
        Touch::Spend(_) => "internal_error",
    };
    Err(Refusal::admin(generation, 500, old, "internal_server_error", NOT_CONNECTED))
}

pub(super) const MODEL_NOT_ADDED: &str =
    "{'error': 'Failed to add model to db. Check your server logs for more details.'}";
