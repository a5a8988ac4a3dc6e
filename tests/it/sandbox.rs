//! The stand-in for LiteLLM, asked over HTTP, beside recordings of the genuine proxy.
//!
//! A recorded request is sent unchanged: the virtual keys and deployments it names are first made with the
//! recorded secrets and ids.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod chat;
mod keys;
mod models;
mod outside;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use patchbay_clock::Clock;
use patchbay_sandbox::{Database, Generation, Options, World, router};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const MASTER: &str = "sk-bed-master";
const BOTH: [Generation; 2] = [Generation::V1_80, Generation::V1_109];

/// A running stand-in.
struct Stand {
    base: String,
    client: reqwest::Client,
    world: World,
    time: Arc<Mutex<Timestamp>>,
    generation: Generation,
}

/// An answer, its body as JSON or else as a string.
struct Answer {
    status: StatusCode,
    kind: String,
    body: Value,
}

impl Stand {
    async fn start(generation: Generation) -> Self {
        Self::start_with(generation, Database::Up).await
    }

    async fn start_with(generation: Generation, database: Database) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let start = "2026-11-22T08:14:11.954Z".parse().unwrap();
        let time = Arc::new(Mutex::new(start));
        let source = Arc::clone(&time);
        let world = World::new(Options {
            master_key: MASTER.into(),
            generation,
            database,
            clock: Clock::from_fn(move || *source.lock().unwrap()),
            config_models: vec![("config-mock".to_owned(), "openai/config-mock".to_owned())],
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let app = router(world.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base, client: reqwest::Client::new(), world, time, generation }
    }

    fn pass(&self, seconds: i64) {
        *self.time.lock().unwrap() += SignedDuration::from_secs(seconds);
    }

    async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Answer {
        let method: Method = method.parse().unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let kind = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, kind: kind.unwrap_or_default(), body }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, Some(MASTER), None).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.body
    }

    /// A POST with the master key that must succeed.
    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.send("POST", path, Some(MASTER), Some(&body)).await;
        assert_eq!(answer.status, 200, "POST {path} {body}: {}", answer.body);
        answer.body
    }

    async fn model(&self, name: &str, model: &str) -> String {
        let params = json!({ "model": model, "custom_llm_provider": "openai", "api_key": "sk-x" });
        let row = self.post("/model/new", json!({ "model_name": name, "litellm_params": params })).await;
        row["model_id"].as_str().unwrap().to_owned()
    }

    async fn chat(&self, key: &str, model: &str, text: &str) -> Answer {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": text }] });
        self.send("POST", "/v1/chat/completions", Some(key), Some(&body)).await
    }

    /// Sends what was recorded as `name` and compares the answers.
    async fn replay(&self, name: &str) -> Value {
        let recording = self.recording(name);
        let request = &recording["request"];
        let key = bearer(&recording);
        let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
        let body = Some(&request["body"]).filter(|body| !body.is_null());
        let answer = self.send(method, path, key.as_deref(), body).await;
        let expected = &recording["response"];
        let case = format!("{} {name}", self.generation);
        assert_eq!(json!(answer.status.as_u16()), expected["status"], "{case}: {}", answer.body);
        let kind = expected["headers"]["content-type"].as_str().unwrap();
        assert!(answer.kind.starts_with(kind.split(';').next().unwrap()), "{case}: {}", answer.kind);
        if kind.starts_with("application/json") {
            let mut found = Vec::new();
            differences("", &expected["body"], &answer.body, &mut found);
            assert!(found.is_empty(), "{case} differs:\n{}", found.join("\n"));
        }
        answer.body
    }

    fn recording(&self, name: &str) -> Value {
        recording(self.generation, name)
    }
}

fn recording(generation: Generation, name: &str) -> Value {
    let path = format!("{}/tests/wire/litellm/{generation}/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// The key a recorded request was made with.
fn bearer(recording: &Value) -> Option<String> {
    let value = recording["request"]["headers"]["Authorization"].as_str()?;
    Some(value.strip_prefix("Bearer ").unwrap().to_owned())
}

/// The key a recorded request is about.
fn subject(recording: &Value) -> String {
    let request = &recording["request"];
    let path = request["path"].as_str().unwrap();
    let named = path.split_once("?key=").map(|(_, key)| key).or_else(|| request["body"]["key"].as_str());
    named.unwrap().to_owned()
}

/// Values that differ from run to run; only their kind is compared.
const VOLATILE: &[&str] = &[
    "id",
    "created",
    "created_at",
    "updated_at",
    "settings_updated_at",
    "deleted_at",
    "last_active",
    "expires",
    "key",
    "key_name",
    "token",
    "token_id",
    "model_id",
];

/// Objects of which the stand-in has only a handful of fields.
const PARTIAL: &[&str] = &["model_info", "router_settings"];

/// What a client could notice: missing and unknown fields, other kinds, other values.
fn differences(path: &str, recorded: &Value, answered: &Value, found: &mut Vec<String>) {
    let field = path.rsplit('.').next().unwrap_or_default();
    match (recorded, answered) {
        (Value::Object(recorded), Value::Object(answered)) => {
            let names: BTreeSet<&String> = recorded.keys().chain(answered.keys()).collect();
            for name in names {
                let inner = format!("{path}.{name}");
                match (recorded.get(name), answered.get(name)) {
                    (Some(recorded), Some(answered)) => differences(&inner, recorded, answered, found),
                    (Some(_), None) if PARTIAL.contains(&field) => {}
                    (Some(_), None) => found.push(format!("{inner}: missing")),
                    _ => found.push(format!("{inner}: not in the recording")),
                }
            }
        }
        (Value::Array(recorded), Value::Array(answered)) => {
            if recorded.len() != answered.len() {
                found.push(format!("{path}: {} items, recorded {}", answered.len(), recorded.len()));
            }
            for (index, (recorded, answered)) in recorded.iter().zip(answered).enumerate() {
                differences(&format!("{path}.{index}"), recorded, answered, found);
            }
        }
        // A row's strings are encrypted.
        (Value::String(_), Value::String(_)) if path.contains(".litellm_params.") => {}
        (Value::String(recorded), Value::String(answered)) if matches!(field, "message" | "detail") => {
            if without_marks(recorded) != without_marks(answered) {
                found.push(format!("{path}: {answered:?}, recorded {recorded:?}"));
            }
        }
        _ if VOLATILE.contains(&field) => {
            if std::mem::discriminant(recorded) != std::mem::discriminant(answered) {
                found.push(format!("{path}: {answered}, recorded {recorded}"));
            }
        }
        (Value::Number(recorded), Value::Number(answered)) if recorded.as_f64() == answered.as_f64() => {}
        _ if recorded == answered => {}
        _ => found.push(format!("{path}: {answered}, recorded {recorded}")),
    }
}

/// A message with its times and ids left out.
fn without_marks(message: &str) -> String {
    let is_mark = |word: &&str| word.len() >= 8 && word.chars().filter(char::is_ascii_digit).count() >= 4;
    let words = message.split([' ', '\'', '`', '=']);
    words.map(|word| if is_mark(&word) { "#" } else { word }).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_comparison_notices_every_difference() {
    let recorded =
        json!({ "error": { "message": "key abc", "type": "auth_error", "param": "None" }, "n": 1.0 });
    let mut found = Vec::new();
    differences(
        "",
        &recorded,
        &json!({ "error": { "message": "key abc", "type": "auth_error", "param": "None" }, "n": 1 }),
        &mut found,
    );
    assert!(found.is_empty(), "{found:?}");
    let answered = json!({ "error": { "message": "key xyz", "type": null, "more": 1 }, "n": "1" });
    differences("", &recorded, &answered, &mut found);
    assert_eq!(found.len(), 5, "{found:#?}");
}
