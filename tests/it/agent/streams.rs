//! Streams: what comes while the model still speaks, how they end, and how a task is called off.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::{StreamExt, stream};
use patchbay_agent::{Extras, open};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use super::{Bench, bench, options, said, said_v1, serve};

/// A proxy that says "one ", waits for `gate`, says "two" and ends; tells when its connection ends early.
struct Slow {
    gate: Semaphore,
    hung_up: Notify,
}

struct TellsItsEnd(Arc<Slow>);

impl Drop for TellsItsEnd {
    fn drop(&mut self) {
        self.0.hung_up.notify_one();
    }
}

async fn speak(State(slow): State<Arc<Slow>>, body: String) -> Response {
    let asked: Value = serde_json::from_str(&body).unwrap();
    let end = TellsItsEnd(Arc::clone(&slow));
    if asked["stream"] != true {
        slow.gate.acquire().await.unwrap().forget();
        drop(end);
        return axum::Json(json!({"choices": [{"message": {"content": "whole"}}]})).into_response();
    }
    assert_eq!(asked["stream_options"], json!({"include_usage": true}));
    let piece = |delta: Value| format!("data: {}\r\n\r\n", json!({"model": "m", "choices": [delta]}));
    let first = piece(json!({"delta": {"role": "assistant", "content": "one "}}));
    let words = stream::once(async move { first }).chain(stream::once(async move {
        let end = end;
        end.0.gate.acquire().await.unwrap().forget();
        let usage =
            json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}});
        let last = piece(json!({"delta": {"content": "two"}, "finish_reason": "stop"}));
        format!("{last}data: {usage}\n\ndata: [DONE]\n\n")
    }));
    let body = Body::from_stream(words.map(|text| Ok::<_, std::convert::Infallible>(Bytes::from(text))));
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

async fn slow_bench() -> (Bench, Arc<Slow>) {
    let slow = Arc::new(Slow { gate: Semaphore::new(0), hung_up: Notify::new() });
    let proxy = Router::new().route("/v1/chat/completions", post(speak)).with_state(Arc::clone(&slow));
    let extras = Extras { keep_alive: Some(Duration::from_millis(50)), ..Extras::default() };
    let root = serve(open(options(&serve(proxy).await), extras).await.unwrap()).await;
    (Bench { root, ..bench().await }, slow)
}

/// A stream as its client reads it.
struct Events {
    response: reqwest::Response,
    text: String,
    pings: usize,
}

impl Events {
    async fn open(bench: &Bench, version: Option<&str>, method: &str, params: Value) -> Self {
        let body = json!({"jsonrpc": "2.0", "id": "r1", "method": method, "params": params});
        let response = bench.post(version).body(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), pings: 0 }
    }

    /// The next event's result or error; none at the end.
    async fn next(&mut self) -> Option<Value> {
        let seconds = Duration::from_secs(10);
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let Some(data) = event.strip_prefix("data: ") else {
                    assert_eq!(event, ": ping");
                    self.pings += 1;
                    continue;
                };
                let event: Value = serde_json::from_str(data).unwrap();
                assert_eq!((&event["jsonrpc"], &event["id"]), (&json!("2.0"), &json!("r1")));
                return Some(event.get("result").unwrap_or(&event["error"]).clone());
            }
            let chunk = tokio::time::timeout(seconds, self.response.chunk()).await.expect("something comes");
            let chunk = chunk.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn rest(mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

fn words(event: &Value) -> &Value {
    &event["artifact"]["parts"][0]["text"]
}

#[tokio::test]
async fn words_come_before_the_end_and_the_stream_ends_as_0_3_has_it() {
    let (bench, slow) = slow_bench().await;
    let mut events = Events::open(&bench, None, "message/stream", said("c", "hi")).await;
    let task = events.next().await.unwrap();
    assert_eq!((&task["kind"], &task["status"]["state"]), (&json!("task"), &json!("submitted")));
    assert_eq!(task["history"][0]["parts"][0]["text"], "hi");
    let working = events.next().await.unwrap();
    assert_eq!((&working["kind"], &working["final"]), (&json!("status-update"), &json!(false)));
    assert_eq!(working["status"]["state"], "working");
    let first = events.next().await.unwrap();
    assert_eq!((&first["kind"], words(&first)), (&json!("artifact-update"), &json!("one ")));
    assert_eq!((&first["append"], &first["lastChunk"]), (&json!(false), &json!(false)));
    while events.pings < 2 {
        // Nothing else can come: the model is held.
        let chunk = events.response.chunk().await.unwrap().unwrap();
        events.pings += String::from_utf8_lossy(&chunk).matches(": ping\n\n").count();
    }
    slow.gate.add_permits(1);
    let rest = events.rest().await;
    let artifact: String = rest.iter().filter_map(|event| words(event).as_str()).collect();
    assert_eq!(artifact, "two");
    let updates: Vec<_> = rest.iter().filter(|event| event["kind"] == "artifact-update").collect();
    assert!(updates.iter().all(|update| update["append"] == true), "{rest:?}");
    assert_eq!(updates.last().unwrap()["lastChunk"], true);
    let last = rest.last().unwrap();
    assert_eq!((&last["final"], &last["status"]["state"]), (&json!(true), &json!("completed")));
    assert_eq!(last["metadata"]["adk_usage_metadata"]["totalTokenCount"], 5);
    assert_eq!((&last["taskId"], &last["contextId"]), (&task["id"], &json!("c")));
    let kept = bench.rpc(None, "tasks/get", json!({"id": task["id"]})).await;
    assert_eq!(kept["result"]["artifacts"][0]["parts"][0]["text"], "one two");
    assert_eq!(kept["result"]["artifacts"][0]["artifactId"], first["artifact"]["artifactId"]);
}

#[tokio::test]
async fn the_stream_ends_as_1_0_has_it_and_another_may_join() {
    let (bench, slow) = slow_bench().await;
    let v1 = Some("1.0");
    let mut events = Events::open(&bench, v1, "SendStreamingMessage", said_v1("c", "hi")).await;
    let task = events.next().await.unwrap()["task"].clone();
    assert_eq!(task["status"]["state"], "TASK_STATE_SUBMITTED");
    assert_eq!(events.next().await.unwrap()["statusUpdate"]["status"]["state"], "TASK_STATE_WORKING");
    assert_eq!(words(&events.next().await.unwrap()["artifactUpdate"]), "one ");
    let mut joined = Events::open(&bench, v1, "SubscribeToTask", json!({"id": task["id"]})).await;
    let so_far = joined.next().await.unwrap()["task"].clone();
    assert_eq!(so_far["status"]["state"], "TASK_STATE_WORKING");
    assert_eq!(so_far["artifacts"][0]["parts"][0]["text"], "one ");
    let old = Events::open(&bench, None, "tasks/resubscribe", json!({"id": task["id"]})).await;
    slow.gate.add_permits(1);
    for rest in [events.rest().await, joined.rest().await] {
        let text: String = rest.iter().filter_map(|event| words(&event["artifactUpdate"]).as_str()).collect();
        assert_eq!(text, "two");
        let last = &rest.last().unwrap()["statusUpdate"];
        assert_eq!(last["status"]["state"], "TASK_STATE_COMPLETED");
        assert_eq!(last.get("final"), None, "1.0 ends by closing");
        assert_eq!(last["metadata"]["patchbay"]["model"], "openai/gpt-5");
    }
    let old = old.rest().await;
    assert_eq!((&old[0]["kind"], &old.last().unwrap()["final"]), (&json!("task"), &json!(true)));
}

#[tokio::test]
async fn a_refused_stream_has_its_error_in_an_event_in_0_3_and_is_not_opened_in_1_0() {
    let bench = bench().await;
    let ended = json!({"id": bench.say("c", "who?").await["id"]});
    let unknown = json!({"id": "none"});
    for (params, code) in [(&ended, -32602), (&unknown, -32001)] {
        let events = Events::open(&bench, None, "tasks/resubscribe", params.clone()).await.rest().await;
        assert_eq!((events.len(), &events[0]["code"]), (1, &json!(code)));
    }
    for (method, params, code) in [
        ("SubscribeToTask", &ended, -32004),
        ("SubscribeToTask", &unknown, -32001),
        ("SendStreamingMessage", &said("c", "0.3"), -32602),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": "r1", "method": method, "params": params}).to_string();
        let response = bench.post(Some("1.0")).body(body).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        let answer: Value = response.json().await.unwrap();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("r1"), &json!(code)));
    }
    assert_eq!(bench.fake.calls().len(), 1);
}

#[tokio::test]
async fn control_and_failure_are_streamed_too() {
    let bench = bench().await;
    let swap = said("c", "[HOTSWAP:MODEL:openai/gpt-5-mini]");
    let events = Events::open(&bench, None, "message/stream", swap).await.rest().await;
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["task", "artifact-update", "status-update"]);
    assert_eq!(words(&events[1]), "✅ Model switched to: openai/gpt-5-mini");
    assert_eq!((&events[1]["append"], &events[1]["lastChunk"]), (&json!(false), &json!(true)));
    // This proxy answers in one piece although it was asked for a stream.
    let events = Events::open(&bench, None, "message/stream", said("c", "who?")).await.rest().await;
    assert_eq!(words(&events[2]), "I am openai/gpt-5-mini");
    let events = Events::open(&bench, None, "message/stream", said("c", "FAIL=500")).await.rest().await;
    let last = events.last().unwrap();
    assert_eq!((&last["final"], &last["status"]["state"]), (&json!(true), &json!("failed")));
    assert!(last["status"]["message"]["parts"][0]["text"].as_str().unwrap().contains("status 500"));
    let refused = Events::open(&bench, None, "message/stream", said_v1("c", "1.0")).await.rest().await;
    assert_eq!(refused[0]["code"], -32602);
}

#[tokio::test]
async fn cancel_stops_the_call_and_leaves_no_trace() {
    let (bench, slow) = slow_bench().await;
    let mut events = Events::open(&bench, None, "message/stream", said("c", "hi")).await;
    let id = events.next().await.unwrap()["id"].clone();
    while words(&events.next().await.unwrap()) != "one " {}
    let canceled = bench.rpc(None, "tasks/cancel", json!({"id": id})).await["result"].clone();
    assert_eq!(canceled["status"]["state"], "canceled");
    tokio::time::timeout(Duration::from_secs(10), slow.hung_up.notified())
        .await
        .expect("the call is given up");
    let last = events.rest().await.pop().unwrap();
    assert_eq!((&last["final"], &last["status"]["state"]), (&json!(true), &json!("canceled")));
    // One piece, in 1.0; and one that waits for its turn.
    let mut later = said_v1("c", "hi");
    later["configuration"] = json!({"returnImmediately": true});
    for _ in 0..2 {
        let sent = bench.rpc(Some("1.0"), "SendMessage", later.clone()).await;
        let waiting = bench.rpc(Some("1.0"), "SendMessage", later.clone()).await;
        for sent in [&waiting, &sent] {
            let id = json!({"id": sent["result"]["task"]["id"]});
            let canceled = bench.rpc(Some("1.0"), "CancelTask", id.clone()).await;
            assert_eq!(canceled["result"]["status"]["state"], "TASK_STATE_CANCELED", "{canceled}");
            let again = bench.rpc(Some("1.0"), "CancelTask", id).await;
            assert_eq!(again["error"]["code"], -32002);
            assert_eq!(again["error"]["data"][0]["reason"], "TASK_NOT_CANCELABLE");
        }
    }
    slow.gate.add_permits(1);
    assert_eq!(bench.reply("c", "again").await, "whole", "the context is free, and the talk begins anew");
    let unknown = bench.rpc(None, "tasks/cancel", json!({"id": "none"})).await;
    assert_eq!(unknown["error"]["code"], -32001);
}
