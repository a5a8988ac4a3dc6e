//! Copies of remote state, so that pages are quick and are still there when the server is not.
//!
//! There are three ways to read a copy. Each returns a [`View`]: the copy, its age, and the last failure beside it.
//!
//! | | which copy will do | for |
//! |---|---|---|
//! | [`cached`](Snapshot::cached) | any; asks and waits for nothing | metrics, and what is shown beside other things |
//! | [`get`](Snapshot::get) | up to a minute old, renewed behind it | pages that only show it |
//! | [`refresh`](Snapshot::refresh) | up to its time to live | what acts on it, and scripts |
//!
//! Where the copy will not do, `get` and `refresh` wait for a newer one: at most `PATIENCE`, after a write
//! `PATIENCE_AFTER_WRITE`, and for the first copy [`Source::FIRST`]. Then they return what there is.
//!
//! However many read at once, the server is asked once. A failure leaves the older copy in place, and counts for
//! `RETRY_AFTER`. [`invalidate`](Snapshot::invalidate) says that the server's state was changed: no copy from before
//! will do any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tracing::Instrument as _;

use patchbay_clock::Clock;

pub const PATIENCE: Duration = Duration::from_millis(800);

/// Longer, since the older copy is known to be wrong.
const PATIENCE_AFTER_WRITE: Duration = Duration::from_secs(3);

/// Up to this age a copy is shown at once. A proxy with 1,000 deployments takes 0.2 to 1.1 s to list them.
const YOUNG: SignedDuration = SignedDuration::from_mins(1);

/// Renewals take at most one part in so many of the server's time: 1.109 answers no other request for 1.1 s while it lists 1,000
/// deployments.
const MAX_SHARE: i32 = 10;

const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// Where a copy comes from.
pub trait Source: Send + Sync + 'static {
    type Fetched: Send + 'static;
    /// What is read: what was fetched, with what pages need of it.
    type Copy: From<Self::Fetched> + Send + Sync + 'static;
    type Error: Clone + Send + Sync + 'static;

    /// The age from which a copy is renewed when someone reads it.
    const TIME_TO_LIVE: SignedDuration;

    /// How long the first copy is waited for: as long as the server takes to answer or fail.
    const FIRST: Duration = Duration::MAX;

    fn fetch(&self) -> impl Future<Output = Result<Self::Fetched, Self::Error>> + Send;

    /// Computes once per copy, before it is published, what readers would otherwise each compute. Runs on a thread for
    /// blocking work.
    fn derive(&self, fetched: Self::Fetched) -> Self::Copy {
        fetched.into()
    }

    /// A number that changes when the state does. Only what is kept in this process can tell.
    fn version(&self) -> u64 {
        0
    }
}

pub struct Snapshot<S: Source>(Arc<Inner<S>>);

impl<S: Source> Clone for Snapshot<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<S: Source> {
    source: S,
    clock: Clock,
    state: watch::Sender<State<S>>,
}

struct State<S: Source> {
    copy: Option<(Arc<S::Copy>, Timestamp)>,
    problem: Option<(S::Error, Timestamp)>,
    /// How old the copy gets before it is renewed: longer where that takes the server long.
    rest: SignedDuration,
    /// The source's version, and how often the copy was invalidated, when it was begun.
    begun_at: (u64, u64),
    invalidations: u64,
    is_renewing: bool,
}

#[derive(Debug, Clone)]
pub struct View<T, E> {
    pub value: Option<Arc<T>>,
    pub at: Option<Timestamp>,
    pub problem: Option<E>,
    pub is_renewing: bool,
}

impl<S: Source> Snapshot<S> {
    pub fn new(source: S, clock: Clock) -> Self {
        let state = State {
            copy: None,
            problem: None,
            rest: S::TIME_TO_LIVE,
            begun_at: (0, 0),
            invalidations: 0,
            is_renewing: false,
        };
        Self(Arc::new(Inner { source, clock, state: watch::Sender::new(state) }))
    }

    pub fn cached(&self) -> View<S::Copy, S::Error> {
        let state = self.0.state.borrow();
        let (value, at) = state.copy.clone().unzip();
        let problem = state.problem.as_ref().map(|(problem, _)| problem.clone());
        View { value, at, problem, is_renewing: state.is_renewing }
    }

    pub async fn get(&self) -> View<S::Copy, S::Error> {
        self.read(YOUNG).await
    }

    pub async fn refresh(&self) -> View<S::Copy, S::Error> {
        self.read(S::TIME_TO_LIVE).await
    }

    /// No copy from before will do any more, and the server is asked again though it failed a moment ago.
    pub fn invalidate(&self) {
        self.0.state.send_modify(|state| {
            state.invalidations += 1;
            state.problem = None;
        });
    }

    async fn read(&self, max_age: SignedDuration) -> View<S::Copy, S::Error> {
        let (will_do, is_due, patience) = {
            let state = self.0.state.borrow();
            let is_stale = self.0.is_stale(&state);
            let is_young = state.copy.as_ref().is_some_and(|(_, at)| !self.0.is_older(*at, max_age));
            let patience = match (&state.copy, &state.problem) {
                (None, None) => S::FIRST,
                (Some(_), None) if is_stale => PATIENCE_AFTER_WRITE,
                // A server that hung a moment ago is not waited for again by every reader.
                _ => PATIENCE,
            };
            (is_young && !is_stale && state.problem.is_none(), self.0.is_due(&state), patience)
        };
        match (is_due, will_do) {
            (true, true) => {
                self.0.begin_renewal();
            }
            (true, false) => {
                let _ = tokio::time::timeout(patience, self.renewed()).await;
            }
            (false, _) => {}
        }
        self.cached()
    }

    async fn renewed(&self) {
        let mut state = self.0.state.subscribe();
        // Twice, where the first renewal was begun before the copy was invalidated.
        for _ in 0..2 {
            if !self.0.begin_renewal() {
                return;
            }
            let _ = state.wait_for(|state| !state.is_renewing).await;
        }
    }
}

impl<S: Source> Inner<S> {
    fn is_older(&self, at: Timestamp, than: SignedDuration) -> bool {
        self.clock.now().duration_since(at) >= than
    }

    fn is_stale(&self, state: &State<S>) -> bool {
        state.begun_at != (self.source.version(), state.invalidations)
    }

    fn is_due(&self, state: &State<S>) -> bool {
        if state.problem.as_ref().is_some_and(|(_, at)| !self.is_older(*at, RETRY_AFTER)) {
            return false;
        }
        self.is_stale(state) || state.copy.as_ref().is_none_or(|(_, at)| self.is_older(*at, state.rest))
    }

    /// Asks the server, unless that is under way or not due: in a task of its own, which goes on when the reader who
    /// began it has gone away. Returns whether there is something to wait for.
    fn begin_renewal(self: &Arc<Self>) -> bool {
        let mut is_running = false;
        let begins = self.state.send_if_modified(|state| {
            is_running = state.is_renewing;
            let begins = !is_running && self.is_due(state);
            state.is_renewing |= begins;
            begins
        });
        if begins {
            let renewal = Renewal(Arc::clone(self));
            // In the span of the request or job that began it, whose id the log then has.
            tokio::spawn(renewal.run().in_current_span());
        }
        begins || is_running
    }
}

/// A renewal that runs. Its end is announced when it is dropped, also after a panic of the source.
struct Renewal<S: Source>(Arc<Inner<S>>);

impl<S: Source> Drop for Renewal<S> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.is_renewing = false);
    }
}

impl<S: Source> Renewal<S> {
    async fn run(self) {
        let begun_at = (self.0.source.version(), self.0.state.borrow().invalidations);
        let started = Instant::now();
        let copy = match self.0.source.fetch().await {
            Ok(fetched) => {
                let inner = Arc::clone(&self.0);
                match tokio::task::spawn_blocking(move || inner.source.derive(fetched)).await {
                    Ok(copy) => Ok(Arc::new(copy)),
                    // It has panicked, which the panic hook has logged.
                    Err(_) => return,
                }
            }
            Err(problem) => Err(problem),
        };
        let now = self.0.clock.now();
        let took = SignedDuration::try_from(started.elapsed()).unwrap_or(SignedDuration::MAX);
        let rest = took.saturating_mul(MAX_SHARE).clamp(S::TIME_TO_LIVE, YOUNG.max(S::TIME_TO_LIVE));
        self.0.state.send_modify(|state| match copy {
            Ok(copy) => {
                (state.copy, state.problem, state.begun_at) = (Some((copy, now)), None, begun_at);
                state.rest = rest;
            }
            Err(problem) => state.problem = Some((problem, now)),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct World {
        seconds: AtomicI64,
        asked: AtomicU32,
        fails: AtomicBool,
        panics: AtomicBool,
        derivation_panics: AtomicBool,
    }

    impl Source for Arc<World> {
        type Fetched = u32;
        type Copy = u32;
        type Error = &'static str;

        const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(5);

        async fn fetch(&self) -> Result<u32, &'static str> {
            tokio::task::yield_now().await;
            assert!(!self.panics.load(Ordering::SeqCst), "the source panics");
            let count = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            if self.fails.load(Ordering::SeqCst) { Err("down") } else { Ok(count) }
        }

        fn derive(&self, fetched: u32) -> u32 {
            assert!(!self.derivation_panics.load(Ordering::SeqCst), "the derivation panics");
            fetched * 10
        }
    }

    fn world() -> (Arc<World>, Snapshot<Arc<World>>) {
        let world = Arc::new(World::default());
        let time = Arc::clone(&world);
        let clock =
            Clock::from_fn(move || Timestamp::from_second(time.seconds.load(Ordering::SeqCst)).unwrap());
        (Arc::clone(&world), Snapshot::new(world, clock))
    }

    impl World {
        fn pass(&self, seconds: i64) {
            self.seconds.fetch_add(seconds, Ordering::SeqCst);
        }

        fn asked(&self) -> u32 {
            self.asked.load(Ordering::SeqCst)
        }
    }

    fn value<E>(view: &View<u32, E>) -> Option<u32> {
        view.value.as_deref().copied()
    }

    #[tokio::test]
    async fn many_readers_cost_one_request() {
        let (world, snapshot) = world();
        assert_eq!(value(&snapshot.cached()), None);
        let views = futures_util::future::join_all((0..20).map(|_| snapshot.refresh())).await;
        assert!(views.iter().all(|view| value(view) == Some(10)));
        assert_eq!(world.asked(), 1);
    }

    #[tokio::test]
    async fn refresh_waits_for_a_newer_copy_and_get_has_it_renewed_behind() {
        let (world, snapshot) = world();
        assert_eq!(value(&snapshot.get().await), Some(10));
        assert_eq!(value(&snapshot.refresh().await), Some(10));
        world.pass(5);
        assert_eq!(value(&snapshot.refresh().await), Some(20));
        world.pass(5);
        for _ in 0..3 {
            let view = snapshot.get().await;
            assert_eq!((value(&view), view.is_renewing), (Some(20), true));
        }
        snapshot.0.state.subscribe().wait_for(|state| !state.is_renewing).await.unwrap();
        let view = snapshot.get().await;
        assert_eq!((value(&view), view.is_renewing), (Some(30), false));
        assert_eq!(world.asked(), 3, "once for all who read");
        snapshot.invalidate();
        assert_eq!(value(&snapshot.get().await), Some(40), "a wrong copy is not shown");
        world.pass(60);
        assert_eq!(value(&snapshot.get().await), Some(50), "nor one of a minute ago");
    }

    #[tokio::test]
    async fn a_copy_that_was_begun_before_a_write_is_not_returned_after_it() {
        let (_world, snapshot) = world();
        snapshot.get().await;
        snapshot.invalidate();
        assert!(snapshot.0.begin_renewal());
        tokio::task::yield_now().await;
        snapshot.invalidate();
        assert_eq!(value(&snapshot.refresh().await), Some(30));
    }

    #[tokio::test]
    async fn a_failure_leaves_the_last_copy_with_its_age_and_is_not_repeated_at_once() {
        let (world, snapshot) = world();
        snapshot.get().await;
        world.fails.store(true, Ordering::SeqCst);
        world.pass(60);
        for _ in 0..3 {
            let view = snapshot.get().await;
            assert_eq!((value(&view), view.problem), (Some(10), Some("down")));
            assert_eq!(view.at.unwrap().as_second(), 0);
        }
        assert_eq!(world.asked(), 2);
        world.fails.store(false, Ordering::SeqCst);
        world.pass(1);
        assert_eq!(snapshot.refresh().await.problem, None);
    }

    #[tokio::test]
    async fn a_source_that_panics_keeps_no_reader_waiting() {
        let (world, snapshot) = world();
        for switch in [&world.panics, &world.derivation_panics] {
            switch.store(true, Ordering::SeqCst);
            let view = tokio::time::timeout(Duration::from_secs(5), snapshot.get()).await.unwrap();
            assert_eq!((value(&view), view.is_renewing), (None, false));
            switch.store(false, Ordering::SeqCst);
        }
        assert!(value(&snapshot.get().await).is_some(), "the next reader gets an answer");
    }
}
