//! Who did what.

use jiff::Timestamp;
use serde::Serialize;
use strum::{EnumString, IntoStaticStr, VariantArray};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub name: String,
    /// The address that the request came from; none for a command.
    pub address: Option<String>,
    /// The request's id, which is on its error page and in the log as well.
    pub request_id: Option<String>,
}

impl Actor {
    /// Someone without address and request: a command, a background job.
    pub fn local(name: &str) -> Self {
        Self { name: name.to_owned(), address: None, request_id: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Action {
    Login,
    Logout,
    Access,
    Swap,
    Bulk,
    Ask,
    Compare,
    /// Tried a swap in a throw-away context.
    Rehearse,
    Drift,
    /// Looked whether an agent's model is per context or agent-wide.
    #[strum(serialize = "agent.scope")]
    AgentScope,
    /// Uses an agent of the proxy's gateway from now on.
    #[strum(serialize = "agent.adopt")]
    AgentAdopt,
    #[strum(serialize = "agent.remove")]
    AgentRemove,
    #[strum(serialize = "context.describe")]
    ContextDescribe,
    #[strum(serialize = "context.forget")]
    ContextForget,
    #[strum(serialize = "key.relax")]
    KeyRelax,
    #[strum(serialize = "key.restrict")]
    KeyRestrict,
    #[strum(serialize = "key.allow")]
    KeyAllow,
    #[strum(serialize = "key.create")]
    KeyCreate,
    #[strum(serialize = "key.update")]
    KeyUpdate,
    #[strum(serialize = "key.block")]
    KeyBlock,
    #[strum(serialize = "key.unblock")]
    KeyUnblock,
    #[strum(serialize = "key.delete")]
    KeyDelete,
    #[strum(serialize = "key.replace")]
    KeyReplace,
    #[strum(serialize = "key.keep")]
    KeyKeep,
    #[strum(serialize = "key.bulk")]
    KeyBulk,
    #[strum(serialize = "model.register")]
    ModelRegister,
    #[strum(serialize = "model.edit")]
    ModelEdit,
    #[strum(serialize = "model.delete")]
    ModelDelete,
    #[strum(serialize = "model.block")]
    ModelBlock,
    #[strum(serialize = "model.unblock")]
    ModelUnblock,
    #[strum(serialize = "model.test")]
    ModelTest,
    /// An import ended.
    #[strum(serialize = "model.import")]
    ModelImport,
    #[strum(serialize = "proxy.reset")]
    ProxyReset,
    #[strum(serialize = "reset.end")]
    ResetEnd,
    /// An admin ended someone's session.
    #[strum(serialize = "session.end")]
    SessionEnd,
    #[strum(serialize = "token.create")]
    TokenCreate,
    #[strum(serialize = "token.revoke")]
    TokenRevoke,
    /// Something stopped answering, or answers again.
    Health,
    #[strum(serialize = "alerts.choose")]
    AlertsChoose,
    #[strum(serialize = "alerts.test")]
    AlertsTest,
    #[strum(serialize = "audit.end")]
    AuditEnd,
}

impl Action {
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Those of jobs: what becomes of one has an entry.
    pub const ENDS: [Self; 4] = [Self::Bulk, Self::KeyBulk, Self::ModelImport, Self::ResetEnd];

    /// Whether a word is that of an action that says who came and went: for admins, and for whom it is about.
    pub fn is_of_logins(word: &str) -> bool {
        [Self::Login, Self::Logout, Self::Access, Self::SessionEnd]
            .iter()
            .any(|action| action.as_str() == word)
    }

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What a person says who did it, to stand before the object.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Login => "logged in",
            Self::Logout => "logged out",
            Self::Access => "was refused",
            Self::Swap => "switched",
            Self::Bulk => "switched many contexts:",
            Self::Ask => "asked",
            Self::Compare => "compared models on",
            Self::Rehearse => "rehearsed a switch of",
            Self::Drift => "found drift in",
            Self::AgentScope => "checked the scope of",
            Self::AgentAdopt => "adopted agent",
            Self::AgentRemove => "removed agent",
            Self::ContextDescribe => "described",
            Self::ContextForget => "forgot",
            Self::KeyRelax => "allowed all models for",
            Self::KeyRestrict => "limited the models of",
            Self::KeyAllow => "allowed a model for",
            Self::KeyCreate => "created key",
            Self::KeyUpdate => "edited key",
            Self::KeyBlock => "blocked key",
            Self::KeyUnblock => "unblocked key",
            Self::KeyDelete => "deleted key",
            Self::KeyReplace => "replaced key",
            Self::KeyKeep => "kept key",
            Self::KeyBulk => "changed many keys:",
            Self::ModelRegister => "added model",
            Self::ModelEdit => "edited model",
            Self::ModelDelete => "deleted model",
            Self::ModelBlock => "blocked model",
            Self::ModelUnblock => "unblocked model",
            Self::ModelTest => "tested model",
            Self::ModelImport => "imported models:",
            Self::ProxyReset => "reset the proxy",
            Self::ResetEnd => "ended a reset:",
            Self::SessionEnd => "ended a session of",
            Self::TokenCreate => "created token",
            Self::TokenRevoke => "revoked token",
            Self::Health => "saw a change of",
            Self::AlertsChoose => "chose the alerts of",
            Self::AlertsTest => "sent a test alert to",
            Self::AuditEnd => "deleted old entries",
        }
    }
}

pub const OUTCOMES: [&str; 9] =
    ["ok", "refused", "failed", "rolled-back", "accepted", "verified", "proven", "unknown", "found"];

/// Which entries are wanted: all of what is given counts.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub who: Option<String>,
    /// What was done: an action's word, or its first part.
    pub what: Option<String>,
    /// On what: a part of it.
    pub object: Option<String>,
    /// Or on one of these exactly.
    pub objects: Vec<String>,
    pub outcome: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
    pub logins_of: Option<String>,
    pub without_logins: bool,
}

/// An entry to be written. Holds no secrets: a key is named by its hash and alias.
#[derive(Debug, Clone)]
pub struct NewEntry {
    pub actor: Actor,
    pub action: Action,
    /// On what: `agent/context`, a key's hash, a user's name.
    pub object: String,
    /// How it ended: `ok`, `refused`, `failed`, or a swap's outcome.
    pub outcome: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub detail: Option<String>,
}

impl NewEntry {
    /// An entry without before, after and detail.
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

    /// Adds to the detail, after a colon where there is one.
    pub fn add_detail(&mut self, more: &str) {
        self.detail = Some(match self.detail.take() {
            Some(detail) => format!("{detail}: {more}"),
            None => more.to_owned(),
        });
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub id: i64,
    pub at: Timestamp,
    pub actor: String,
    pub address: Option<String>,
    pub action: String,
    pub object: String,
    pub outcome: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub detail: Option<String>,
    pub request_id: Option<String>,
    /// How often it happened: equal refusals within a minute are one entry.
    pub count: i64,
}

impl Entry {
    /// Whether another entry is of the same request and differs in its object alone: items of one job.
    pub fn is_like(&self, other: &Self) -> bool {
        self.request_id.is_some()
            && (&self.request_id, &self.actor, &self.action, &self.outcome)
                == (&other.request_id, &other.actor, &other.action, &other.outcome)
    }
}
