//! One swap of many contexts: a job, and its items.

use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::agent::AgentName;
use crate::domain::audit::Actor;
use crate::domain::context::ContextId;
use crate::domain::model::ModelSpec;
use crate::domain::swap::{PromptChange, Swap};

/// Most contexts of a job.
pub const MAX_CONTEXTS: usize = 10_000;

/// Most swaps at a time.
pub const MAX_AT_ONCE: u32 = 32;

/// Longest pause between the starts of two swaps: a minute.
pub const MAX_PACE_MS: u32 = 60_000;

/// What is to be done, and how carefully.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The agent.
    pub agent: AgentName,
    /// The model to go on with; none leaves it.
    pub model: Option<ModelSpec>,
    /// What to do with the prompts.
    pub prompt: PromptChange,
    /// After so many, wait for a yes; 0 for no such stop.
    pub canary: u32,
    /// Swaps at a time.
    pub at_once: u32,
    /// Milliseconds from the start of a swap to that of the next.
    pub pace_ms: u32,
    /// Stop after so many failures; 0 for never.
    pub stop_after: u32,
}

/// A job.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Its name in addresses.
    pub id: String,
    /// The agent.
    pub agent: AgentName,
    /// The model to go on with; none where it is left, or differs from context to context.
    pub model: Option<ModelSpec>,
    /// What is done with the prompts.
    pub prompt: PromptChange,
    /// The job whose swaps this one takes back.
    pub undoes: Option<String>,
    /// In whose name.
    #[serde(skip)]
    pub actor: Actor,
    /// How it stands.
    pub state: JobState,
    /// Why it was stopped.
    pub why: Option<String>,
    /// Items beyond this number wait for a yes.
    pub upto: u32,
    /// Swaps at a time.
    pub at_once: u32,
    /// Milliseconds from the start of a swap to that of the next.
    pub pace_ms: u32,
    /// Stop after so many failures; 0 for never.
    pub stop_after: u32,
    /// Failures before someone said to go on.
    #[serde(skip)]
    pub forgiven: u32,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Words that are kept as such.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$word_doc])* $variant,)* }

        impl $name {
            /// The word stored and shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($word => Ok(Self::$variant),)* _ => Err(()) }
            }
        }
    };
}

words! {
    /// How a job stands.
    JobState {
        /// Its items are worked on.
        Running = "running",
        /// The first ones are through; it waits for a yes.
        Asking = "asking",
        /// Too many failed.
        Stopped = "stopped",
        /// Someone stopped it.
        Cancelled = "cancelled",
        /// All its items are through.
        Done = "done",
    }
}

words! {
    /// How an item stands.
    ItemState {
        /// Not begun.
        Waiting = "waiting",
        /// Its swap runs.
        Running = "running",
        /// Its swap succeeded.
        Done = "done",
        /// It did not.
        Failed = "failed",
        /// Left alone.
        Skipped = "skipped",
    }
}

/// One context of a job.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// Its place, from 1.
    pub n: u32,
    /// The context.
    pub context: ContextId,
    /// The swap to take back.
    #[serde(skip)]
    pub back_to: Option<String>,
    /// How it stands.
    pub state: ItemState,
    /// Its swap.
    pub swap: Option<String>,
    /// Why it failed or was left alone.
    pub why: Option<String>,
}

/// Where the end of a swap is noted that is one of a job's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The job.
    pub job: String,
    /// The item.
    pub n: u32,
    /// The id that the swap is to have.
    pub swap: String,
}

/// What a swap that has ended makes of its item, and why.
#[must_use]
pub fn judge(swap: &Swap) -> (ItemState, Option<&str>) {
    if swap.outcome.is_success() {
        return (ItemState::Done, None);
    }
    let why = swap.failed_step().map_or(swap.outcome.as_str(), |step| &step.detail);
    (ItemState::Failed, Some(why))
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Not begun.
    pub waiting: u64,
    /// Running.
    pub running: u64,
    /// Swapped.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Left alone.
    pub skipped: u64,
}

impl Counts {
    /// All items.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.waiting + self.running + self.done + self.failed + self.skipped
    }

    /// Items that are through.
    #[must_use]
    pub fn through(&self) -> u64 {
        self.done + self.failed + self.skipped
    }
}
