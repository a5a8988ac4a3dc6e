//! The task agent over HTTP, before a stand-in for the proxy.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use patchbay::agent::{Options, StartError, router};
use patchbay::domain::clock::Clock;
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
    let mut options = options(&format!("{}/v1/", serve(proxy).await));
    change(&mut options);
    let root = serve(router(options).unwrap()).await;
    Bench { root, http: reqwest::Client::builder().no_proxy().build().unwrap(), fake }
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

#[tokio::test]
async fn control_messages_get_their_replies() {
    let bench = bench().await;
    let table = [
        ("[HOTSWAP:GET_CONFIG]", config("gpt-5", "openai", "(default prompt)")),
        ("[HOTSWAP:MODEL:openai/gpt-5-mini]", "✅ Model switched to: openai/gpt-5-mini".into()),
        (" \n[HOTSWAP:MODEL: openai / gpt-5 ]\t", "✅ Model switched to: openai/gpt-5".into()),
        ("[HOTSWAP:MODEL:gpt-5-mini]", "✅ Model switched to: openai/gpt-5-mini".into()),
        ("[HOTSWAP:MODEL:wild/a/b:free]", "✅ Model switched to: wild/a/b:free".into()),
        ("[HOTSWAP:MODEL]", "❌ Missing model specification for hot-swap.".into()),
        ("[HOTSWAP:MODEL:]", "❌ Missing model specification for hot-swap.".into()),
        ("[HOTSWAP:MODEL:  ]", "❌ Invalid model specification: Model name cannot be empty".into()),
        (
            "[HOTSWAP:MODEL:openai/]",
            "❌ Invalid model specification: Model spec must include provider and model when using '/' format"
                .into(),
        ),
        ("[HOTSWAP:MODEL:nosuch/foo]", "❌ Model not available at the proxy: nosuch/foo".into()),
        ("[HOTSWAP:PROMPT:Be kind]", "✅ System prompt updated. This change takes effect immediately.".into()),
        ("[HOTSWAP:GET_CONFIG:whatever]", config("a/b:free", "wild", "Be kind")),
        ("[HOTSWAP:PROMPT]", "✅ System prompt cleared. Reverting to default instruction.".into()),
        ("[HOTSWAP:PROMPT:]", "✅ System prompt cleared. Reverting to default instruction.".into()),
        ("[HOTSWAP:GET_CONFIG]", config("a/b:free", "wild", "(default prompt)")),
    ];
    for (text, expected) in table {
        let task = bench.say("c", text).await;
        assert_eq!(task["artifacts"][0]["parts"][0]["text"], expected, "{text}");
        assert_eq!(task["status"]["state"], "completed");
        assert!(task["metadata"].get("adk_usage_metadata").is_none());
        assert!(task["metadata"]["adk_actions"]["stateDelta"]["litellm_agent/model"].is_string());
    }
    assert_eq!(bench.fake.calls(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_slip_in_a_control_message_is_never_sent_to_a_model() {
    let bench = bench().await;
    for text in
        ["[HOTSWAP:FOO]", "[hotswap:model:x/y]", "[HOTSWAP:model:x/y]", "[HOTSWAP:]", "[HOTSWAP:a\nb]"]
    {
        let reply = bench.reply("c", text).await;
        assert!(reply.starts_with("❌ Unknown hot-swap command"), "{reply}");
    }
    assert_eq!(bench.reply("c", "[HOTSWAP:GET_CONFIG]").await, config("gpt-5", "openai", "(default prompt)"));
    assert!(bench.fake.calls().is_empty());
    for chat in ["say [HOTSWAP:GET_CONFIG]", "[HOTSWAP:GET_CONFIG] now", "[HOTSWAP:GET_CONFIG"] {
        assert_eq!(bench.reply("c", chat).await, "I am openai/gpt-5");
    }
    assert_eq!(bench.fake.calls().len(), 3);
}

#[tokio::test]
async fn each_context_has_its_own_model_and_prompt() {
    let bench = bench().await;
    for (first, second) in [("a", "b"), ("d", "c")] {
        bench.reply(first, "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
        bench.reply(second, "[HOTSWAP:MODEL:anthropic/claude-sonnet-4-5]").await;
        bench.reply(second, "[HOTSWAP:PROMPT:Be second]").await;
        for _ in 0..2 {
            assert_eq!(bench.reply(second, "who?").await, "I am anthropic/claude-sonnet-4-5");
            assert_eq!(bench.fake.last_messages()[0], "system: Be second");
            assert_eq!(bench.reply(first, "who?").await, "I am openai/gpt-5-mini");
            assert_eq!(bench.fake.last_messages()[0], "system: You are a helpful assistant. Answer briefly.");
        }
    }
    assert_eq!(bench.reply("never-used", "who?").await, "I am openai/gpt-5");
}

#[tokio::test]
async fn contexts_do_not_disturb_each_other_at_once() {
    let bench = bench().await;
    let rounds = |context: &'static str, models: [&'static str; 2]| {
        let bench = &bench;
        async move {
            for n in 0..20 {
                let model = models[n % 2];
                bench.reply(context, &format!("[HOTSWAP:MODEL:{model}]")).await;
                assert_eq!(bench.reply(context, "who?").await, format!("I am {model}"));
            }
        }
    };
    tokio::join!(
        rounds("a", ["openai/gpt-5", "openai/gpt-5-mini"]),
        rounds("b", ["anthropic/claude-sonnet-4-5", "openai/gpt-5"]),
        rounds("c", ["openai/gpt-5-mini", "wild/x"]),
    );
}

#[tokio::test]
async fn an_answer_in_0_3() {
    let bench = bench().await;
    bench.reply("c", "[HOTSWAP:PROMPT:Be kind]").await;
    let mut task = bench.say("c", "who?").await;
    assert!(task["metadata"]["patchbay"]["elapsed_ms"].is_u64());
    task["metadata"]["patchbay"]["elapsed_ms"] = json!(0);
    let id = task["id"].clone();
    let words = json!([{"kind": "text", "text": "I am openai/gpt-5"}]);
    assert_eq!(
        task,
        json!({
            "kind": "task", "id": id, "contextId": "c",
            "status": {"state": "completed", "timestamp": "2026-01-02T03:04:05.678Z"},
            "artifacts": [{"artifactId": task["artifacts"][0]["artifactId"], "parts": words}],
            "history": [
                {"kind": "message", "messageId": "m1", "role": "user", "contextId": "c", "taskId": id,
                 "parts": [{"kind": "text", "text": "who?"}]},
                {"kind": "message", "messageId": task["history"][1]["messageId"], "role": "agent",
                 "contextId": "c", "taskId": id, "parts": words},
            ],
            "metadata": {
                "adk_actions": {"stateDelta": {
                    "litellm_agent/model": "gpt-5", "litellm_agent/provider": "openai",
                    "litellm_agent/prompt": "Be kind",
                }},
                "adk_usage_metadata":
                    {"promptTokenCount": 11, "candidatesTokenCount": 4, "totalTokenCount": 15},
                "patchbay": {"model": "openai/gpt-5", "served": "openai/gpt-5-2026", "elapsed_ms": 0},
            },
        })
    );
    let mut again = bench.rpc(None, "tasks/get", json!({"id": id})).await["result"].clone();
    again["metadata"]["patchbay"]["elapsed_ms"] = json!(0);
    assert_eq!(again, task);
    let short = bench.rpc(None, "tasks/get", json!({"id": id, "historyLength": 1})).await;
    assert_eq!(short["result"]["history"], json!([task["history"][1]]));
}

#[tokio::test]
async fn an_answer_in_1_0() {
    let bench = bench().await;
    let answer = bench.rpc(Some("1.0"), "SendMessage", said_v1("c", "who?")).await;
    let task = answer["result"]["task"].clone();
    let id = task["id"].clone();
    let words = json!([{"text": "I am openai/gpt-5"}]);
    assert_eq!(
        task["status"],
        json!({"state": "TASK_STATE_COMPLETED", "timestamp": "2026-01-02T03:04:05.678Z"})
    );
    assert_eq!(task["artifacts"][0]["parts"], words);
    assert_eq!(task["history"][0]["role"], "ROLE_USER");
    assert_eq!(task["history"][1]["role"], "ROLE_AGENT");
    assert_eq!(task["history"][1]["parts"], words);
    assert_eq!(task["metadata"]["adk_usage_metadata"]["totalTokenCount"], 15);
    assert!(!answer.to_string().contains("\"kind\""), "{answer}");
    let got = bench.rpc(Some("1.0"), "GetTask", json!({"id": id})).await;
    assert_eq!(got["result"], task);
    let control =
        bench.rpc(Some("1.0.3"), "SendMessage", said_v1("c", "[HOTSWAP:MODEL:openai/gpt-5-mini]")).await;
    let control = &control["result"]["task"];
    assert_eq!(control["artifacts"][0]["parts"][0]["text"], "✅ Model switched to: openai/gpt-5-mini");
    assert_eq!(
        control["metadata"],
        json!({"adk_actions": {"stateDelta": {
            "litellm_agent/model": "gpt-5-mini", "litellm_agent/provider": "openai", "litellm_agent/prompt": null,
        }}})
    );
    assert_eq!(bench.reply("c", "who?").await, "I am openai/gpt-5-mini");
}

#[tokio::test]
async fn the_wrong_version_is_refused_before_anything_is_done() {
    let bench = bench().await;
    let table = [
        (None, "SendMessage", "0.3", "1.0"),
        (Some("0.3"), "GetTask", "0.3", "1.0"),
        (Some(""), "SendMessage", "0.3", "1.0"),
        (Some("2.0"), "SendMessage", "2.0", "1.0"),
        (Some("banana"), "SendMessage", "banana", "1.0"),
        (Some("1.0"), "message/send", "1.0", "0.3"),
        (Some("1.0"), "tasks/get", "1.0", "0.3"),
        (Some("0.5"), "message/send", "0.5", "0.3"),
        (Some("2.0"), "foo", "2.0", "1.0"),
    ];
    for (header, method, got, expected) in table {
        let answer = bench.rpc(header, method, said("c", "who?")).await;
        assert_eq!(
            answer["error"],
            json!({
                "code": -32009,
                "message": format!("A2A version '{got}' is not supported by this handler. Expected version '{expected}'."),
                "data": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "VERSION_NOT_SUPPORTED",
                    "domain": "a2a-protocol.org", "metadata": {},
                }],
            }),
            "{header:?} {method}"
        );
    }
    for header in ["0.3", "0.3.0"] {
        let answer = bench.rpc(Some(header), "message/send", said("c", "who?")).await;
        assert_eq!(answer["result"]["status"]["state"], "completed");
    }
    assert_eq!(bench.fake.calls().len(), 2);
}

#[tokio::test]
async fn a_broken_envelope_is_refused() {
    let bench = bench().await;
    let table = [
        ("", -32700, Value::Null),
        ("{\"jsonrpc\": \"2.0\", ", -32700, Value::Null),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\\ud800\"}", -32700, Value::Null),
        ("[]", -32600, Value::Null),
        ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tasks/get\"}]", -32600, Value::Null),
        ("7", -32600, Value::Null),
        ("{\"id\":1,\"method\":\"tasks/get\"}", -32600, json!(1)),
        ("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"tasks/get\"}", -32600, json!(1)),
        ("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"tasks/get\"}", -32600, Value::Null),
        ("{\"jsonrpc\":\"2.0\",\"method\":\"tasks/get\",\"params\":{\"id\":\"x\"}}", -32600, Value::Null),
        ("{\"jsonrpc\":\"2.0\",\"id\":\"a\"}", -32600, json!("a")),
        ("{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"foo/bar\"}", -32601, json!("a")),
        ("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"message/send\"}", -32602, json!(1.5)),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"message/send\",\"params\":[]}", -32602, json!(1)),
    ];
    for (body, code, id) in table {
        let answer = bench.raw(None, body).await;
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &id), "{body}");
        assert_eq!(answer["jsonrpc"], "2.0");
    }
    let not_utf8 = bench.raw(None, b"{\"id\":\"\xff\"}".to_vec()).await;
    assert_eq!(not_utf8["error"]["code"], -32700);
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let bench = bench().await;
    let long = "x".repeat(129);
    let table: [(&str, Value, &str); 16] = [
        ("/message/messageId", Value::Null, "message.messageId"),
        ("/message/messageId", json!(""), "message.messageId"),
        ("/message/messageId", json!(7), "message.messageId"),
        ("/message/role", json!("root"), "message.role"),
        ("/message/parts", json!([]), "message.parts"),
        ("/message/parts", json!("hi"), "message.parts"),
        ("/message/parts/0", json!("hi"), "message.parts[0]"),
        ("/message/parts/0/text", Value::Null, "message.parts[0].text"),
        ("/message/parts/0/text", json!(" \n"), "message.parts"),
        ("/message/contextId", json!("a b"), "message.contextId"),
        ("/message/contextId", json!("../etc"), "message.contextId"),
        ("/message/contextId", json!(long), "message.contextId"),
        ("/message", json!([]), "message"),
        ("/configuration", json!(true), "configuration"),
        ("/configuration", json!({"blocking": "no"}), "configuration.blocking"),
        ("/configuration", json!({"historyLength": -1}), "configuration.historyLength"),
    ];
    for (path, value, field) in table {
        let mut params = said("c", "hi");
        params["configuration"] = json!({});
        *params.pointer_mut(path).unwrap() = value;
        let error = &bench.rpc(None, "message/send", params).await["error"];
        assert_eq!(error["code"], -32602, "{path}: {error}");
        let path: Vec<&str> = ["params"].into_iter().chain(field.split('.')).collect();
        assert_eq!(error["data"][0]["loc"], json!(path));
        assert!(error["message"].as_str().unwrap().contains(field), "{error}");
    }
    let v1 = json!({"message": {"role": "ROLE_USER", "parts": [{"text": "hi"}]}});
    let error = &bench.rpc(Some("1.0"), "SendMessage", v1).await["error"];
    assert_eq!(error["code"], -32602);
    assert_eq!(error["data"][0]["reason"], "INVALID_PARAMS");
    assert_eq!(
        error["data"][1]["fieldViolations"],
        json!([{"field": "message.messageId", "description": "is required"}])
    );
    assert!(bench.fake.calls().is_empty());
}

#[tokio::test]
async fn files_are_refused_and_unknown_tasks_are_not_found() {
    let bench = bench().await;
    for part in [
        json!({"kind": "file", "file": {"uri": "http://127.0.0.1:1/x"}}),
        json!({"kind": "data", "data": {"a": 1}}),
        json!({"url": "http://127.0.0.1:1/x"}),
    ] {
        let mut params = said("c", "hi");
        params["message"]["parts"][0] = part;
        assert_eq!(bench.rpc(None, "message/send", params).await["error"]["code"], -32005);
    }
    let unknown = bench.rpc(None, "tasks/get", json!({"id": "nope"})).await;
    assert_eq!(unknown["error"], json!({"code": -32001, "message": "Task not found"}));
    let unknown = bench.rpc(Some("1.0"), "GetTask", json!({"id": "nope"})).await;
    assert_eq!(unknown["error"]["data"][0]["reason"], "TASK_NOT_FOUND");
    assert_eq!(
        bench.rpc(None, "tasks/get", json!({})).await["error"]["data"][0]["loc"],
        json!(["params", "id"])
    );
    let known = bench.say("c", "hi").await["id"].clone();
    for (id, code) in [(json!("nope"), -32001), (known, -32602)] {
        let mut params = said("c", "hi");
        params["message"]["taskId"] = id;
        assert_eq!(bench.rpc(None, "message/send", params).await["error"]["code"], code);
    }
    assert_eq!(bench.fake.calls().len(), 1);
}

#[tokio::test]
async fn without_a_context_a_new_one_is_made() {
    let bench = bench().await;
    let mut contexts = HashSet::new();
    for context in [Value::Null, json!(""), Value::Null] {
        let mut params = said("c", "[HOTSWAP:MODEL:openai/gpt-5-mini]");
        params["message"]["contextId"] = context;
        let task = bench.rpc(None, "message/send", params).await;
        contexts.insert(task["result"]["contextId"].as_str().unwrap().to_owned());
    }
    assert_eq!(contexts.len(), 3);
    for context in contexts {
        assert_eq!(bench.reply(&context, "who?").await, "I am openai/gpt-5-mini");
    }
}

#[tokio::test]
async fn a_failed_call_is_a_failed_task_and_leaves_no_trace() {
    let bench = bench().await;
    for (text, expected) in [
        (
            "FAIL=401",
            "The proxy refused the call with status 401: bad key [redacted] [redacted] [redacted] because",
        ),
        ("FAIL=500", "The proxy refused the call with status 500:"),
        ("HUGE", "The proxy's answer is larger than 4 MiB."),
        ("HTML", "The proxy's answer is not a chat completion."),
        ("MOVED", "The proxy refused the call with status 302: it redirects, which is not followed"),
        ("EMPTY", "The model answered without text (finish reason: stop)."),
    ] {
        let task = bench.say("c", text).await;
        let message = task["status"]["message"]["parts"][0]["text"].as_str().unwrap();
        assert!(message.starts_with(expected), "{message}");
        assert!(message.chars().count() < 600);
        assert!(!task.to_string().contains(KEY));
        assert_eq!(task["status"]["state"], "failed");
        assert_eq!(task.get("artifacts"), None);
        assert_eq!(task["metadata"].get("adk_usage_metadata"), None);
        assert_eq!(task["metadata"]["patchbay"]["model"], "openai/gpt-5");
    }
    let v1 = bench.rpc(Some("1.0"), "SendMessage", said_v1("c", "FAIL=429")).await;
    let status = &v1["result"]["task"]["status"];
    assert_eq!(status["state"], "TASK_STATE_FAILED");
    assert_eq!(status["message"]["role"], "ROLE_AGENT");
    bench.say("c", "who?").await;
    assert_eq!(bench.fake.last_messages()[1..], ["user: who?"]);
}

#[tokio::test]
async fn a_proxy_that_is_down_or_slow_is_said_so() {
    let down = bench_with(|options| options.proxy = "http://127.0.0.1:9".to_owned()).await;
    assert_eq!(down.reply("c", "[HOTSWAP:MODEL:any/thing]").await, "✅ Model switched to: any/thing");
    let task = down.say("c", "who?").await;
    assert_eq!(task["status"]["message"]["parts"][0]["text"], "The proxy cannot be reached.");
    assert_eq!(task["metadata"]["patchbay"]["model"], "any/thing");
    let slow = bench_with(|options| options.timeout = Duration::from_millis(200)).await;
    let task = slow.say("c", "WAIT").await;
    assert_eq!(task["status"]["message"]["parts"][0]["text"], "The proxy did not answer within 0.2 s.");
}

#[tokio::test]
async fn a_list_that_cannot_be_had_stops_no_swap() {
    let bench = bench().await;
    for list in [(StatusCode::FORBIDDEN, "{}"), (StatusCode::OK, "no list"), (StatusCode::FOUND, "")] {
        *bench.fake.list.lock().unwrap() = Some(list);
        assert_eq!(bench.reply("c", "[HOTSWAP:MODEL:no/such]").await, "✅ Model switched to: no/such");
    }
    *bench.fake.list.lock().unwrap() = Some((StatusCode::OK, "{\"data\":[]}"));
    assert_eq!(bench.reply("c", "[HOTSWAP:MODEL:a/b]").await, "❌ Model not available at the proxy: a/b");
    assert_eq!(bench.reply("c", "who?").await, "I am no/such");
}

#[tokio::test]
async fn a_swap_during_a_turn_is_for_the_next_one_and_stays() {
    let bench = bench().await;
    let (slow, ()) = tokio::join!(bench.say("c", "WAIT"), async {
        bench.fake.called(1).await;
        bench.reply("c", "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
        bench.reply("c", "[HOTSWAP:PROMPT:New]").await;
        assert_eq!(bench.reply("c", "[HOTSWAP:GET_CONFIG]").await, config("gpt-5-mini", "openai", "New"));
        bench.fake.gate.add_permits(1);
    });
    assert_eq!(slow["artifacts"][0]["parts"][0]["text"], "I am openai/gpt-5");
    let ran_with = &slow["metadata"]["adk_actions"]["stateDelta"];
    assert_eq!(
        (&ran_with["litellm_agent/model"], &ran_with["litellm_agent/prompt"]),
        (&json!("gpt-5"), &Value::Null)
    );
    assert_eq!(bench.reply("c", "[HOTSWAP:GET_CONFIG]").await, config("gpt-5-mini", "openai", "New"));
    assert_eq!(bench.reply("c", "who?").await, "I am openai/gpt-5-mini");
    assert_eq!(
        bench.fake.last_messages(),
        ["system: New", "user: WAIT", "assistant: I am openai/gpt-5", "user: who?"]
    );
}

#[tokio::test]
async fn a_prompt_may_have_several_lines_but_not_be_endless() {
    let bench = bench().await;
    let prompt = "First line\r\n[second] {line}\n\u{2028}last";
    assert!(
        bench
            .reply("c", &format!("[HOTSWAP:PROMPT:{prompt}]"))
            .await
            .starts_with("✅ System prompt updated.")
    );
    assert_eq!(bench.reply("c", "[HOTSWAP:GET_CONFIG]").await, config("gpt-5", "openai", prompt));
    bench.say("c", "who?").await;
    assert_eq!(bench.fake.last_messages(), [format!("system: {prompt}"), "user: who?".to_owned()]);
    let endless = format!("[HOTSWAP:PROMPT:{}]", "x".repeat(256 * 1024 + 1));
    assert!(bench.reply("c", &endless).await.starts_with("❌ System prompt is too long"));
    let task = bench.say("c", "[HOTSWAP:GET_CONFIG]").await;
    assert_eq!(task["metadata"]["adk_actions"]["stateDelta"]["litellm_agent/prompt"], prompt);
}

#[tokio::test]
async fn the_talk_goes_along_without_control_messages() {
    let bench = bench().await;
    bench.say("c", "one").await;
    bench.say("c", "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
    let mut params = said("c", "two");
    params["message"]["parts"]
        .as_array_mut()
        .unwrap()
        .push(json!({"kind": "text", "text": "[HOTSWAP:GET_CONFIG]"}));
    bench.rpc(None, "message/send", params).await;
    bench.say("c", "three").await;
    assert_eq!(
        bench.fake.last_messages()[1..],
        [
            "user: one",
            "assistant: I am openai/gpt-5",
            "user: two\n[HOTSWAP:GET_CONFIG]",
            "assistant: I am openai/gpt-5-mini",
            "user: three"
        ]
    );
}

#[tokio::test]
async fn who_does_not_wait_asks_for_the_task_later() {
    let bench = bench().await;
    let mut params = said("c", "WAIT");
    params["configuration"] = json!({"blocking": false});
    let task = bench.rpc(None, "message/send", params).await["result"].clone();
    assert_eq!(task["status"]["state"], "submitted");
    assert_eq!(task.get("artifacts"), None);
    bench.task_until(&task["id"], "working").await;
    let mut params = said_v1("c", "second");
    params["configuration"] = json!({"returnImmediately": true});
    let second = bench.rpc(Some("1.0"), "SendMessage", params).await["result"]["task"].clone();
    assert_eq!(second["status"]["state"], "TASK_STATE_SUBMITTED");
    bench.fake.gate.add_permits(1);
    let done = bench.task_until(&task["id"], "completed").await;
    assert_eq!(done["artifacts"][0]["parts"][0]["text"], "I am openai/gpt-5");
    bench.task_until(&second["id"], "completed").await;
    assert_eq!(
        bench.fake.last_messages()[1..],
        ["user: WAIT", "assistant: I am openai/gpt-5", "user: second"]
    );
}

#[tokio::test]
async fn a_message_keeps_the_settings_it_was_sent_under() {
    let bench = bench().await;
    for n in 0..20 {
        let context = format!("c{n}");
        let mut params = said(&context, "who?");
        params["configuration"] = json!({"blocking": false});
        let task = bench.rpc(None, "message/send", params).await["result"]["id"].clone();
        bench.reply(&context, "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
        let done = bench.task_until(&task, "completed").await;
        assert_eq!(done["metadata"]["patchbay"]["model"], "openai/gpt-5");
    }
}

#[tokio::test]
async fn turns_of_one_context_wait_and_those_of_others_do_not() {
    let bench = bench().await;
    let ((), first, second) = tokio::join!(
        async {
            bench.fake.called(1).await;
            assert_eq!(bench.reply("other", "who?").await, "I am openai/gpt-5");
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(bench.fake.calls().len(), 2, "the second message of the context waits");
            bench.fake.gate.add_permits(2);
        },
        bench.say("c", "WAIT 1"),
        bench.say("c", "WAIT 2"),
    );
    assert_eq!(
        (&first["status"]["state"], &second["status"]["state"]),
        (&json!("completed"), &json!("completed"))
    );
    assert_eq!(bench.fake.last_messages().len(), 4);
}

#[tokio::test]
async fn too_many_turns_are_refused_but_a_swap_gets_through() {
    let bench = bench().await;
    for n in 0..64 {
        let mut params = said(&format!("c{n}"), "WAIT");
        params["configuration"] = json!({"blocking": false});
        assert!(bench.rpc(None, "message/send", params).await.get("result").is_some());
    }
    let refused = bench.rpc(None, "message/send", said("one-more", "who?")).await;
    assert_eq!(refused["error"]["code"], -32000);
    assert!(refused["error"]["message"].as_str().unwrap().contains("busy"));
    assert!(bench.reply("one-more", "[HOTSWAP:MODEL:openai/gpt-5-mini]").await.starts_with('✅'));
    bench.fake.gate.add_permits(64);
    bench.fake.called(64).await;
    for _ in 0..500 {
        let answer = bench.rpc(None, "message/send", said("one-more", "who?")).await;
        if answer.get("result").is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("there is never room again");
}

#[tokio::test]
async fn hanging_up_does_not_stop_the_work() {
    let bench = bench().await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": said("c", "WAIT")});
    let impatient = bench.post(None).body(body.to_string()).timeout(Duration::from_millis(300)).send().await;
    assert!(impatient.unwrap_err().is_timeout());
    bench.fake.gate.add_permits(1);
    bench.say("c", "who?").await;
    assert_eq!(bench.fake.last_messages()[1..], ["user: WAIT", "assistant: I am openai/gpt-5", "user: who?"]);
}

#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_refused() {
    let bench = bench().await;
    let fits = bench.say("c", &"x".repeat(1024 * 1024 - 300)).await;
    assert_eq!(fits["status"]["state"], "completed");
    let body = said("c", &"x".repeat(1024 * 1024)).to_string();
    let response = bench.post(None).body(body).send().await.unwrap();
    assert_eq!(response.status(), 413);
    let answer: Value = response.json().await.unwrap();
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32600), &Value::Null));
    assert_eq!(bench.fake.calls().len(), 1);
}

#[tokio::test]
async fn the_card_serves_both_generations() {
    let bench = bench().await;
    let get = async |path: &str| {
        let response = bench.http.get(format!("{}{path}", bench.root)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json::<Value>().await.unwrap()
    };
    let card = get("/a2a/litellm_agent/.well-known/agent-card.json").await;
    assert_eq!(card, get("/.well-known/agent-card.json").await);
    let url = format!("{}/a2a/litellm_agent", bench.root);
    assert_eq!(card["url"], url);
    assert_eq!((&card["protocolVersion"], &card["preferredTransport"]), (&json!("0.3.0"), &json!("JSONRPC")));
    assert_eq!(
        card["supportedInterfaces"],
        json!([
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
        ])
    );
    assert_eq!(card["capabilities"]["streaming"], false);
    let extension = &card["capabilities"]["extensions"][0];
    assert_eq!(extension["uri"], "urn:patchbay:hotswap:1");
    assert_eq!(extension["params"], json!({"scope": "context", "multilinePrompt": true}));
    for list in ["defaultInputModes", "defaultOutputModes", "skills"] {
        assert!(card[list].as_array().is_some_and(|list| !list.is_empty()), "{list}");
    }
    for text in ["name", "description", "version"] {
        assert!(card[text].as_str().is_some_and(|text| !text.is_empty()), "{text}");
    }
    assert_eq!(get("/health").await, json!({"status": "ok"}));
    let public = "https://agents.example/a2a/litellm_agent";
    let bench = bench_with(|options| options.public_url = Some(public.to_owned())).await;
    let card: Value = bench
        .http
        .get(format!("{}/.well-known/agent-card.json", bench.root))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!((&card["url"], &card["supportedInterfaces"][0]["url"]), (&json!(public), &json!(public)));
}

#[tokio::test]
async fn a_page_of_another_site_is_refused() {
    let bench = bench().await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": said("c", "who?")});
    for (name, value, status) in [
        ("origin", "http://evil.example", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("origin", bench.root.as_str(), 200),
    ] {
        let response = bench.post(None).header(name, value).body(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), status, "{name}: {value}");
    }
    assert_eq!(bench.fake.calls().len(), 1);
}

#[tokio::test]
async fn wrong_options_are_refused_at_the_start() {
    let start = |change: fn(&mut Options)| {
        let mut options = options("http://127.0.0.1:4000");
        change(&mut options);
        router(options).map(|_| ())
    };
    assert!(start(|_| ()).is_ok());
    assert!(matches!(start(|o| o.proxy = "nonsense".into()), Err(StartError::ProxyUrl)));
    assert!(matches!(start(|o| o.proxy = "http://user:pass@host".into()), Err(StartError::ProxyUrl)));
    assert!(matches!(start(|o| o.default_model = "openai/".into()), Err(StartError::DefaultModel(_))));
    assert!(matches!(start(|o| o.default_model = String::new()), Err(StartError::DefaultModel(_))));
    assert!(matches!(start(|o| o.api_key = Some("a\nb".into())), Err(StartError::ApiKey)));
    assert!(matches!(start(|o| o.public_url = Some("/a2a".into())), Err(StartError::PublicUrl)));
}
