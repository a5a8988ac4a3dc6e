//! How the copy of the keys is filled and kept.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tracing::Instrument as _;

use super::file::KeysFile;
use super::table::KeyTable;
use super::{Inner, Keys, MAX_KEYS};
use crate::clients::litellm::KEY_PAGE;
use crate::clients::{ClientError, Upstream};
use crate::domain::key::{KeyHash, VirtualKey};

const MAX_CONCURRENT: usize = 4;

/// Largest copy, in bytes: 100,000 keys take about 35 MB.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A first copy is shown again after this many keys, or an eighth more: each time costs some sorting.
const BATCH: usize = 1_000;

/// How long a page waits for a newer copy when it could show an older one, or why there is none.
const PATIENCE: Duration = Duration::from_millis(800);

/// A copy of at most one page of keys costs one request, and is renewed at this age.
const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(5);

/// A larger copy is renewed at this age, or at this many times what it took to make: 10,000 keys cost the proxy
/// 8 to 12 s of work.
const TIME_TO_LIVE_LARGE: SignedDuration = SignedDuration::from_secs(120);
const REST: i32 = 5;

/// Least time between two writes of the file.
const SAVE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default)]
pub struct KeysView {
    pub keys: Arc<KeyTable>,
    pub total: u64,
    pub is_complete: bool,
    pub at: Option<Timestamp>,
    pub problem: Option<ClientError>,
}

impl KeysView {
    pub fn has_data(&self) -> bool {
        self.at.is_some()
    }

    fn is_small(&self) -> bool {
        self.total <= u64::from(KEY_PAGE)
    }
}

/// When the last copy was begun, how long it took, and what was written while it is made.
#[derive(Default)]
pub(super) struct Fill {
    begun: Option<Timestamp>,
    took: SignedDuration,
    is_running: bool,
    written: Vec<(KeyHash, Option<VirtualKey>)>,
}

/// A fill that runs. It ends when this is dropped, also by a panic: the next one may then begin.
struct RunningFill {
    inner: Arc<Inner>,
    begun: Timestamp,
    result: Result<(), ClientError>,
}

impl Drop for RunningFill {
    fn drop(&mut self) {
        let took = self.inner.clock.now().duration_since(self.begun);
        {
            let mut fill = self.inner.fill();
            fill.took = took;
            fill.is_running = false;
        }
        if let Err(problem) = &self.result {
            self.inner.view.send_modify(|view| view.problem = Some(problem.clone()));
        }
    }
}

/// The three ways to read the copy.
impl Keys {
    /// The copy as it is. Asks the proxy for nothing.
    pub fn cached(&self) -> KeysView {
        self.inner.view.borrow().clone()
    }

    /// The copy, renewed behind it where that is due. Waits for the first keys where there are none, and a little
    /// where a small copy is about to be renewed, or where the last try failed.
    pub async fn get(&self) -> KeysView {
        let mut changes = self.inner.view.subscribe();
        let has_nothing = {
            let view = changes.borrow_and_update();
            !view.has_data() && view.problem.is_none()
        };
        if let Some(running) = self.inner.begin_fill() {
            tokio::spawn(running.run().in_current_span());
        } else if !self.inner.fill().is_running {
            return self.cached();
        }
        if has_nothing {
            let _ = changes.changed().await;
        }
        let (begun, is_running) = {
            let fill = self.inner.fill();
            (fill.begun, fill.is_running)
        };
        // An older copy, or one from the disk.
        let is_old = {
            let view = changes.borrow_and_update();
            view.is_small() && view.at.is_none_or(|at| Some(at) < begun)
        };
        if is_running && is_old {
            let _ = tokio::time::timeout(PATIENCE, changes.changed()).await;
        }
        self.cached()
    }

    /// The same for a search: while the copy is incomplete, a proxy that can search is asked as well, and what it
    /// found is among the keys.
    pub async fn search(&self, text: &str) -> KeysView {
        let mut view = self.get().await;
        if view.is_complete || text.is_empty() {
            return view;
        }
        let proxy = &self.inner.proxy;
        let can_search = self.inner.can_search.get_or_try_init(|| proxy.can_search_keys()).await;
        if let Ok(true) = can_search
            && let Ok(mut found) = proxy.search_keys(text).await
        {
            found.keys.retain(|key| view.keys.get(&key.hash).is_none());
            Arc::make_mut(&mut view.keys).extend(&found.keys);
        }
        view
    }

    /// Keeps the copy in a file beside a SQLite database, and begins with what that holds.
    pub fn keep_beside(&self, database_url: &str) {
        let Some(file) = KeysFile::beside(database_url, &self.inner.proxy.address()) else { return };
        if self.inner.file.set(file.clone()).is_ok() {
            let inner = Arc::clone(&self.inner);
            tokio::spawn(async move { inner.restore().await });
            tokio::spawn(save(self.inner.view.subscribe(), file));
        }
    }
}

/// Writes each complete copy to the file, until that fails or the copy is dropped.
async fn save(mut changes: watch::Receiver<KeysView>, file: KeysFile) {
    while changes.changed().await.is_ok() {
        let view = changes.borrow_and_update().clone();
        let Some(at) = view.at.filter(|_| view.is_complete && view.problem.is_none()) else { continue };
        let (file, view) = (file.clone(), view);
        let written = tokio::task::spawn_blocking(move || file.write(&view, at)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the copy of the keys cannot be kept on the disk; a restart reads them again");
            return;
        }
        tokio::time::sleep(SAVE_EVERY).await;
    }
}

impl RunningFill {
    async fn run(mut self) {
        self.inner.restore().await;
        self.result = self.inner.copy_all().await;
    }
}

impl Inner {
    fn fill(&self) -> MutexGuard<'_, Fill> {
        self.fill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a new copy where one is due.
    fn begin_fill(self: &Arc<Self>) -> Option<RunningFill> {
        let now = self.clock.now();
        let (has_problem, is_small) = {
            let view = self.view.borrow();
            (view.problem.is_some(), view.is_small())
        };
        let mut fill = self.fill();
        let age = match (has_problem, is_small) {
            (true, _) => SignedDuration::from_secs(1),
            (false, true) => TIME_TO_LIVE,
            (false, false) => TIME_TO_LIVE_LARGE.max(fill.took * REST),
        };
        if fill.is_running || fill.begun.is_some_and(|begun| now.duration_since(begun) < age) {
            return None;
        }
        fill.begun = Some(now);
        fill.is_running = true;
        fill.written.clear();
        // The error that waiting readers get if the fill panics.
        let stopped = "reading its keys was stopped by an internal error".to_owned();
        let result = Err(ClientError::NotUnderstood { upstream: Upstream::Proxy, detail: stopped });
        Some(RunningFill { inner: Arc::clone(self), begun: now, result })
    }

    /// Shows what the file holds, once.
    async fn restore(&self) {
        let restored = self.restored.get_or_init(|| async {
            let Some(file) = self.file.get().cloned() else { return };
            let begun = std::time::Instant::now();
            if let Ok(Some(view)) = tokio::task::spawn_blocking(move || file.read()).await {
                tracing::info!(keys = view.keys.len(), took = ?begun.elapsed(), "the keys were read from the disk");
                self.view.send_if_modified(|current| {
                    let is_first = !current.has_data();
                    if is_first {
                        *current = view;
                    }
                    is_first
                });
            }
        });
        restored.await;
    }

    async fn copy_all(&self) -> Result<(), ClientError> {
        let first = self.proxy.keys(1).await?;
        let at = self.clock.now();
        let total = first.total;
        let pages = first.pages.min(u32::try_from(MAX_KEYS).unwrap_or(u32::MAX) / KEY_PAGE);
        // A complete copy stays until the next one is.
        let had_complete_copy = self.view.borrow().is_complete;
        let mut seen = HashSet::new();
        let mut table = KeyTable::default();
        let mut batch = Vec::new();
        // The first page comes at once.
        let mut wanted = 1;
        let rest = stream::iter(2..=pages).map(|page| self.proxy.keys(page)).buffered(MAX_CONCURRENT);
        let mut all = stream::iter([Ok(first)]).chain(rest);
        while let Some(page) = all.next().await {
            // Pages shift while keys are made and deleted, so that one may come twice.
            batch.extend(page?.keys.into_iter().filter(|key| seen.insert(digest(&key.hash))));
            if batch.len() < wanted {
                continue;
            }
            table.extend(&batch);
            wanted = BATCH.max(table.len() / 8);
            batch.clear();
            if table.size() > MAX_BYTES {
                return Err(ClientError::TooLarge { upstream: Upstream::Proxy, limit: MAX_BYTES });
            }
            if pages > 1 && !had_complete_copy {
                self.publish(table.clone(), (total, at, false));
            }
        }
        table.extend(&batch);
        self.publish(table, (total, at, true));
        Ok(())
    }

    /// Shows a copy, with what was written since it was begun.
    fn publish(&self, mut keys: KeyTable, (mut total, at, is_complete): (u64, Timestamp, bool)) {
        let fill = self.fill();
        for (hash, key) in &fill.written {
            keys.set(hash, key.as_ref());
        }
        let read = keys.len() as u64;
        if is_complete {
            // Where there are more than are read, the proxy's number stands.
            total = if total > MAX_KEYS as u64 { total.max(read) } else { read };
        }
        self.view.send_replace(KeysView {
            keys: keys.into(),
            total,
            is_complete,
            at: Some(at),
            problem: None,
        });
    }

    /// Puts a key that was written into the copy: as it is now, or `None` where it is gone.
    pub(super) fn note(&self, hash: &KeyHash, key: Option<&VirtualKey>) {
        let mut fill = self.fill();
        if fill.is_running {
            fill.written.push((hash.clone(), key.cloned()));
        }
        let view = self.view.borrow().clone();
        if !view.has_data() {
            return;
        }
        let mut keys = KeyTable::clone(&view.keys);
        keys.set(hash, key);
        let total = (view.total + keys.len() as u64).saturating_sub(view.keys.len() as u64);
        let keys = Arc::new(keys);
        self.view.send_modify(|view| (view.keys, view.total) = (keys, total));
    }
}

fn digest(hash: &KeyHash) -> u128 {
    u128::from_str_radix(&hash.as_str()[..32], 16).unwrap_or_default()
}
