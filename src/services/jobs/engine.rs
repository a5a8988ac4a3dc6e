//! How a replica works on a job that it holds.

use std::panic::AssertUnwindSafe;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{Inner, PANICKED, entry};
use crate::domain::job::{Counts, Item, ItemEnd, ItemState, Job, JobKind, JobState, Kind};
use crate::domain::lease::Lease;
use crate::services::agents::AgentView;
use crate::services::live::Message;
use crate::store::{Fenced, StoreError};
use crate::telemetry::{RunningJob, count_ended_job};

/// How often a job's progress is sent to open pages.
const TELL: Duration = Duration::from_millis(500);

/// Items may be done and not written down yet, so many times the concurrency.
const UNWRITTEN: usize = 4;

impl Inner {
    /// Works on a job until there is nothing of it to begin, or until `stop`.
    pub(super) async fn work_on(
        self: &Arc<Self>,
        id: &str,
        lease: &Lease,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let Some(job) = self.store.job(id).await? else { return Ok(()) };
        let kind: &'static str = Kind::from(&job.kind).into();
        let _running = RunningJob::new(kind);
        self.work_on_items(&job, lease, stop).instrument(tracing::info_span!("job", kind, id)).await?;
        let ended = self.store.job(id).await?.map(|job| job.state);
        if let Some(state) = ended.filter(|state| !matches!(state, JobState::Running | JobState::Asking)) {
            count_ended_job(kind, state.as_str());
        }
        Ok(())
    }

    async fn work_on_items(
        self: &Arc<Self>,
        job: &Job,
        lease: &Lease,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        if matches!(job.kind, JobKind::Swap(_)) {
            self.switcher.forget_keys();
        }
        self.settle(job, lease).await?;
        let mut tasks = JoinSet::new();
        let mut worked = self.begin_items(job, lease, &mut tasks, stop).await;
        // Even after an error all items end here: the next replica must find none running.
        while let Some(ended) = tasks.join_next().await {
            worked = worked.and(ended_well(ended));
        }
        worked?;
        if !stop.is_cancelled() {
            self.end_round(job).await?;
        }
        self.tell(job, self.store.job_counts(&job.id).await?, false);
        Ok(())
    }

    /// Begins items, and waits for them, until there are none to begin.
    async fn begin_items(
        self: &Arc<Self>,
        job: &Job,
        lease: &Lease,
        tasks: &mut JoinSet<Result<(), StoreError>>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let concurrency = job.limits.concurrency;
        let turns = Arc::new(Semaphore::new(concurrency as usize));
        let mut claimed = Vec::<Item>::new().into_iter();
        let (mut begin_at, mut tell_at) = (Instant::now(), Instant::now());
        let mut view = None;
        while !stop.is_cancelled() {
            let turn = tokio::select! {
                biased;
                Some(ended) = tasks.join_next() => {
                    ended_well(ended)?;
                    continue;
                }
                turn = Arc::clone(&turns).acquire_owned(), if tasks.len() < UNWRITTEN * concurrency as usize => turn,
            };
            let Ok(turn) = turn else { break };
            let Some(item) = claimed.next() else {
                if let JobKind::Swap(swap) = &job.kind {
                    let counts = self.store.job_counts(&job.id).await?;
                    if Instant::now() >= tell_at {
                        tell_at = Instant::now() + TELL;
                        self.tell(job, counts, true);
                    }
                    view = self.look_before(job, swap, counts).await?;
                }
                // With a pause between them few are begun ahead, so that a stop is heeded soon.
                let ahead = if job.limits.pace_ms > 0 { 1 } else { concurrency };
                claimed = self.store.claim_items(lease, job, ahead).await?.into_iter();
                if claimed.len() == 0 {
                    match tasks.join_next().await {
                        Some(ended) => ended_well(ended)?,
                        None => break,
                    }
                }
                continue;
            };
            tokio::time::sleep_until(begin_at).await;
            begin_at = Instant::now() + Duration::from_millis(job.limits.pace_ms.into());
            let (inner, job, lease, view) = (Arc::clone(self), job.clone(), lease.clone(), view.clone());
            let done = async move { inner.do_item(&job, &lease, &item, view, turn).await };
            tasks.spawn(done.in_current_span());
        }
        Ok(())
    }

    fn tell(&self, job: &Job, counts: Counts, runs: bool) {
        let JobKind::Swap(swap) = &job.kind else { return };
        self.live.tell(Message::Progress {
            job: job.id.clone(),
            agent: swap.agent.to_string(),
            who: job.actor.name.clone(),
            runs,
            done: counts.done,
            failed: counts.failed,
            total: counts.total(),
        });
    }

    async fn do_item(
        &self,
        job: &Job,
        lease: &Lease,
        item: &Item,
        view: Option<AgentView>,
        turn: OwnedSemaphorePermit,
    ) -> Result<(), StoreError> {
        match self.store.check(slice::from_ref(lease)).await {
            Ok(()) => {}
            Err(Fenced::Store(error)) => return Err(error),
            // The holder of the lease settles the item.
            Err(error) => {
                tracing::warn!(%error, job = job.id, item = item.n, "an item of a job was not begun");
                return Ok(());
            }
        }
        // A swap gives its turn back when the agent has done its part. Any other item keeps it until its end is written
        // down, since the next one may depend on it.
        let (turn, kept) =
            if matches!(job.kind, JobKind::Swap(_)) { (Some(turn), None) } else { (None, Some(turn)) };
        let end = AssertUnwindSafe(self.run_item(job, lease, item, view, turn)).catch_unwind().await;
        if let Some(end) = end.unwrap_or_else(|_| Ok(Some(ItemEnd::failed(PANICKED))))? {
            self.store.end_item(lease, &job.id, Some(item.n), &end, &[]).await?;
        }
        drop(kept);
        Ok(())
    }

    /// Runs one item. None where its end is written down already.
    async fn run_item(
        &self,
        job: &Job,
        lease: &Lease,
        item: &Item,
        view: Option<AgentView>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Option<ItemEnd>, StoreError> {
        if let Some(hook) = self.hook.get() {
            hook(job, item);
        }
        match &job.kind {
            JobKind::Swap(swap) => self.swap(job, swap, lease, item, view, turn).await,
            JobKind::Keys { change } => Ok(Some(self.change_key(change, item, &job.actor).await)),
            JobKind::Import(import) => Ok(Some(self.import_item(job, import, item).await)),
            JobKind::Reset => self.reset_item(job, lease, item).await,
        }
    }

    /// Items that were begun and are not known to have ended: looked up, and run again where they were not done.
    async fn settle(&self, job: &Job, lease: &Lease) -> Result<(), StoreError> {
        let begun = self.all_items(&job.id, Some(ItemState::Running)).await?;
        if begun.is_empty() {
            return Ok(());
        }
        self.store.close_unfinished_swaps().await?;
        for item in begun {
            let end = match &job.kind {
                JobKind::Swap(swap) => self.settle_swap(job, swap, &item).await?,
                JobKind::Keys { change } => self.settle_key(change, &item).await,
                // An item that was done already is not done twice: its deployment has the same id each time.
                JobKind::Import(_) => ItemEnd::again(),
                JobKind::Reset => self.settle_reset(&item).await,
            };
            self.store.end_item(lease, &job.id, Some(item.n), &end, &[]).await?;
        }
        Ok(())
    }

    async fn end_round(&self, job: &Job) -> Result<(), StoreError> {
        let counts = self.store.job_counts(&job.id).await?;
        if counts.running > 0 {
            // They are settled when the job is taken up again, in a moment.
            return Ok(());
        }
        let (to, from): (_, &[JobState]) = if counts.waiting == 0 {
            (JobState::Done, &[JobState::Running, JobState::Stopped, JobState::Cancelled])
        } else if job.limits.upto < u32::MAX {
            (JobState::Asking, &[JobState::Running])
        } else {
            // It was stopped, or is to go on again by now.
            (JobState::Running, &[])
        };
        if from.is_empty() {
            return Ok(());
        }
        let Counts { done, failed, skipped, waiting, .. } = counts;
        let outcome = match (&job.kind, to) {
            (_, JobState::Asking) => "asks",
            (JobKind::Swap(_), _) => "ok",
            _ if failed > 0 => "failed",
            _ => "ok",
        };
        let left = if skipped > 0 { format!(", {skipped} left alone") } else { String::new() };
        let detail = format!("{done} done, {failed} failed{left}, {waiting} not begun");
        self.store
            .set_job(&job.id, from, to, None, &entry(job, &job.actor, outcome, Some(detail)))
            .await
            .map(drop)
    }
}

/// An item whose task ended without a result is settled like those of a replica that is gone.
fn ended_well(ended: Result<Result<(), StoreError>, JoinError>) -> Result<(), StoreError> {
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "an item of a job ended without a result");
        Ok(())
    })
}
