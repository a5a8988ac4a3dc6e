//! The audit as people read it, and entries about who went and who was refused.

mod refusals;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::refusals::Refusals;
use crate::domain::audit::{Action, Actor, Entry, Filter, NewEntry};
use crate::domain::words::{MAX_REQUEST_TEXT, cut};
use crate::store::{Result, Store, StoreError};
use patchbay_clock::Clock;

/// Entries of a page of [`Audit::pages`].
const PAGE: usize = 1000;

/// Most searches at once: each may read the whole audit, on connections that everything shares.
const SEARCHES: usize = 3;

/// Longest wait for a turn to search.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Audit {
    store: Store,
    refusals: Refusals,
    searches: Arc<Semaphore>,
}

impl Audit {
    pub fn new(store: Store, clock: Clock) -> Self {
        Self {
            refusals: Refusals::new(store.clone(), clock),
            store,
            searches: Arc::new(Semaphore::new(SEARCHES)),
        }
    }

    /// A turn for a search, which what needs none does not wait for.
    async fn turn(&self, filter: &Filter) -> Result<Option<OwnedSemaphorePermit>> {
        if filter.who.is_none() && filter.object.is_none() && filter.outcome.is_none() {
            return Ok(None);
        }
        let turn = Arc::clone(&self.searches).acquire_owned();
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(turn) => Ok(turn.ok()),
            Err(_) => Err(StoreError::Busy),
        }
    }

    /// The newest entries that match, before entry `before` (all with none), at most `limit`.
    pub async fn entries(&self, filter: &Filter, before: Option<i64>, limit: usize) -> Result<Vec<Entry>> {
        let _turn = self.turn(filter).await?;
        self.store.audit_entries(filter, before, limit).await
    }

    /// How many entries match from entry `from` on (all with none), counted up to `limit`.
    pub async fn count(&self, filter: &Filter, from: Option<i64>, limit: u32) -> Result<u64> {
        let _turn = self.turn(filter).await?;
        self.store.audit_count(filter, from, limit).await
    }

    pub async fn entry(&self, id: i64) -> Result<Option<Entry>> {
        self.store.audit_entry(id).await
    }

    /// The last entries about one object.
    pub async fn about(&self, object: &str) -> Result<Vec<Entry>> {
        self.store.audit_of(object, 20).await
    }

    /// All entries that match, newest first, a page at a time: a long audit is never whole in memory.
    pub fn pages(&self, filter: Filter) -> impl Stream<Item = Result<Vec<Entry>>> + Send + 'static {
        let store = self.store.clone();
        stream::try_unfold((store, filter, Some(i64::MAX)), async |(store, filter, before)| {
            let Some(before) = before else { return Ok(None) };
            let entries = store.audit_entries(&filter, Some(before), PAGE).await?;
            let next = entries.last().filter(|_| entries.len() == PAGE).map(|entry| entry.id);
            Ok(Some((entries, (store, filter, next))))
        })
    }

    pub async fn logged_out(&self, actor: &Actor) -> Result<()> {
        self.store.audit(&NewEntry::new(actor, Action::Logout, &actor.name, "ok")).await
    }

    /// A login by `name` failed.
    pub async fn login_refused(&self, actor: &Actor, name: &str) -> Result<()> {
        self.refusals.note(NewEntry::new(actor, Action::Login, name, "refused")).await
    }

    /// A request was not for the actor's role.
    pub async fn access_refused(&self, actor: &Actor, request: &str, why: Option<String>) -> Result<()> {
        let mut entry = NewEntry::new(actor, Action::Access, cut(request, MAX_REQUEST_TEXT), "refused");
        entry.detail = why;
        self.refusals.note(entry).await
    }
}
