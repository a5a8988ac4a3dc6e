//! One change of many keys: prepared, so that the count is seen first; run four at a time; each key with a result
//! of its own; what failed can be tried again.
//!
//! Jobs are in memory and end with the process: the audit has an entry for each key that was changed, and one
//! for the job, so that nothing is lost but the progress. Twenty jobs are kept, the oldest go first.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{KeyChangeError, Keys};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::key::{Access, KeyHash};
use crate::domain::key_changes::{KeyChanges, Set};
use crate::domain::words::counted;

const AT_ONCE: usize = 4;

const JOBS: usize = 20;

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Relax,
    Restrict(Access),
    Budget(Set<f64>, Set<String>),
    Expiry(Set<String>),
    Block,
    Unblock,
    Delete,
}

impl Change {
    /// In words, to stand before "120 keys".
    pub fn describe(&self) -> String {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
        match self {
            Self::Relax => "Relax to every model".to_owned(),
            Self::Restrict(access) => format!("Restrict to {}", access.describe()),
            Self::Budget(budget, period) => {
                let budget = match budget {
                    Set::To(budget) => Some(format!("${budget}")),
                    Set::Keep | Set::Clear => None,
                };
                let period = match period {
                    Set::To(period) => format!(" per {period}"),
                    Set::Keep | Set::Clear => String::new(),
                };
                format!("Set the budget to {}{period}", or_none(budget))
            }
            Self::Expiry(Set::To(duration)) => format!("Let expire {duration} from now"),
            Self::Expiry(_) => "Let never expire".to_owned(),
            Self::Block => "Block".to_owned(),
            Self::Unblock => "Unblock".to_owned(),
            Self::Delete => "Delete".to_owned(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "result", content = "why")]
pub enum Progress {
    Waiting,
    Done,
    Failed(String),
}

#[derive(Debug, Clone, Serialize)]
pub struct Item {
    pub hash: KeyHash,
    pub label: String,
    #[serde(flatten)]
    pub progress: Progress,
}

pub struct Job {
    pub id: String,
    pub actor: String,
    pub change: Change,
    pub since: Timestamp,
    items: Mutex<Vec<Item>>,
    is_running: AtomicBool,
    is_cancelled: AtomicBool,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Counts {
    pub total: usize,
    pub done: usize,
    pub failed: usize,
    pub waiting: usize,
}

impl Job {
    fn items(&self) -> MutexGuard<'_, Vec<Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_running(&self) -> bool {
        self.is_running.load(Ordering::SeqCst)
    }

    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
    }

    pub fn counts(&self) -> Counts {
        let items = self.items();
        let of = |wanted: fn(&Progress) -> bool| items.iter().filter(|item| wanted(&item.progress)).count();
        Counts {
            total: items.len(),
            done: of(|progress| *progress == Progress::Done),
            failed: of(|progress| matches!(progress, Progress::Failed(_))),
            waiting: of(|progress| *progress == Progress::Waiting),
        }
    }

    /// The first `limit` keys, what failed before the rest.
    pub fn first(&self, limit: usize) -> Vec<Item> {
        let items = self.items();
        let (failed, rest): (Vec<&Item>, Vec<&Item>) =
            items.iter().partition(|item| matches!(item.progress, Progress::Failed(_)));
        failed.into_iter().chain(rest).take(limit).cloned().collect()
    }

    fn set(&self, at: usize, progress: Progress) {
        if let Some(item) = self.items().get_mut(at) {
            item.progress = progress;
        }
    }

    /// What is to be done now; what failed waits again if it is to be tried again.
    fn begin(&self, again: bool) -> Vec<(usize, KeyHash)> {
        self.is_cancelled.store(false, Ordering::SeqCst);
        let mut items = self.items();
        if again {
            for item in items.iter_mut().filter(|item| matches!(item.progress, Progress::Failed(_))) {
                item.progress = Progress::Waiting;
            }
        }
        let waiting = items.iter().enumerate().filter(|(_, item)| item.progress == Progress::Waiting);
        waiting.map(|(at, item)| (at, item.hash.clone())).collect()
    }
}

#[derive(Default)]
pub(super) struct Jobs(Mutex<Vec<Arc<Job>>>);

impl Jobs {
    fn all(&self) -> MutexGuard<'_, Vec<Arc<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    /// Prepares a job. Nothing is changed yet. None if too many run.
    pub fn prepare(&self, change: Change, keys: Vec<(KeyHash, String)>, actor: &Actor) -> Option<Arc<Job>> {
        let item = |(hash, label)| Item { hash, label, progress: Progress::Waiting };
        let job = Arc::new(Job {
            id: Uuid::now_v7().to_string(),
            actor: actor.name.clone(),
            change,
            since: self.inner.clock.now(),
            items: Mutex::new(keys.into_iter().map(item).collect()),
            is_running: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
        });
        let mut jobs = self.inner.bulk.all();
        if jobs.len() >= JOBS {
            let oldest = jobs.iter().position(|job| !job.is_running())?;
            jobs.remove(oldest);
        }
        jobs.push(Arc::clone(&job));
        Some(job)
    }

    pub fn job(&self, id: &str) -> Option<Arc<Job>> {
        self.inner.bulk.all().iter().find(|job| job.id == id).cloned()
    }

    /// Runs a job, or with `again` what failed of it, in the background. Nothing happens if it runs already.
    pub fn run(&self, job: &Arc<Job>, again: bool, actor: &Actor) {
        if job.is_running.swap(true, Ordering::SeqCst) {
            return;
        }
        let (keys, job, actor) = (self.clone(), Arc::clone(job), actor.clone());
        tokio::spawn(async move {
            let todo = job.begin(again);
            stream::iter(todo)
                .for_each_concurrent(AT_ONCE, |(at, hash)| keys.step(&job, at, hash, &actor))
                .await;
            job.is_running.store(false, Ordering::SeqCst);
            keys.write_down_job(&job, &actor).await;
        });
    }

    async fn step(&self, job: &Job, at: usize, hash: KeyHash, actor: &Actor) {
        if job.is_cancelled() {
            return;
        }
        let progress = match self.apply(&job.change, &hash, actor).await {
            Ok(()) => Progress::Done,
            Err(error) => Progress::Failed(error.to_string()),
        };
        job.set(at, progress);
    }

    async fn apply(&self, change: &Change, hash: &KeyHash, actor: &Actor) -> Result<(), KeyChangeError> {
        let settings = match change {
            Change::Relax => return self.relax(hash, actor).await.map(drop),
            Change::Restrict(access) => return self.restrict(hash, access.clone(), actor).await.map(drop),
            Change::Block => return self.set_blocked(hash, true, actor).await.map(drop),
            Change::Unblock => return self.set_blocked(hash, false, actor).await.map(drop),
            // The agent's own key is refused: it is deleted on its own page, by its name.
            Change::Delete => return self.delete(hash, None, actor).await.map(drop),
            Change::Budget(budget, period) => KeyChanges {
                max_budget: budget.clone(),
                budget_duration: period.clone(),
                ..KeyChanges::default()
            },
            Change::Expiry(duration) => KeyChanges { duration: duration.clone(), ..KeyChanges::default() },
        };
        self.update(hash, settings, None, actor).await.map(drop)
    }

    async fn write_down_job(&self, job: &Job, actor: &Actor) {
        let Counts { total, done, failed, waiting } = job.counts();
        let outcome = if failed + waiting == 0 { "ok" } else { "failed" };
        let mut entry = NewEntry::new(actor, Action::KeyBulk, format!("bulk/{}", job.id), outcome);
        entry.after = Some(job.change.describe());
        entry.detail =
            Some(format!("{}: {done} done, {failed} failed, {waiting} not begun", counted(total, "key")));
        if let Err(error) = self.inner.store.audit(&entry).await {
            tracing::error!(%error, "the end of a bulk change could not be written down");
        }
    }
}
