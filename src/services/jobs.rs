//! Background jobs: bulk swaps, changes of many keys, imports, resets.
//!
//! A job and its items are rows. One replica at a time works on a job, the one that holds its lease; another takes
//! over where that one is gone. What only the former process could go on with, because it had secrets in memory, ends.
//! Every item goes the way of the same change made alone, with its audit entry.

mod engine;
mod imports;
mod keys;
mod reset;
mod swaps;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::imports::{ImportJob, ImportResult};
pub use self::keys::TooMany;
pub use self::reset::ResetJob;
pub use self::swaps::{Chosen, Plan};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::job::{Counts, Item, ItemEnd, ItemState, Job, JobKind, JobState, Kind, Limits};
use crate::domain::lease::Lease;
use crate::domain::model_detail::Draft;
use crate::domain::setup::Setup;
use crate::services::agents::Agents;
use crate::services::bootstrap::Bootstrap;
use crate::services::keys::Keys;
use crate::services::live::Live;
use crate::services::registry::Models;
use crate::services::switcher::Switcher;
use crate::store::{LockError, Store, StoreError};
use patchbay_clock::Clock;

/// How often each replica looks for jobs that no replica works on.
const TICK: Duration = Duration::from_secs(1);

/// Jobs of a kind that are kept; older ones are deleted. Bulk swaps are all kept, since they can be undone.
const KEPT: u32 = 20;

/// What a job or an item says that ended by a panic.
const PANICKED: &str = "An internal error: see Patchbay's log.";

#[derive(Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

/// What [`Jobs`] works with.
pub struct Parts {
    pub store: Store,
    pub switcher: Switcher,
    pub agents: Agents,
    pub keys: Keys,
    pub models: Models,
    pub bootstrap: Bootstrap,
    pub setup: Setup,
    pub live: Live,
    pub clock: Clock,
}

type Hook = Box<dyn Fn(&Job, &Item) + Send + Sync>;

struct Inner {
    parts: Parts,
    wake: Notify,
    /// The jobs that this replica works on.
    mine: Mutex<HashSet<String>>,
    /// Entries of imports that hold a secret, by job and number.
    secrets: Mutex<HashMap<String, HashMap<u32, Draft>>>,
    running: TaskTracker,
    hook: OnceLock<Hook>,
}

impl std::ops::Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Jobs {
    pub fn new(parts: Parts) -> Self {
        let inner = Inner {
            parts,
            wake: Notify::new(),
            mine: Mutex::default(),
            secrets: Mutex::default(),
            running: TaskTracker::new(),
            hook: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Calls `hook` before each item, in its place: a test makes items panic.
    pub fn before_items(&self, hook: impl Fn(&Job, &Item) + Send + Sync + 'static) {
        let _ = self.inner.hook.set(Box::new(hook));
    }

    pub async fn find(&self, kind: Kind, id: &str) -> Result<Option<Job>, StoreError> {
        Ok(self.inner.store.job(id).await?.filter(|job| Kind::from(&job.kind) == kind))
    }

    /// The newest jobs of a kind, at most `limit`.
    pub async fn newest(&self, kind: Kind, limit: u32) -> Result<Vec<Job>, StoreError> {
        self.inner.store.jobs(kind, limit).await
    }

    pub async fn counts(&self, id: &str) -> Result<Counts, StoreError> {
        self.inner.store.job_counts(id).await
    }

    /// Goes on with what was not begun; with what failed as well where `again`. Nothing happens where the job runs.
    pub async fn resume(&self, job: &Job, again: bool, actor: &Actor) -> Result<(), StoreError> {
        if self.inner.store.resume_job(job, again).await? {
            let how = if again { "what failed is tried again" } else { "the rest goes on" };
            if matches!(job.kind, JobKind::Swap(_)) {
                self.inner.store.audit(&entry(job, actor, "goes on", Some(how.to_owned()))).await?;
            }
            self.inner.wake.notify_one();
        }
        Ok(())
    }

    pub async fn cancel(&self, job: &Job, actor: &Actor) -> Result<(), StoreError> {
        let from = [JobState::Running, JobState::Asking, JobState::Stopped];
        let entry = entry(job, actor, "cancelled", None);
        self.inner.store.set_job(&job.id, &from, JobState::Cancelled, None, &entry).await.map(drop)
    }

    /// Works on jobs until `stop`.
    pub async fn work(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.inner.wake.notified() => {}
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.take_up(&stop).await {
                tracing::warn!(%error, "jobs could not be looked up");
            }
        }
        self.inner.running.close();
        self.inner.running.wait().await;
    }

    async fn take_up(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let store = &self.inner.store;
        for (id, is_elsewhere) in store.open_jobs().await? {
            if is_elsewhere {
                if let Some(job) = store.job(&id).await? {
                    let entry = entry(&job, &job.actor, "failed", Some(imports::INTERRUPTED.to_owned()));
                    store.fail_orphaned_job(&id, imports::INTERRUPTED, &entry).await?;
                }
                continue;
            }
            if self.inner.mine().contains(&id) {
                continue;
            }
            let lease = match store.take_lock(&format!("job/{id}"), "jobs").await {
                Ok(lease) => lease,
                Err(LockError::HeldBy(_)) => continue,
                Err(LockError::Store(error)) => return Err(error),
            };
            let working = Working::on(&self.inner, &id);
            let (inner, stop) = (Arc::clone(&self.inner), stop.clone());
            self.inner.running.spawn(async move {
                inner.work_unless_panicked(&id, &lease, &stop).await;
                // The lock outlives an error here by some seconds at most: the holder takes it again.
                let _ = inner.store.give_lock(&lease.name).await;
                drop(working);
            });
        }
        Ok(())
    }
}

/// Marks a job as one that this replica works on, until dropped.
struct Working {
    inner: Arc<Inner>,
    id: String,
}

impl Working {
    fn on(inner: &Arc<Inner>, id: &str) -> Self {
        inner.mine().insert(id.to_owned());
        Self { inner: Arc::clone(inner), id: id.to_owned() }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.inner.mine().remove(&self.id);
    }
}

impl Inner {
    fn mine(&self) -> MutexGuard<'_, HashSet<String>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work_unless_panicked(self: &Arc<Self>, id: &str, lease: &Lease, stop: &CancellationToken) {
        match AssertUnwindSafe(self.work_on(id, lease, stop)).catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, job = id, "a job was interrupted; it is taken up again");
            }
            // What ran is not taken up again: it would panic again.
            Err(_) => {
                let stopped = async {
                    self.store.end_item(lease, id, None, &ItemEnd::failed(PANICKED), &[]).await?;
                    let Some(job) = self.store.job(id).await? else { return Ok(false) };
                    let entry = entry(&job, &job.actor, "stopped", Some(PANICKED.to_owned()));
                    self.store
                        .set_job(id, &[JobState::Running], JobState::Stopped, Some(PANICKED), &entry)
                        .await
                };
                if let Err(error) = stopped.await {
                    tracing::error!(%error, job = id, "a job panicked and could not be stopped");
                }
            }
        }
    }

    /// Adds a job in the name of `actor`, which runs, but for an import, which is planned. Its id may be that of the form that was sent.
    async fn add(
        &self,
        id: Option<Uuid>,
        kind: JobKind,
        limits: Limits,
        holder: Option<String>,
        items: &[Item],
        actor: &Actor,
    ) -> Result<Job, StoreError> {
        let keep = if matches!(kind, JobKind::Swap(_)) { u32::MAX } else { KEPT };
        let state = if matches!(kind, JobKind::Import(_)) { JobState::Planned } else { JobState::Running };
        let job = Job {
            id: id.unwrap_or_else(Uuid::now_v7).to_string(),
            kind,
            actor: actor.clone(),
            created_by: actor.name.clone(),
            state,
            why: None,
            limits,
            forgiven: 0,
            holder,
            started_at: self.clock.now(),
            ended_at: None,
        };
        self.store.add_job(&job, items, keep).await?;
        self.wake.notify_one();
        Ok(job)
    }

    async fn all_items(&self, job: &str, state: Option<ItemState>) -> Result<Vec<Item>, StoreError> {
        self.store.job_items(job, state, 0, u32::MAX).await
    }
}

/// What the audit says of what becomes of a job.
fn entry(job: &Job, actor: &Actor, outcome: &str, detail: Option<String>) -> NewEntry {
    let (action, name) = match job.kind {
        JobKind::Swap(_) => (Action::Bulk, "bulk"),
        JobKind::Keys { .. } => (Action::KeyBulk, "bulk"),
        JobKind::Import(_) => (Action::ModelImport, "import"),
        JobKind::Reset => (Action::ResetEnd, "reset"),
    };
    let mut entry = NewEntry::new(actor, action, format!("{name}/{}", job.id), outcome);
    if let JobKind::Keys { change } = &job.kind {
        entry.after = Some(change.describe());
    }
    entry.detail = detail;
    entry
}

/// What is kept of an item's task.
fn to_json(task: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(task).map_err(StoreError::unwritable)
}
