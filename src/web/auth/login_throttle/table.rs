//! What is counted of attempts, in tables of fixed size.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// How many failures are free, how long the first refusal is, and the longest.
pub(super) struct Rule {
    pub(super) free: u32,
    pub(super) first: SignedDuration,
    pub(super) longest: SignedDuration,
}

/// After this time without failures they are forgotten.
const FORGET: SignedDuration = SignedDuration::from_mins(30);

/// Entries of one generation of a table; there are two.
pub(super) const MAX: usize = 16 * 1024;

impl Rule {
    pub(super) fn delay(&self, failures: u32) -> SignedDuration {
        let Some(beyond) = failures.checked_sub(self.free) else { return SignedDuration::ZERO };
        let factor = 1_i32.checked_shl(beyond.min(30)).unwrap_or(i32::MAX);
        self.first.checked_mul(factor).map_or(self.longest, |delay| delay.min(self.longest))
    }

    pub(super) fn left(&self, entry: Entry, now: Timestamp) -> SignedDuration {
        let delay = self.delay(entry.failures);
        // A clock that was put back does not make it longer, and makes none where there was none.
        (delay - now.duration_since(entry.at)).min(delay)
    }

    /// Whether another attempt may be looked at before it is known how those under way end.
    pub(super) fn has_room(&self, entry: Entry) -> bool {
        entry.pending == 0 || entry.failures.saturating_add(entry.pending) < self.free
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) failures: u32,
    pub(super) pending: u32,
    pub(super) at: Timestamp,
}

impl Entry {
    pub(super) fn new(at: Timestamp) -> Self {
        Self { failures: 0, pending: 0, at }
    }

    fn counts(self, now: Timestamp) -> bool {
        now.duration_since(self.at) < FORGET
    }
}

/// A table that forgets what was not used for long: once a generation is full, the former one goes.
pub(super) struct Table<T> {
    pub(super) young: HashMap<u64, T>,
    pub(super) old: HashMap<u64, T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<T: Copy> Table<T> {
    pub(super) fn get(&mut self, key: u64) -> Option<T> {
        if let Some(entry) = self.young.get(&key) {
            return Some(*entry);
        }
        let entry = self.old.remove(&key)?;
        self.set(key, entry);
        Some(entry)
    }

    pub(super) fn set(&mut self, key: u64, entry: T) {
        if self.young.len() >= MAX && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.young.remove(&key);
        self.old.remove(&key);
    }
}

impl Table<Entry> {
    pub(super) fn now(&mut self, key: u64, now: Timestamp) -> Entry {
        let entry = self.get(key).unwrap_or(Entry::new(now));
        if entry.counts(now) { entry } else { Entry { pending: entry.pending, ..Entry::new(now) } }
    }
}
