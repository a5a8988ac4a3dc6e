//! How the copy of the keys is filled and kept.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};

use super::index::{Builder, Index, SEGMENT, pack};
use super::{Inner, MAX_KEYS};
use crate::clients::litellm::KEY_PAGE;
use crate::clients::{ClientError, Upstream};
use crate::domain::key::{KeyHash, VirtualKey};

const AT_ONCE: usize = 4;

/// Largest copy, in bytes: 100,000 keys take 25 MB.
const MAX_BYTES: usize = 40 * 1024 * 1024;

/// A copy of at most one page of keys costs one request, and is renewed at this age.
const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(5);

/// A larger copy is renewed at this age, or at this many times what it took to make: 10,000 keys cost the proxy
/// 8 to 12 s of work.
const TIME_TO_LIVE_LARGE: SignedDuration = SignedDuration::from_secs(120);
const REST: i32 = 5;

#[derive(Debug, Clone, Default)]
pub struct KeysView {
    pub keys: Index,
    pub total: u64,
    pub is_complete: bool,
    pub at: Option<Timestamp>,
    pub problem: Option<ClientError>,
}

impl KeysView {
    pub fn has_data(&self) -> bool {
        self.at.is_some()
    }

    pub(super) fn and(mut self, found: &[VirtualKey]) -> Self {
        let new: Vec<_> = found.iter().filter(|key| self.keys.get(&key.hash).is_none()).cloned().collect();
        if !new.is_empty() {
            let mut segments = self.keys.segments().to_vec();
            segments.push(pack(&new));
            self.keys = Index::new(segments);
        }
        self
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

impl Inner {
    fn fill(&self) -> MutexGuard<'_, Fill> {
        self.fill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_filling(&self) -> bool {
        self.fill().is_running
    }

    /// Whether a new copy is due; if so it counts as begun.
    pub(super) fn begin_fill(&self) -> bool {
        let now = self.clock.now();
        let (has_problem, is_small) = {
            let view = self.view.borrow();
            (view.problem.is_some(), view.total <= u64::from(KEY_PAGE))
        };
        let mut fill = self.fill();
        let age = match (has_problem, is_small) {
            (true, _) => SignedDuration::from_secs(1),
            (false, true) => TIME_TO_LIVE,
            (false, false) => TIME_TO_LIVE_LARGE.max(fill.took * REST),
        };
        if fill.is_running || fill.begun.is_some_and(|begun| now.duration_since(begun) < age) {
            return false;
        }
        fill.begun = Some(now);
        fill.is_running = true;
        fill.written.clear();
        true
    }

    pub(super) async fn run_fill(&self) {
        let begun = self.clock.now();
        if let Err(problem) = self.copy_all().await {
            self.view.send_modify(|view| view.problem = Some(problem));
        }
        let mut fill = self.fill();
        fill.took = self.clock.now().duration_since(begun);
        fill.is_running = false;
    }

    async fn copy_all(&self) -> Result<(), ClientError> {
        let first = self.proxy.keys(1).await?;
        let at = self.clock.now();
        let total = first.total;
        let pages = first.pages.min(u32::try_from(MAX_KEYS).unwrap_or(u32::MAX) / KEY_PAGE);
        let had_whole_copy = self.view.borrow().is_complete;
        let mut seen = HashSet::new();
        let mut segments = Vec::new();
        let mut builder = Builder::default();
        let mut add = |builder: &mut Builder, page: Vec<VirtualKey>| {
            // Pages shift while keys are made and deleted, so that one may come twice.
            page.iter().filter(|key| seen.insert(digest(&key.hash))).for_each(|key| builder.push(key));
        };
        add(&mut builder, first.keys);
        if pages > 1 && !had_whole_copy {
            // A copy that is whole stays until the next one is.
            segments.push(std::mem::take(&mut builder).finish());
            self.publish(Index::new(segments.clone()), (total, at, false));
        }
        let mut rest = stream::iter(2..=pages).map(|page| self.proxy.keys(page)).buffered(AT_ONCE);
        while let Some(page) = rest.next().await {
            add(&mut builder, page?.keys);
            if builder.len() >= SEGMENT {
                segments.push(std::mem::take(&mut builder).finish());
                let size: usize = segments.iter().map(|segment| segment.size()).sum();
                if size > MAX_BYTES {
                    return Err(ClientError::TooLarge { upstream: Upstream::Proxy, limit: MAX_BYTES });
                }
                if !had_whole_copy {
                    self.publish(Index::new(segments.clone()), (total, at, false));
                }
            }
        }
        segments.push(builder.finish());
        self.publish(Index::new(segments), (total, at, true));
        Ok(())
    }

    /// Shows a copy, with what was written since it was begun.
    fn publish(&self, mut keys: Index, (mut total, at, is_complete): (u64, Timestamp, bool)) {
        let fill = self.fill();
        for (hash, key) in &fill.written {
            keys = keys.with(hash, key.as_ref());
        }
        if is_complete {
            total = total.max(keys.len() as u64).min(if total > MAX_KEYS as u64 {
                total
            } else {
                keys.len() as u64
            });
        }
        self.view.send_replace(KeysView { keys, total, is_complete, at: Some(at), problem: None });
    }

    pub(super) fn note(&self, hash: &KeyHash, key: Option<&VirtualKey>) {
        let mut fill = self.fill();
        if fill.is_running {
            fill.written.push((hash.clone(), key.cloned()));
        }
        self.view.send_modify(|view| {
            if !view.has_data() {
                return;
            }
            let before = view.keys.len() as u64;
            view.keys = view.keys.with(hash, key);
            view.total = (view.total + view.keys.len() as u64).saturating_sub(before);
        });
    }
}

fn digest(hash: &KeyHash) -> u128 {
    u128::from_str_radix(&hash.as_str()[..32], 16).unwrap_or_default()
}
