//! Answers made smaller: an unchanged one is not sent again, and the same bytes are compressed once.
//!
//! The `ETag` is made of the answer's bytes, so that it is never older than the page itself. Answers stay `no-store`
//! all the same: with anything less a browser's Back shows a page after the logout without asking. So browsers ask
//! for whole pages, and whoever names an `ETag` of their own accord (a script that looks now and then) gets a short
//! answer.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    SET_COOKIE, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Below this size compressing saves no packet.
const SMALL: usize = 1_000;

const LARGE: u64 = 2_000_000;

/// Most bytes that are kept, plain and compressed ones together.
const KEPT: usize = 2_000_000;

const LEVEL: Compression = Compression::new(4);

/// What an answer without a body still says: a browser takes the rest from the copy it has.
const OF_UNCHANGED: [HeaderName; 5] =
    [ETAG, CACHE_CONTROL, VARY, SET_COOKIE, HeaderName::from_static("x-request-id")];

/// A hash of an answer's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag(u64);

impl Tag {
    pub(super) fn of(answer: &Bytes) -> Self {
        Self(foldhash::quality::FixedState::default().hash_one(answer))
    }
}

#[derive(Clone, Default)]
pub(super) struct Packed(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    answers: VecDeque<Answer>,
    bytes: usize,
}

struct Answer {
    tag: u64,
    plain: Bytes,
    packed: Bytes,
}

impl Packed {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `plain` compressed, or as it was compressed when it was last asked for.
    async fn pack(&self, tag: u64, plain: &Bytes) -> Option<Bytes> {
        // The tag alone is no proof: two users' pages must never be taken for each other.
        let is_same = |answer: &&Answer| answer.tag == tag && answer.plain == *plain;
        if let Some(answer) = self.kept().answers.iter().find(is_same) {
            return Some(answer.packed.clone());
        }
        let taken = plain.clone();
        let packed = tokio::task::spawn_blocking(move || gzip(&taken, LEVEL)).await.ok()?;
        let mut kept = self.kept();
        kept.bytes += plain.len() + packed.len();
        kept.answers.push_back(Answer { tag, plain: plain.clone(), packed: packed.clone() });
        while kept.bytes > KEPT {
            let Some(oldest) = kept.answers.pop_front() else { break };
            kept.bytes -= oldest.plain.len() + oldest.packed.len();
        }
        Some(packed)
    }
}

/// `plain` as gzip.
pub(super) fn gzip(plain: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), level);
    // Into memory nothing fails.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}

/// Adds an `ETag`, and answers with less where the client takes less. Streams and downloads go out as they are.
pub(super) async fn add(State(packed): State<Packed>, request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET;
    let is_head = request.method() == Method::HEAD;
    let takes_gzip = takes_gzip(request.headers());
    let known = request.headers().get(IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    let size = response.body().size_hint().exact();
    if is_head || !is_text(response.headers()) || size.is_none_or(|size| size > LARGE) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // It is in memory already, as one piece.
    let Ok(plain) = to_bytes(body, usize::MAX).await else {
        return Response::from_parts(parts, Body::empty());
    };
    let Tag(tag) = parts.extensions.get().copied().unwrap_or_else(|| Tag::of(&plain));
    if is_get && parts.status == StatusCode::OK {
        let etag = format!("W/\"{tag:016x}\"");
        let is_known = known
            .as_ref()
            .and_then(|known| known.to_str().ok())
            .is_some_and(|known| known.split(',').any(|one| one.trim() == etag));
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            parts.headers.insert(ETAG, etag);
        }
        if is_known {
            let kept =
                OF_UNCHANGED.into_iter().filter_map(|name| Some((name.clone(), parts.headers.remove(name)?)));
            parts.headers = kept.collect();
            parts.status = StatusCode::NOT_MODIFIED;
            return Response::from_parts(parts, Body::empty());
        }
    }
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    if takes_gzip
        && plain.len() >= SMALL
        && let Some(packed) = packed.pack(tag, &plain).await
    {
        parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        parts.headers.remove(CONTENT_LENGTH);
        return Response::from_parts(parts, packed.into());
    }
    Response::from_parts(parts, plain.into())
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    (kind.starts_with(b"text/html") || kind.starts_with(b"application/json"))
        && !headers.contains_key(CONTENT_ENCODING)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let text = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    text.split(',').any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let is_refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_whom_it_is_welcome() {
        let takes =
            |text| takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(text))]));
        for good in ["gzip", "br, gzip", "GZIP;q=0.5", "deflate,gzip;q=1.0, *;q=0"] {
            assert!(takes(good), "{good}");
        }
        for bad in ["", "br", "gzip;q=0", "gzip; q=0.0", "xgzip"] {
            assert!(!takes(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_same_bytes_are_compressed_once_and_little_is_kept() {
        let packed = Packed::default();
        let page = Bytes::from("row ".repeat(20_000));
        let first = packed.pack(1, &page).await.unwrap();
        assert_eq!(first.as_ptr(), packed.pack(1, &page).await.unwrap().as_ptr());
        let other = Bytes::from("other ".repeat(10_000));
        assert_ne!(first, packed.pack(1, &other).await.unwrap(), "the tag alone is not trusted");
        for number in 0..60 {
            packed.pack(number, &Bytes::from(format!("{number} ").repeat(20_000))).await;
        }
        assert!(packed.kept().bytes <= KEPT);
        assert!(packed.kept().answers.len() > 10);
    }
}
