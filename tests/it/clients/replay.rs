//! A server that answers one request after the other as it is told, and takes no other ones.
//!
//! When it is dropped, the test fails if a request differed from the expected one, came unexpectedly, or did
//! not come.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use reqwest::Url;
use serde_json::Value;
use tokio::task::JoinHandle;

/// A request that is to come, and its answer.
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) asked: Asked,
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) location: Option<String>,
    pub(super) body: Body,
}

/// What a request must be.
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query; the order of the query does not matter.
    pub(super) target: String,
    pub(super) key: Option<String>,
    /// The whole JSON body.
    pub(super) body: Option<Value>,
    /// What matters of a JSON-RPC body.
    pub(super) rpc: Option<Rpc>,
    /// A header, and its value if it is to be there.
    pub(super) header: Option<(&'static str, Option<&'static str>)>,
}

/// What matters of a JSON-RPC request. Ids and optional settings differ from client to client.
#[derive(Debug, PartialEq)]
pub(super) struct Rpc {
    pub(super) method: String,
    /// The header `A2A-Version`.
    pub(super) version: Option<String>,
    pub(super) text: Value,
    pub(super) role: Value,
    pub(super) context: Value,
    pub(super) task: Value,
}

impl Rpc {
    pub(super) fn read(method: &str, params: &Value) -> Self {
        let message = &params["message"];
        Self {
            method: method.to_owned(),
            version: None,
            text: message["parts"][0]["text"].clone(),
            role: message["role"].clone(),
            context: message["contextId"].clone(),
            task: params["id"].clone(),
        }
    }
}

/// An answer's body.
pub(super) enum Body {
    Whole(Vec<u8>),
    /// So many pieces of a mebibyte, without an announced length.
    Mebibytes(usize),
    /// A beginning, and then nothing any more.
    Stalled(&'static str),
}

impl Exchange {
    /// An answer that was not recorded.
    pub(super) fn new(method: &str, target: &str, status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            name: format!("{method} {target}"),
            asked: Asked {
                method: method.to_owned(),
                target: target.to_owned(),
                key: None,
                body: None,
                rpc: None,
                header: None,
            },
            status,
            content_type: "application/json".to_owned(),
            location: None,
            body: Body::Whole(body.into()),
        }
    }

    pub(super) fn content_type(mut self, content_type: &str) -> Self {
        content_type.clone_into(&mut self.content_type);
        self
    }

    pub(super) fn location(mut self, location: &str) -> Self {
        self.location = Some(location.to_owned());
        self
    }

    pub(super) fn with(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Another target than the recorded one: the client asks for more, or for something else.
    pub(super) fn target(mut self, target: impl Into<String>) -> Self {
        self.asked.target = target.into();
        self
    }

    pub(super) fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.asked.method);
        self
    }

    pub(super) fn key(mut self, key: &str) -> Self {
        self.asked.key = Some(key.to_owned());
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: Option<&'static str>) -> Self {
        self.asked.header = Some((name, value));
        self
    }

    pub(super) fn body(mut self, body: Value) -> Self {
        self.asked.body = Some(body);
        self
    }

    pub(super) fn rpc(mut self, change: impl FnOnce(&mut Rpc)) -> Self {
        change(self.asked.rpc.as_mut().expect("a JSON-RPC exchange"));
        self
    }
}

/// The running server.
pub(super) struct Replay {
    root: Url,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    script: Mutex<VecDeque<Exchange>>,
    problems: Mutex<Vec<String>>,
}

/// Starts a server that plays `script` in this order.
pub(super) async fn play(script: impl IntoIterator<Item = Exchange>) -> Replay {
    let shared = Arc::new(Shared { script: Mutex::new(script.into_iter().collect()), ..Shared::default() });
    let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let root = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Replay { root, shared, task }
}

impl Replay {
    pub(super) fn url(&self, path: &str) -> Url {
        self.root.join(path).unwrap()
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.task.abort();
        let mut problems =
            std::mem::take(&mut *self.shared.problems.lock().unwrap_or_else(PoisonError::into_inner));
        let script = self.shared.script.lock().unwrap_or_else(PoisonError::into_inner);
        problems.extend(script.iter().map(|exchange| format!("not asked for: {}", exchange.name)));
        if !problems.is_empty() {
            let problems = problems.join("\n");
            if std::thread::panicking() {
                eprintln!("{problems}");
            } else {
                panic!("{problems}");
            }
        }
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let next = shared.script.lock().unwrap().pop_front();
    let report = |problem: String| shared.problems.lock().unwrap().push(problem);
    let Some(exchange) = next else {
        report(format!("unexpected: {method} {uri}"));
        return StatusCode::IM_A_TEAPOT.into_response();
    };
    let Exchange { name, asked, status, content_type, location, body: said } = exchange;
    for difference in asked.differences(&method, &uri, &headers, &body) {
        report(format!("{name}: {difference}"));
    }
    let status = StatusCode::from_u16(status).unwrap();
    let location = location.map(|location| [(header::LOCATION, location)]);
    (status, [(header::CONTENT_TYPE, content_type)], location, said.into_body()).into_response()
}

impl Body {
    fn into_body(self) -> axum::body::Body {
        let piece = |bytes: Vec<u8>| Ok::<_, Infallible>(bytes);
        match self {
            Self::Whole(bytes) => bytes.into(),
            Self::Mebibytes(count) => {
                let pieces = (0..count).map(move |_| piece(vec![b' '; 1024 * 1024]));
                axum::body::Body::from_stream(stream::iter(pieces))
            }
            Self::Stalled(start) => {
                let start = stream::iter([piece(start.into())]);
                axum::body::Body::from_stream(start.chain(stream::pending()))
            }
        }
    }
}

impl Asked {
    fn differences(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let mut differ = |what: &str, expected: String, seen: String| {
            if expected != seen {
                found.push(format!("{what} is {seen} instead of {expected}"));
            }
        };
        differ("the method", self.method.clone(), method.to_string());
        differ("the target", sorted(&self.target), sorted(&uri.to_string()));
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        if let Some(key) = &self.key {
            let seen = header("authorization").unwrap_or_default();
            differ("the authorization", format!("Bearer {key}"), seen);
        }
        if let Some((name, value)) = self.header {
            differ(name, format!("{value:?}"), format!("{:?}", header(name).as_deref()));
        }
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(body) = &self.body {
            differ("the body", body.to_string(), json.to_string());
        }
        if let Some(rpc) = &self.rpc {
            let method = json["method"].as_str().unwrap_or_default();
            let seen = Rpc { version: header("a2a-version"), ..Rpc::read(method, &json["params"]) };
            differ("the call", format!("{rpc:?}"), format!("{seen:?}"));
            differ("`jsonrpc`", "\"2.0\"".to_owned(), json["jsonrpc"].to_string());
            differ("the id's presence", "true".to_owned(), json["id"].is_string().to_string());
        }
        found
    }
}

/// Path and query, with the query in an order of its own.
fn sorted(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    format!("{path}?{}", pairs.join("&"))
}

#[tokio::test]
#[should_panic(expected = "not asked for: GET /never")]
async fn what_is_not_asked_for_fails_the_test() {
    let _replay = play([Exchange::new("GET", "/never", 200, "{}")]).await;
}

#[tokio::test]
#[should_panic(expected = "unexpected: GET /twice")]
async fn what_is_not_expected_fails_the_test() {
    let replay = play([]).await;
    reqwest_get(&replay, "/twice").await;
}

#[tokio::test]
#[should_panic(expected = "the target is /one?b=2 instead of /one?a=1")]
async fn what_differs_fails_the_test() {
    let replay = play([Exchange::new("GET", "/one?a=1", 200, "{}")]).await;
    reqwest_get(&replay, "/one?b=2").await;
}

async fn reqwest_get(replay: &Replay, path: &str) {
    patchbay::clients::build_http().unwrap().get(replay.url(path)).send().await.unwrap();
}
