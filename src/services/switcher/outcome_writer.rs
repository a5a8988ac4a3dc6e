//! Writes down how swaps ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::record::audit_entry;
use super::{Parts, Progress};
use crate::domain::audit::Actor;
use crate::domain::swap::{Outcome, Step, StepKind, StepResult, Swap};
use crate::domain::words::sentence;
use crate::store::{Ended, Fenced, Store, StoreError};

/// How long the outcome of a job's swap waits for others. Nothing waits for it: the job's next swap has begun by then.
const BATCH_WINDOW: Duration = Duration::from_millis(5);

/// Attempts and the pause between them: ten minutes.
const ATTEMPTS: u32 = 600;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Writes outcomes that come at about the same time in one transaction.
#[derive(Default)]
pub(super) struct OutcomeWriter {
    pending: Mutex<Vec<Pending>>,
    batch: tokio::sync::Mutex<()>,
}

struct Pending {
    ended: Arc<Ended>,
    reply: oneshot::Sender<Result<(), Fenced>>,
}

impl OutcomeWriter {
    fn pending(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first caller writes for all that are pending by then.
    async fn write(&self, store: &Store, ended: Arc<Ended>) -> Result<(), Fenced> {
        let (reply, mut written) = oneshot::channel();
        self.pending().push(Pending { ended, reply });
        let _batch = self.batch.lock().await;
        match written.try_recv() {
            Ok(written) => return written,
            Err(oneshot::error::TryRecvError::Closed) => return Err(StoreError::Down.into()),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        tokio::time::sleep(BATCH_WINDOW).await;
        let batch = std::mem::take(&mut *self.pending());
        let all: Vec<&Ended> = batch.iter().map(|pending| &*pending.ended).collect();
        let is_written = store.finish_swaps(&all).await.is_ok();
        for Pending { ended, reply } in batch {
            // Where the batch failed, one of them may have spoilt it for the others.
            let _ = reply.send(if is_written { Ok(()) } else { store.finish_swaps(&[&ended]).await });
        }
        written.await.unwrap_or(Err(StoreError::Down.into()))
    }
}

impl Parts {
    /// The swap as it is written down. A failure is reported to those who wait for the swap, and tried again: the
    /// context stays locked until then, so that no other swap starts without knowing its state. None where it could
    /// not be written at all.
    pub(super) async fn write_outcome(
        &self,
        ended: &Arc<Ended>,
        actor: &Actor,
        progress: &watch::Sender<Progress>,
    ) -> Option<Swap> {
        for attempt in 0..ATTEMPTS {
            // A write whose confirmation was lost counts, as does that of a replica that took this one for dead.
            if attempt > 0
                && let Ok(Some(swap)) = self.store.swap(&ended.swap.id).await
                && swap.finished_at.is_some()
            {
                return Some(swap);
            }
            let written = match &ended.item {
                Some(_) => self.outcomes.write(&self.store, Arc::clone(ended)).await,
                None => self.store.finish_swaps(&[ended]).await,
            };
            let error = match written {
                Ok(()) => return Some(ended.swap.clone()),
                Err(error @ Fenced::Lost(_)) => {
                    let swap = lost(&ended.swap, &error);
                    match self.store.finish_lost_swap(&swap, &audit_entry(&swap, actor)).await {
                        Ok(()) => return Some(swap),
                        Err(error) => error.into(),
                    }
                }
                Err(error) => error,
            };
            tracing::error!(%error, swap = ended.swap.id, "the outcome of a swap was not written; trying again");
            progress.send_replace(Progress { is_lost: true, ..Progress::ended(ended.swap.clone()) });
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        None
    }
}

/// What is known of a swap whose lock was lost: nothing that happened since.
fn lost(swap: &Swap, error: &Fenced) -> Swap {
    let mut swap = Swap { outcome: Outcome::Unknown, ..swap.clone() };
    if swap.failed_step().is_none() {
        let (kind, detail) = (StepKind::ReadBack, sentence(error));
        swap.steps.push(Step { kind, result: StepResult::Failed, detail, elapsed_ms: 0.0 });
    }
    swap
}
