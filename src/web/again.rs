//! A page that is asked for again within the same second, as by everybody who looks at it when something has
//! changed, is made once for each reader, as long as nothing was written.
//!
//! Only for pages that are made of the proxy's copies and of what leaves an audit entry when it changes. To
//! make the models page takes ten times as long as to send it (`tests/bench/run etag`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;

use crate::web::auth::CurrentUser;
use crate::web::errors::Problem;
use crate::web::pack::Tag;
use crate::web::state::AppState;
use crate::web::theme::Theme;
use crate::web::ui::{Ui, Wants};

/// Most bytes that are kept.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The pages of this second. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Again(Arc<Inner>);

#[derive(Default)]
struct Inner {
    writes: AtomicU64,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    by_key: HashMap<Key, Made>,
    second: i64,
    bytes: usize,
}

#[derive(Clone)]
struct Made {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    tag: Tag,
}

impl From<Made> for Response {
    fn from(made: Made) -> Self {
        let mut response = Self::new(Body::from(made.body));
        (*response.status_mut(), *response.headers_mut()) = (made.status, made.headers);
        response.extensions_mut().insert(made.tag);
        response
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    address: String,
    reader: Option<CurrentUser>,
    wants: Wants,
    theme: Theme,
    second: i64,
    seen: i64,
    writes: u64,
    registry_at: Option<Timestamp>,
    registry_fails: bool,
    has_no_database: bool,
}

impl Again {
    pub(super) fn written(&self) {
        self.0.writes.fetch_add(1, Ordering::Release);
    }

    /// What the page of this request is made of; none where it has a message to show once.
    pub(super) fn key(&self, state: &AppState, ui: &Ui, address: &Uri) -> Option<Key> {
        if ui.flash.is_some() {
            return None;
        }
        let registry = state.registry.peek();
        Some(Key {
            address: address.to_string(),
            reader: ui.user.clone(),
            wants: ui.wants,
            theme: ui.theme,
            second: ui.now.as_second(),
            seen: ui.seen,
            writes: self.0.writes.load(Ordering::Acquire),
            registry_at: registry.at,
            registry_fails: registry.problem.is_some(),
            has_no_database: ui.has_no_database,
        })
    }

    /// The page as it was made in this second, or as `fresh` makes it.
    pub(super) async fn page(
        &self,
        key: Option<Key>,
        fresh: impl Future<Output = Result<Response, Problem>>,
    ) -> Result<Response, Problem> {
        let Some(key) = key else { return fresh.await };
        let kept = self.pages().by_key.get(&key).cloned();
        if let Some(kept) = kept {
            return Ok(kept.into());
        }
        let (parts, body) = fresh.await?.into_parts();
        if body.size_hint().exact().is_none() {
            return Ok(Response::from_parts(parts, body));
        }
        // It is in memory already, as one piece.
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let made = Made { status: parts.status, headers: parts.headers, tag: Tag::of(&body), body };
        self.pages().keep(key, made.clone());
        Ok(made.into())
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn keep(&mut self, key: Key, page: Made) {
        if self.second != key.second {
            *self = Self { second: key.second, ..Self::default() };
        }
        if self.bytes + page.body.len() <= MAX_BYTES {
            self.bytes += page.body.len();
            self.by_key.insert(key, page);
        }
    }
}
