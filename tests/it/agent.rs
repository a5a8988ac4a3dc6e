//! The task agent over HTTP, before a stand-in for the proxy.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod durable;
mod listing;
mod streams;
mod swaps;
mod turns;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use patchbay_agent::{Options, router};
use patchbay_clock::Clock;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const KEY: &str = "sk-agent-secret";
const MODELS: [&str; 4] = ["openai/gpt-5", "openai/gpt-5-mini", "anthropic/claude-sonnet-4-5", "wild/*"];
const RULE: &str = "━━━━━━━━━━━━━━━━━━━━━━";

/// Answers "I am <model>", and does as the last message says: `WAIT` until released, `FAIL=401`, `HUGE`.
struct Fake {
    calls: Mutex<Vec<Value>>,
    gate: Semaphore,
    /// What the list of models is answered with instead.
    list: Mutex<Option<(StatusCode, &'static str)>>,
}

impl Fake {
    fn calls(&self) -> Vec<Value> {
        self.calls.lock().unwrap().clone()
    }

    async fn called(&self, times: usize) {
        let all_in = async {
            while self.calls().len() < times {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all_in).await.expect("the proxy is called");
    }

    /// The messages of the last call, as `role: text`.
    fn last_messages(&self) -> Vec<String> {
        let calls = self.calls();
        let messages = calls.last().expect("a call")["messages"].as_array().unwrap().clone();
        let words = |value: &Value| value.as_str().unwrap().to_owned();
        messages.iter().map(|m| format!("{}: {}", words(&m["role"]), words(&m["content"]))).collect()
    }
}

async fn fake_chat(State(fake): State<Arc<Fake>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if headers.get("authorization").is_none_or(|value| value != &format!("Bearer {KEY}")) {
        return (StatusCode::IM_A_TEAPOT, "the agent's key is missing").into_response();
    }
    fake.calls.lock().unwrap().push(body.clone());
    let last = body["messages"].as_array().and_then(|all| all.last()).expect("messages");
    let text = last["content"].as_str().expect("text").to_owned();
    if text.contains("WAIT") {
        fake.gate.acquire().await.expect("open").forget();
    }
    if let Some(status) = text.strip_prefix("FAIL=") {
        let message = format!("bad key {KEY} sk-...cret {} {}", "0af".repeat(20), "because ".repeat(500));
        let status = StatusCode::from_bytes(status.as_bytes()).unwrap();
        return (status, Json(json!({"error": {"message": message, "code": "x"}}))).into_response();
    }
    match text.as_str() {
        "HUGE" => return "x".repeat(5 * 1024 * 1024).into_response(),
        "HTML" => return "<html>".into_response(),
        "MOVED" => return (StatusCode::FOUND, [("location", "/v1/models")]).into_response(),
        _ => {}
    }
    let model = body["model"].as_str().expect("a model");
    let content = if text == "EMPTY" { Value::Null } else { format!("I am {model}").into() };
    Json(json!({
        "model": format!("{model}-2026"),
        "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15},
    }))
    .into_response()
}

async fn fake_models(State(fake): State<Arc<Fake>>) -> Response {
    let list = *fake.list.lock().unwrap();
    list.map_or_else(
        || Json(json!({"data": MODELS.map(|id| json!({"id": id}))})).into_response(),
        IntoResponse::into_response,
    )
}

/// A running agent.
struct Bench {
    root: String,
    /// The stand-in's address.
    proxy: String,
    http: reqwest::Client,
    fake: Arc<Fake>,
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

fn options(proxy: &str) -> Options {
    Options {
        proxy: proxy.to_owned(),
        api_key: Some(KEY.into()),
        default_model: "openai/gpt-5".to_owned(),
        public_url: None,
        clock: Clock::from_fn(|| "2026-01-02T03:04:05.6789Z".parse().unwrap()),
        timeout: Duration::from_secs(20),
    }
}

async fn bench() -> Bench {
    bench_with(|_| ()).await
}

async fn bench_with(change: impl FnOnce(&mut Options)) -> Bench {
    let fake = Arc::new(Fake { calls: Mutex::default(), gate: Semaphore::new(0), list: Mutex::default() });
    let proxy = Router::new()
        .route("/v1/chat/completions", post(fake_chat))
        .route("/v1/models", get(fake_models))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(Arc::clone(&fake));
    let proxy = format!("{}/v1/", serve(proxy).await);
    let mut options = options(&proxy);
    change(&mut options);
    let root = serve(router(options).unwrap()).await;
    Bench { root, proxy, http: reqwest::Client::builder().no_proxy().build().unwrap(), fake }
}

impl Bench {
    fn post(&self, version: Option<&str>) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}/a2a/litellm_agent", self.root));
        let request = request.header("content-type", "application/json");
        match version {
            Some(version) => request.header("A2A-Version", version),
            None => request,
        }
    }

    async fn raw(&self, version: Option<&str>, body: impl Into<reqwest::Body>) -> Value {
        let response = self.post(version).body(body).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    async fn rpc(&self, version: Option<&str>, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": "r1", "method": method, "params": params});
        let answer = self.raw(version, body.to_string()).await;
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!("r1")));
        answer
    }

    /// Says it in 0.3 and returns the task.
    async fn say(&self, context: &str, text: &str) -> Value {
        let answer = self.rpc(None, "message/send", said(context, text)).await;
        assert_eq!(answer.get("error"), None, "{answer}");
        answer["result"].clone()
    }

    async fn reply(&self, context: &str, text: &str) -> String {
        let task = self.say(context, text).await;
        assert_eq!(task["status"]["state"], "completed", "{task}");
        task["artifacts"][0]["parts"][0]["text"].as_str().unwrap().to_owned()
    }

    async fn task_until(&self, id: &Value, state: &str) -> Value {
        for _ in 0..1000 {
            let answer = self.rpc(None, "tasks/get", json!({"id": id})).await;
            if answer["result"]["status"]["state"] == state {
                return answer["result"].clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the task is never {state}");
    }
}

fn said(context: &str, text: &str) -> Value {
    json!({"message": {
        "kind": "message", "messageId": "m1", "role": "user", "contextId": context,
        "parts": [{"kind": "text", "text": text}],
    }})
}

fn said_v1(context: &str, text: &str) -> Value {
    json!({"message": {
        "messageId": "m1", "role": "ROLE_USER", "contextId": context, "parts": [{"text": text}],
    }})
}

fn config(model: &str, provider: &str, prompt: &str) -> String {
    format!(
        "📊 Current Configuration\n{RULE}\nModel: {model}\nProvider: {provider}\nSystem Prompt: {prompt}\n{RULE}"
    )
}
