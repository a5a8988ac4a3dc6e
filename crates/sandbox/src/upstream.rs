//! The model behind a deployment: a pretended provider that answers who it is.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::catalog;
use super::deployment::Row;
use super::errors::Refusal;
use super::generation::Generation;
use super::spend::Usage;

/// The most characters `BIG=` adds, and the longest `SLEEP=` waits.
const MOST_BIG: usize = 1_000_000;

/// The most that `WORDS=` adds: they come one after the other.
const MOST_WORDS: usize = 1_000;
const LONGEST_SLEEP: f64 = 600.0;

/// How long the proxy waits for a deployment that sets no `timeout`.
const TIMEOUT: f64 = 600.0;

#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) wait: Duration,
    pub(super) outcome: Outcome,
}

#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Text(String, i64),
    /// A `mock_response`: the proxy answers itself and counts 10 and 20 tokens (`chat_mock`).
    Mock(String),
    Refused(u16, String),
    /// Nobody listens there (`chat_dead_upstream`).
    Unreachable,
    /// No answer within the deployment's `timeout` (`chat_timeout`).
    Late(f64),
    /// The key's variable is not set (`1.109/x_chat_env_unset`).
    NoCredentials,
}

/// What `row` answers to `messages` in the name of `model`.
pub(super) fn ask(generation: Generation, row: &Row, model: &str, messages: &[Value]) -> Reply {
    if let Some(text) = row.params.get("mock_response").and_then(Value::as_str) {
        return Reply { wait: Duration::ZERO, outcome: Outcome::Mock(text.to_owned()) };
    }
    let said = last_text(messages);
    let timeout = number(&row.params, "timeout").filter(|seconds| *seconds > 0.0).unwrap_or(TIMEOUT);
    let sleep = magic_seconds(&said, "SLEEP=").unwrap_or(0.0).clamp(0.0, LONGEST_SLEEP);
    let outcome = match fault(generation, row, model) {
        Some(fault) => return Reply { wait: Duration::ZERO, outcome: fault },
        None if sleep > timeout => Outcome::Late(timeout),
        None => answer(model, &said),
    };
    Reply { wait: Duration::from_secs_f64(sleep.min(timeout)), outcome }
}

fn fault(generation: Generation, row: &Row, model: &str) -> Option<Outcome> {
    let key = row.text("api_key");
    let base = row.text("api_base");
    // Port 1 is where nobody listens. The older proxy does not resolve a base (`1.80/x_chat_env_api_base`).
    let unresolved = generation == Generation::V1_80 && base.starts_with("os.environ/");
    if unresolved || base.contains("127.0.0.1:1/") {
        return Some(Outcome::Unreachable);
    }
    // No environment is read: a variable counts as set unless its name says otherwise.
    if generation == Generation::V1_109 && key.starts_with("os.environ/") && key.ends_with("NOT_SET") {
        return Some(Outcome::NoCredentials);
    }
    if key == "bad-key" {
        return Some(Outcome::Refused(401, "Incorrect API key provided: bad-key.".to_owned()));
    }
    model.starts_with("missing").then(|| {
        let words = format!("The model `{model}` does not exist or you do not have access to it.");
        Outcome::Refused(404, words)
    })
}

fn answer(model: &str, said: &str) -> Outcome {
    if let Some(status) = magic_count(said, "FAIL=") {
        let known = u16::try_from(status).ok().filter(|status| (400..600).contains(status));
        let status = known.unwrap_or(500);
        return Outcome::Refused(status, format!("fake upstream failure {status}"));
    }
    let mut text = format!("I am {model}");
    if let Some(count) = magic_count(said, "BIG=") {
        text.push(' ');
        text.push_str(&"x".repeat(usize::try_from(count).unwrap_or(MOST_BIG).min(MOST_BIG)));
    }
    if let Some(count) = magic_count(said, "WORDS=") {
        text.push_str(&" and so on".repeat(usize::try_from(count).unwrap_or(0).min(MOST_WORDS)));
    }
    let tokens = magic_count(said, "TOKENS=").unwrap_or(5);
    Outcome::Text(text, tokens)
}

fn after<'a>(said: &'a str, word: &str) -> Option<&'a str> {
    let (_, rest) = said.split_once(word)?;
    Some(&rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())])
}

fn magic_seconds(said: &str, word: &str) -> Option<f64> {
    after(said, word)?.parse().ok()
}

fn magic_count(said: &str, word: &str) -> Option<i64> {
    after(said, word)?.parse().ok()
}

/// The text of the last message, which may come in parts.
fn last_text(messages: &[Value]) -> String {
    match messages.last().map(|message| &message["content"]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts: Vec<&str> =
                parts.iter().filter_map(|part| part.as_str().or_else(|| part["text"].as_str())).collect();
            texts.join(" ")
        }
        _ => String::new(),
    }
}

fn number(map: &Map<String, Value>, name: &str) -> Option<f64> {
    let value = map.get(name)?;
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// Dollars for `usage`: the deployment's own price, else the price map's, else nothing.
pub(super) fn cost(row: &Row, model: &str, usage: Usage) -> f64 {
    let known = catalog::entry(model).map_or((0.0, 0.0), |entry| entry.prices);
    let price =
        |name, default| number(&row.params, name).or_else(|| number(&row.info, name)).unwrap_or(default);
    let input = price("input_cost_per_token", known.0);
    let output = price("output_cost_per_token", known.1);
    // A count of tokens is far below 2^52.
    #[expect(clippy::cast_precision_loss, reason = "token counts are small")]
    let (prompt, completion) = (usage.prompt as f64, usage.completion as f64);
    prompt * input + completion * output
}

pub(super) fn prompt_tokens(model: &str, messages: &[Value]) -> i64 {
    let sent = json!({ "messages": messages, "model": model }).to_string();
    i64::try_from(sent.len().div_ceil(4)).unwrap_or(i64::MAX)
}

pub(super) fn failure(
    generation: Generation,
    provider: &str,
    group: &str,
    outcome: &Outcome,
) -> Option<Refusal> {
    let exception = match provider {
        "anthropic" => "AnthropicException".to_owned(),
        "azure" => "AzureException".to_owned(),
        "openai" => "OpenAIException".to_owned(),
        other => format!("{other}Exception"),
    };
    let (status, core, new_type) = match outcome {
        Outcome::Text(..) | Outcome::Mock(_) => return None,
        Outcome::Refused(status, words) => {
            let (class, new_type) = class(*status);
            (*status, format!("litellm.{class}: {class}: {exception} - {words}"), new_type)
        }
        Outcome::Unreachable => {
            let core =
                format!("litellm.InternalServerError: InternalServerError: {exception} - Connection error.");
            (500, core, "internal_server_error")
        }
        Outcome::NoCredentials => (
            500,
            format!(
                "litellm.InternalServerError: InternalServerError: {exception} - Missing credentials. Please pass \
                 an `api_key`, `workload_identity`, `admin_api_key`, or set the `OPENAI_API_KEY` or \
                 `OPENAI_ADMIN_KEY` environment variable."
            ),
            "internal_server_error",
        ),
        Outcome::Late(seconds) => (408, late(generation, *seconds), "invalid_request_error"),
    };
    let kind = match generation {
        Generation::V1_109 => json!(new_type),
        // Only the rate limit has a type in 1.80 (`1.80/chat_upstream_429`).
        Generation::V1_80 if status == 429 => json!(new_type),
        Generation::V1_80 => Value::Null,
    };
    let message = match generation {
        Generation::V1_80 => {
            format!("{core}. Received Model Group={group}\nAvailable Model Group Fallbacks=None")
        }
        Generation::V1_109 => format!(
            "{core}\n\nLiteLLM: model group '{group}' failed with the error above. No fallback was attempted."
        ),
    };
    Some(Refusal::proxy(status, kind, Value::Null, message))
}

/// LiteLLM's exception for a status, and the type that 1.109 reports; 401, 429 and 500 are recorded.
fn class(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("AuthenticationError", "authentication_error"),
        403 => ("PermissionDeniedError", "permission_error"),
        404 => ("NotFoundError", "invalid_request_error"),
        429 => ("RateLimitError", "throttling_error"),
        400..=499 => ("BadRequestError", "invalid_request_error"),
        503 => ("ServiceUnavailableError", "internal_server_error"),
        _ => ("InternalServerError", "internal_server_error"),
    }
}

fn late(generation: Generation, seconds: f64) -> String {
    let seconds = super::text::float(seconds);
    let more = match generation {
        Generation::V1_80 => "",
        Generation::V1_109 => "\nstream_timeout: None",
    };
    format!(
        "litellm.Timeout: APITimeoutError - Request timed out. Error_str: Request timed out. - timeout \
         value={seconds}, time taken={seconds} seconds\n\nDeployment Info: request_timeout: None\ntimeout: \
         {seconds}{more}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> Outcome {
        answer("gpt-5", text)
    }

    #[test]
    fn obeys_the_words() {
        assert_eq!(says("hi"), Outcome::Text("I am gpt-5".to_owned(), 5));
        assert_eq!(says("TOKENS=7 please"), Outcome::Text("I am gpt-5".to_owned(), 7));
        assert_eq!(says("BIG=3"), Outcome::Text("I am gpt-5 xxx".to_owned(), 5));
        assert_eq!(says("WORDS=2"), Outcome::Text("I am gpt-5 and so on and so on".to_owned(), 5));
        assert_eq!(says("FAIL=429"), Outcome::Refused(429, "fake upstream failure 429".to_owned()));
        assert_eq!(magic_seconds("SLEEP=0.5s", "SLEEP="), Some(0.5));
    }

    #[test]
    fn counts_tokens_as_the_test_bed_did() {
        let messages = [json!({ "role": "user", "content": "hi" })];
        assert_eq!(prompt_tokens("gpt-5", &messages), 16);
        assert_eq!(prompt_tokens("gpt-5-mini", &messages), 17);
    }
}
