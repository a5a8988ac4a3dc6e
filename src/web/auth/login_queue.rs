//! Who waits for a password check. The queue is short, so that nobody waits long. Where it is full, the longest waiting
//! attempt of the address with most attempts and failures gives way. People who have logged in from their address before
//! do not.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::login_throttle::Lane;

/// Most that wait: at two checks of 25 ms at once the last waits 1.6 s.
const MAX: usize = 128;

#[derive(Default)]
pub(super) struct LoginQueue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// The longest waiting first.
    all: Vec<Waiter>,
}

struct Waiter {
    id: u64,
    lane: Lane,
    /// Dropped when it has to give way.
    _stays: oneshot::Sender<()>,
}

struct Ticket<'a> {
    queue: &'a LoginQueue,
    id: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.queue.waiting().all.retain(|waiter| waiter.id != self.id);
    }
}

impl LoginQueue {
    /// Waits for `turn`; none where another attempt needs the place.
    pub(super) async fn wait<T>(&self, lane: Lane, turn: impl Future<Output = T>) -> Option<T> {
        let (stays, gives_way) = oneshot::channel();
        let _ticket = self.join(lane, stays);
        tokio::select! {
            biased;
            turn = turn => Some(turn),
            _ = gives_way => None,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, lane: Lane, stays: oneshot::Sender<()>) -> Ticket<'_> {
        let mut waiting = self.waiting();
        waiting.next += 1;
        let id = waiting.next;
        waiting.all.push(Waiter { id, lane, _stays: stays });
        if waiting.all.len() > MAX {
            let mut attempts = HashMap::<u64, u32>::new();
            for waiter in &waiting.all {
                *attempts.entry(waiter.lane.id).or_default() += 1;
            }
            let rank =
                |Lane { id, failures }: Lane| failures.map(|failures| failures.saturating_add(attempts[&id]));
            // Of several that are equal `max_by_key` takes the last, so the order is turned round.
            let gives_way = waiting.all.iter().enumerate().rev().max_by_key(|(_, waiter)| rank(waiter.lane));
            if let Some((at, _)) = gives_way {
                waiting.all.remove(at);
            }
        }
        Ticket { queue: self, id }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const KNOWN: Lane = Lane { id: 0, failures: None };

    fn unknown(id: u64, failures: u32) -> Lane {
        Lane { id, failures: Some(failures) }
    }

    /// Has these wait in turn, and says which of them had to give way.
    fn waited(lanes: impl IntoIterator<Item = Lane>) -> Vec<bool> {
        let queue = LoginQueue::default();
        let wait = |lane| Box::pin(queue.wait(lane, std::future::pending::<()>()));
        let mut all: Vec<_> = lanes.into_iter().map(wait).collect();
        for waiter in &mut all {
            assert!(waiter.now_or_never().is_none());
        }
        assert!(queue.waiting().all.len() <= MAX);
        let gave_way = all.iter_mut().map(|waiter| waiter.now_or_never().is_some()).collect();
        drop(all);
        assert!(queue.waiting().all.is_empty());
        gave_way
    }

    #[test]
    fn most_crowded_address_gives_way_and_known_people_never() {
        let first = [KNOWN, unknown(1, 9)];
        let gave_way = waited(first.into_iter().chain(std::iter::repeat_n(unknown(2, 0), 1000)));
        assert_eq!(gave_way[..3], [false, false, true]);
        assert!(!gave_way[1001]);
        assert_eq!(gave_way.iter().filter(|gave_way| **gave_way).count(), 1002 - MAX);
    }

    #[test]
    fn of_many_addresses_those_that_fail_give_way() {
        let crowd = |from: u64| (from..from + 500).map(|id| unknown(id, 2));
        let gave_way = waited(crowd(1000).chain([unknown(1, 0)]).chain(crowd(2000)));
        assert!(!gave_way[500]);
        assert!(gave_way[0] && gave_way[501] && !gave_way[1000], "the longest waiting one gives way");
    }
}
