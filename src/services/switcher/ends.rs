//! The ends of a job's swaps, written down together where they come at about the same time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::store::{Ended, Store, StoreError};

/// How long an end waits for others. Nobody else waits for it: the next swap of the job has begun by then.
const GATHER: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(super) struct Ends {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    ended: Arc<Ended>,
    told: oneshot::Sender<Result<(), StoreError>>,
}

impl Ends {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an end down. Whoever comes first does it for all that wait by then.
    pub(super) async fn write(&self, store: &Store, ended: Arc<Ended>) -> Result<(), StoreError> {
        let (told, mut answer) = oneshot::channel();
        self.waiting().push(Waiting { ended, told });
        let _turn = self.turn.lock().await;
        match answer.try_recv() {
            Ok(answer) => return answer,
            Err(oneshot::error::TryRecvError::Closed) => return Err(StoreError::Down),
            Err(oneshot::error::TryRecvError::Empty) => {}
        }
        tokio::time::sleep(GATHER).await;
        let together = std::mem::take(&mut *self.waiting());
        let all: Vec<&Ended> = together.iter().map(|waiting| &*waiting.ended).collect();
        if store.finish_swaps(&all).await.is_ok() {
            for waiting in together {
                drop(waiting.told.send(Ok(())));
            }
        } else {
            // One of them may have spoilt it for all.
            for Waiting { ended, told } in together {
                let _ = told.send(store.finish_swaps(&[&ended]).await);
            }
        }
        answer.await.unwrap_or(Err(StoreError::Down))
    }
}
