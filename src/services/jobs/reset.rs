//! A reset of the proxy: one item to look at it, one for each model and key to delete, one to bootstrap it again.
//! What these report are items too, which are done from the beginning.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::{Inner, Jobs, to_json};
use crate::domain::audit::Actor;
use crate::domain::job::{Item, ItemEnd, ItemState, Job, JobKind, JobState, Kind, Limits};
use crate::domain::lease::Lease;
use crate::services::bootstrap::{ApplyOptions, BootstrapError, Deletion, DesiredState, Outcome, Part, Step};
use crate::store::StoreError;

/// How long a reset waits for the proxy.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Task {
    Look,
    Delete(Deletion),
    /// Write down what was deleted.
    Note,
    Bootstrap,
    Report(Step),
}

/// A reset as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct ResetJob {
    pub at: Timestamp,
    pub by: String,
    pub is_running: bool,
    pub steps: Vec<Step>,
    pub error: Option<String>,
}

impl ResetJob {
    /// How many steps failed, or could not be done.
    pub fn failed(&self) -> usize {
        self.steps.iter().filter(|step| step.outcome.is_bad()).count()
    }
}

impl Jobs {
    pub async fn last_reset(&self) -> Result<Option<ResetJob>, StoreError> {
        let Some(job) = self.newest(Kind::Reset, 1).await?.pop() else { return Ok(None) };
        let items = self.inner.all_items(&job.id, None).await?;
        let error = items.iter().find(|item| item.state == ItemState::Failed && step(item).is_none());
        Ok(Some(ResetJob {
            at: job.started_at,
            by: job.created_by,
            is_running: job.state == JobState::Running,
            steps: items.iter().filter_map(step).collect(),
            error: job.why.or_else(|| error?.why.clone()),
        }))
    }

    /// Begins a reset. Returns whether none ran.
    pub async fn begin_reset(&self, actor: &Actor) -> Result<bool, StoreError> {
        let items = [item(&Task::Look)?];
        let (kind, limits) = (JobKind::Reset, Limits::concurrent(1));
        match self.inner.add(None, kind, limits, None, &items, actor).await {
            Ok(_) => Ok(true),
            // The schema has room for one that runs.
            Err(error) if error.is_taken() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Inner {
    pub(super) async fn reset_item(
        &self,
        job: &Job,
        lease: &Lease,
        item: &Item,
    ) -> Result<Option<ItemEnd>, StoreError> {
        let end = match read(item) {
            Some(Task::Look) => return self.look(job, lease, item).await,
            Some(Task::Delete(deletion)) => self.delete(&deletion, &job.actor).await,
            Some(Task::Note) => {
                let steps: Vec<Step> = self.all_items(&job.id, None).await?.iter().filter_map(step).collect();
                self.bootstrap.note_reset(&steps, &job.actor).await?;
                ItemEnd::done()
            }
            Some(Task::Bootstrap) => {
                let (report, steps) = mpsc::unbounded_channel();
                let run = async {
                    let desired = DesiredState::from_settings(&self.setup)?;
                    let say = move |step: &Step| drop(report.send(step.clone()));
                    self.bootstrap.run(&desired, options(), &job.actor, say).await.map(drop)
                };
                self.recording(job, lease, item, run, steps).await?
            }
            Some(Task::Report(_)) | None => ItemEnd::failed("It cannot be read."),
        };
        Ok(Some(end))
    }

    /// A deletion that was done is not failed for being asked for again.
    pub(super) async fn settle_reset(&self, item: &Item) -> ItemEnd {
        match read(item) {
            Some(Task::Delete(deletion)) if self.bootstrap.is_gone(&deletion).await => {
                ItemEnd::new(ItemState::Done, Some("deleted".to_owned()))
            }
            _ => ItemEnd::again(),
        }
    }

    /// Waits for the proxy, and adds what there is to do.
    async fn look(&self, job: &Job, lease: &Lease, item: &Item) -> Result<Option<ItemEnd>, StoreError> {
        let (report, steps) = mpsc::unbounded_channel();
        let run = async {
            // Before anything is deleted: what cannot be brought back is not taken away.
            DesiredState::from_settings(&self.setup)?;
            let say = move |step: &Step| drop(report.send(step.clone()));
            self.bootstrap.until_up(PATIENCE, say).await
        };
        let end = self.recording(job, lease, item, run, steps).await?;
        if end.state == ItemState::Failed {
            return Ok(Some(end));
        }
        let (deletions, problems) = self.bootstrap.deletions().await;
        let tasks = problems.into_iter().map(Task::Report).chain(deletions.into_iter().map(Task::Delete));
        let items = tasks.chain([Task::Note, Task::Bootstrap]).map(|task| self::item(&task));
        let items = items.collect::<Result<Vec<_>, _>>()?;
        self.store.end_item(lease, &job.id, Some(item.n), &end, &items).await?;
        Ok(None)
    }

    /// Runs something that reports steps, each of which is written down when it comes.
    async fn recording(
        &self,
        job: &Job,
        lease: &Lease,
        item: &Item,
        run: impl Future<Output = Result<(), BootstrapError>>,
        mut steps: UnboundedReceiver<Step>,
    ) -> Result<ItemEnd, StoreError> {
        let record = async {
            let running = ItemEnd::new(ItemState::Running, None);
            while let Some(step) = steps.recv().await {
                let report = [self::item(&Task::Report(step))?];
                self.store.end_item(lease, &job.id, Some(item.n), &running, &report).await?;
            }
            Ok::<_, StoreError>(())
        };
        let (ended, recorded) = tokio::join!(run, record);
        recorded?;
        Ok(ended.map_or_else(|error| ItemEnd::failed(error.to_string()), |()| ItemEnd::done()))
    }

    async fn delete(&self, deletion: &Deletion, actor: &Actor) -> ItemEnd {
        let Step { outcome, detail, .. } = self.bootstrap.delete(deletion, options(), actor).await;
        let state = match outcome {
            Outcome::Changed => ItemState::Done,
            Outcome::Same | Outcome::Waiting | Outcome::Planned => ItemState::Skipped,
            Outcome::Refused | Outcome::Failed => ItemState::Failed,
        };
        ItemEnd::new(state, Some(detail))
    }
}

fn options() -> ApplyOptions {
    ApplyOptions { patience: PATIENCE, ..ApplyOptions::default() }
}

fn item(task: &Task) -> Result<Item, StoreError> {
    let subject = match task {
        Task::Delete(Deletion::Model(model)) => &model.name,
        Task::Delete(Deletion::Key { label, .. }) => label,
        Task::Report(step) => &step.name,
        Task::Look | Task::Note | Task::Bootstrap => "",
    };
    let state = match task {
        Task::Report(step) if step.outcome.is_bad() => ItemState::Failed,
        Task::Report(_) => ItemState::Done,
        _ => ItemState::Waiting,
    };
    Ok(Item { state, ..Item::waiting(subject, Some(to_json(task)?)) })
}

fn read(item: &Item) -> Option<Task> {
    serde_json::from_str(item.task.as_deref()?).ok()
}

/// The step that an item is for people; none where it is not done yet, or only leads to others.
fn step(item: &Item) -> Option<Step> {
    let part = match read(item)? {
        Task::Report(step) => return Some(step),
        Task::Delete(Deletion::Model(_)) => Part::Model,
        Task::Delete(Deletion::Key { .. }) => Part::Key,
        Task::Look | Task::Note | Task::Bootstrap => return None,
    };
    let outcome = match item.state {
        ItemState::Done => Outcome::Changed,
        ItemState::Failed => Outcome::Failed,
        ItemState::Skipped => Outcome::Same,
        ItemState::Waiting | ItemState::Running => return None,
    };
    let detail = item.why.clone().unwrap_or_default();
    Some(Step { part, name: item.subject.clone(), outcome, detail, changes: Vec::new() })
}
