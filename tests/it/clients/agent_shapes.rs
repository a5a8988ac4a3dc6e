//! Answers of shapes and by ways that agents in use have, though the recorded ones do not.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use patchbay::clients::a2a::{Agent, AgentError};
use patchbay::clients::build_http;
use patchbay::domain::control::{Answer, ControlMessage, Reply};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::PATIENCE;
use crate::support::spawn;

struct Talk {
    answer: Result<Answer, AgentError>,
    /// The methods that were tried.
    methods: Vec<String>,
    progress: String,
    agent: Agent,
    _guard: tokio_util::sync::DropGuard,
}

/// Asks an agent in context `c`, by a stream or the plain way. `answer` makes an answer of a method.
async fn talk(
    card: Value,
    is_stream: bool,
    answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static,
) -> Talk {
    let methods: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&methods);
    let rpc = async move |body: Bytes| {
        let request: Value = serde_json::from_slice(&body).unwrap();
        let method = request["method"].as_str().unwrap().to_owned();
        seen.lock().unwrap().push(method.clone());
        answer(&method)
    };
    let router = Router::new()
        .route("/a/.well-known/agent-card.json", get(async move || Json(card)))
        .route("/a", post(rpc));
    let (address, guard) = spawn(router).await;
    let agent = Agent::new(build_http().unwrap(), format!("http://{address}/a").parse().unwrap());
    let (sender, heard) = watch::channel(String::new());
    let context = "c".parse().unwrap();
    let answer = if is_stream {
        agent.ask(&context, "Hello?", PATIENCE, &sender).await
    } else {
        agent.send(&context, "Hello?", PATIENCE).await
    };
    let methods = methods.lock().unwrap().clone();
    let progress = heard.borrow().clone();
    Talk { answer, methods, progress, agent, _guard: guard }
}

fn card(version: &str, streaming: impl Into<Value>) -> Value {
    let streaming = streaming.into();
    json!({ "name": "fake", "protocolVersion": version, "capabilities": { "streaming": streaming } })
}

fn result(result: &Value) -> Response {
    Json(json!({ "jsonrpc": "2.0", "id": "1", "result": result })).into_response()
}

fn refusal(code: i64) -> Response {
    Json(json!({ "jsonrpc": "2.0", "id": "1", "error": { "code": code, "message": "no" } })).into_response()
}

fn events(results: &[Value], before: &str) -> Response {
    let event =
        |result: &Value| format!("data: {}\n\n", json!({ "jsonrpc": "2.0", "id": "1", "result": result }));
    let body = format!("{before}{}", results.iter().map(event).collect::<String>());
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn task(parts: &Value) -> Value {
    json!({ "kind": "task", "id": "t", "contextId": "c", "status": { "state": "completed" },
            "artifacts": [{ "artifactId": "a", "parts": parts }] })
}

async fn plain(value: Value) -> Answer {
    talk(card("0.3.0", json!(false)), false, move |_| result(&value)).await.answer.unwrap()
}

async fn streamed(version: &str, results: Vec<Value>) -> Talk {
    talk(card(version, json!(true)), true, move |_| events(&results, "")).await
}

#[tokio::test]
async fn nulls_are_absent_values() {
    let all = json!({ "kind": "task", "id": "t", "contextId": null, "metadata": null, "history": null,
        "status": { "state": "completed", "message": null, "timestamp": null },
        "artifacts": [{ "artifactId": null, "name": null, "metadata": null,
            "parts": [{ "kind": "text", "text": "hi", "data": null, "file": null, "metadata": null }, { "text": null }] }] });
    let answer = plain(all).await;
    assert_eq!((answer.text.as_str(), &answer.whole, &answer.context), ("hi", &None, &None));
    // Events of 1.0 as a mapping of its protocol buffers writes them, and of 0.3.
    let wide = |name: &str, value: Value| {
        let mut event =
            json!({ "task": null, "message": null, "statusUpdate": null, "artifactUpdate": null });
        event[name] = value;
        event
    };
    let artifact = |text: &str, append: Value| {
        json!({ "taskId": "t", "contextId": null, "append": append, "lastChunk": null, "metadata": null,
                "artifact": { "artifactId": "a", "parts": [{ "text": text, "metadata": null }], "metadata": null } })
    };
    let status = |state: &str| json!({ "taskId": "t", "final": null, "metadata": null, "status": { "state": state, "message": null } });
    let talk = streamed(
        "1.0",
        vec![
            wide(
                "task",
                json!({ "id": "t", "status": { "state": "TASK_STATE_WORKING" }, "artifacts": null }),
            ),
            wide("statusUpdate", status("TASK_STATE_WORKING")),
            wide("artifactUpdate", artifact("one ", Value::Null)),
            wide("artifactUpdate", artifact("two", json!(true))),
            wide("statusUpdate", status("TASK_STATE_COMPLETED")),
        ],
    )
    .await;
    assert_eq!(talk.answer.unwrap().text, "one two");
    let of = |kind: &str, mut event: Value| {
        event["kind"] = json!(kind);
        event
    };
    let talk = streamed(
        "0.3.0",
        vec![of("artifact-update", artifact("three", Value::Null)), of("status-update", status("completed"))],
    )
    .await;
    assert_eq!(talk.answer.unwrap().text, "three");
    // A null error beside a result, and a null result beside an error.
    let both = |error: Value, result: Value| {
        move |_: &str| {
            Json(json!({ "jsonrpc": "2.0", "id": null, "error": error, "result": result })).into_response()
        }
    };
    let good = talk_plain(both(Value::Null, task(&json!([{ "text": "x" }])))).await;
    assert_eq!(good.unwrap().text, "x");
    let bad = talk_plain(both(json!({ "code": -32602, "message": null, "data": null }), Value::Null)).await;
    assert!(matches!(bad, Err(AgentError::Rpc { code: -32602, .. })), "{bad:?}");
}

async fn talk_plain(
    answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static,
) -> Result<Answer, AgentError> {
    talk(card("0.3.0", json!(false)), false, answer).await.answer
}

#[tokio::test]
async fn parts_that_are_no_text_are_shown() {
    let base64 = "QUJD".repeat(700);
    for (parts, shown) in [
        (json!([{ "kind": "data", "data": { "a": [1] } }]), "{\n  \"a\": [\n    1\n  ]\n}"),
        (json!([{ "data": [1], "mediaType": "application/json" }]), "[\n  1\n]"),
        (
            json!([{ "kind": "file", "file": { "name": "a.png", "mimeType": "image/png", "bytes": "QUJDRA==" } }]),
            "[file: a.png, image/png, 4 bytes]",
        ),
        (json!([{ "raw": base64, "filename": "b.bin" }]), "[file: b.bin, 2 KiB]"),
        (json!([{ "kind": "file", "file": { "uri": "http://h/c.pdf" } }]), "[file: http://h/c.pdf]"),
        (
            json!([{ "url": "http://h/d", "mediaType": "x/y", "mimeType": "x/z", "filename": "d" }]),
            "[file: d, x/z, http://h/d]",
        ),
        (json!([{ "text": "see:" }, { "data": true }, { "text": "end" }]), "see:\ntrue\nend"),
    ] {
        let answer = plain(task(&parts)).await;
        assert_eq!(answer.shown(), shown, "{parts}");
        let message = json!({ "kind": "message", "role": "agent", "contextId": "c", "parts": parts });
        assert_eq!(plain(message).await.shown(), shown, "{parts}");
        let update = json!({ "kind": "artifact-update", "taskId": "t", "artifact": { "artifactId": "a", "parts": parts } });
        let done = json!({ "kind": "status-update", "taskId": "t", "status": { "state": "completed" } });
        let talk = streamed("0.3.0", vec![update, done]).await;
        assert_eq!((talk.answer.unwrap().shown(), talk.progress.as_str()), (shown, shown), "{parts}");
    }
    // An ADK agent's calls of its tools are no answer, and data beside a control reply changes nothing.
    let call = json!([{ "text": "ok" }, { "kind": "data", "data": { "name": "f" }, "metadata": { "adk_type": "function_call" } }]);
    assert_eq!(plain(task(&call)).await.shown(), "ok");
    let reply = plain(task(&json!([{ "text": "✅ Model switched to: a/b" }, { "data": { "x": 1 } }]))).await;
    assert_eq!(ControlMessage::Model("a/b".parse().unwrap()).read_reply(&reply), Reply::Done);
}

#[tokio::test]
async fn artifacts_of_one_id_are_one() {
    let piece =
        |id: &str, text: &str| json!({ "artifactId": id, "parts": [{ "kind": "text", "text": text }] });
    let with = |artifacts: Value| json!({ "kind": "task", "id": "t", "contextId": "c", "status": { "state": "completed" }, "artifacts": artifacts });
    let joined = plain(with(json!([piece("a", "Hel"), piece("b", "other"), piece("a", "lo")]))).await;
    assert_eq!(joined.text, "Hello\nother");
    assert_eq!(
        plain(with(json!([piece("", "x"), piece("", "y")]))).await.text,
        "x\ny",
        "no id names nothing"
    );
}

#[tokio::test]
async fn empty_events_are_skipped() {
    for before in
        ["data:\n\n", "data: \n\n", ": hello\n\ndata:\n\ndata:\n\n", "event: ping\ndata:\n\n", "retry: 5\n\n"]
    {
        let done = task(&json!([{ "text": "hi" }]));
        let talk =
            talk(card("0.3.0", json!(true)), true, move |_| events(std::slice::from_ref(&done), before))
                .await;
        assert_eq!(talk.answer.unwrap().text, "hi", "{before:?}");
        assert_eq!(talk.methods, ["message/stream"], "{before:?}");
    }
}

#[tokio::test]
async fn a_way_that_is_closed_is_left_for_the_other() {
    let done = || task(&json!([{ "text": "hi" }]));
    for refuse in [
        (|| refusal(-32603)) as fn() -> Response,
        || refusal(-32004),
        || refusal(-32601),
        || StatusCode::NOT_FOUND.into_response(),
        || StatusCode::METHOD_NOT_ALLOWED.into_response(),
        || StatusCode::NOT_ACCEPTABLE.into_response(),
        || StatusCode::NOT_IMPLEMENTED.into_response(),
    ] {
        let plain_only =
            move |method: &str| if method == "message/send" { result(&done()) } else { refuse() };
        let asked = talk(card("0.3.0", json!(true)), true, plain_only).await;
        assert_eq!(asked.answer.unwrap().text, "hi");
        assert_eq!(asked.methods, ["message/stream", "message/send"]);
    }
    for refuse in [
        (|| refusal(-32004)) as fn() -> Response,
        || refusal(-32601),
        || StatusCode::METHOD_NOT_ALLOWED.into_response(),
        || StatusCode::NOT_IMPLEMENTED.into_response(),
    ] {
        let stream_only = move |method: &str| {
            if method == "message/stream" { events(&[done()], "") } else { refuse() }
        };
        let sent = talk(card("0.3.0", json!(true)), false, stream_only).await;
        assert_eq!(sent.answer.unwrap().text, "hi");
        assert_eq!(sent.methods.last().unwrap(), "message/stream");
    }
    // The card's word decides what is tried first.
    let quiet = talk(card("0.3.0", json!(false)), true, move |_| result(&done())).await;
    assert_eq!((quiet.answer.unwrap().text.as_str(), quiet.methods), ("hi", vec!["message/send".to_owned()]));
}

#[tokio::test]
async fn a_message_that_may_have_been_taken_is_not_sent_again() {
    for (answer, is_stream) in [
        ((|| refusal(-32603)) as fn() -> Response, false),
        (|| StatusCode::INTERNAL_SERVER_ERROR.into_response(), false),
        (|| StatusCode::INTERNAL_SERVER_ERROR.into_response(), true),
        (|| StatusCode::BAD_GATEWAY.into_response(), true),
        (|| refusal(-32602), true),
        (|| StatusCode::UNAUTHORIZED.into_response(), true),
    ] {
        let talk = talk(card("0.3.0", json!(true)), is_stream, move |_| answer()).await;
        assert!(talk.answer.is_err());
        assert_eq!(talk.methods.len(), 1, "{:?}", talk.methods);
    }
    // An address where nothing is gets each way once, not each dialect.
    let nowhere = talk(card("0.3.0", json!(true)), true, |_| StatusCode::NOT_FOUND.into_response()).await;
    assert_eq!(nowhere.methods, ["message/stream", "message/send"]);
}

#[tokio::test]
async fn another_context_in_the_answer_is_told() {
    let mut elsewhere = task(&json!([{ "text": "hi" }]));
    elsewhere["contextId"] = json!("other");
    let update = json!({ "kind": "status-update", "taskId": "t", "contextId": "other", "status": { "state": "completed" } });
    let plain = talk(card("0.3.0", json!(false)), false, move |_| result(&elsewhere)).await;
    assert!(plain.agent.is_stray());
    assert_eq!(plain.answer.unwrap().context.as_deref(), Some("other"));
    let streamed = streamed("0.3.0", vec![update]).await;
    assert_eq!(streamed.answer.unwrap().context.as_deref(), Some("other"));
    let same = talk(card("0.3.0", json!(false)), false, |_| result(&task(&json!([])))).await;
    assert!(!same.agent.is_stray());
    assert_eq!(same.answer.unwrap().context, None);
}
