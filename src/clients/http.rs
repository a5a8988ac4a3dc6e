//! What both clients share: how a connection is made, how a call is observed, and an answer taken within bounds.

use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout_at;
use tracing::Instrument as _;

use crate::clients::limiter::{
    BUFFER_BYTES, DecodePermit, DownloadPermit, LargeResponseLimiter, MAX_WAIT, SMALL_BYTES,
};
use crate::clients::{ClientError, Meaning, Upstream};
use crate::domain::redact;
use crate::telemetry;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Most values of an answer, nulls left out: 1,000 deployments have 60,000.
const MAX_VALUES: usize = 400_000;

/// Largest weight of an answer that becomes a tree of values: 1,000 deployments weigh 160,000.
const MAX_WEIGHT: usize = 300_000;

/// Longest text of an answer, in bytes as it is sent. The C library keeps larger blocks that are freed.
const MAX_TEXT: usize = 2 * 1024 * 1024;

/// Up to this weight an answer is small: 50 bytes for each become 2.5 MB.
const SMALL_WEIGHT: usize = 50_000;

/// An object takes the memory of this many values.
const OBJECT_WEIGHT: usize = 12;

/// Largest error body that is read.
const ERROR_BYTES: usize = 256 * 1024;

/// An error text is made of this much of a body.
const EXCERPT_BYTES: usize = 2048;

/// An HTTP client for proxies and agents: no redirects (they would carry the master key along), no proxy from
/// the environment, TLS by ring, with the certificates of `SSL_CERT_FILE` where that is set.
///
/// # Errors
/// Where the system's CA certificates cannot be read.
pub fn build() -> Result<Client, reqwest::Error> {
    // Fails only if a provider is there already, which then serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut client = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        // Proxies and agents run on uvicorn, which closes an idle connection after 5 s. A request sent into
        // the closing is lost, and nobody knows whether a swap was among it.
        .pool_idle_timeout(Duration::from_secs(4))
        .tcp_nodelay(true)
        .user_agent(concat!("patchbay/", env!("CARGO_PKG_VERSION")));
    if let Some(tls) = patchbay_tls::from_environment() {
        client = client.tls_backend_preconfigured(tls);
    }
    client.build()
}

/// A call as its span, its metrics and the log name it.
pub(super) struct Call<E> {
    pub(super) upstream: Upstream,
    pub(super) method: Method,
    /// The path with placeholders, or the method of JSON-RPC: never an id or a query.
    pub(super) route: &'static str,
    /// Whether the caller takes this error for an answer, such as "unknown key".
    pub(super) is_expected: fn(&E) -> bool,
}

/// An error of a call. One without a [`ClientError`] is JSON-RPC's.
pub(super) trait CallError: Display {
    fn client(&self) -> Option<&ClientError>;
}

impl CallError for ClientError {
    fn client(&self) -> Option<&ClientError> {
        Some(self)
    }
}

/// Makes a call in a span of its own. It is counted and timed, and its failure is logged, here and nowhere else.
pub(super) fn observe<T, E: CallError>(
    call: Call<E>,
    exchange: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    // On the heap, or the futures of all callers would hold it several times.
    let exchange = Box::pin(exchange);
    let Call { upstream, method, route, is_expected } = call;
    let name = match upstream {
        Upstream::Proxy => "proxy",
        Upstream::Agent => "agent",
    };
    let span = tracing::info_span!("upstream_call", upstream = name, method = method.as_str(), route);
    async move {
        let started = Instant::now();
        let result = exchange.await;
        let elapsed = started.elapsed();
        let status = result.as_ref().map_or_else(status_class, |_| "2xx");
        let answered = if matches!(status, "unreachable" | "timeout" | "too_large") { "none" } else { "answer" };
        counter!(telemetry::UPSTREAM_CALLS, "upstream" => name, "route" => route, "status" => status).increment(1);
        histogram!(telemetry::UPSTREAM_SECONDS, "server" => upstream.to_string(), "result" => answered, "route" => route)
            .record(elapsed.as_secs_f64());
        if let Err(error) = &result {
            let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            let status = error.client().and_then(ClientError::status);
            let cause = causes(error);
            if is_expected(error) {
                tracing::debug!(status, elapsed_ms, cause, %error, "upstream call failed as expected");
            } else {
                tracing::warn!(status, elapsed_ms, cause, %error, "upstream call failed");
            }
        }
        result
    }
    .instrument(span)
}

fn status_class(error: &impl CallError) -> &'static str {
    match error.client() {
        Some(ClientError::Status { status: 300..=399, .. }) => "3xx",
        Some(ClientError::Status { status: 400..=499, .. }) => "4xx",
        Some(ClientError::Status { .. }) => "5xx",
        Some(ClientError::Unreachable { .. }) => "unreachable",
        Some(ClientError::Timeout { .. }) => "timeout",
        Some(ClientError::TooLarge { .. } | ClientError::Overloaded { .. }) => "too_large",
        Some(ClientError::NotUnderstood { .. }) => "not_understood",
        None => "rpc_error",
    }
}

/// The causes of a broken connection, the outermost first.
fn causes(error: &impl CallError) -> Option<String> {
    let Some(ClientError::Unreachable { cause, .. }) = error.client() else { return None };
    Some(redact::error_text(&chain(&**cause).collect::<Vec<_>>().join(": ")))
}

fn chain(error: &(dyn Error + 'static)) -> impl Iterator<Item = String> {
    std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string)
}

/// A status, headers and a whole body: of an error status as much as an error text is made of.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Of a large one, until it is read and dropped.
    _permits: Option<(Option<DownloadPermit>, DecodePermit)>,
}

/// Limits of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From the first byte sent to the last one read.
    pub(super) time: Duration,
    /// Of the body, in bytes.
    pub(super) size: usize,
}

/// Sends `request` and takes the whole answer within `limits`.
pub(super) async fn send(
    limiter: &LargeResponseLimiter,
    request: RequestBuilder,
    limits: Limits,
) -> Result<Answer, ClientError> {
    let exchange = async { read_body(limiter, open(limiter.upstream(), request).await?, limits.size).await };
    let timeout = ClientError::Timeout { upstream: limiter.upstream(), after: limits.time };
    tokio::time::timeout(limits.time, exchange).await.unwrap_or(Err(timeout))
}

/// Sends `request`, and leaves the body to come. The caller bounds time and size.
pub(super) async fn open(upstream: Upstream, request: RequestBuilder) -> Result<Response, ClientError> {
    let response = request.send().await.map_err(|error| broken(upstream, error))?;
    if response.status().is_redirection() {
        return Err(redirected(upstream, &response));
    }
    Ok(response)
}

/// Reads the body of an answer that was opened. A large one waits for its permits.
pub(super) async fn read_body(
    limiter: &LargeResponseLimiter,
    mut response: Response,
    limit: usize,
) -> Result<Answer, ClientError> {
    let upstream = limiter.upstream();
    let (status, headers) = (response.status(), response.headers().clone());
    let is_error = !status.is_success();
    let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if announced > limit && !is_error {
        return Err(ClientError::TooLarge { upstream, limit });
    }
    // What is announced need not come.
    let (mut body, mut download, mut until) = (Vec::with_capacity(announced.min(SMALL_BYTES)), None, None);
    loop {
        let next = match until {
            None => response.chunk().await,
            Some(until) => timeout_at(until, response.chunk())
                .await
                .map_err(|_| ClientError::Timeout { upstream, after: MAX_WAIT })?,
        };
        let Some(chunk) = next.map_err(|error| broken(upstream, error))? else { break };
        let size = body.len() + chunk.len();
        if is_error && size > ERROR_BYTES {
            // Too much to be a message: its beginning says what it is.
            break;
        }
        if size > limit {
            return Err(ClientError::TooLarge { upstream, limit });
        }
        if size > SMALL_BYTES && download.is_none() {
            download = Some(limiter.download_permit().await?);
            // A slow server must not keep others waiting.
            until = Some(tokio::time::Instant::now() + MAX_WAIT);
            body.reserve_exact(BUFFER_BYTES - body.len());
        }
        body.extend_from_slice(&chunk);
    }
    let is_large = download.is_some() || outweighs(&body, SMALL_WEIGHT, OBJECT_WEIGHT);
    let permits = if is_large { Some((download, limiter.decode_permit().await?)) } else { None };
    Ok(Answer { status, headers, body, _permits: permits })
}

/// To follow it would carry the credentials to wherever it points.
fn redirected(upstream: Upstream, response: &Response) -> ClientError {
    let target = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let message = target.map_or_else(
        || "a redirect to nowhere".to_owned(),
        |target| {
            let target = redact::error_text(target);
            format!("a redirect to {target}, which is not followed: correct the address")
        },
    );
    let status = response.status().as_u16();
    ClientError::Status { upstream, status, kind: None, message, meaning: Meaning::Other }
}

/// The innermost cause says most ("connection refused").
fn broken(upstream: Upstream, error: reqwest::Error) -> ClientError {
    // The only time limit that reqwest is given.
    if error.is_timeout() {
        return ClientError::Timeout { upstream, after: CONNECT };
    }
    // The address has ids and a query.
    let error = error.without_url();
    let innermost = chain(&error).last().unwrap_or_default();
    let reason = innermost.strip_prefix("unexpected error: ").unwrap_or(&innermost);
    let is_untrusted = ["UnknownIssuer", "CaUsedAsEndEntity"].iter().any(|why| reason.contains(why));
    let hint = if is_untrusted { ": name its or its issuer's certificate in SSL_CERT_FILE" } else { "" };
    let reason = redact::error_text(&format!("{reason}{hint}"));
    ClientError::Unreachable { upstream, reason, cause: Arc::new(error) }
}

/// Reads an answer whose form is known. Two bytes may become a value of a hundred, so values are bounded too.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    if outweighs(body, MAX_VALUES, 1) {
        return Err(format!("more than {MAX_VALUES} values"));
    }
    if has_longer_text(body, MAX_TEXT) {
        return Err(format!("a text of more than {} MiB", MAX_TEXT / 1024 / 1024));
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Reads an answer of which everything is kept.
pub(super) fn tree<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    tree_up_to(MAX_WEIGHT, body)
}

/// The same for a part of an answer, which has no permits and so must be small.
pub(super) fn small_tree<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    tree_up_to(SMALL_WEIGHT, body)
}

fn tree_up_to<T: DeserializeOwned>(most: usize, body: &[u8]) -> Result<T, String> {
    if outweighs(body, most, OBJECT_WEIGHT) {
        return Err("more values than there is room for".to_owned());
    }
    json(body)
}

/// Whether a body has more values than `most`, where an object counts for `object` of them.
fn outweighs(body: &[u8], most: usize, object: usize) -> bool {
    let count = |found: fn(u8) -> bool| -> usize {
        // As many as a byte can count are counted in bytes, many at a time: four times as fast.
        body.chunks(255)
            .map(|part| usize::from(part.iter().map(|&byte| u8::from(found(byte))).sum::<u8>()))
            .sum()
    };
    let separators = count(|byte| matches!(byte, b',' | b'[' | b'{'));
    let objects = if object > 1 { count(|byte| byte == b'{') * (object - 1) } else { 0 };
    if separators + objects <= most {
        return false;
    }
    // The proxy adds some two hundred nulls to each of its deployments. They are searched for only where it matters:
    // that takes longer than all the rest.
    let nulls = memchr::memmem::find_iter(body, "null").count();
    separators.saturating_sub(nulls / 4 * 3) + objects > most
}

/// Whether more than `most` bytes of a body are without a quote that may end a text, as in a text of that length.
fn has_longer_text(body: &[u8], most: usize) -> bool {
    let mut rest = body;
    while rest.len() > most {
        let mut quotes = memchr::memrchr_iter(b'"', &rest[..=most]);
        let Some(quote) = quotes.find(|&at| at == 0 || rest[at - 1] != b'\\') else { return true };
        rest = &rest[quote + 1..];
    }
    false
}

/// Reads an error body; nothing, if it is no JSON or too much to be a message.
pub(super) fn error_json(body: &[u8]) -> Value {
    if body.len() > ERROR_BYTES { Value::Null } else { serde_json::from_slice(body).unwrap_or_default() }
}

/// How a body begins, for an error text.
pub(super) fn excerpt(body: &[u8]) -> String {
    let head = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]);
    if let Some(page) = web_page(&head) {
        return page;
    }
    let text: String = redact::error_text(&head).chars().take(80).collect();
    if text.is_empty() { "an empty body".to_owned() } else { format!("“{text}”") }
}

/// What a web page in the place of an answer is: mostly the error page of a gateway in between.
fn web_page(head: &str) -> Option<String> {
    let lower = head.trim_start().to_ascii_lowercase();
    if !["<!doctype html", "<html", "<head", "<body"].iter().any(|start| lower.starts_with(start)) {
        return None;
    }
    let lower = head.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|tag| {
        let start = tag + lower[tag..].find('>')? + 1;
        let end = start + lower[start..].find('<')?;
        Some(redact::error_text(&head[start..end]))
    });
    Some(match title.filter(|title| !title.is_empty()) {
        Some(title) => format!("a web page titled “{}”", title.chars().take(80).collect::<String>()),
        None => "a web page".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_nulls_only_as_a_quarter() {
        let list = |value: &str, count: usize| format!("[{}]", vec![value; count].join(",")).into_bytes();
        assert!(!outweighs(&list("1", 1000), 1000, 1));
        assert!(outweighs(&list("1", 1001), 1000, 1));
        assert!(!outweighs(&list("null", 4000), 1000, 1));
        assert!(outweighs(&list("null", 4100), 1000, 1));
        // An object and what separates it.
        assert!(!outweighs(&list("{}", 76), 76 * (OBJECT_WEIGHT + 1), OBJECT_WEIGHT));
        assert!(outweighs(&list("{}", 77), 76 * (OBJECT_WEIGHT + 1), OBJECT_WEIGHT));
    }

    #[test]
    fn a_text_is_as_long_as_it_is_sent() {
        let texts = |text: &str, count: usize| format!("[{}]", vec![format!("\"{text}\""); count].join(","));
        assert!(!has_longer_text(texts(&"a".repeat(99), 1000).as_bytes(), 100));
        assert!(has_longer_text(texts(&"a".repeat(101), 1).as_bytes(), 100));
        assert!(has_longer_text(texts(&"\\\"".repeat(51), 1).as_bytes(), 100), "escaped quotes end no text");
        assert!(!has_longer_text(b"", 100));
    }
}
