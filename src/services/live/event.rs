//! Events as they go over the wire.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::domain::audit::{Action, Entry};

/// What leaves no audit entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Message {
    /// Someone began something that takes a while: a swap.
    Begun { topic: String, object: String, who: String },
    /// How far a job is: now and then, and when nothing of it runs any more.
    Progress { job: String, agent: String, who: String, runs: bool, done: u64, failed: u64, total: u64 },
}

/// An audit entry as it is told: what a page needs to know whether it is about it.
#[derive(Serialize)]
struct Change<'a> {
    id: i64,
    count: usize,
    /// The first word of the action: `swap`, `key`, `model`.
    topic: &'a str,
    action: &'a str,
    object: &'a str,
    who: &'a str,
    outcome: &'a str,
}

/// Whether two entries differ in their object alone, for those who are told of them.
pub(super) fn are_alike(one: &Entry, other: &Entry) -> bool {
    (&one.action, &one.actor, &one.outcome) == (&other.action, &other.actor, &other.outcome)
}

/// An entry as an event. Its id is the number up to which everything was told, which is not always its own:
/// who comes back with it misses nothing. Of logins and refusals it is told that there was one: whose it was is
/// for admins.
pub(super) fn change(entry: &Entry, count: usize, seen: i64) -> Bytes {
    let is_for_all = !Action::is_of_logins(&entry.action);
    let change = Change {
        id: entry.id,
        count,
        topic: entry.action.split('.').next().unwrap_or_default(),
        action: &entry.action,
        object: if is_for_all && count == 1 { &entry.object } else { "" },
        who: if is_for_all { &entry.actor } else { "" },
        outcome: &entry.outcome,
    };
    format!("id: {seen}\nevent: change\ndata: {}\n\n", json(&change)).into()
}

pub(super) fn frame(message: &Message) -> Bytes {
    let event = match message {
        Message::Begun { .. } => "begun",
        Message::Progress { .. } => "progress",
    };
    format!("event: {event}\ndata: {}\n\n", json(message)).into()
}

/// On one line: JSON has its line breaks escaped.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
