//! Proxies and agents that behave in ways the sandbox and the built-in agent never would.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use reqwest::{Client, redirect};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::DropGuard;

use crate::support::{client, spawn};

/// How a fake server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
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
    /// A model that writes what an agent would, without metadata.
    Mimic,
    /// An answer whose metadata names another model.
    NamesAnother,
    /// An answer that calls itself by another name.
    CallsItselfAnother,
    /// It says ✅, and tells another configuration when asked.
    Liar,
    /// Its task ends as failed.
    FailedTask,
    /// A JSON-RPC error.
    RpcError,
    /// It says ✅, and does nothing.
    Deaf,
    /// It answers, and the connection breaks in the middle of that.
    Cut,
    /// More than anybody takes.
    Huge,
    /// Bytes of another kind.
    Image,
    /// What ADK agents say of a message that ends after another one of the same context.
    StaleSession,
    /// A task in a state that nobody knows.
    OddState,
    /// Neither result nor error.
    Neither,
    /// Another model answers than the one that is selected.
    Impostor,
    /// There is no such address.
    Missing,
    /// The card asks for 1.0, which the agent does not speak.
    NewCard,
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
        Manner::Huge => {
            Body::from_stream(stream::repeat(Ok::<_, Infallible>(vec![b' '; 1 << 20]))).into_response()
        }
        Manner::Image => {
            ([(header::CONTENT_TYPE, "image/png")], &b"\x89PNG\r\n\x1a\n\0\0"[..]).into_response()
        }
        Manner::Missing => StatusCode::NOT_FOUND.into_response(),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response(),
    }
}

/// Stands before the sandbox, and can be told to misbehave.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) url: String,
    inner: Arc<FrontInner>,
}

struct FrontInner {
    http: Client,
    target: Mutex<String>,
    manner: Mutex<Manner>,
    guard: Mutex<Option<DropGuard>>,
}

impl Front {
    pub(crate) async fn start(manner: Manner) -> Self {
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

    pub(crate) fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.inner.target.lock().unwrap());
    }

    pub(crate) fn set(&self, manner: Manner) {
        *self.inner.manner.lock().unwrap() = manner;
    }

    /// Takes no more connections.
    pub(crate) fn stop(&self) {
        drop(self.inner.guard.lock().unwrap().take());
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

/// What a rewritten answer is: status and body.
type Rewritten = Option<(u16, Value)>;

/// Stands before a proxy and rewrites its JSON answers, by the path that was asked for; none is a bare 500.
pub(crate) async fn rewriting(
    target: &str,
    rewrite: impl Fn(&str, Value) -> Rewritten + Send + Sync + 'static,
) -> (String, DropGuard) {
    let (http, target, rewrite) = (client(redirect::Policy::none()), target.to_owned(), Arc::new(rewrite));
    let answer = async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let mut request = http.request(method, format!("{target}{uri}")).body(body);
        for name in [header::AUTHORIZATION, header::CONTENT_TYPE] {
            if let Some(value) = headers.get(&name) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let body = answer.json().await.unwrap_or_default();
        if !status.is_success() {
            return (status, Json(body)).into_response();
        }
        match rewrite(uri.path(), body) {
            Some((status, body)) => (StatusCode::from_u16(status).unwrap(), Json(body)).into_response(),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    };
    let service = move |method, uri, headers, body| {
        let answer = answer.clone();
        async move { answer(method, uri, headers, body).await }
    };
    let (address, guard) = spawn(Router::new().fallback(service)).await;
    (format!("http://{address}"), guard)
}

/// An agent that writes down what reached it.
#[derive(Clone)]
pub(crate) struct FakeAgent {
    pub(crate) url: String,
    inner: Arc<AgentInner>,
}

struct AgentInner {
    manner: Mutex<Manner>,
    /// Only messages whose text begins so are answered in the manner; others as they should.
    only: Mutex<&'static str>,
    /// The manner is good for one message.
    is_once: Mutex<bool>,
    /// How the card is served.
    card_manner: Mutex<Manner>,
    card: Value,
    /// One model and prompt for all contexts, as ADK agents have, or one for each.
    is_wide: bool,
    settings: Mutex<HashMap<String, Settings>>,
    /// What happens when a text comes that begins so, before it is answered.
    hook: Mutex<Option<(&'static str, Hook)>>,
    /// A text that begins so is answered only when something comes, or its sender goes.
    held: Mutex<Option<(&'static str, oneshot::Receiver<()>)>>,
    texts: Mutex<Vec<String>>,
    guard: Mutex<Option<DropGuard>>,
}

type Hook = Box<dyn FnOnce() + Send>;

/// What a control message changes.
#[derive(Clone)]
struct Settings {
    model: String,
    prompt: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { model: "openai/gpt-5-mini".to_owned(), prompt: None }
    }
}

impl FakeAgent {
    /// An agent with one model for all its contexts, which it does not tell.
    pub(crate) async fn start(manner: Manner) -> Self {
        Self::of_scope(manner, true).await
    }

    /// An agent with a model for each context, which it does not tell.
    pub(crate) async fn per_context(manner: Manner) -> Self {
        Self::of_scope(manner, false).await
    }

    async fn of_scope(manner: Manner, is_wide: bool) -> Self {
        // As the public ADK agent: nothing of scope, nothing of prompts with line breaks.
        let card = json!({
            "name": "fake", "description": "", "version": "1", "url": "http://localhost:8000/a2a",
            "protocolVersion": "0.3.0", "capabilities": {}, "skills": [],
        });
        let inner = Arc::new(AgentInner {
            manner: Mutex::new(manner),
            only: Mutex::new(""),
            is_once: Mutex::default(),
            card_manner: Mutex::new(Manner::Good),
            card,
            is_wide,
            settings: Mutex::default(),
            hook: Mutex::default(),
            held: Mutex::default(),
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

    pub(crate) fn set(&self, manner: Manner) {
        self.set_for("", manner);
    }

    /// Misbehaves for messages that begin with `only`.
    pub(crate) fn set_for(&self, only: &'static str, manner: Manner) {
        *self.inner.manner.lock().unwrap() = manner;
        *self.inner.only.lock().unwrap() = only;
        *self.inner.is_once.lock().unwrap() = false;
    }

    /// Misbehaves for the next message that begins so.
    pub(crate) fn set_once(&self, only: &'static str, manner: Manner) {
        self.set_for(only, manner);
        *self.inner.is_once.lock().unwrap() = true;
    }

    /// Serves its card in another manner.
    pub(crate) fn set_card(&self, manner: Manner) {
        *self.inner.card_manner.lock().unwrap() = manner;
    }

    /// The texts that reached it, and forgets them.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.texts.lock().unwrap())
    }

    /// Whether a text that begins so has reached it.
    pub(crate) fn seen(&self, start: &str) -> bool {
        self.inner.texts.lock().unwrap().iter().any(|text| text.starts_with(start))
    }

    /// The model that a context is really on.
    pub(crate) fn model_of(&self, context: &str) -> String {
        self.inner.settings(context).model
    }

    /// The same of an agent-wide agent.
    pub(crate) fn model(&self) -> String {
        self.model_of("")
    }

    /// Does something when a text comes that begins so, before it is answered; once.
    pub(crate) fn when(&self, start: &'static str, hook: impl FnOnce() + Send + 'static) {
        *self.inner.hook.lock().unwrap() = Some((start, Box::new(hook)));
    }

    /// Holds the next message that begins so back, before it is obeyed, until what is returned is dropped.
    pub(crate) fn hold(&self, start: &'static str) -> oneshot::Sender<()> {
        let (release, held) = oneshot::channel();
        *self.inner.held.lock().unwrap() = Some((start, held));
        release
    }

    /// Answers what is under way, and takes no more connections.
    pub(crate) fn stop(&self) {
        drop(self.inner.guard.lock().unwrap().take());
    }
}

impl AgentInner {
    /// The manner for a text; the card is not well either where every message meets it.
    fn manner_for(&self, text: &str) -> Manner {
        if !text.starts_with(*self.only.lock().unwrap()) {
            return Manner::Good;
        }
        let mut manner = self.manner.lock().unwrap();
        // The card is asked for with an empty text, and is no message.
        if *self.is_once.lock().unwrap() && !text.is_empty() {
            std::mem::replace(&mut *manner, Manner::Good)
        } else {
            *manner
        }
    }

    fn key(&self, context: &str) -> String {
        if self.is_wide { String::new() } else { context.to_owned() }
    }

    fn settings(&self, context: &str) -> Settings {
        self.settings.lock().unwrap().get(&self.key(context)).cloned().unwrap_or_default()
    }

    fn change(&self, context: &str, change: impl FnOnce(&mut Settings)) {
        change(self.settings.lock().unwrap().entry(self.key(context)).or_default());
    }

    fn config(settings: &Settings) -> String {
        let rule = "━".repeat(22);
        let (provider, model) = settings.model.split_once('/').unwrap();
        let prompt = settings.prompt.as_deref().unwrap_or("(default prompt)");
        format!(
            "📊 Current Configuration\n{rule}\nModel: {model}\nProvider: {provider}\nSystem Prompt: {prompt}\n{rule}"
        )
    }

    /// Obeys as a good agent does.
    fn obey(&self, context: &str, text: &str) -> String {
        let payload = |verb: &str| text.strip_prefix(&format!("[HOTSWAP:{verb}:"))?.strip_suffix(']');
        if let Some(model) = payload("MODEL") {
            self.change(context, |settings| model.clone_into(&mut settings.model));
            return format!("✅ Model switched to: {model}");
        }
        if let Some(prompt) = payload("PROMPT") {
            let set = (!prompt.is_empty()).then(|| prompt.to_owned());
            self.change(context, |settings| settings.prompt = set);
            let word = if prompt.is_empty() { "cleared. Reverting" } else { "updated. This takes effect" };
            return format!("✅ System prompt {word}");
        }
        if text == "[HOTSWAP:GET_CONFIG]" {
            Self::config(&self.settings(context))
        } else {
            "Hello.".to_owned()
        }
    }
}

async fn card_of(State(agent): State<Arc<AgentInner>>) -> Response {
    let manner = match *agent.card_manner.lock().unwrap() {
        Manner::Good => agent.manner_for(""),
        manner => manner,
    };
    match manner {
        Manner::NewCard => {
            let mut card = agent.card.clone();
            card["protocolVersion"] = json!("1.0");
            card["supportedInterfaces"] = json!([{ "url": "http://localhost:8000", "protocolBinding": "JSONRPC", "protocolVersion": "1.0" }]);
            Json(card).into_response()
        }
        Manner::Hangs | Manner::Html | Manner::Garbage | Manner::Fails500 | Manner::Missing => {
            broken(manner).await
        }
        _ => Json(agent.card.clone()).into_response(),
    }
}

async fn message(State(agent): State<Arc<AgentInner>>, Json(request): Json<Value>) -> Response {
    if request["method"] != "message/send" {
        let manner = agent.manner_for("");
        if matches!(
            manner,
            Manner::Hangs | Manner::Html | Manner::Garbage | Manner::Fails500 | Manner::Missing
        ) {
            return broken(manner).await;
        }
        let error = json!({ "code": -32601, "message": "Method not found" });
        return Json(json!({ "jsonrpc": "2.0", "id": request["id"], "error": error })).into_response();
    }
    let text = request["params"]["message"]["parts"][0]["text"].as_str().unwrap().to_owned();
    let context = request["params"]["message"]["contextId"].as_str().unwrap().to_owned();
    agent.texts.lock().unwrap().push(text.clone());
    let is_due = |(start, _): &mut (&'static str, Hook)| text.starts_with(*start);
    let hook = agent.hook.lock().unwrap().take_if(is_due);
    if let Some((_, hook)) = hook {
        hook();
    }
    let held = agent.held.lock().unwrap().take_if(|(start, _)| text.starts_with(*start));
    if let Some((_, held)) = held {
        let _ = held.await;
    }
    let task = |state: &str, said: &str, usage: bool| {
        // As ADK 1.16, whose control replies have no state.
        let metadata = if usage {
            json!({ "adk_usage_metadata": { "promptTokenCount": 9, "candidatesTokenCount": 5 } })
        } else {
            json!({ "adk_invocation_id": "e-1" })
        };
        let parts = json!([{ "kind": "text", "text": said }]);
        json!({ "jsonrpc": "2.0", "id": request["id"], "result": {
            "kind": "task", "id": "t", "contextId": context, "metadata": metadata,
            "status": { "state": state, "message": { "role": "agent", "parts": parts } },
            "artifacts": if state == "completed" { json!([{ "parts": parts }]) } else { json!([]) },
        } })
    };
    let bare = |mut answer: Value| {
        answer["result"]["metadata"] = Value::Null;
        answer
    };
    let answer = match agent.manner_for(&text) {
        Manner::Good => task("completed", &agent.obey(&context, &text), !text.starts_with("[HOTSWAP")),
        Manner::Chat => task("completed", "✅ Model switched to: whatever you like!", true),
        Manner::BareChat => bare(task("completed", "I am not sure what you mean by that.", false)),
        Manner::Mimic => bare(task("completed", &agent.obey(&context, &text), false)),
        Manner::NamesAnother => {
            let mut answer = task("completed", "Hello.", true);
            answer["result"]["metadata"]["model_info"] = json!({ "model_version": "gpt-5-mini-2025-08-07" });
            answer
        }
        Manner::CallsItselfAnother => task("completed", "I am gpt-5-mini.", true),
        Manner::Liar if text == "[HOTSWAP:GET_CONFIG]" => {
            let other = Settings { model: "openai/other".to_owned(), prompt: None };
            task("completed", &AgentInner::config(&other), false)
        }
        Manner::Liar => task("completed", &agent.obey(&context, &text), false),
        Manner::Deaf => match text.strip_prefix("[HOTSWAP:MODEL:").and_then(|rest| rest.strip_suffix(']')) {
            Some(model) => task("completed", &format!("✅ Model switched to: {model}"), false),
            None => task("completed", &agent.obey(&context, &text), false),
        },
        Manner::Cut => {
            let whole = task("completed", &agent.obey(&context, &text), false).to_string();
            let half = whole.as_bytes()[..whole.len() / 2].to_vec();
            let broken = std::io::Error::other("cut");
            return Body::from_stream(stream::iter([Ok(half), Err(broken)])).into_response();
        }
        Manner::StaleSession => task(
            "failed",
            "The last_update_time provided in the session object is earlier than the update_time in storage. \
             Please check if it is a stale session.",
            false,
        ),
        Manner::OddState => task("enlightened", "", false),
        Manner::Neither => json!({ "jsonrpc": "2.0", "id": request["id"] }),
        Manner::Impostor => {
            let mut answer = task("completed", "I am someone else.", true);
            answer["result"]["metadata"]["patchbay"] = json!({ "model": "openai/other" });
            answer
        }
        Manner::FailedTask => task("failed", "litellm.AuthenticationError: bad key sk-upstream-0001", false),
        Manner::RpcError => {
            json!({ "jsonrpc": "2.0", "id": request["id"], "error": { "code": -32000, "message": "no <b>way</b>" } })
        }
        manner => return broken(manner).await,
    };
    Json(answer).into_response()
}
