//! Proxies and agents that behave in ways the sandbox and the built-in agent never would.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::{Client, redirect};
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use crate::support::{client, spawn};

/// How a fake server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// As it should.
    Good,
    /// It accepts, and never answers.
    Hangs,
    Html,
    Garbage,
    Fails500,
    /// A model's chat where a control reply is due, with the tokens it used.
    Chat,
    /// The same from an agent that does not tell of tokens.
    BareChat,
    /// It says ✅, and tells another configuration when asked.
    Liar,
    /// Its task ends as failed.
    FailedTask,
    /// A JSON-RPC error.
    RpcError,
}

/// What a broken server answers, whatever it was asked.
async fn broken(manner: Manner) -> Response {
    match manner {
        Manner::Hangs => std::future::pending().await,
        Manner::Html => {
            Html("<html><title>Welcome to nginx</title><script>alert(1)</script></html>").into_response()
        }
        Manner::Garbage => {
            ([(header::CONTENT_TYPE, "application/json")], "{\"data\": [\u{1}").into_response()
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response(),
    }
}

/// Stands before the sandbox, and can be told to misbehave.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) url: String,
    inner: Arc<FrontInner>,
}

struct FrontInner {
    http: Client,
    target: Mutex<String>,
    manner: Mutex<Manner>,
    guard: Mutex<Option<DropGuard>>,
}

impl Front {
    pub(super) async fn start(manner: Manner) -> Self {
        let inner = Arc::new(FrontInner {
            http: client(redirect::Policy::none()),
            target: Mutex::default(),
            manner: Mutex::new(manner),
            guard: Mutex::default(),
        });
        let (address, guard) = spawn(Router::new().fallback(forward).with_state(Arc::clone(&inner))).await;
        *inner.guard.lock().unwrap() = Some(guard);
        Self { url: format!("http://{address}"), inner }
    }

    pub(super) fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.inner.target.lock().unwrap());
    }

    pub(super) fn set(&self, manner: Manner) {
        *self.inner.manner.lock().unwrap() = manner;
    }
}

async fn forward(
    State(front): State<Arc<FrontInner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let manner = *front.manner.lock().unwrap();
    if manner != Manner::Good {
        return broken(manner).await;
    }
    let target = front.target.lock().unwrap().clone();
    let mut request = front.http.request(method, format!("{target}{uri}")).body(body);
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let answer = request.send().await.unwrap();
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    (answer.status(), kind.map(|kind| [(header::CONTENT_TYPE, kind)]), answer.bytes().await.unwrap())
        .into_response()
}

/// An agent that writes down what reached it.
#[derive(Clone)]
pub(super) struct FakeAgent {
    pub(super) url: String,
    inner: Arc<AgentInner>,
}

struct AgentInner {
    manner: Mutex<Manner>,
    /// Only messages whose text begins so are answered in the manner; others as they should.
    only: Mutex<&'static str>,
    card: Value,
    model: Mutex<String>,
    prompt: Mutex<Option<String>>,
    texts: Mutex<Vec<String>>,
    guard: Mutex<Option<DropGuard>>,
}

impl FakeAgent {
    pub(super) async fn start(manner: Manner) -> Self {
        // As the public ADK agent: nothing of scope, nothing of prompts with line breaks.
        let card = json!({
            "name": "fake", "description": "", "version": "1", "url": "http://localhost:8000/a2a",
            "protocolVersion": "0.3.0", "capabilities": {}, "skills": [],
        });
        let inner = Arc::new(AgentInner {
            manner: Mutex::new(manner),
            only: Mutex::new(""),
            card,
            model: Mutex::new("openai/gpt-5-mini".to_owned()),
            prompt: Mutex::default(),
            texts: Mutex::default(),
            guard: Mutex::default(),
        });
        let router = Router::new()
            .route("/a2a", post(message))
            .route("/a2a/.well-known/agent-card.json", get(card_of))
            .with_state(Arc::clone(&inner));
        let (address, guard) = spawn(router).await;
        *inner.guard.lock().unwrap() = Some(guard);
        Self { url: format!("http://{address}/a2a"), inner }
    }

    pub(super) fn set(&self, manner: Manner) {
        self.set_for("", manner);
    }

    /// Misbehaves for messages that begin with `only`.
    pub(super) fn set_for(&self, only: &'static str, manner: Manner) {
        *self.inner.manner.lock().unwrap() = manner;
        *self.inner.only.lock().unwrap() = only;
    }

    /// The texts that reached it, and forgets them.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.texts.lock().unwrap())
    }

    /// Whether a text that begins so has reached it.
    pub(super) fn seen(&self, start: &str) -> bool {
        self.inner.texts.lock().unwrap().iter().any(|text| text.starts_with(start))
    }

    pub(super) fn model(&self) -> String {
        self.inner.model.lock().unwrap().clone()
    }
}

impl AgentInner {
    /// The manner for a text; the card is not well either where every message meets it.
    fn manner_for(&self, text: &str) -> Manner {
        if text.starts_with(*self.only.lock().unwrap()) { *self.manner.lock().unwrap() } else { Manner::Good }
    }

    fn config(&self, model: &str) -> String {
        let rule = "━".repeat(22);
        let (provider, model) = model.split_once('/').unwrap();
        let prompt = self.prompt.lock().unwrap().clone().unwrap_or_else(|| "(default prompt)".to_owned());
        format!(
            "📊 Current Configuration\n{rule}\nModel: {model}\nProvider: {provider}\nSystem Prompt: {prompt}\n{rule}"
        )
    }

    /// Obeys as a good agent does.
    fn obey(&self, text: &str) -> String {
        let payload = |verb: &str| text.strip_prefix(&format!("[HOTSWAP:{verb}:"))?.strip_suffix(']');
        if let Some(model) = payload("MODEL") {
            model.clone_into(&mut self.model.lock().unwrap());
            return format!("✅ Model switched to: {model}");
        }
        if let Some(prompt) = payload("PROMPT") {
            *self.prompt.lock().unwrap() = (!prompt.is_empty()).then(|| prompt.to_owned());
            let word = if prompt.is_empty() { "cleared. Reverting" } else { "updated. This takes effect" };
            return format!("✅ System prompt {word}");
        }
        if text == "[HOTSWAP:GET_CONFIG]" {
            self.config(&self.model.lock().unwrap())
        } else {
            "Hello.".to_owned()
        }
    }
}

async fn card_of(State(agent): State<Arc<AgentInner>>) -> Response {
    let manner = agent.manner_for("");
    match manner {
        Manner::Hangs | Manner::Html | Manner::Garbage | Manner::Fails500 => broken(manner).await,
        _ => Json(agent.card.clone()).into_response(),
    }
}

async fn message(State(agent): State<Arc<AgentInner>>, Json(request): Json<Value>) -> Response {
    let text = request["params"]["message"]["parts"][0]["text"].as_str().unwrap().to_owned();
    agent.texts.lock().unwrap().push(text.clone());
    let task = |state: &str, said: &str, usage: bool| {
        let metadata = if usage {
            json!({ "adk_usage_metadata": { "promptTokenCount": 9, "candidatesTokenCount": 5 } })
        } else {
            json!({})
        };
        let parts = json!([{ "kind": "text", "text": said }]);
        json!({ "jsonrpc": "2.0", "id": request["id"], "result": {
            "kind": "task", "id": "t", "contextId": "c", "metadata": metadata,
            "status": { "state": state, "message": { "role": "agent", "parts": parts } },
            "artifacts": if state == "completed" { json!([{ "parts": parts }]) } else { json!([]) },
        } })
    };
    let answer = match agent.manner_for(&text) {
        Manner::Good => task("completed", &agent.obey(&text), !text.starts_with("[HOTSWAP")),
        Manner::Chat => task("completed", "✅ Model switched to: whatever you like!", true),
        Manner::BareChat => task("completed", "I am not sure what you mean by that.", false),
        Manner::Liar if text == "[HOTSWAP:GET_CONFIG]" => {
            task("completed", &agent.config("openai/other"), false)
        }
        Manner::Liar => task("completed", &agent.obey(&text), false),
        Manner::FailedTask => task("failed", "litellm.AuthenticationError: bad key sk-upstream-0001", false),
        Manner::RpcError => {
            json!({ "jsonrpc": "2.0", "id": request["id"], "error": { "code": -32000, "message": "no <b>way</b>" } })
        }
        manner => return broken(manner).await,
    };
    Json(answer).into_response()
}
