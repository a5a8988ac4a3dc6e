//! The proxy's virtual keys.
//!
//! No release of the proxy can search for part of a name *and* filter by state or model, and 1.80 can do
//! neither. So the keys are copied in the background, a hundred a request and four requests at a time, and
//! looked through here. The first page is shown as soon as it has come.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::clients::ClientError;
use crate::clients::litellm::{KEY_PAGE, LiteLlm};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::clock::Clock;
use crate::domain::key::{Access, KeyHash, VirtualKey};
use crate::store::{Store, StoreError};

/// Most keys that are copied.
pub const MAX_KEYS: usize = 100_000;

/// Requests to the proxy at a time.
const AT_ONCE: usize = 4;

/// A copy of at most one page of keys costs one request, and is renewed at this age.
const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(5);

/// A larger copy is renewed at this age: 10,000 keys cost the proxy 8 to 12 s of work.
const TIME_TO_LIVE_LARGE: SignedDuration = SignedDuration::from_secs(120);

/// How long a page waits for a newer copy when it could show an older one.
const PATIENCE: Duration = Duration::from_millis(800);

/// How often a growing copy is shown, in keys.
const PUBLISH_EVERY: usize = 2_000;

/// The copy of the keys.
#[derive(Debug, Clone, Default)]
pub struct KeysView {
    /// The keys that have come, newest first.
    pub keys: Arc<Vec<Arc<VirtualKey>>>,
    /// How many the proxy says it has.
    pub total: u64,
    /// Whether all have come (or as many as are kept).
    pub is_complete: bool,
    /// When the first page came.
    pub at: Option<Timestamp>,
    /// Why no newer copy has come.
    pub problem: Option<ClientError>,
}

impl KeysView {
    /// Whether anything was ever read.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.at.is_some()
    }
}

/// A key was not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyChangeError {
    /// The proxy does not know it.
    #[error("the proxy knows no such key")]
    Unknown,
    /// The proxy failed.
    #[error(transparent)]
    Proxy(#[from] ClientError),
    /// It was changed, and that could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keys. Clones share the copy.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    proxy: LiteLlm,
    store: Store,
    clock: Clock,
    view: watch::Sender<KeysView>,
    /// When the last copy was begun, and whether it still runs.
    fill: Mutex<Fill>,
}

#[derive(Default)]
struct Fill {
    begun: Option<Timestamp>,
    is_running: bool,
    is_stale: bool,
}

impl Keys {
    /// The keys of `proxy`.
    #[must_use]
    pub fn new(proxy: LiteLlm, store: Store, clock: Clock) -> Self {
        let view = watch::Sender::new(KeysView::default());
        Self { inner: Arc::new(Inner { proxy, store, clock, view, fill: Mutex::default() }) }
    }

    /// The copy, renewed where it is due. Waits for the first page where there is nothing to show, and a
    /// little where a small copy is about to be renewed.
    pub async fn view(&self) -> KeysView {
        let mut changes = self.inner.view.subscribe();
        let had_data = changes.borrow_and_update().has_data();
        if self.inner.begin_fill() {
            let inner = Arc::clone(&self.inner);
            tokio::spawn(async move { inner.run_fill().await });
        } else if had_data || !self.inner.is_filling() {
            return self.inner.view.borrow().clone();
        }
        let is_small = changes.borrow().total <= u64::from(KEY_PAGE);
        if !had_data {
            let _ = changes.changed().await;
        } else if is_small {
            let _ = tokio::time::timeout(PATIENCE, changes.changed()).await;
        }
        changes.borrow().clone()
    }

    /// The copy as it is: asks the proxy for nothing.
    #[must_use]
    pub fn peek(&self) -> KeysView {
        self.inner.view.borrow().clone()
    }

    /// One key, as the proxy knows it now.
    pub async fn key(&self, hash: &KeyHash) -> Result<Option<VirtualKey>, ClientError> {
        self.inner.proxy.key(hash).await
    }

    /// The copy of one key, for when the proxy does not answer.
    #[must_use]
    pub fn copy_of(&self, hash: &KeyHash) -> Option<Arc<VirtualKey>> {
        self.inner.view.borrow().keys.iter().find(|key| key.hash == *hash).cloned()
    }

    /// Lets a key call every model, now and later (`models: []`), and reads it back. Returns it as it is.
    pub async fn relax(&self, hash: &KeyHash, actor: &Actor) -> Result<VirtualKey, KeyChangeError> {
        let before = self.inner.proxy.key(hash).await;
        let result = self.relax_and_read(before.as_ref().ok(), hash, actor).await;
        let mut entry = NewEntry::new(actor, Action::KeyRelax, hash.as_str(), "ok");
        if let Ok(Some(before)) = &before {
            entry.before = Some(describe(&before.access));
            entry.detail = Some(format!("key {}", before.label()));
        }
        match &result {
            Ok(key) => entry.after = Some(describe(&key.access)),
            Err(error) => {
                "failed".clone_into(&mut entry.outcome);
                entry.detail = Some(error.to_string());
            }
        }
        self.inner.store.audit(&entry).await?;
        result
    }

    async fn relax_and_read(
        &self,
        before: Option<&Option<VirtualKey>>,
        hash: &KeyHash,
        actor: &Actor,
    ) -> Result<VirtualKey, KeyChangeError> {
        // Without this look, 1.80 would answer an update of an unknown key with 401.
        if before.is_some_and(Option::is_none) {
            return Err(KeyChangeError::Unknown);
        }
        self.inner.proxy.relax_key(hash, &actor.name).await?;
        let key = self.inner.proxy.key(hash).await?.ok_or(KeyChangeError::Unknown)?;
        self.inner.replace(&key);
        Ok(key)
    }
}

/// What a key may call, for the audit.
fn describe(access: &Access) -> String {
    match access {
        Access::All => "all models".to_owned(),
        Access::None => "no models".to_owned(),
        Access::List(models) => models.join(", "),
    }
}

impl Inner {
    fn fill(&self) -> std::sync::MutexGuard<'_, Fill> {
        self.fill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_filling(&self) -> bool {
        self.fill().is_running
    }

    /// Whether a new copy is due; if so it counts as begun.
    fn begin_fill(&self) -> bool {
        let now = self.clock.now();
        let view = self.view.borrow();
        let age = if view.problem.is_some() {
            SignedDuration::from_secs(1)
        } else if view.total <= u64::from(KEY_PAGE) {
            TIME_TO_LIVE
        } else {
            TIME_TO_LIVE_LARGE
        };
        let mut fill = self.fill();
        let is_due = fill.is_stale || fill.begun.is_none_or(|begun| now.duration_since(begun) >= age);
        if fill.is_running || !is_due {
            return false;
        }
        *fill = Fill { begun: Some(now), is_running: true, is_stale: false };
        true
    }

    async fn run_fill(&self) {
        if let Err(problem) = self.copy_all().await {
            self.view.send_modify(|view| view.problem = Some(problem));
        }
        self.fill().is_running = false;
    }

    async fn copy_all(&self) -> Result<(), ClientError> {
        let first = self.proxy.keys(1).await?;
        let at = self.clock.now();
        let total = first.total;
        let pages = first.pages.min(u32::try_from(MAX_KEYS).unwrap_or(u32::MAX) / KEY_PAGE);
        let had_whole_copy = self.view.borrow().is_complete;
        let mut seen = HashSet::new();
        let mut keys: Vec<Arc<VirtualKey>> = Vec::new();
        let mut add = |keys: &mut Vec<Arc<VirtualKey>>, page: Vec<VirtualKey>| {
            // Pages shift while keys are made and deleted, so that one may come twice.
            keys.extend(page.into_iter().filter(|key| seen.insert(key.hash.clone())).map(Arc::new));
        };
        add(&mut keys, first.keys);
        let publish = |keys: &[Arc<VirtualKey>], is_complete| {
            let view =
                KeysView { keys: Arc::new(keys.to_vec()), total, is_complete, at: Some(at), problem: None };
            self.view.send_replace(view);
        };
        if pages <= 1 {
            publish(&keys, true);
            return Ok(());
        }
        // A copy that is whole stays until the next one is.
        if !had_whole_copy {
            publish(&keys, false);
        }
        let mut published = keys.len();
        let mut rest = stream::iter(2..=pages).map(|page| self.proxy.keys(page)).buffered(AT_ONCE);
        while let Some(page) = rest.next().await {
            add(&mut keys, page?.keys);
            if !had_whole_copy && keys.len() >= published + PUBLISH_EVERY {
                publish(&keys, false);
                published = keys.len();
            }
        }
        publish(&keys, true);
        Ok(())
    }

    /// Puts a changed key into the copy; a copy begun before the change is made again.
    fn replace(&self, key: &VirtualKey) {
        self.fill().is_stale = true;
        self.view.send_modify(|view| {
            if let Some(slot) = Arc::make_mut(&mut view.keys).iter_mut().find(|slot| slot.hash == key.hash) {
                *slot = Arc::new(key.clone());
            }
        });
    }
}
