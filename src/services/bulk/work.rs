//! How a replica works on a job that it holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::domain::agent::Scope;
use crate::domain::audit::{Action, NewEntry};
use crate::domain::bulk::{Counts, Item, ItemState, Job, JobState, Place, judge};
use crate::domain::swap::{Outcome, SwapRequest};
use crate::domain::words::sentence;
use crate::services::agents::AgentView;
use crate::services::live::Message;
use crate::services::switcher::{OneOfMany, SwapError};
use crate::store::StoreError;

/// How often those who look are told how far a job is.
const TELL: Duration = Duration::from_millis(500);

const UNWRITTEN: usize = 4;

impl Inner {
    /// Works on a job until there is nothing of it to begin, or until `stop`.
    pub(super) async fn work_on(
        self: &Arc<Self>,
        id: &str,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let Some(job) = self.store.bulk(id).await? else { return Ok(()) };
        self.switcher.forget_key();
        self.settle(&job).await?;
        let mut tasks = JoinSet::new();
        let mut worked = self.begin_items(&job, &mut tasks, stop).await;
        // Whatever went wrong, what runs comes to its end here: whoever takes the job up must find none under way.
        while let Some(ended) = tasks.join_next().await {
            worked = worked.and(ended_well(ended));
        }
        worked?;
        if !stop.is_cancelled() {
            self.end_round(&job).await?;
        }
        let counts = self.store.bulk_counts(id).await?;
        self.tell(&job, counts, false);
        Ok(())
    }

    /// Begins items, and waits for them, until there are none to begin.
    async fn begin_items(
        self: &Arc<Self>,
        job: &Job,
        tasks: &mut JoinSet<Result<(), StoreError>>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let turns = Arc::new(Semaphore::new(job.at_once as usize));
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
                turn = Arc::clone(&turns).acquire_owned(), if tasks.len() < UNWRITTEN * job.at_once as usize => turn,
            };
            let Ok(turn) = turn else { break };
            let (Some(item), Some(seen)) = (claimed.next(), &view) else {
                let counts = self.store.bulk_counts(&job.id).await?;
                if Instant::now() >= tell_at {
                    tell_at = Instant::now() + TELL;
                    self.tell(job, counts, true);
                }
                view = self.look_before(job, counts).await?;
                // With a pause between them few are begun ahead, so that a stop is heeded soon.
                let ahead = if job.pace_ms > 0 { 1 } else { job.at_once };
                claimed = self.store.claim_bulk_items(job, ahead).await?.into_iter();
                if claimed.len() == 0 {
                    match tasks.join_next().await {
                        Some(ended) => ended_well(ended)?,
                        None => break,
                    }
                }
                continue;
            };
            tokio::time::sleep_until(begin_at).await;
            begin_at = Instant::now() + Duration::from_millis(job.pace_ms.into());
            let (inner, job, view) = (Arc::clone(self), job.clone(), seen.clone());
            tasks.spawn(async move { inner.do_item(&job, &item, view, turn).await });
        }
        Ok(())
    }

    fn tell(&self, job: &Job, counts: Counts, runs: bool) {
        self.live.tell(Message::Progress {
            job: job.id.clone(),
            agent: job.agent.to_string(),
            who: job.actor.name.clone(),
            runs,
            done: counts.done,
            failed: counts.failed,
            total: counts.total(),
        });
    }

    /// One item, by the one path that all swaps take, which notes how it ended as well.
    async fn do_item(
        &self,
        job: &Job,
        item: &Item,
        view: AgentView,
        turn: OwnedSemaphorePermit,
    ) -> Result<(), StoreError> {
        match self.swap(job, item, view, turn).await? {
            Ok(()) => Ok(()),
            Err(why) => self.store.set_bulk_item(&job.id, item.n, ItemState::Failed, Some(&why)).await,
        }
    }

    async fn swap(
        &self,
        job: &Job,
        item: &Item,
        view: AgentView,
        turn: OwnedSemaphorePermit,
    ) -> Result<Result<(), String>, StoreError> {
        let Some(swap) = item.swap.clone() else { return Ok(Err("It has no id.".to_owned())) };
        let Some(request) = self.request(job, item).await? else {
            return Ok(Err("What it was on before cannot be sent to the agent.".to_owned()));
        };
        let place = Place { job: job.id.clone(), n: item.n, swap };
        match self.switcher.swap_of_many(OneOfMany { place, view, turn }, request, &job.actor).await {
            // Where it could not be written down for very long, it is looked at as if the replica were gone.
            Ok(_) | Err(SwapError::NotWritten(_)) => Ok(Ok(())),
            Err(SwapError::Store(error)) => Err(error),
            Err(error) => Ok(Err(sentence(&error))),
        }
    }

    async fn request(&self, job: &Job, item: &Item) -> Result<Option<SwapRequest>, StoreError> {
        let Some(undone) = &item.back_to else {
            return Ok(Some(SwapRequest {
                agent: job.agent.clone(),
                context: item.context.clone(),
                model: job.model.clone(),
                prompt: job.prompt.clone(),
                seen: None,
                probe: false,
                message: None,
                minutes: None,
            }));
        };
        let Some(undone) = self.store.swap(undone).await? else { return Ok(None) };
        let Some(before) = &undone.before else { return Ok(None) };
        let request = SwapRequest::going_to(&job.agent, &item.context, undone.after.as_ref(), before);
        // Whoever switched the context since meant to.
        Ok(request.map(|request| SwapRequest { seen: Some(undone.id.clone()), ..request }))
    }

    /// What was begun and is not known to have ended: looked up, read back, and where it was not done, done again.
    async fn settle(&self, job: &Job) -> Result<(), StoreError> {
        let begun = self.store.bulk_items(&job.id, Some(ItemState::Running), 0, u32::MAX).await?;
        if begun.is_empty() {
            return Ok(());
        }
        self.store.close_unfinished_swaps().await?;
        for item in begun {
            let swap = match &item.swap {
                Some(id) => {
                    self.switcher.wait_for(id).await;
                    self.store.close_unfinished_swap(id).await?;
                    self.store.swap(id).await?
                }
                None => None,
            };
            let (state, why) = match &swap {
                None => (ItemState::Waiting, None),
                Some(swap) if swap.outcome != Outcome::Unknown => {
                    let (state, why) = judge(swap);
                    (state, why.map(str::to_owned))
                }
                Some(_) => self.look(job, &item).await?,
            };
            self.store.set_bulk_item(&job.id, item.n, state, why.as_deref()).await?;
        }
        Ok(())
    }

    async fn look(&self, job: &Job, item: &Item) -> Result<(ItemState, Option<String>), StoreError> {
        let Some(request) = self.request(job, item).await? else {
            return Ok((ItemState::Failed, Some("What it was on before is not known.".to_owned())));
        };
        match self.switcher.read_config(&job.agent, &item.context).await {
            Ok(config) if request.is_met_by(&config) => {
                let object = format!("{}/{}", job.agent, item.context);
                let mut entry = NewEntry::new(&job.actor, Action::Swap, object, Outcome::Verified.as_str());
                entry.after = Some(config.spec_text());
                entry.detail = Some(
                    "read back after the replica that ran the swap was gone; nothing was sent again".into(),
                );
                self.store.audit(&entry).await?;
                Ok((ItemState::Done, Some("Read back: it was done when its replica ended.".to_owned())))
            }
            Ok(_) => Ok((ItemState::Waiting, None)),
            Err(error) => Ok((ItemState::Failed, Some(sentence(&error)))),
        }
    }

    /// Looks at the agent before more is begun, and stops the job where there is a reason to. None where there is no
    /// such agent any more.
    async fn look_before(&self, job: &Job, counts: Counts) -> Result<Option<AgentView>, StoreError> {
        let view = match self.agents.get(&job.agent) {
            Some(agent) => Some(self.agents.view(agent).await?),
            None => None,
        };
        let since = counts.failed.saturating_sub(job.forgiven.into());
        let why = match &view {
            None => Some("The agent is no longer in the settings.".to_owned()),
            Some(view) if view.scope == Some(Scope::Agent) => {
                Some("The agent has one model for all its contexts: one swap changes them all.".to_owned())
            }
            Some(_) if job.stop_after > 0 && since >= job.stop_after.into() => {
                Some(format!("{since} failed."))
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            self.store.set_bulk(&job.id, &[JobState::Running], JobState::Stopped, Some(&why)).await?;
        }
        Ok(view)
    }

    async fn end_round(&self, job: &Job) -> Result<(), StoreError> {
        let counts = self.store.bulk_counts(&job.id).await?;
        if counts.running > 0 {
            // They are settled when the job is taken up again, in a moment.
            return Ok(());
        }
        let to = if counts.waiting == 0 { JobState::Done } else { JobState::Asking };
        let from: &[JobState] = match to {
            JobState::Done => &[JobState::Running, JobState::Stopped, JobState::Cancelled],
            _ => &[JobState::Running],
        };
        if self.store.set_bulk(&job.id, from, to, None).await? {
            let Counts { done, failed, skipped, waiting, .. } = counts;
            let detail =
                format!("{done} swapped, {failed} failed, {skipped} left alone, {waiting} not begun");
            let outcome = if to == JobState::Done { "ok" } else { "asks" };
            self.note(job, &job.actor, outcome, Some(detail)).await?;
        }
        Ok(())
    }
}

/// An item that fell over is looked at again with those of a replica that is gone.
fn ended_well(ended: Result<Result<(), StoreError>, JoinError>) -> Result<(), StoreError> {
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "an item of a job fell over");
        Ok(())
    })
}
