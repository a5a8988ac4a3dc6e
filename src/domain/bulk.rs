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

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub agent: AgentName,
    /// The model to go on with; none leaves it.
    pub model: Option<ModelSpec>,
    pub prompt: PromptChange,
    /// After so many, wait for a yes; 0 for no such stop.
    pub canary: u32,
    pub at_once: u32,
    /// Milliseconds from the start of a swap to that of the next.
    pub pace_ms: u32,
    /// Stop after so many failures; 0 for never.
    pub stop_after: u32,
}

#[derive(Debug, Clone, Serialize)]
pub struct Job {
    pub id: String,
    pub agent: AgentName,
    /// The model to go on with; none where it is left, or differs from context to context.
    pub model: Option<ModelSpec>,
    pub prompt: PromptChange,
    pub undoes: Option<String>,
    #[serde(skip)]
    pub actor: Actor,
    pub state: JobState,
    pub why: Option<String>,
    pub upto: u32,
    pub at_once: u32,
    /// Milliseconds from the start of a swap to that of the next.
    pub pace_ms: u32,
    /// Stop after so many failures; 0 for never.
    pub stop_after: u32,
    #[serde(skip)]
    pub forgiven: u32,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$word_doc])* $variant,)* }

        impl $name {
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
    JobState {
        Running = "running",
        /// The first ones are through; it waits for a yes.
        Asking = "asking",
        Stopped = "stopped",
        Cancelled = "cancelled",
        Done = "done",
    }
}

words! {
    ItemState {
        Waiting = "waiting",
        Running = "running",
        Done = "done",
        Failed = "failed",
        Skipped = "skipped",
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// Its place, from 1.
    pub n: u32,
    pub context: ContextId,
    #[serde(skip)]
    pub back_to: Option<String>,
    pub state: ItemState,
    pub swap: Option<String>,
    pub why: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub job: String,
    pub n: u32,
    pub swap: String,
}

pub fn judge(swap: &Swap) -> (ItemState, Option<&str>) {
    if swap.outcome.is_success() {
        return (ItemState::Done, None);
    }
    let why = swap.failed_step().map_or(swap.outcome.as_str(), |step| &step.detail);
    (ItemState::Failed, Some(why))
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

    pub fn through(&self) -> u64 {
        self.done + self.failed + self.skipped
    }
}
