//! Swaps: one change of a context's model or prompt, from request to receipt.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::domain::agent::AgentName;
use crate::domain::assessment::{Accepted, AnswerState, Answers, Assessment};
use crate::domain::context::ContextId;
use crate::domain::control::{AgentConfig, Prompt, Route, Tokens, looks_like_control};
use crate::domain::model::ModelSpec;

#[derive(Debug, Clone)]
pub struct SwapRequest {
    pub agent: AgentName,
    pub context: ContextId,
    /// The model to go on with; none leaves it.
    pub model: Option<ModelSpec>,
    pub prompt: PromptChange,
    /// The last swap that the operator's form showed, or `none`; without it, as from a script, the swap is
    /// not guarded against one that came between.
    pub seen: Option<String>,
    pub probe: bool,
    pub message: Option<String>,
    pub minutes: Option<u32>,
    /// What a pre-flight check would hold back.
    pub accepted: Accepted,
}

impl SwapRequest {
    pub fn changes_something(&self) -> bool {
        self.model.is_some() || self.prompt != PromptChange::Keep
    }

    /// The swap that takes a context to a configuration it had before. `from` is what it is on, where that is
    /// known: what is equal is then left alone. None where the configuration cannot be sent.
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
            // A way back is not held back by its price.
            accepted: Accepted { size: false, cost: true },
        })
    }
}

impl SwapRequest {
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
    #[error("This looks like a control message, which an agent would obey. Use the switcher.")]
    Control,
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

/// In whose name timed swaps end.
pub const TIMER: &str = "patchbay (time is up)";

/// Longest timed swap, in minutes: a week.
pub const MAX_MINUTES: u32 = 7 * 24 * 60;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "change", content = "text")]
pub enum PromptChange {
    #[default]
    Keep,
    Set(Prompt),
    Clear,
}

/// How a swap ended: always the strongest that was *seen*.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Outcome {
    /// Patchbay ended before the swap did: what the agent did with it is not known.
    Unknown,
    /// Preflight or probe said no; nothing was sent to the agent.
    Refused,
    Failed,
    RolledBack,
    Accepted,
    Verified,
    Proven,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Self::Unknown => {
                "Patchbay stopped before the swap ended. Read the context's configuration to see where it is."
            }
            Self::Refused => "Not switched: a pre-flight check failed. Nothing was sent.",
            Self::Failed => "The swap did not happen as asked.",
            Self::RolledBack => "The swap failed, and the former model and prompt are back.",
            Self::Accepted => {
                "The agent confirmed. Its configuration was not read back, or nothing shows that the agent wrote it."
            }
            Self::Verified => "The agent's configuration was read back and is what was asked for.",
            Self::Proven => "The agent answered a message with the new model.",
        }
    }

    pub fn is_success(self) -> bool {
        matches!(self, Self::Accepted | Self::Verified | Self::Proven)
    }
}

/// The parts of a swap, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    Preflight,
    Probe,
    ReadBefore,
    Model,
    Prompt,
    ReadBack,
    Scope,
    Prove,
    RollBack,
}

impl StepKind {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum StepResult {
    Done,
    Warning,
    Failed,
}

impl StepResult {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub kind: StepKind,
    pub result: StepResult,
    pub detail: String,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    pub message: String,
    pub answer: String,
    pub served: Option<String>,
    /// None where the agent does not pass the proxy's headers on.
    #[serde(default)]
    pub route: Option<Route>,
    pub tokens: Option<Tokens>,
    /// How long the answer took, in milliseconds.
    pub elapsed_ms: f64,
    /// The context that the agent answered in, where it was another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
}

impl Proof {
    pub fn unanswered(message: &str) -> Self {
        let (message, answer) = (message.to_owned(), String::new());
        let (served, route, tokens, context) = (None, None, None, None);
        Self { message, answer, served, route, tokens, elapsed_ms: 0.0, context }
    }

    pub fn is_by_fallback(&self) -> bool {
        self.route.as_ref().and_then(Route::fallback).is_some()
    }
}

/// A swap and its receipt: what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Swap {
    /// Its id; later swaps have greater ones.
    pub id: String,
    pub agent: AgentName,
    pub context: ContextId,
    pub actor: String,
    pub model: Option<ModelSpec>,
    pub prompt: PromptChange,
    pub before: Option<AgentConfig>,
    pub after: Option<AgentConfig>,
    pub steps: Vec<Step>,
    pub proof: Option<Proof>,
    pub assessment: Assessment,
    pub outcome: Outcome,
    /// Who was at fault where it did not succeed, which decides the status of the page.
    pub fault: Option<Fault>,
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
    Upstream,
    Timeout,
}

impl Swap {
    /// All steps together, in milliseconds.
    pub fn elapsed_ms(&self) -> f64 {
        self.steps.iter().map(|step| step.elapsed_ms).sum()
    }

    /// Takes from the proof, where there is one, whether the model answers; without probe and proof it is not known.
    pub fn note_answers(&mut self) {
        let proof = self.proof.as_ref();
        let fallback = proof.and_then(|proof| proof.route.as_ref()?.fallback());
        let served = proof.and_then(|proof| proof.served.as_deref());
        let answers = match (fallback, served) {
            (Some(fallback), _) => Answers::new(AnswerState::Fallback, fallback),
            (None, Some(served)) if self.outcome == Outcome::Proven => Answers::new(AnswerState::Yes, served),
            _ if self.model.is_some() && self.assessment.answers.is_none() => {
                Answers::new(AnswerState::NotKnown, "it was not called")
            }
            _ => return,
        };
        self.assessment.answers = Some(answers);
    }

    pub fn has_warnings(&self) -> bool {
        self.steps.iter().any(|step| step.result == StepResult::Warning)
    }

    pub fn failed_step(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.result == StepResult::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_has_one_word_everywhere() {
        for &outcome in Outcome::VARIANTS {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}
