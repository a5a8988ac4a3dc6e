//! Answers as they come, from recorded streams of genuine agents.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use patchbay::clients::a2a::{Agent, AgentError};
use patchbay::clients::{ClientError, build_http};
use patchbay::domain::control::Answer;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::DropGuard;

use crate::support::spawn;

/// What the fake agent does with a stream.
#[derive(Clone)]
enum Manner {
    /// Sends these events and closes.
    Events(Vec<Value>),
    /// Sends these bytes, in chunks of so many, and closes.
    Bytes(Vec<u8>, usize),
    /// Answers the call with this error, as JSON.
    Refuse(i64),
}

#[derive(Clone)]
struct Fake {
    version: &'static str,
    manner: Manner,
    /// What `tasks/get` and `message/send` answer.
    plain: Value,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn card(State(fake): State<Fake>) -> Response {
    let card =
        json!({ "name": "fake", "protocolVersion": fake.version, "capabilities": { "streaming": true } });
    axum::Json(card).into_response()
}

async fn rpc(State(fake): State<Fake>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let method = request["method"].as_str().unwrap().to_owned();
    fake.asked.lock().unwrap().push(method.clone());
    if !matches!(method.as_str(), "message/stream" | "SendStreamingMessage") {
        return axum::Json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": fake.plain }))
            .into_response();
    }
    let bytes = match fake.manner {
        Manner::Refuse(code) => {
            let error = json!({ "code": code, "message": "no" });
            return axum::Json(json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }))
                .into_response();
        }
        Manner::Events(events) => (sse(&events), 7),
        Manner::Bytes(bytes, size) => (bytes, size),
    };
    let chunks: Vec<_> = bytes.0.chunks(bytes.1).map(|chunk| Ok::<_, Infallible>(chunk.to_vec())).collect();
    ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], Body::from_stream(stream::iter(chunks)))
        .into_response()
}

/// As ADK agents send them: CRLF, and comments in between.
fn sse(events: &[Value]) -> Vec<u8> {
    let events: Vec<_> = events.iter().map(|event| format!("data: {event}\r\n\r\n: ping\r\n\r\n")).collect();
    format!(": ping - 2026-11-22 07:52:17+00:00\r\n\r\n{}", events.concat()).into_bytes()
}

struct Asked {
    answer: Result<Answer, AgentError>,
    methods: Vec<String>,
    progress: String,
    _guard: DropGuard,
}

async fn ask(version: &'static str, manner: Manner, plain: Value) -> Asked {
    let fake = Fake { version, manner, plain, asked: Arc::default() };
    let router = Router::new()
        .route("/agent/.well-known/agent-card.json", get(card))
        .route("/agent", post(rpc))
        .with_state(fake.clone());
    let (address, guard) = spawn(router).await;
    let agent = Agent::new(build_http().unwrap(), format!("http://{address}/agent").parse().unwrap());
    let (sender, heard) = watch::channel(String::new());
    let answer = agent.ask(&"c".parse().unwrap(), "Which model?", Duration::from_secs(5), &sender).await;
    let methods = fake.asked.lock().unwrap().clone();
    let progress = heard.borrow().clone();
    Asked { answer, methods, progress, _guard: guard }
}

/// The events of a recorded stream.
fn recorded(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/wire/a2a/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let recording: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    recording["response"]["frames"].as_array().unwrap().iter().map(|frame| frame["data"].clone()).collect()
}

fn task(name: &str) -> Value {
    let path = format!("{}/tests/wire/a2a/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let recording: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    recording["response"]["body"]["result"].clone()
}

#[tokio::test]
async fn a_recorded_stream_brings_what_a_plain_call_would() {
    for (version, name, method, text, spec, tokens) in [
        ("0.3.0", "stream_message", "message/stream", "I am openai/gpt-5 ", "openai/gpt-5", (375, 7)),
        (
            "1.0",
            "adk2.13/v1_SendStreamingMessage",
            "SendStreamingMessage",
            "I am openai/gpt-5-mini ",
            "openai/gpt-5-mini",
            (646, 7),
        ),
    ] {
        let asked = ask(version, Manner::Events(recorded(name)), Value::Null).await;
        let answer = asked.answer.unwrap();
        assert!(answer.text.starts_with(text), "{name}: {}", answer.text);
        assert_eq!(answer.state.unwrap().spec_text(), spec, "{name}");
        assert_eq!(answer.tokens.map(|t| (t.input, t.output)), Some(tokens), "{name}");
        assert!(answer.from_model);
        assert_eq!(asked.methods, [method]);
        assert_eq!(asked.progress, answer.text);
    }
}

#[tokio::test]
async fn a_stream_that_tells_of_a_failure_is_one() {
    let asked = ask("0.3.0", Manner::Events(recorded("stream_upstream_401")), Value::Null).await;
    let Err(AgentError::Task { state, message }) = asked.answer else { panic!("{:?}", asked.answer) };
    assert_eq!(state, "failed");
    assert!(message.contains("AuthenticationError"), "{message}");
}

#[tokio::test]
async fn wherever_the_stream_is_cut_the_answer_is_asked_for_by_its_task() {
    let events = recorded("stream_message");
    let whole = sse(&events);
    let done = task("tasks_get_completed");
    for events in [&events[..1], &events[..2], &events[..4]] {
        let cut = sse(events);
        assert!(cut.len() < whole.len());
        let asked = ask("0.3.0", Manner::Bytes(cut, 50), done.clone()).await;
        assert_eq!(asked.methods, ["message/stream", "tasks/get"]);
        assert!(asked.answer.unwrap().text.starts_with("I am "));
    }
    // In the middle of an event, after a whole one.
    let mut cut = sse(&events[..1]);
    cut.extend_from_slice(b"data: {\"jsonrpc\": \"2.0\", \"resu");
    let asked = ask("0.3.0", Manner::Bytes(cut, 9), done).await;
    assert_eq!(asked.methods, ["message/stream", "tasks/get"]);
    assert!(asked.answer.is_ok());
}

#[tokio::test]
async fn a_stream_that_never_began_is_an_error_and_is_not_sent_again() {
    for bytes in [b"".to_vec(), b": ping\n\n".to_vec()] {
        let asked = ask("0.3.0", Manner::Bytes(bytes, 3), Value::Null).await;
        assert!(matches!(asked.answer, Err(AgentError::Transport(ClientError::NotUnderstood { .. }))));
        assert_eq!(asked.methods, ["message/stream"]);
    }
    let asked = ask("0.3.0", Manner::Bytes(b"data: <html>\n\n".to_vec(), 3), Value::Null).await;
    assert!(matches!(asked.answer, Err(AgentError::Transport(ClientError::NotUnderstood { .. }))));
}

#[tokio::test]
async fn an_agent_that_does_not_stream_is_asked_the_plain_way() {
    for code in [-32601, -32004, -32009] {
        let asked = ask("0.3.0", Manner::Refuse(code), task("send_anthropic")).await;
        assert_eq!(asked.methods, ["message/stream", "message/send"], "{code}");
        assert!(asked.answer.unwrap().text.starts_with("I am claude-sonnet-4-5"));
    }
    // Anything else is a refusal of the message itself.
    let asked = ask("0.3.0", Manner::Refuse(-32602), Value::Null).await;
    assert_eq!(asked.methods, ["message/stream"]);
    assert!(matches!(asked.answer, Err(AgentError::Rpc { code: -32602, .. })));
}

#[tokio::test]
async fn pieces_of_an_artifact_are_put_together() {
    let update = |text: &str, append: bool, last: bool| {
        json!({ "jsonrpc": "2.0", "id": 1, "result": { "kind": "artifact-update", "taskId": "t", "contextId": "c",
            "append": append, "lastChunk": last, "artifact": { "artifactId": "a", "parts": [{ "kind": "text", "text": text }] } } })
    };
    let status = |state: &str| {
        json!({ "jsonrpc": "2.0", "id": 1, "result": { "kind": "status-update", "taskId": "t", "contextId": "c",
            "final": state == "completed", "status": { "state": state } } })
    };
    let events = vec![
        status("working"),
        update("Hé", false, false),
        update("llo ", true, false),
        update("wörld", true, true),
        status("completed"),
    ];
    let asked = ask("0.3.0", Manner::Events(events), Value::Null).await;
    assert_eq!(asked.answer.unwrap().text, "Héllo wörld");
    assert_eq!(asked.progress, "Héllo wörld");
}

#[tokio::test]
async fn an_endless_stream_is_bounded() {
    let mut bytes = sse(&recorded("stream_message")[..1]);
    bytes.extend_from_slice(b"data: ");
    bytes.resize(17 * 1024 * 1024, b'x');
    let asked = ask("0.3.0", Manner::Bytes(bytes, 1024 * 1024), task("tasks_get_completed")).await;
    // Cut off, and then recovered like any stream that is lost.
    assert_eq!(asked.methods, ["message/stream", "tasks/get"]);
    assert!(asked.answer.is_ok());
}
