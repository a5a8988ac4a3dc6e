//! A server of bytes: it can lie at any level, from the connection to the last field of a JSON answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Client, redirect};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::client;

/// What the server does to whoever asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Lie {
    /// None: it passes on what the genuine server answers.
    None,
    /// The connection is reset once the request is there.
    Reset,
    /// The connection is closed without a word.
    Close,
    /// The head comes byte by byte.
    SlowHead,
    /// The body comes byte by byte.
    SlowBody,
    /// A body of blanks without end, as fast as it is taken.
    Endless,
    /// The same with a length that is announced.
    Announced(u64),
    /// Headers without end.
    EndlessHead,
    /// Fewer bytes than announced.
    Short,
    /// These bytes instead of HTTP.
    Raw(&'static [u8]),
    /// This answer.
    Says(u16, &'static str, Vec<u8>),
    /// A head with more lines in it, and a body of `{}`.
    Header(u16, String),
    /// Events of this text, without end.
    Events(Arc<str>),
    /// The genuine answer, changed.
    Changes(Change),
    /// Pages of keys without end: more on each than was asked for, each another, with long texts.
    Keys,
}

/// What becomes of a genuine JSON answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The first half of its bytes.
    Truncated,
    /// Every value that is no list or object is null.
    Nulls,
    /// Texts become numbers, numbers texts, lists objects.
    WrongTypes,
    /// Every second field is left out.
    Missing,
    /// Fields that nobody knows are there as well.
    Extra,
    /// Numbers that nobody can count to.
    Huge,
    /// Numbers below nothing.
    Negative,
    /// Not a number.
    Nan,
    /// Lists hold everything twice.
    Twice,
    /// Texts hold bytes that are no UTF-8.
    BadUtf8,
    /// Texts hold control characters, and are long.
    Long,
    /// It says that there are pages without end.
    Pages,
}

/// The server. Dropped, it stops.
pub(super) struct Liar {
    address: SocketAddr,
    inner: Arc<Inner>,
    _stop: DropGuard,
}

struct Inner {
    lie: Mutex<Lie>,
    /// The genuine server, to which what is not a lie goes.
    target: Mutex<String>,
    http: Client,
    /// Requests that came with a cookie.
    cookies: AtomicUsize,
    asked: AtomicUsize,
    /// The addresses of the last requests.
    paths: Mutex<VecDeque<String>>,
}

impl Liar {
    pub(super) async fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            lie: Mutex::new(lie),
            target: Mutex::default(),
            http: client(redirect::Policy::none()),
            cookies: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            paths: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let (token, serving) = (stop.clone(), Arc::clone(&inner));
        tokio::spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = token.cancelled() => return,
                };
                let (inner, token) = (Arc::clone(&serving), token.clone());
                tokio::spawn(async move {
                    // A client that goes away is no failure of the server's.
                    tokio::select! { _ = talk(stream, &inner) => {} () = token.cancelled() => {} }
                });
            }
        });
        Self { address, inner, _stop: stop.drop_guard() }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn tell(&self, lie: Lie) {
        *self.inner.lie.lock().unwrap() = lie;
    }

    /// Passes on to `target` (scheme, host and port).
    pub(super) fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.inner.target.lock().unwrap());
    }

    pub(super) fn cookies(&self) -> usize {
        self.inner.cookies.load(Ordering::SeqCst)
    }

    /// Whether one of the last requests has this in its address.
    pub(super) fn was_asked(&self, what: &str) -> bool {
        self.inner.paths.lock().unwrap().iter().any(|path| path.contains(what))
    }

    pub(super) fn asked(&self) -> usize {
        self.inner.asked.load(Ordering::SeqCst)
    }
}

struct Asked {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes.split_off(head + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(Asked { method, path, headers, body }))
}

async fn talk(mut stream: TcpStream, inner: &Inner) -> std::io::Result<()> {
    while let Some(asked) = read(&mut stream).await? {
        inner.asked.fetch_add(1, Ordering::SeqCst);
        if asked.headers.iter().any(|(name, _)| name == "cookie") {
            inner.cookies.fetch_add(1, Ordering::SeqCst);
        }
        {
            let mut paths = inner.paths.lock().unwrap();
            paths.push_back(asked.path.clone());
            if paths.len() > 1000 {
                paths.pop_front();
            }
        }
        let lie = inner.lie.lock().unwrap().clone();
        answer(&mut stream, inner, lie, asked).await?;
    }
    Ok(())
}

const JSON: &str = "application/json";

async fn answer(stream: &mut TcpStream, inner: &Inner, lie: Lie, asked: Asked) -> std::io::Result<()> {
    match lie {
        Lie::Reset => {
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
        Lie::Close => Err(std::io::ErrorKind::ConnectionAborted.into()),
        Lie::SlowHead => slowly(stream, &whole(200, JSON, b"{}")).await,
        Lie::SlowBody => {
            stream.write_all(head(200, JSON, Some(1_000_000)).as_bytes()).await?;
            slowly(stream, &b" ".repeat(1_000_000)).await
        }
        Lie::Endless => {
            stream.write_all(head(200, JSON, None).as_bytes()).await?;
            let chunk = [b"10000\r\n", &*b" ".repeat(0x10000), b"\r\n"].concat();
            endlessly(stream, &chunk).await
        }
        Lie::Announced(length) => {
            stream.write_all(head(200, JSON, Some(length)).as_bytes()).await?;
            endlessly(stream, &b" ".repeat(0x10000)).await
        }
        Lie::EndlessHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            endlessly(stream, b"x-more: of the same\r\n").await
        }
        Lie::Short => {
            stream.write_all(head(200, JSON, Some(1000)).as_bytes()).await?;
            stream.write_all(b"{\"data\": [").await?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        Lie::Raw(bytes) => {
            stream.write_all(bytes).await?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        Lie::Says(status, kind, body) => stream.write_all(&whole(status, kind, &body)).await,
        Lie::Keys => stream.write_all(&whole(200, JSON, keys(inner).as_bytes())).await,
        Lie::Header(status, lines) => {
            let text = format!(
                "HTTP/1.1 {status} Said\r\ncontent-type: {JSON}\r\ncontent-length: 2\r\n{lines}\r\n\r\n{{}}"
            );
            stream.write_all(text.as_bytes()).await
        }
        Lie::Events(text) => {
            stream.write_all(head(200, "text/event-stream", None).as_bytes()).await?;
            let event = format!("data: {text}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            endlessly(stream, chunk.as_bytes()).await
        }
        Lie::None | Lie::Changes(_) => {
            let (status, kind, mut body) = genuine(inner, asked).await;
            if let Lie::Changes(change) = lie {
                body = changed(change, body);
            }
            stream.write_all(&whole(status, &kind, &body)).await
        }
    }
}

fn keys(inner: &Inner) -> String {
    let page = inner.asked.load(Ordering::SeqCst);
    let keys: Vec<Value> = (0..300)
        .map(|n| {
            let names: Vec<String> = (0..20).map(|m| format!("{page}/{n}/{m}/{}", "m".repeat(200))).collect();
            json!({ "token": format!("{page:032x}{n:032x}"), "key_alias": "a".repeat(9_000), "models": names })
        })
        .collect();
    json!({ "keys": keys, "total_count": 4_000_000_000_u64, "total_pages": 40_000_000 }).to_string()
}

fn head(status: u16, kind: &str, length: Option<u64>) -> String {
    let length =
        length.map_or_else(|| "transfer-encoding: chunked".to_owned(), |n| format!("content-length: {n}"));
    format!("HTTP/1.1 {status} Said\r\ncontent-type: {kind}\r\n{length}\r\n\r\n")
}

fn whole(status: u16, kind: &str, body: &[u8]) -> Vec<u8> {
    // These have no body, whatever is announced.
    let body = if matches!(status, 100..=199 | 204 | 304) { &[] } else { body };
    [head(status, kind, Some(body.len() as u64)).as_bytes(), body].concat()
}

async fn slowly(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn endlessly(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes).await?;
    }
}

async fn genuine(inner: &Inner, asked: Asked) -> (u16, String, Vec<u8>) {
    let target = inner.target.lock().unwrap().clone();
    let url = format!("{target}{}", asked.path);
    let mut request = inner.http.request(asked.method.parse().unwrap(), url).body(asked.body);
    for (name, value) in asked.headers {
        if matches!(&*name, "authorization" | "content-type" | "accept" | "a2a-version") {
            request = request.header(name, value);
        }
    }
    // The genuine server is stopped with the test.
    let Ok(answer) = request.send().await else { return (503, String::new(), Vec::new()) };
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or(JSON);
    let (status, kind) = (answer.status().as_u16(), kind.to_owned());
    (status, kind, answer.bytes().await.unwrap_or_default().to_vec())
}

fn changed(change: Change, body: Vec<u8>) -> Vec<u8> {
    if change == Change::Truncated {
        return body[..body.len() / 2].to_vec();
    }
    let Ok(value) = serde_json::from_slice::<Value>(&body) else { return body };
    let text = walk(change, value).to_string();
    match change {
        Change::Nan => text.replace("\"NaN\"", "NaN").into_bytes(),
        Change::BadUtf8 => {
            let mut bytes = text.into_bytes();
            for byte in bytes.iter_mut().skip(1).filter(|byte| **byte == b'~') {
                *byte = 0xff;
            }
            bytes
        }
        _ => text.into_bytes(),
    }
}

fn walk(change: Change, value: Value) -> Value {
    match (change, value) {
        (Change::WrongTypes, Value::Array(items)) => json!({ "0": items }),
        (Change::WrongTypes, Value::String(_)) => json!(17),
        (Change::WrongTypes, Value::Number(_) | Value::Bool(_)) => json!(["no", "number"]),
        (Change::Nulls, Value::String(_) | Value::Number(_) | Value::Bool(_)) => Value::Null,
        (Change::Huge, Value::Number(_)) => json!(1.797e308),
        (Change::Negative, Value::Number(_)) => json!(-9_223_372_036_854_775_808_i64),
        (Change::Nan, Value::Number(_)) => json!("NaN"),
        (Change::BadUtf8, Value::String(text)) => json!(format!("{text}~")),
        (Change::Long, Value::String(text)) => {
            json!(format!("{text}\u{0}\u{1b}[2J\u{202e}{}", "x".repeat(9000)))
        }
        (_, Value::Array(items)) => {
            let mut items: Vec<Value> = items.into_iter().map(|item| walk(change, item)).collect();
            if change == Change::Twice {
                items.extend(items.clone());
            }
            Value::Array(items)
        }
        (_, Value::Object(fields)) => {
            let mut kept: Map<String, Value> = fields
                .into_iter()
                .enumerate()
                .filter(|(n, _)| change != Change::Missing || n % 2 == 0)
                .map(|(_, (name, value))| {
                    let is_count = name.starts_with("total_") || name == "has_more";
                    let value =
                        if change == Change::Pages && is_count { json!(4_000_000_000_u64) } else { value };
                    (name, walk(change, value))
                })
                .collect();
            if change == Change::Extra {
                kept.insert("__proto__".to_owned(), json!({ "admin": true }));
                kept.insert("unknown".to_owned(), json!([[[{}]], null, "x".repeat(5000)]));
            }
            Value::Object(kept)
        }
        (_, other) => other,
    }
}
