//! What the proxy's error answers mean.
//!
//! They come in five forms, and the status alone misleads: LiteLLM 1.80 answers 401 or 400 with "Can't reach
//! database server" where the key is fine (`wire/litellm/1.80/dbdown_wrong_key`, `dbdown_key_update`), and
//! both releases pass on the status of the model's provider, be it a 401 (`chat_upstream_401`).

use std::borrow::Cow;

use secrecy::SecretString;
use serde_json::Value;

use super::without;
use crate::clients::{ClientError, Meaning, Upstream, http};
use crate::domain::redact;

/// Reads an answer with an error status. `secrets` were sent along: 1.80 repeats a key that it does not like in
/// full (`model_info_malformed_key`).
pub(super) fn read(status: u16, body: &[u8], secrets: &[SecretString]) -> ClientError {
    let json = http::error_json(body);
    let (kind, message) = parts(&json);
    let raw = message.unwrap_or_else(|| http::excerpt(body));
    let meaning = if json.get("db").and_then(Value::as_str) == Some("disconnected") {
        // The whole of what a readiness check of 1.109 says.
        Meaning::DatabaseDown
    } else {
        meaning(status, kind.as_deref(), &raw)
    };
    let message = redact::error_text(&without(&worded(&raw, meaning), secrets));
    ClientError::Status { upstream: Upstream::Proxy, status, kind, message, meaning }
}

/// Type and message, whichever form the body has.
fn parts(json: &Value) -> (Option<String>, Option<String>) {
    // 1.80 writes Python's `None` as a text.
    let text = |value: &Value| value.as_str().filter(|text| !matches!(*text, "" | "None")).map(str::to_owned);
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
        || says(&["can't reach database", "database is temporarily unreachable", "service unhealthy"])
    {
        return Meaning::DatabaseDown;
    }
    if says(&["enterprise user", "enterprise feature", "enterprise only", "litellm_license", "premium user"])
    {
        return Meaning::Licence;
    }
    if kind.is_some_and(|kind| kind.ends_with("_model_access_denied")) || says(&["model is blocked"]) {
        return Meaning::ModelDenied;
    }
    // The library within the proxy names its exceptions so, whatever it was that the provider answered.
    if message.starts_with("litellm.") {
        return Meaning::Upstream;
    }
    match kind {
        Some("expired_key") => return Meaning::KeyExpired,
        Some("budget_exceeded") => return Meaning::OverBudget,
        _ if says(&["key is blocked"]) => return Meaning::KeyBlocked,
        _ => {}
    }
    match status {
        404 => Meaning::NotFound,
        // 1.80 answers 401 for an update of a key that does not exist (`key_update_unknown`).
        401 if says(&["user key does not exist in db"]) => Meaning::NotFound,
        400 if says(&["invalid model name passed in"]) => Meaning::NotFound,
        401 | 403 => Meaning::Credentials,
        429 => Meaning::RateLimited,
        400 | 409 | 422 => Meaning::Invalid,
        _ => Meaning::Other,
    }
}

/// The message as a person needs it.
fn worded(raw: &str, meaning: Meaning) -> Cow<'_, str> {
    // What the library adds about its own fallbacks says nothing about the failure.
    let ends = [" Received Model Group=", "No fallback model group found", "\n\nLiteLLM: model group '"];
    let end = ends.iter().filter_map(|mark| raw.find(mark)).min().unwrap_or(raw.len());
    let mut text = unwrapped(raw[..end].trim());
    // 1.80 says it of whatever goes wrong while it looks a key up.
    if !matches!(meaning, Meaning::Credentials) {
        for prefix in ["Authentication Error, ", "Authentication Error: "] {
            text = text.strip_prefix(prefix).unwrap_or(text);
        }
    }
    if text.contains("\\'") { Cow::Owned(text.replace("\\'", "'")) } else { Cow::Borrowed(text) }
}

/// What is within Python's text of a dictionary with one entry: `{'error': 'No keys found'}`.
fn unwrapped(text: &str) -> &str {
    let inner = text.strip_prefix("{'error': ").and_then(|rest| rest.strip_suffix('}'));
    let quoted = |quote: char| inner?.strip_prefix(quote)?.strip_suffix(quote);
    quoted('\'').or_else(|| quoted('"')).unwrap_or(text)
}
