//! Equal refusals within a minute become one entry with a count, so that requests that are refused fill neither the
//! database nor the memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use patchbay_clock::Clock;

use crate::domain::audit::{Action, NewEntry};
use crate::store::{Result, Store, StoreError};

const WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// Most entries of one actor and action within a minute; the rest are one entry about [`OTHERS`].
const MAX_OBJECTS: usize = 100;

/// Most entries within a minute, of all actors together.
const MAX: usize = 1024;

const OTHERS: &str = "other requests";

#[derive(Clone)]
pub(super) struct Refusals(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    recent: Mutex<HashMap<Key, Recent>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    actor: String,
    address: Option<String>,
    action: Action,
    object: String,
}

struct Recent {
    /// Of the entry, once it is written.
    id: Option<i64>,
    since: Timestamp,
    /// Not written yet.
    pending: i64,
    is_being_written: bool,
}

impl Refusals {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self(Arc::new(Inner { store, clock, recent: Mutex::default() }))
    }

    /// Returns when the refusal is written, or counted by a write that is under way.
    pub(super) async fn note(&self, mut entry: NewEntry) -> Result<()> {
        let Some(key) = self.0.count(&mut entry) else { return Ok(()) };
        let inner = Arc::clone(&self.0);
        // It goes on when the sender of the request goes away.
        let written = tokio::spawn(async move { inner.write(&key, &entry).await }).await;
        written.unwrap_or(Err(StoreError::Down))
    }
}

impl Inner {
    fn recent(&self) -> MutexGuard<'_, HashMap<Key, Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key to write, unless it is being written.
    fn count(&self, entry: &mut NewEntry) -> Option<Key> {
        let now = self.clock.now();
        let is_live = |recent: &Recent| now.duration_since(recent.since).abs() < WINDOW;
        let mut all = self.recent();
        let mut key = Key {
            actor: entry.actor.name.clone(),
            address: entry.actor.address.clone(),
            action: entry.action,
            object: entry.object.clone(),
        };
        if !all.contains_key(&key) {
            all.retain(|_, recent| recent.is_being_written || is_live(recent));
            let is_of_actor = |other: &&Key| {
                (&other.actor, &other.address, other.action) == (&key.actor, &key.address, key.action)
            };
            let is_full = all.len() >= MAX;
            if is_full || all.keys().filter(is_of_actor).count() >= MAX_OBJECTS {
                OTHERS.clone_into(&mut key.object);
            }
            if is_full {
                (key.actor, key.address) = ("-".to_owned(), None);
            }
        }
        let recent = all.entry(key.clone()).or_insert(Recent {
            id: None,
            since: now,
            pending: 0,
            is_being_written: false,
        });
        if !recent.is_being_written && !is_live(recent) {
            (recent.id, recent.since) = (None, now);
        }
        recent.pending += 1;
        if std::mem::replace(&mut recent.is_being_written, true) {
            return None;
        }
        entry.actor.name.clone_from(&key.actor);
        entry.actor.address.clone_from(&key.address);
        entry.object.clone_from(&key.object);
        Some(key)
    }

    /// Writes until nothing is pending.
    async fn write(&self, key: &Key, entry: &NewEntry) -> Result<()> {
        loop {
            let (id, more) = {
                let mut all = self.recent();
                let Some(recent) = all.get_mut(key) else { return Ok(()) };
                if recent.pending == 0 {
                    recent.is_being_written = false;
                    return Ok(());
                }
                // The entry itself stands for one.
                let more = if recent.id.is_some() { recent.pending } else { 1 };
                recent.pending -= more;
                (recent.id, more)
            };
            let done = match id {
                Some(id) => self.store.audit_again(id, more).await.map(|()| id),
                None => self.store.audit_refusal(entry).await,
            };
            let mut all = self.recent();
            let Some(recent) = all.get_mut(key) else { return Ok(()) };
            match done {
                Ok(id) => recent.id = Some(id),
                Err(error) => {
                    // What was not written is not counted later either: the database is down.
                    (recent.pending, recent.is_being_written) = (0, false);
                    return Err(error);
                }
            }
        }
    }
}
