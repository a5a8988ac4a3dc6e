//! A copy of something that a server knows, kept so that pages are quick and outlive the server.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use patchbay_clock::Clock;

/// How long a page waits for a newer copy when it could show an older one, or why there is none.
const PATIENCE: Duration = Duration::from_millis(800);

/// The same after a write, when the older copy is known to be wrong.
const PATIENCE_AFTER_WRITE: Duration = Duration::from_secs(3);

/// Up to this age a copy is shown at once to those who only look. A proxy with 1,000 deployments takes 0.2 to 1.1 s
/// to tell them.
const AT_ONCE: SignedDuration = SignedDuration::from_mins(1);

/// How long a failure counts before the server is asked again.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);

type Fetch<T, E> = dyn Fn() -> Pin<Box<dyn Future<Output = Result<T, E>> + Send>> + Send + Sync;

/// A copy that is fetched when someone looks and it is older than its time to live.
///
/// However many look at once, the server is asked once. While it is asked, those who look wait a little, then
/// get the older copy, or the last failure. A failure leaves the older copy in place, with the error beside it.
pub struct Snapshot<T, E> {
    inner: Arc<Inner<T, E>>,
}

impl<T, E> Clone for Snapshot<T, E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner<T, E> {
    fetch: Box<Fetch<T, E>>,
    time_to_live: SignedDuration,
    clock: Clock,
    state: Mutex<State<T, E>>,
    gate: tokio::sync::Mutex<()>,
}

struct State<T, E> {
    value: Option<(Arc<T>, Timestamp)>,
    problem: Option<(E, Timestamp)>,
    /// Counts the writes; a copy fetched before a write is out of date.
    writes: u64,
    is_stale: bool,
    renewals: u32,
}

#[derive(Debug, Clone)]
pub struct View<T, E> {
    pub value: Option<Arc<T>>,
    pub at: Option<Timestamp>,
    pub problem: Option<E>,
    pub is_renewing: bool,
}

impl<T: Send + Sync + 'static, E: Clone + Send + 'static> Snapshot<T, E> {
    /// A snapshot of what `fetch` brings, renewed when older than `time_to_live`.
    pub fn new<F, R>(clock: Clock, time_to_live: SignedDuration, fetch: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
    {
        let state = State { value: None, problem: None, writes: 0, is_stale: false, renewals: 0 };
        Self {
            inner: Arc::new(Inner {
                fetch: Box::new(move || Box::pin(fetch())),
                time_to_live,
                clock,
                state: Mutex::new(state),
                gate: tokio::sync::Mutex::default(),
            }),
        }
    }

    pub async fn get(&self) -> View<T, E> {
        let (due, patience) = {
            let state = self.inner.state();
            let patience = match (&state.value, &state.problem, state.is_stale) {
                (None, None, _) => Duration::MAX,
                (Some(_), None, true) => PATIENCE_AFTER_WRITE,
                // A server that hung a moment ago is not waited for again by everyone who looks.
                (_, Some(_), _) | (Some(_), None, false) => PATIENCE,
            };
            (self.inner.is_due(&state), patience)
        };
        if due {
            let _ = tokio::time::timeout(patience, self.renew()).await;
        }
        self.peek()
    }

    /// The copy for someone who only looks: at once, where it is not much too old and is not known to be wrong. A newer
    /// one is then on its way.
    pub async fn glance(&self) -> View<T, E> {
        let (is_good, is_due) = {
            let state = self.inner.state();
            let is_young = state.value.as_ref().is_some_and(|(_, at)| !self.inner.is_older(*at, AT_ONCE));
            let is_good = is_young && !state.is_stale && state.problem.is_none();
            (is_good, self.inner.is_due(&state) && state.renewals == 0)
        };
        if !is_good {
            return self.get().await;
        }
        if is_due {
            drop(self.renew());
        }
        self.peek()
    }

    /// Asks the server, in a task of its own: it goes on when the one who looked first has gone away.
    fn renew(&self) -> tokio::task::JoinHandle<()> {
        let inner = Arc::clone(&self.inner);
        inner.state().renewals += 1;
        tokio::spawn(async move {
            inner.refresh().await;
            inner.state().renewals -= 1;
        })
    }

    /// The copy, for which a page waits a little even where there is none yet.
    pub async fn get_soon(&self) -> View<T, E> {
        let _ = tokio::time::timeout(PATIENCE, self.get()).await;
        self.peek()
    }

    pub fn peek(&self) -> View<T, E> {
        let state = self.inner.state();
        let (value, at) = state.value.clone().unzip();
        let problem = state.problem.as_ref().map(|(problem, _)| problem.clone());
        View { value, at, problem, is_renewing: state.renewals > 0 }
    }

    /// Lets the next one who looks ask the server, however short a time ago it failed.
    pub fn forget_failure(&self) {
        self.inner.state().problem = None;
    }

    /// Says that the server's state has changed: the next one who looks waits for a new copy.
    pub fn drop_copy(&self) {
        let mut state = self.inner.state();
        state.writes += 1;
        state.is_stale = true;
        state.problem = None;
    }
}

impl<T, E> Inner<T, E> {
    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_older(&self, at: Timestamp, than: SignedDuration) -> bool {
        self.clock.now().duration_since(at) >= than
    }

    fn is_due(&self, state: &State<T, E>) -> bool {
        if state.problem.as_ref().is_some_and(|(_, at)| !self.is_older(*at, RETRY_AFTER)) {
            return false;
        }
        state.is_stale || state.value.as_ref().is_none_or(|(_, at)| self.is_older(*at, self.time_to_live))
    }

    async fn refresh(&self) {
        let _one_at_a_time = self.gate.lock().await;
        let writes = {
            let state = self.state();
            if !self.is_due(&state) {
                return;
            }
            state.writes
        };
        let result = (self.fetch)().await;
        let now = self.clock.now();
        let mut state = self.state();
        match result {
            Ok(value) => {
                state.value = Some((Arc::new(value), now));
                state.problem = None;
                state.is_stale = state.writes != writes;
            }
            Err(problem) => state.problem = Some((problem, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

    use super::*;

    struct World {
        seconds: Arc<AtomicI64>,
        asked: Arc<AtomicU32>,
        fails: Arc<std::sync::atomic::AtomicBool>,
        snapshot: Snapshot<u32, &'static str>,
    }

    fn world() -> World {
        let seconds = Arc::new(AtomicI64::new(1000));
        let asked = Arc::new(AtomicU32::new(0));
        let fails = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let clock = {
            let seconds = Arc::clone(&seconds);
            Clock::from_fn(move || Timestamp::from_second(seconds.load(Ordering::SeqCst)).unwrap())
        };
        let snapshot = {
            let (asked, fails) = (Arc::clone(&asked), Arc::clone(&fails));
            Snapshot::new(clock, SignedDuration::from_secs(5), move || {
                let (asked, fails) = (Arc::clone(&asked), Arc::clone(&fails));
                async move {
                    tokio::task::yield_now().await;
                    let count = asked.fetch_add(1, Ordering::SeqCst) + 1;
                    if fails.load(Ordering::SeqCst) { Err("down") } else { Ok(count) }
                }
            })
        };
        World { seconds, asked, fails, snapshot }
    }

    #[tokio::test]
    async fn many_who_look_at_once_cost_one_request() {
        let world = world();
        let views = futures_util::future::join_all((0..20).map(|_| world.snapshot.get())).await;
        assert!(views.iter().all(|view| view.value.as_deref() == Some(&1)));
        assert_eq!(world.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_old_copy_is_renewed_and_a_dropped_one_at_once() {
        let world = world();
        assert_eq!(world.snapshot.get().await.value.as_deref(), Some(&1));
        assert_eq!(world.snapshot.get().await.value.as_deref(), Some(&1));
        world.seconds.fetch_add(5, Ordering::SeqCst);
        assert_eq!(world.snapshot.get().await.value.as_deref(), Some(&2));
        world.snapshot.drop_copy();
        assert_eq!(world.snapshot.get().await.value.as_deref(), Some(&3));
    }

    #[tokio::test]
    async fn who_only_looks_gets_an_older_copy_at_once_and_the_server_is_asked_behind_it() {
        let world = world();
        assert_eq!(world.snapshot.glance().await.value.as_deref(), Some(&1));
        world.seconds.fetch_add(5, Ordering::SeqCst);
        for _ in 0..3 {
            let view = world.snapshot.glance().await;
            assert_eq!((view.value.as_deref(), view.is_renewing), (Some(&1), true));
        }
        while world.snapshot.peek().is_renewing {
            tokio::task::yield_now().await;
        }
        let view = world.snapshot.glance().await;
        assert_eq!((view.value.as_deref(), view.is_renewing), (Some(&2), false));
        assert_eq!(world.asked.load(Ordering::SeqCst), 2, "once for all who looked");
        world.snapshot.drop_copy();
        assert_eq!(world.snapshot.glance().await.value.as_deref(), Some(&3), "a wrong copy is not shown");
        world.seconds.fetch_add(60, Ordering::SeqCst);
        assert_eq!(world.snapshot.glance().await.value.as_deref(), Some(&4), "one of a minute ago neither");
    }

    #[tokio::test]
    async fn a_failure_leaves_the_last_copy_with_its_age_and_is_not_repeated_at_once() {
        let world = world();
        world.snapshot.get().await;
        world.fails.store(true, Ordering::SeqCst);
        world.seconds.fetch_add(60, Ordering::SeqCst);
        for _ in 0..3 {
            let view = world.snapshot.get().await;
            assert_eq!((view.value.as_deref(), view.problem), (Some(&1), Some("down")));
            assert_eq!(view.at.unwrap().as_second(), 1000);
        }
        assert_eq!(world.asked.load(Ordering::SeqCst), 2);
        world.fails.store(false, Ordering::SeqCst);
        world.seconds.fetch_add(1, Ordering::SeqCst);
        assert_eq!(world.snapshot.get().await.problem, None);
    }
}
