//! Swaps: one change of a context's model or prompt, from request to receipt.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::agent::AgentName;
use crate::domain::context::ContextId;
use crate::domain::control::{AgentConfig, Prompt, Tokens, looks_like_control};
use crate::domain::model::ModelSpec;

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct SwapRequest {
    /// The agent.
    pub agent: AgentName,
    /// The context.
    pub context: ContextId,
    /// The model to go on with; none leaves it.
    pub model: Option<ModelSpec>,
    /// What to do with the prompt.
    pub prompt: PromptChange,
    /// The last swap that the operator's form showed, or `none`; without it, as from a script, the swap is
    /// not guarded against one that came between.
    pub seen: Option<String>,
    /// Try the model with the agent's key before the agent is touched.
    pub probe: bool,
    /// A message to send in the context afterwards, as proof.
    pub message: Option<String>,
    /// Go back after so many minutes.
    pub minutes: Option<u32>,
}

impl SwapRequest {
    /// The swap that takes a context to a configuration it had before. `from` is what it is on, where that is
    /// known: what is equal is then left alone. None where the configuration cannot be sent.
    #[must_use]
    pub fn going_to(
        agent: &AgentName,
        context: &ContextId,
        from: Option<&AgentConfig>,
        to: &AgentConfig,
    ) -> Option<Self> {
        let prompt = match &to.prompt {
            _ if from.is_some_and(|from| from.prompt == to.prompt) => PromptChange::Keep,
            None => PromptChange::Clear,
            Some(prompt) => PromptChange::Set(prompt.parse().ok()?),
        };
        let is_on_it = from.is_some_and(|from| from.spec_text() == to.spec_text());
        Some(Self {
            agent: agent.clone(),
            context: context.clone(),
            model: if is_on_it { None } else { Some(to.spec()?) },
            prompt,
            seen: None,
            probe: false,
            message: None,
            minutes: None,
        })
    }
}

impl SwapRequest {
    /// Whether a configuration is what was asked for.
    #[must_use]
    pub fn is_met_by(&self, config: &AgentConfig) -> bool {
        let prompt = match &self.prompt {
            PromptChange::Keep => true,
            PromptChange::Set(prompt) => config.prompt.as_deref() == Some(prompt.as_str()),
            PromptChange::Clear => config.prompt.is_none(),
        };
        prompt && self.model.as_ref().is_none_or(|model| config.is_on(model))
    }
}

/// Longest message, in characters.
pub const MAX_MESSAGE_CHARS: usize = 8_000;

/// Why a message is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// An agent would obey it.
    #[error("This looks like a control message, which an agent would obey. Use the switcher.")]
    Control,
    /// More than [`MAX_MESSAGE_CHARS`].
    #[error("A message has at most 8,000 characters.")]
    TooLong,
}

/// The message to send; none for blanks.
pub fn check_message(text: &str) -> Result<Option<String>, MessageError> {
    let message = text.trim();
    if looks_like_control(message) {
        Err(MessageError::Control)
    } else if message.chars().count() > MAX_MESSAGE_CHARS {
        Err(MessageError::TooLong)
    } else {
        Ok((!message.is_empty()).then(|| message.to_owned()))
    }
}

/// Longest timed swap, in minutes: a week.
pub const MAX_MINUTES: u32 = 7 * 24 * 60;

/// What to do with a context's prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "change", content = "text")]
pub enum PromptChange {
    /// Leave it.
    #[default]
    Keep,
    /// Go on with this one.
    Set(Prompt),
    /// Go back to the agent's own.
    Clear,
}

/// How a swap ended: always the strongest that was *seen*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Patchbay ended before the swap did: what the agent did with it is not known.
    Unknown,
    /// Preflight or probe said no; nothing was sent to the agent.
    Refused,
    /// It was tried, and the agent is not on what was asked for, or nobody knows on what it is.
    Failed,
    /// It failed, and the former model and prompt were put back and seen to be back.
    RolledBack,
    /// The agent said that it did it.
    Accepted,
    /// The configuration was read back and is what was asked for.
    Verified,
    /// A message was answered by the new model.
    Proven,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 7] = [
        Self::Unknown,
        Self::Refused,
        Self::Failed,
        Self::RolledBack,
        Self::Accepted,
        Self::Verified,
        Self::Proven,
    ];

    /// The word used everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
            Self::Accepted => "accepted",
            Self::Verified => "verified",
            Self::Proven => "proven",
        }
    }

    /// What the word means, in a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Unknown => {
                "Patchbay stopped before the swap ended. Read the context's configuration to see where it is."
            }
            Self::Refused => "Nothing was sent: a check before the swap said no.",
            Self::Failed => "The swap did not happen as asked.",
            Self::RolledBack => "The swap failed, and the former model and prompt are back.",
            Self::Accepted => "The agent said yes, but its configuration could not be read back.",
            Self::Verified => "The agent's configuration was read back and is what was asked for.",
            Self::Proven => "The agent answered a message with the new model.",
        }
    }

    /// Whether the context is on what was asked for, as far as anybody saw.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Accepted | Self::Verified | Self::Proven)
    }
}

impl FromStr for Outcome {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text).ok_or(())
    }
}

/// The parts of a swap, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// Is the model registered, and may the agent's key call it? Nothing is sent to the agent.
    Preflight,
    /// One tiny call of the model with the agent's key.
    Probe,
    /// What the context is on before.
    ReadBefore,
    /// The control message for the model.
    Model,
    /// The control message for the prompt.
    Prompt,
    /// What the context is on after.
    ReadBack,
    /// Whether other contexts have changed along, where nobody knew yet.
    Scope,
    /// A message, answered by the new model.
    Prove,
    /// The former model and prompt, put back.
    RollBack,
}

impl StepKind {
    /// The step's name for people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Preflight => "Check",
            Self::Probe => "Try the model",
            Self::ReadBefore => "Read before",
            Self::Model => "Switch the model",
            Self::Prompt => "Switch the prompt",
            Self::ReadBack => "Read back",
            Self::Scope => "Find the scope",
            Self::Prove => "Ask",
            Self::RollBack => "Put back",
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepResult {
    /// As it should.
    Done,
    /// Something could not be looked at, and the swap went on.
    Warning,
    /// It failed, and the swap went no further.
    Failed,
}

impl StepResult {
    /// The word used in the page's markup.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One step of a swap, as the receipt shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which one.
    pub kind: StepKind,
    /// How it ended.
    pub result: StepResult,
    /// What was seen, in plain words, without secrets.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
}

/// The answer to the message that proves a swap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// The message.
    pub message: String,
    /// The answer's text.
    pub answer: String,
    /// The model that answered, where the agent says so.
    pub served: Option<String>,
    /// Tokens used, where the agent says so.
    pub tokens: Option<Tokens>,
    /// How long the answer took, in milliseconds.
    pub elapsed_ms: f64,
}

/// A swap and its receipt: what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Swap {
    /// Its id; later swaps have greater ones.
    pub id: String,
    /// The agent.
    pub agent: AgentName,
    /// The context.
    pub context: ContextId,
    /// Who asked for it.
    pub actor: String,
    /// The model that was asked for.
    pub model: Option<ModelSpec>,
    /// The prompt change that was asked for.
    pub prompt: PromptChange,
    /// The configuration before, where it could be read.
    pub before: Option<AgentConfig>,
    /// The configuration after, where it could be read.
    pub after: Option<AgentConfig>,
    /// What was done.
    pub steps: Vec<Step>,
    /// The message and its answer.
    pub proof: Option<Proof>,
    /// How it ended.
    pub outcome: Outcome,
    /// Who was at fault where it did not succeed, which decides the status of the page.
    pub fault: Option<Fault>,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it ended; none while it runs or if Patchbay ended before.
    pub finished_at: Option<Timestamp>,
}

/// Where a swap that did not succeed went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// What was asked for cannot be: an unknown model, a key that may not call it.
    Request,
    /// The proxy or the agent failed.
    Upstream,
    /// The proxy or the agent did not answer in time.
    Timeout,
}

impl Swap {
    /// All steps together, in milliseconds.
    #[must_use]
    pub fn elapsed_ms(&self) -> f64 {
        self.steps.iter().map(|step| step.elapsed_ms).sum()
    }

    /// The step that ended it, where one failed.
    #[must_use]
    pub fn failed_step(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.result == StepResult::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_has_one_word_everywhere() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}
