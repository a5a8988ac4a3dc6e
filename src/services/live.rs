//! What happens, told at once to everybody who looks.
//!
//! Every write leaves an audit entry, so an event is an audit entry, and its number the event's id: whoever lost
//! the connection is told what came since. What leaves no entry (a swap that begins, how far a job is) is told to
//! those who listen at that moment, without an id.
//!
//! With several replicas, each reads the entries of all from the database, which tells when there are new ones,
//! and the rest they say to each other ([`Store::say`]), at that moment to whoever listens there.

mod condition;
mod event;
mod listeners;
mod told;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::condition::Condition;
pub use self::event::Message;
pub use self::listeners::{Full, Listener};

use self::event::{are_alike, change, frame, json};
use self::listeners::Listeners;
use self::told::Told;
use crate::domain::audit::{Action, Entry, Filter};
use crate::services::agents::Agents;
use crate::store::{Said, Store, StoreError};

const BACKLOG: usize = 256;

const KEPT: usize = 256;

/// Most entries that are read at a time.
const BATCH: u32 = 256;

/// How often the entries are read although nobody said that there are new ones.
const LOOK: Duration = Duration::from_secs(20);

/// After entries were told, more are told together so much later: a job makes hundreds a second.
const REST: Duration = Duration::from_millis(100);

/// Entries that are alike but for their object, one after the other, are told as one where there are more.
const FEW: usize = 8;

/// What is to be said to other replicas, and waits for the database. More is not said.
const UNSAID: usize = 64;

/// How often it is looked whether the database answers, which each replica finds out for itself.
const GLANCE: Duration = Duration::from_secs(1);

/// Most contexts that are looked at for drift.
const CONTEXTS: u32 = 200;

/// How long to wait when the entries could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// The page is to be loaded anew: more has happened than can be told.
const RESET: &str = "event: reset\ndata: {}\n\n";

#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    /// Each event as it goes over the wire: made once, shared by all.
    frames: broadcast::Sender<Bytes>,
    agents: Agents,
    relayed: Option<mpsc::Sender<Message>>,
    state: Mutex<State>,
    closing: CancellationToken,
}

struct State {
    told: Told,
    kept: VecDeque<(i64, Bytes)>,
    floor: i64,
    listeners: Listeners,
    condition: Condition,
}

impl Live {
    /// Begins to tell of the audit entries in `store`.
    pub async fn start(store: Store, agents: Agents) -> Result<Self, StoreError> {
        let mut newest = store.audit_entries(&Filter::default(), None, KEPT).await?;
        newest.reverse();
        let state = State {
            told: Told::up_to(newest.last().map_or(0, |entry| entry.id)),
            kept: newest.iter().map(|entry| (entry.id, change(entry, 1, entry.id))).collect(),
            floor: newest.first().map_or(0, |entry| entry.id - 1),
            listeners: Listeners::default(),
            condition: Condition {
                down: store.down().await?.into_iter().collect(),
                drifted: drifted(&store).await?,
            },
        };
        let (relayed, unsaid) = store.is_shared().then(|| mpsc::channel(UNSAID)).unzip();
        let live = Self(Arc::new(Inner {
            frames: broadcast::Sender::new(BACKLOG),
            agents,
            relayed,
            state: Mutex::new(state),
            closing: CancellationToken::new(),
        }));
        if let Some(unsaid) = unsaid {
            tokio::spawn(say(unsaid, store.clone()));
            tokio::spawn(hear(Arc::downgrade(&live.0), store.said()));
        }
        tokio::spawn(tell(Arc::downgrade(&live.0), store));
        Ok(live)
    }

    pub fn tell(&self, message: Message) {
        self.0.send(frame(&message));
        self.0.relay(message);
    }

    /// The number up to which everything was told: what a page that is made now shows, and maybe more.
    pub fn seen(&self) -> i64 {
        self.0.state().told.up_to
    }

    pub fn condition(&self) -> Condition {
        let condition = self.0.state().condition.clone();
        condition.known(&self.0.agents)
    }

    pub fn listen(&self, listener: Listener) -> Result<Listening, Full> {
        let mut state = self.0.state();
        let last = listener.last;
        let number = state.listeners.join(listener)?;
        let mut first = format!("retry: 2000\nid: {}\nevent: hello\ndata: {{}}\n\n", state.told.up_to);
        match last {
            // Numbers that were not given yet are those of another database.
            Some(last) if last < state.floor || last > state.told.newest() => first.push_str(RESET),
            Some(last) => {
                let missed = state.kept.iter().filter(|(id, _)| *id > last);
                missed.for_each(|(_, frame)| first.push_str(&String::from_utf8_lossy(frame)));
            }
            None => {}
        }
        // Newer than what the page was made with.
        first.push_str(&String::from_utf8_lossy(&state.condition.clone().known(&self.0.agents).frame()));
        // Under the lock, so that nothing is told twice or never.
        let frames = self.0.frames.subscribe();
        drop(state);
        Ok(Listening { inner: Arc::clone(&self.0), number, first: Some(first.into()), frames })
    }

    pub fn listeners(&self) -> usize {
        self.0.state().listeners.len()
    }

    pub fn close(&self) {
        self.0.closing.cancel();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, frame: Bytes) {
        // Nobody may listen.
        let _ = self.frames.send(frame);
    }

    fn relay(&self, message: Message) {
        // What does not get through is told again by the next of its kind.
        let _ = self.relayed.as_ref().map(|relayed| relayed.try_send(message));
    }

    fn heard(&self, said: &Said) {
        match serde_json::from_str(&said.text) {
            Ok(message) => self.send(frame(&message)),
            Err(error) => tracing::debug!(%error, "another replica says what is not known here"),
        }
    }

    /// Changes the condition, and tells of it where that is news.
    fn note(&self, change: impl FnOnce(&mut Condition)) {
        let mut state = self.state();
        let before = state.condition.clone();
        change(&mut state.condition);
        if state.condition != before {
            self.send(state.condition.clone().known(&self.agents).frame());
        }
    }

    /// Tells of the entries that were not told yet. Returns whether there were some.
    async fn read(&self, store: &Store) -> Result<bool, StoreError> {
        let mut is_news = false;
        loop {
            let after = self.state().told.up_to;
            let entries = store.audit_after(after, BATCH).await?;
            let is_full = entries.len() == BATCH as usize;
            self.note(|condition| entries.iter().for_each(|entry| condition.note(entry)));
            let of_health = entries.iter().filter(|entry| entry.action == Action::Health.as_str());
            for agent in of_health.filter_map(|entry| entry.object.strip_prefix("agent/")?.parse().ok()) {
                self.agents.forget_health(&agent);
            }
            if store.is_shared() && entries.iter().any(ends_session) {
                store.sessions().forget_copies();
            }
            let mut state = self.state();
            for alike in entries.chunk_by(are_alike) {
                let at_once = if alike.len() > FEW { alike.len() } else { 1 };
                for together in alike.chunks(at_once) {
                    let new = together.iter().filter(|entry| state.told.take(entry.id));
                    let count = new.count();
                    if let (Some(last), 1..) = (together.last(), count) {
                        let frame = change(last, count, state.told.up_to);
                        state.keep(last.id, frame.clone());
                        self.send(frame);
                        is_news = true;
                    }
                }
            }
            if !is_full {
                return Ok(is_news);
            }
            state.told.give_up_gaps();
        }
    }
}

impl State {
    fn keep(&mut self, id: i64, frame: Bytes) {
        if self.kept.len() == KEPT {
            self.floor = self.kept.pop_front().map_or(0, |(id, _)| id);
        }
        self.kept.push_back((id, frame));
    }
}

async fn say(mut unsaid: mpsc::Receiver<Message>, store: Store) {
    while let Some(message) = unsaid.recv().await {
        if let Err(error) = store.say(&json(&message)).await {
            tracing::debug!(%error, "other replicas were not notified");
        }
    }
}

/// Runs for as long as anybody holds the [`Live`] and the other replicas say something now and then.
async fn hear(inner: Weak<Inner>, mut said: broadcast::Receiver<Said>) {
    loop {
        let said = said.recv().await;
        let Some(inner) = inner.upgrade() else { return };
        match said {
            Ok(said) => inner.heard(&said),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Runs for as long as anybody holds the [`Live`].
async fn tell(inner: Weak<Inner>, store: Store) {
    let mut audited = store.audited();
    let (mut look, mut glance) = (tokio::time::interval(LOOK), tokio::time::interval(GLANCE));
    loop {
        let is_due = tokio::select! {
            changed = audited.changed() => if changed.is_err() { return } else { true },
            _ = look.tick() => true,
            _ = glance.tick() => false,
        };
        let Some(inner) = inner.upgrade() else { return };
        inner.note(|condition| condition.note_database(store.is_down()));
        if !is_due {
            continue;
        }
        let pause = match inner.read(&store).await {
            Ok(false) => Duration::ZERO,
            Ok(true) => REST,
            Err(error) => {
                tracing::warn!(%error, "events could not be read");
                audited.mark_changed();
                RETRY
            }
        };
        if let Ok(drifted) = drifted(&store).await {
            inner.note(|condition| condition.drifted = drifted);
        }
        drop(inner);
        tokio::time::sleep(pause).await;
    }
}

fn ends_session(entry: &Entry) -> bool {
    [Action::Logout, Action::SessionEnd].iter().any(|action| entry.action == action.as_str())
}

async fn drifted(store: &Store) -> Result<usize, StoreError> {
    Ok(store.contexts(CONTEXTS).await?.iter().filter(|known| known.has_drifted()).count())
}

pub struct Listening {
    inner: Arc<Inner>,
    number: u64,
    first: Option<Bytes>,
    frames: broadcast::Receiver<Bytes>,
}

impl Listening {
    /// The next piece of the stream; none when it ends.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let received = tokio::select! {
            biased;
            () = self.inner.closing.cancelled() => return None,
            received = self.frames.recv() => received,
        };
        match received {
            Ok(frame) => Some(frame),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                self.frames = self.frames.resubscribe();
                Some(Bytes::from_static(RESET.as_bytes()))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.inner.state().listeners.leave(self.number);
    }
}
