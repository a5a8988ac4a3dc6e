//! What the form sends, and what is wrong with it.

use serde::{Deserialize, Serialize};

use super::Services;
use crate::domain::agent::AgentName;
use crate::domain::assessment::Accepted;
use crate::domain::context::ContextId;
use crate::domain::model::ModelSpec;
use crate::domain::swap::{MAX_MINUTES, PromptChange, SwapRequest, check_message};
use crate::web::forms::FieldErrors;

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct SwitchForm {
    pub(super) agent: String,
    pub(super) context: String,
    pub(super) model: String,
    pub(super) prompt: String,
    /// Not empty: go back to the agent's own prompt.
    pub(super) clear_prompt: String,
    pub(super) seen: String,
    /// The context that `seen` is about, since someone may type another one.
    pub(super) seen_for: String,
    /// Not empty: try the model first.
    pub(super) probe: String,
    pub(super) message: String,
    /// Empty: it stays. `custom`: as `custom_minutes` says.
    pub(super) minutes: String,
    pub(super) custom_minutes: String,
    /// Not empty: go on though the conversation does not fit.
    pub(super) accept_size: String,
    /// Not empty: go on though reading the conversation again is expensive.
    pub(super) accept_cost: String,
    /// Not empty: check the swap, and send nothing.
    pub(super) check: String,
    /// Not empty: do it in a throw-away context, and send nothing to this one.
    pub(super) rehearse: String,
}

impl SwitchForm {
    pub(super) fn validate(&self, state: &Services) -> Result<SwapRequest, FieldErrors> {
        let mut errors = FieldErrors::default();
        let agent = self.agent.parse::<AgentName>().ok().filter(|name| state.agents.get(name).is_some());
        if agent.is_none() {
            errors.add("agent", "Choose an agent.");
        }
        let context =
            self.context.parse::<ContextId>().map_err(|error| errors.add("context", error.to_string())).ok();
        let prompt = prompt_change(&self.prompt, &self.clear_prompt, &mut errors);
        let model = match self.model.trim() {
            "" => None,
            text => text.parse::<ModelSpec>().map_err(|error| errors.add("model", error.to_string())).ok(),
        };
        if self.model.trim().is_empty() && prompt == PromptChange::Keep && errors.is_empty() {
            errors.add("model", "Name a model to switch to, or a prompt.");
        }
        let message = message(&self.message, &mut errors);
        let given = if self.minutes.trim() == "custom" { &self.custom_minutes } else { &self.minutes };
        let minutes = minutes(given, &mut errors);
        match (agent, context, errors.is_empty()) {
            (Some(agent), Some(context), true) => {
                let is_about = self.seen_for.is_empty() || self.seen_for == format!("{agent}/{context}");
                let seen = Some(self.seen.clone()).filter(|seen| is_about && !seen.is_empty());
                let probe = !self.probe.is_empty();
                let accepted =
                    Accepted { size: !self.accept_size.is_empty(), cost: !self.accept_cost.is_empty() };
                Ok(SwapRequest { agent, context, model, prompt, seen, probe, message, minutes, accepted })
            }
            _ => Err(errors),
        }
    }
}

/// The question of a form; none for blanks.
pub(in crate::web::pages) fn message(text: &str, errors: &mut FieldErrors) -> Option<String> {
    check_message(text).map_err(|error| errors.add("message", error.to_string())).ok().flatten()
}

/// After how many minutes a switch is undone; none where it stays.
pub(in crate::web::pages) fn minutes(text: &str, errors: &mut FieldErrors) -> Option<u32> {
    match text.trim() {
        "" | "0" => None,
        text => match text.parse() {
            Ok(minutes) if (1..=MAX_MINUTES).contains(&minutes) => Some(minutes),
            _ => {
                errors.add("minutes", "Between 1 minute and 10,080 minutes, which is a week.");
                None
            }
        },
    }
}

pub(crate) fn prompt_change(prompt: &str, clear: &str, errors: &mut FieldErrors) -> PromptChange {
    match (prompt.trim().is_empty(), clear.is_empty()) {
        (true, true) => PromptChange::Keep,
        (true, false) => PromptChange::Clear,
        (false, true) => match prompt.parse() {
            Ok(prompt) => PromptChange::Set(prompt),
            Err(error) => {
                errors.add("prompt", error.to_string());
                PromptChange::Keep
            }
        },
        (false, false) => {
            errors.add("prompt", "Write a prompt or clear it, not both.");
            PromptChange::Keep
        }
    }
}
