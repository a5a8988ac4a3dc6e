//! What happens, told at once to everybody who looks.
//!
//! Every write leaves an audit entry, so an event is an audit entry, and its number the event's id: whoever lost
//! the connection is told what came since. What leaves no entry (a swap that begins, how far a job is, who is
//! here) is told to those who listen at that moment, without an id.
//!
//! With several replicas, each reads the entries of all from the database, which tells when there are new ones,
//! and hears the rest from the others: [`Live::relayed`], [`Live::heard`].

mod people;
mod told;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

pub use self::people::{Full, Listener, Person};

use self::people::People;
use self::told::Told;
use crate::domain::audit::{Action, Entry};
use crate::store::{Store, StoreError};

/// How many events wait for a listener that is slow. One that is slower loses them, and is told to load anew.
const BACKLOG: usize = 256;

/// How many entries are kept for those who come back. Who was away longer is told to load anew.
const KEPT: u32 = 256;

/// Most entries that are read at a time.
const BATCH: u32 = 256;

/// How often the entries are looked at although nobody said that there are new ones, and the other replicas are
/// told who is here.
const LOOK: Duration = Duration::from_secs(20);

/// People who come and go at the same time are told of once.
const GATHER: Duration = Duration::from_millis(300);

/// How long to wait when the entries could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// The page is to be loaded anew: more has happened than can be told.
const RESET: &str = "event: reset\ndata: {}\n\n";

/// Tells listeners what happens. Clones share them.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    /// Each event as it goes over the wire: made once, shared by all.
    frames: broadcast::Sender<Bytes>,
    relayed: broadcast::Sender<Message>,
    state: Mutex<State>,
    /// Rings when someone came or went.
    stirred: Arc<Notify>,
    closing: CancellationToken,
}

struct State {
    told: Told,
    /// The entries told last, for those who come back.
    kept: VecDeque<(i64, Bytes)>,
    /// The number before that of the oldest entry kept.
    floor: i64,
    people: People,
}

/// What leaves no audit entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Message {
    /// Someone began something that takes a while: a swap.
    Begun {
        /// What it is, as the first word of an audit action.
        topic: String,
        /// On what.
        object: String,
        /// Who.
        who: String,
    },
    /// How far a job is.
    Progress {
        /// The job.
        job: String,
        /// Its parts that ended well.
        done: u64,
        /// Its parts that failed.
        failed: u64,
        /// All its parts.
        total: u64,
    },
    /// Who is here.
    People {
        /// Each session at each page once, at most some dozens.
        people: Vec<Person>,
    },
}

/// An audit entry as it is told: what a page needs to know whether it is about it.
#[derive(Serialize)]
struct Change<'a> {
    id: i64,
    /// The first word of the action: `swap`, `key`, `model`.
    topic: &'a str,
    action: &'a str,
    object: &'a str,
    who: &'a str,
    outcome: &'a str,
}

impl Live {
    /// Begins to tell of the audit entries in `store`.
    pub async fn start(store: Store) -> Result<Self, StoreError> {
        let mut newest = store.audit_entries(None, KEPT).await?;
        newest.reverse();
        let state = State {
            told: Told::up_to(newest.last().map_or(0, |entry| entry.id)),
            kept: newest.iter().map(|entry| (entry.id, change(entry, entry.id))).collect(),
            floor: newest.first().map_or(0, |entry| entry.id - 1),
            people: People::default(),
        };
        let live = Self(Arc::new(Inner {
            frames: broadcast::Sender::new(BACKLOG),
            relayed: broadcast::Sender::new(BACKLOG),
            state: Mutex::new(state),
            stirred: Arc::default(),
            closing: CancellationToken::new(),
        }));
        tokio::spawn(tell(Arc::downgrade(&live.0), store, Arc::clone(&live.0.stirred)));
        Ok(live)
    }

    /// Tells those who listen here, and by [`Live::relayed`] those at other replicas.
    pub fn tell(&self, message: Message) {
        self.0.send(frame(&message));
        let _ = self.0.relayed.send(message);
    }

    /// What is told here and leaves no audit entry, for the other replicas.
    #[must_use]
    pub fn relayed(&self) -> broadcast::Receiver<Message> {
        self.0.relayed.subscribe()
    }

    /// Tells those who listen here what was told at another replica.
    pub fn heard(&self, replica: &str, message: Message) {
        if let Message::People { people } = message {
            if self.0.state().people.heard(replica, &people) {
                self.0.stirred.notify_one();
            }
        } else {
            self.0.send(frame(&message));
        }
    }

    /// The number up to which everything was told: what a page that is made now shows, and maybe more.
    #[must_use]
    pub fn seen(&self) -> i64 {
        self.0.state().told.up_to
    }

    /// Listens from now on, or from where the listener was.
    pub fn listen(&self, listener: &Listener) -> Result<Listening, Full> {
        let mut state = self.0.state();
        let number = state.people.join(listener)?;
        let seen = state.told.up_to;
        let mut first =
            format!("retry: 2000\nid: {seen}\nevent: hello\ndata: {}\n\n", listener.person_json());
        match listener.last {
            // Numbers that were not given yet are those of another database.
            Some(last) if last < state.floor || last > state.told.newest() => first.push_str(RESET),
            Some(last) => {
                let missed = state.kept.iter().filter(|(id, _)| *id > last);
                missed.for_each(|(_, frame)| first.push_str(&String::from_utf8_lossy(frame)));
            }
            None => {}
        }
        // Under the lock, so that nothing is told twice or never.
        let frames = self.0.frames.subscribe();
        drop(state);
        self.0.stirred.notify_one();
        Ok(Listening { inner: Arc::clone(&self.0), number, first: Some(first.into()), frames })
    }

    /// How many listen.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.0.state().people.len()
    }

    /// Ends all streams, and those that begin later.
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

    /// Tells of the entries that were not told yet.
    async fn read(&self, store: &Store) -> Result<(), StoreError> {
        loop {
            let after = self.state().told.up_to;
            let entries = store.audit_after(after, BATCH).await?;
            let is_full = entries.len() == BATCH as usize;
            let mut state = self.state();
            for entry in &entries {
                if !state.told.take(entry.id) {
                    continue;
                }
                let frame = change(entry, state.told.up_to);
                if state.kept.len() == KEPT as usize {
                    state.floor = state.kept.pop_front().map_or(0, |(id, _)| id);
                }
                state.kept.push_back((entry.id, frame.clone()));
                self.send(frame);
            }
            if !is_full {
                return Ok(());
            }
            state.told.give_up_gaps();
        }
    }

    fn tell_people(&self) {
        let (here, all) = {
            let mut state = self.state();
            (state.people.here(), state.people.all())
        };
        self.send(frame(&Message::People { people: all }));
        let _ = self.relayed.send(Message::People { people: here });
    }
}

/// Runs for as long as anybody holds the [`Live`].
async fn tell(inner: Weak<Inner>, store: Store, stirred: Arc<Notify>) {
    let mut audited = store.audited();
    let mut look = tokio::time::interval(LOOK);
    let mut gathered = Box::pin(tokio::time::sleep(GATHER));
    let mut is_gathering = false;
    loop {
        let mut is_time_to_look = false;
        tokio::select! {
            changed = audited.changed() => if changed.is_err() { return },
            () = stirred.notified(), if !is_gathering => {
                is_gathering = true;
                gathered.as_mut().reset(tokio::time::Instant::now() + GATHER);
                continue;
            }
            () = &mut gathered, if is_gathering => {
                is_gathering = false;
                if let Some(inner) = inner.upgrade() { inner.tell_people() }
                continue;
            }
            _ = look.tick() => is_time_to_look = true,
        }
        let Some(inner) = inner.upgrade() else { return };
        if is_time_to_look {
            inner.tell_people();
        }
        if let Err(error) = inner.read(&store).await {
            tracing::warn!(%error, "what happened could not be told");
            tokio::time::sleep(RETRY).await;
            audited.mark_changed();
        }
    }
}

/// A listener's end. Dropping it says that the listener has gone.
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
        self.inner.state().people.leave(self.number);
        self.inner.stirred.notify_one();
    }
}

/// An entry as an event. Its id is the number up to which everything was told, which is not always its own:
/// who comes back with it misses nothing. Of logins and refusals it is told that there was one: whose it was is
/// for admins.
fn change(entry: &Entry, seen: i64) -> Bytes {
    let is_for_all = !Action::is_of_logins(&entry.action);
    let change = Change {
        id: entry.id,
        topic: entry.action.split('.').next().unwrap_or_default(),
        action: &entry.action,
        object: if is_for_all { &entry.object } else { "" },
        who: if is_for_all { &entry.actor } else { "" },
        outcome: &entry.outcome,
    };
    format!("id: {seen}\nevent: change\ndata: {}\n\n", json(&change)).into()
}

fn frame(message: &Message) -> Bytes {
    let event = match message {
        Message::Begun { .. } => "begun",
        Message::Progress { .. } => "progress",
        Message::People { .. } => "people",
    };
    format!("event: {event}\ndata: {}\n\n", json(message)).into()
}

/// On one line: JSON has its line breaks escaped.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
