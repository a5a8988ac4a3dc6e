//! The queue for a password check. People who have logged in from their address before go first, then the longest waiting,
//! where each recent failure of the name and the address counts as a second less of waiting, 30 s at most.
//! Where the queue is full, the longest waiting attempt of the address with most attempts and failures gives way; those
//! people do not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::login_throttle::Lane;

/// Checks at once: each takes 19 MB and a processor.
const MAX_CHECKS: usize = 2;

/// Most attempts that wait: at two checks of 25 ms at once the last waits 13 s, as long as clients usually do.
const MAX_WAITING: usize = 1024;

/// Most failures that put an attempt back, by a second each.
const MAX_FAILURES: u32 = 30;

#[derive(Clone, Default)]
pub(super) struct LoginQueue(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    checks: usize,
    next: u64,
    /// The longest waiting first.
    waiting: Vec<Waiter>,
}

struct Waiter {
    id: u64,
    lane: Lane,
    /// The earliest goes first.
    due: Instant,
    /// Dropped where it has to give way.
    turn: oneshot::Sender<Turn>,
}

/// The right to check one password. It passes to the next attempt on drop.
pub(super) struct Turn(LoginQueue);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut inner = self.0.inner();
        let known = inner.waiting.iter().position(|waiter| waiter.lane.failures.is_none());
        let first =
            || inner.waiting.iter().enumerate().min_by_key(|(_, waiter)| waiter.due).map(|(at, _)| at);
        let Some(at) = known.or_else(first) else {
            inner.checks -= 1;
            return;
        };
        let waiter = inner.waiting.remove(at);
        drop(inner);
        // Where the attempt has ended since, what is not sent is dropped, which leads here again.
        let _ = waiter.turn.send(Self(self.0.clone()));
    }
}

/// Leaves the queue on drop.
struct Ticket<'a> {
    queue: &'a LoginQueue,
    id: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        // A sender that holds no turn: nothing else happens under the lock.
        self.queue.inner().waiting.retain(|waiter| waiter.id != self.id);
    }
}

impl LoginQueue {
    /// Waits for a turn; none where another attempt needs the place.
    pub(super) async fn turn(&self, lane: Lane) -> Option<Turn> {
        let (sender, turn) = oneshot::channel();
        let _ticket = match self.join(lane, sender) {
            Ok(turn) => return Some(turn),
            Err(ticket) => ticket,
        };
        turn.await.ok()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, lane: Lane, turn: oneshot::Sender<Turn>) -> Result<Turn, Ticket<'_>> {
        let mut inner = self.inner();
        if inner.checks < MAX_CHECKS {
            inner.checks += 1;
            return Ok(Turn(self.clone()));
        }
        inner.next += 1;
        let id = inner.next;
        let failures = lane.failures.unwrap_or_default().min(MAX_FAILURES);
        let due = Instant::now() + Duration::from_secs(failures.into());
        inner.waiting.push(Waiter { id, lane, due, turn });
        if inner.waiting.len() > MAX_WAITING {
            let mut attempts = HashMap::<u64, u32>::new();
            for waiter in &inner.waiting {
                *attempts.entry(waiter.lane.id).or_default() += 1;
            }
            let rank =
                |Lane { id, failures }: Lane| failures.map(|failures| failures.saturating_add(attempts[&id]));
            // Of several that are equal `max_by_key` takes the last, so the order is turned round.
            let gives_way =
                inner.waiting.iter().enumerate().rev().max_by_key(|(_, waiter)| rank(waiter.lane));
            if let Some((at, _)) = gives_way {
                inner.waiting.remove(at);
            }
        }
        Err(Ticket { queue: self, id })
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

    /// Has these wait in turn while all checks are taken, and says which of them had to give way.
    fn waited(lanes: impl IntoIterator<Item = Lane>) -> Vec<bool> {
        let queue = LoginQueue::default();
        let turns: Vec<_> = (0..MAX_CHECKS).map(|_| queue.turn(KNOWN).now_or_never().flatten()).collect();
        assert!(turns.iter().all(Option::is_some));
        let mut all: Vec<_> = lanes.into_iter().map(|lane| Box::pin(queue.turn(lane))).collect();
        for waiter in &mut all {
            assert!(waiter.now_or_never().is_none());
        }
        assert!(queue.inner().waiting.len() <= MAX_WAITING);
        let gave_way = all.iter_mut().map(|waiter| waiter.now_or_never().is_some()).collect();
        drop((all, turns));
        assert!(queue.inner().waiting.is_empty());
        assert_eq!(queue.inner().checks, 0);
        gave_way
    }

    #[test]
    fn most_crowded_address_gives_way_and_known_people_never() {
        let first = [KNOWN, unknown(1, 9)];
        let gave_way = waited(first.into_iter().chain(std::iter::repeat_n(unknown(2, 0), 2 * MAX_WAITING)));
        assert_eq!(gave_way[..3], [false, false, true]);
        assert!(!gave_way[2 * MAX_WAITING + 1]);
        assert_eq!(gave_way.iter().filter(|gave_way| **gave_way).count(), MAX_WAITING + 2);
    }

    #[test]
    fn of_many_addresses_those_that_fail_give_way() {
        let crowd = |from: u64| (from..from + MAX_WAITING as u64).map(|id| unknown(id, 2));
        let gave_way = waited(crowd(10_000).chain([unknown(1, 0)]).chain(crowd(20_000)));
        assert!(!gave_way[MAX_WAITING]);
        assert!(gave_way[0] && !gave_way[2 * MAX_WAITING], "the longest waiting one gives way");
    }

    #[test]
    fn known_people_go_first_and_turns_of_ended_attempts_pass_on() {
        let queue = LoginQueue::default();
        let now = |lane| Box::pin(queue.turn(lane));
        let held: Vec<_> = (0..MAX_CHECKS).map(|_| now(KNOWN).now_or_never().flatten()).collect();
        let (mut guess, mut first, mut second) = (now(unknown(3, 9)), now(unknown(1, 0)), now(unknown(2, 0)));
        let mut known = now(KNOWN);
        for waiter in [&mut guess, &mut first, &mut second, &mut known] {
            assert!(waiter.now_or_never().is_none());
        }
        drop(held);
        assert!((&mut second).now_or_never().is_none(), "two turns, for the known one and the first");
        let turn = (&mut known).now_or_never().flatten();
        assert!(turn.is_some());
        // It has got a turn, and goes without taking it.
        drop(first);
        assert!((&mut guess).now_or_never().is_none(), "failures put it back");
        assert!((&mut second).now_or_never().flatten().is_some());
        assert!((&mut guess).now_or_never().flatten().is_some());
    }
}
