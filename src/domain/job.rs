//! Background jobs and their items.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{EnumDiscriminants, EnumString, IntoStaticStr};

use crate::domain::agent::AgentName;
use crate::domain::audit::Actor;
use crate::domain::key::Access;
use crate::domain::key_changes::Set;
use crate::domain::lease::Lease;
use crate::domain::model::ModelSpec;
use crate::domain::swap::{PromptChange, Swap};
use crate::domain::words::counted;

/// Most contexts of a bulk swap.
pub const MAX_CONTEXTS: usize = 10_000;

/// Most swaps at a time.
pub const MAX_CONCURRENT: u32 = 32;

/// Longest pause between the starts of two swaps: a minute.
pub const MAX_PACE_MS: u32 = 60_000;

#[derive(Debug, Clone)]
pub struct Job {
    pub id: String,
    pub kind: JobKind,
    /// In whose name the items run.
    pub actor: Actor,
    pub created_by: String,
    pub state: JobState,
    pub why: Option<String>,
    pub limits: Limits,
    /// How many had failed when the job was last continued: they do not stop it again.
    pub forgiven: u32,
    /// The one replica that can run the job, since it has the job's secrets in memory.
    pub holder: Option<String>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

/// What a job does, with its parameters. Secrets are not among them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, EnumDiscriminants)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[strum_discriminants(name(Kind), derive(IntoStaticStr), strum(serialize_all = "lowercase"))]
pub enum JobKind {
    Swap(BulkSwap),
    Keys { change: KeyChange },
    Import(Import),
    Reset,
}

/// An item of a bulk swap is a context; its task is the swap to undo, if any; its reference is its own swap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BulkSwap {
    pub agent: AgentName,
    /// None where it is left, or differs from context to context.
    pub model: Option<ModelSpec>,
    pub prompt: PromptChange,
    /// The job whose swaps this one undoes.
    pub undoes: Option<String>,
    /// Each context goes back by itself after this time.
    #[serde(default)]
    pub minutes: Option<u32>,
    /// Asked in each context, to prove its swap.
    #[serde(default)]
    pub message: Option<String>,
}

/// An item of a key change is a key's hash; its task is the key's label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyChange {
    Relax,
    Restrict(Access),
    Budget(Set<f64>, Set<String>),
    Expiry(Set<String>),
    Block,
    Unblock,
    Delete,
}

/// An item of an import is a model's name; its task is its entry of the plan; its reference is the deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Import {
    /// Names of deployments that the list does not have.
    pub only_at_proxy: Vec<String>,
    /// How many virtual keys the list has, which are not imported.
    pub keys: usize,
    /// Whether secrets given by value may be stored at the proxy.
    pub raw_secrets: bool,
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Items with a greater number wait for approval.
    pub upto: u32,
    #[serde(rename = "at_once")]
    pub concurrency: u32,
    /// Milliseconds from the start of an item to that of the next.
    pub pace_ms: u32,
    /// Stop after so many failures; 0 for never.
    pub stop_after: u32,
}

impl Limits {
    pub fn concurrent(concurrency: u32) -> Self {
        Self { upto: u32::MAX, concurrency, pace_ms: 0, stop_after: 0 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum JobState {
    /// Nothing has begun: it waits for someone to start it.
    Planned,
    Running,
    /// The first items are done; it waits for approval.
    Asking,
    Stopped,
    Cancelled,
    /// It cannot go on.
    Failed,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum ItemState {
    Waiting,
    Running,
    Done,
    Failed,
    Skipped,
}

impl JobState {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl ItemState {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One part of a job. What the texts mean depends on the job's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its number, from 1.
    pub n: u32,
    pub subject: String,
    pub task: Option<String>,
    pub state: ItemState,
    pub reference: Option<String>,
    pub why: Option<String>,
}

impl Item {
    /// An item that waits. Its number is given when it is added.
    pub fn waiting(subject: impl Into<String>, task: Option<String>) -> Self {
        let subject = subject.into();
        Self { n: 0, subject, task, state: ItemState::Waiting, reference: None, why: None }
    }
}

/// How an item ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemEnd {
    pub state: ItemState,
    /// None leaves what is there.
    pub reference: Option<String>,
    pub why: Option<String>,
}

impl ItemEnd {
    pub fn new(state: ItemState, why: Option<String>) -> Self {
        Self { state, reference: None, why }
    }

    pub fn done() -> Self {
        Self::new(ItemState::Done, None)
    }

    pub fn failed(why: impl Into<String>) -> Self {
        Self::new(ItemState::Failed, Some(why.into()))
    }

    /// It did not end, and runs again.
    pub fn again() -> Self {
        Self::new(ItemState::Waiting, None)
    }

    pub fn of_swap(swap: &Swap) -> Self {
        if swap.outcome.is_success() {
            return Self::done();
        }
        Self::failed(swap.failed_step().map_or(swap.outcome.as_str(), |step| &step.detail))
    }
}

/// An item of a bulk swap, as the replica that began it knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemRef {
    pub job: String,
    pub n: u32,
    pub swap: String,
    pub lease: Lease,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub waiting: u64,
    pub running: u64,
    pub done: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Counts {
    pub fn total(&self) -> u64 {
        self.waiting + self.running + self.done + self.failed + self.skipped
    }

    pub fn finished(&self) -> u64 {
        self.done + self.failed + self.skipped
    }
}

impl BulkSwap {
    pub fn describe(&self) -> String {
        let prompt = match &self.prompt {
            PromptChange::Keep => None,
            PromptChange::Set(_) => Some("a new prompt"),
            PromptChange::Clear => Some("the agent's own prompt"),
        };
        let to = match (&self.undoes, &self.model, prompt) {
            (Some(_), ..) => "back to what they were on".to_owned(),
            (None, Some(model), None) => format!("to {model}"),
            (None, Some(model), Some(prompt)) => format!("to {model} with {prompt}"),
            (None, None, prompt) => format!("to {}", prompt.unwrap_or("nothing")),
        };
        match self.minutes {
            Some(minutes) => format!("{to} for {}", counted(minutes as usize, "minute")),
            None => to,
        }
    }
}

impl KeyChange {
    /// In words, to stand before "120 keys".
    pub fn describe(&self) -> String {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
        match self {
            Self::Relax => "Allow all models".to_owned(),
            Self::Restrict(access) => format!("Restrict to {}", access.describe()),
            Self::Budget(budget, period) => {
                let budget = match budget {
                    Set::To(budget) => Some(format!("${budget}")),
                    Set::Keep | Set::Clear => None,
                };
                let period = match period {
                    Set::To(period) => format!(" per {period}"),
                    Set::Keep | Set::Clear => String::new(),
                };
                format!("Set the budget to {}{period}", or_none(budget))
            }
            Self::Expiry(Set::To(duration)) => format!("Let expire {duration} from now"),
            Self::Expiry(_) => "Let never expire".to_owned(),
            Self::Block => "Block".to_owned(),
            Self::Unblock => "Unblock".to_owned(),
            Self::Delete => "Delete".to_owned(),
        }
    }
}
