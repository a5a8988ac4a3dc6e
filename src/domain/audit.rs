//! Who did what.

use jiff::Timestamp;
use serde::Serialize;

/// Who acts, and from where. Every write takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user's name, or the command's.
    pub name: String,
    /// The address that the request came from; none for a command.
    pub address: Option<String>,
    /// The request's id, which is on its error page and in the log as well.
    pub request_id: Option<String>,
}

impl Actor {
    /// Someone without address and request: a command, a background job.
    #[must_use]
    pub fn local(name: &str) -> Self {
        Self { name: name.to_owned(), address: None, request_id: None }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Logged in, or tried to.
    Login,
    /// Logged out.
    Logout,
    /// Asked for what is not for the role.
    Access,
    /// Asked for a swap.
    Swap,
    /// Asked for a swap of many contexts, or went on with one.
    Bulk,
    /// Asked a message in a context.
    Ask,
    /// Asked one message of several models.
    Compare,
    /// Found that someone else changed a context.
    Drift,
    /// Looked whether an agent's model is per context or agent-wide.
    AgentScope,
    /// Labelled, pinned, kept or released a context.
    ContextDescribe,
    /// Forgot a context.
    ContextForget,
    /// Let a key call every model.
    KeyRelax,
    /// Let a key call certain models alone.
    KeyRestrict,
    /// Let a key call one model more.
    KeyAllow,
    /// Made a key.
    KeyCreate,
    /// Changed a key's settings.
    KeyUpdate,
    /// Set a key aside.
    KeyBlock,
    /// Took a key back.
    KeyUnblock,
    /// Deleted a key.
    KeyDelete,
    /// Made a new key in the place of another.
    KeyReplace,
    /// Let a replaced key live on.
    KeyKeep,
    /// Changed many keys.
    KeyBulk,
    /// Registered a deployment.
    ModelRegister,
    /// Changed a deployment.
    ModelEdit,
    /// Deleted a deployment.
    ModelDelete,
    /// Set a deployment aside.
    ModelBlock,
    /// Took a deployment back.
    ModelUnblock,
    /// Had a deployment answer.
    ModelTest,
    /// Emptied the proxy.
    ProxyReset,
    /// Deleted entries that were older than the retention.
    AuditEnd,
}

impl Action {
    /// All.
    pub const ALL: [Self; 30] = [
        Self::Login,
        Self::Logout,
        Self::Access,
        Self::Swap,
        Self::Bulk,
        Self::Ask,
        Self::Compare,
        Self::Drift,
        Self::AgentScope,
        Self::ContextDescribe,
        Self::ContextForget,
        Self::KeyRelax,
        Self::KeyRestrict,
        Self::KeyAllow,
        Self::KeyCreate,
        Self::KeyUpdate,
        Self::KeyBlock,
        Self::KeyUnblock,
        Self::KeyDelete,
        Self::KeyReplace,
        Self::KeyKeep,
        Self::KeyBulk,
        Self::ModelRegister,
        Self::ModelEdit,
        Self::ModelDelete,
        Self::ModelBlock,
        Self::ModelUnblock,
        Self::ModelTest,
        Self::ProxyReset,
        Self::AuditEnd,
    ];

    /// Whether a word is that of an action that says who came and went: for admins, and for whom it is about.
    #[must_use]
    pub fn is_of_logins(word: &str) -> bool {
        [Self::Login, Self::Logout, Self::Access].iter().any(|action| action.as_str() == word)
    }

    /// The word stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Access => "access",
            Self::Swap => "swap",
            Self::Bulk => "bulk",
            Self::Ask => "ask",
            Self::Compare => "compare",
            Self::Drift => "drift",
            Self::AgentScope => "agent.scope",
            Self::ContextDescribe => "context.describe",
            Self::ContextForget => "context.forget",
            Self::KeyRelax => "key.relax",
            Self::KeyRestrict => "key.restrict",
            Self::KeyAllow => "key.allow",
            Self::KeyCreate => "key.create",
            Self::KeyUpdate => "key.update",
            Self::KeyBlock => "key.block",
            Self::KeyUnblock => "key.unblock",
            Self::KeyDelete => "key.delete",
            Self::KeyReplace => "key.replace",
            Self::KeyKeep => "key.keep",
            Self::KeyBulk => "key.bulk",
            Self::ModelRegister => "model.register",
            Self::ModelEdit => "model.edit",
            Self::ModelDelete => "model.delete",
            Self::ModelBlock => "model.block",
            Self::ModelUnblock => "model.unblock",
            Self::ModelTest => "model.test",
            Self::ProxyReset => "proxy.reset",
            Self::AuditEnd => "audit.end",
        }
    }
}

/// How entries end, as filters offer it.
pub const OUTCOMES: [&str; 9] =
    ["ok", "refused", "failed", "rolled-back", "accepted", "verified", "proven", "unknown", "found"];

/// Which entries are wanted: all of what is given counts.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Who did it.
    pub who: Option<String>,
    /// What was done: an action's word, or its first part.
    pub what: Option<String>,
    /// On what: a part of it.
    pub object: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// From when on.
    pub from: Option<Timestamp>,
    /// Until when.
    pub to: Option<Timestamp>,
    /// Of logins, logouts and refusals only those of this user.
    pub logins_of: Option<String>,
}

/// An entry to be written. Holds no secrets: a key is named by its hash and alias.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// On what: `agent/context`, a key's hash, a user's name.
    pub object: String,
    /// How it ended: `ok`, `refused`, `failed`, or a swap's outcome.
    pub outcome: String,
    /// How it was before, where that is known.
    pub before: Option<String>,
    /// How it is after.
    pub after: Option<String>,
    /// More, in plain words.
    pub detail: Option<String>,
}

impl NewEntry {
    /// An entry without before, after and detail.
    #[must_use]
    pub fn new(actor: &Actor, action: Action, object: impl Into<String>, outcome: impl Into<String>) -> Self {
        Self {
            actor: actor.clone(),
            action,
            object: object.into(),
            outcome: outcome.into(),
            before: None,
            after: None,
            detail: None,
        }
    }
}

/// An entry as it was written.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Its number, rising.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// From where.
    pub address: Option<String>,
    /// What was done.
    pub action: String,
    /// On what.
    pub object: String,
    /// How it ended.
    pub outcome: String,
    /// How it was before.
    pub before: Option<String>,
    /// How it is after.
    pub after: Option<String>,
    /// More, in plain words.
    pub detail: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
}
