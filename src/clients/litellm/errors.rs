//! What the proxy's error answers mean.
//!
//! They come in five forms, and the status alone misleads: LiteLLM 1.80 answers 401 or 400 with "Can't reach
//! database server" where the key is fine (`wire/litellm/1.80/dbdown_wrong_key`, `dbdown_key_update`).

use serde_json::Value;

use crate::clients::{ClientError, Meaning, http};
use crate::domain::redact;

/// Reads an answer with an error status.
pub(super) fn read(status: u16, body: &[u8]) -> ClientError {
    let (kind, message) = match serde_json::from_slice(body) {
        Ok(json) => parts(&json),
        Err(_) => (None, None),
    };
    let raw = message.unwrap_or_else(|| http::excerpt(body));
    let meaning = meaning(status, kind.as_deref(), &raw);
    ClientError::Status { server: super::SERVER, status, kind, message: redact::error_text(&raw), meaning }
}

/// Type and message, whichever form the body has.
fn parts(json: &Value) -> (Option<String>, Option<String>) {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(error) = json.get("error") {
        let message = error.get("message").and_then(text).or_else(|| text(error));
        return (error.get("type").and_then(text), message);
    }
    let Some(detail) = json.get("detail") else { return (None, None) };
    let message = match detail {
        Value::Array(items) => Some(items.iter().filter_map(field_error).collect::<Vec<_>>().join("; ")),
        Value::Object(_) => detail.get("error").and_then(text),
        other => text(other),
    };
    (None, message.filter(|message| !message.is_empty()))
}

/// One entry of a 422: `size: Input should be less than or equal to 100`.
fn field_error(item: &Value) -> Option<String> {
    let message = item.get("msg")?.as_str()?;
    let field = item.get("loc").and_then(Value::as_array).and_then(|loc| loc.last()).and_then(Value::as_str);
    Some(field.map_or_else(|| message.to_owned(), |field| format!("{field}: {message}")))
}

fn meaning(status: u16, kind: Option<&str>, message: &str) -> Meaning {
    let lower = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    // Told by a proxy without DATABASE_URL, seen on both releases; to a wrong master key as well.
    if says(&["database not connected", "db not connected", "no db connected", "no connected db"]) {
        return Meaning::NoDatabase;
    }
    if kind == Some("no_db_connection")
        || says(&["can't reach database", "database is temporarily unreachable"])
    {
        return Meaning::DatabaseDown;
    }
    match status {
        404 => Meaning::NotFound,
        // 1.80 answers 401 for an update of a key that does not exist (`key_update_unknown`).
        401 if says(&["user key does not exist in db"]) => Meaning::NotFound,
        401 | 403 => Meaning::Credentials,
        429 => Meaning::RateLimited,
        400 | 409 | 422 => Meaning::Invalid,
        _ => Meaning::Other,
    }
}
