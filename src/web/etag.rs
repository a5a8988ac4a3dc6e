//! `ETag`s, and which answers are compressed.
//!
//! An `ETag` is a hash of the answer's bytes, so that it is never older than the page itself. Answers stay `no-store`:
//! with anything less, Back in a browser shows a page after the logout without asking. A script that names the `ETag`
//! it knows gets a short answer.

use std::hash::BuildHasher as _;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, SET_COOKIE, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use tower_http::CompressionLevel;
use tower_http::compression::{CompressionLayer, Predicate};

/// Smallest answer that is compressed, in bytes: below it compression saves no packet.
const SMALL: u64 = 1_000;

/// Largest answer that is hashed or compressed, in bytes.
const LARGE: u64 = 2_000_000;

/// Headers of an answer without a body: a browser takes the rest from the copy it has.
const OF_UNCHANGED: [HeaderName; 5] =
    [ETAG, CACHE_CONTROL, VARY, SET_COOKIE, HeaderName::from_static("x-request-id")];

/// Marks an answer that holds a secret. Compressed beside text that an attacker chose, its size would tell of it (BREACH).
#[derive(Clone, Copy)]
pub(super) struct HoldsSecret;

/// What a request says of the tags that its sender knows.
pub(super) struct Known {
    is_get: bool,
    tags: Option<HeaderValue>,
}

impl Known {
    pub(super) fn of(request: &Request) -> Self {
        let tags = request.headers().get(IF_NONE_MATCH).cloned();
        Self { is_get: request.method() == Method::GET, tags }
    }
}

/// Adds an `ETag` to pages, and answers 304 where it is known.
pub(super) async fn add(mut response: Response, known: Known) -> Response {
    if !known.is_get {
        // Among them the answers that create a key.
        response.extensions_mut().insert(HoldsSecret);
        return response;
    }
    if response.status() != StatusCode::OK || !is_whole_text(&response) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // It is in memory already, as one piece.
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let etag = format!("W/\"{:016x}\"", foldhash::quality::FixedState::default().hash_one(&body));
    let is_known = known
        .tags
        .as_ref()
        .and_then(|known| known.to_str().ok())
        .is_some_and(|known| known.split(',').any(|one| one.trim() == etag));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        parts.headers.insert(ETAG, etag);
    }
    if !is_known {
        return Response::from_parts(parts, body.into());
    }
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers = OF_UNCHANGED
        .into_iter()
        .filter_map(|name| Some((name.clone(), parts.headers.remove(name)?)))
        .collect();
    Response::from_parts(parts, Body::empty())
}

/// Without Brotli, whose encoder adds a megabyte to the binary.
pub(super) fn compression() -> CompressionLayer<Compressible> {
    CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest).compress_when(Compressible)
}

/// Pages and JSON that are whole, so no streams, and no file that is compressed already.
#[derive(Clone, Copy)]
pub(super) struct Compressible;

impl Predicate for Compressible {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let holds_secret = response.extensions().get::<HoldsSecret>().is_some();
        !holds_secret
            && is_whole_text(response)
            && response.body().size_hint().exact().is_some_and(|size| size >= SMALL)
    }
}

fn is_whole_text<B: HttpBody>(response: &Response<B>) -> bool {
    let is_whole = response.body().size_hint().exact().is_some_and(|size| size <= LARGE);
    is_whole && is_text(response.headers())
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    (kind.starts_with(b"text/html") || kind.starts_with(b"application/json"))
        && !headers.contains_key(CONTENT_ENCODING)
}
