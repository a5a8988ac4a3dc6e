//! A swap as it is written down: when it begins, and for the audit when it has ended.

use crate::domain::assessment::Assessment;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::control::AgentConfig;
use crate::domain::swap::{Outcome, PromptChange, Swap, SwapRequest};

/// A swap that begins; until it is known how it ends it counts as unknown.
pub(super) fn new_swap(id: String, request: &SwapRequest, actor: &Actor, now: jiff::Timestamp) -> Swap {
    Swap {
        id,
        agent: request.agent.clone(),
        context: request.context.clone(),
        actor: actor.name.clone(),
        model: request.model.clone(),
        prompt: request.prompt.clone(),
        before: None,
        after: None,
        steps: Vec::new(),
        proof: None,
        assessment: Assessment::default(),
        outcome: Outcome::Unknown,
        fault: None,
        started_at: now,
        finished_at: None,
    }
}

pub(super) fn audit_entry(swap: &Swap, actor: &Actor) -> NewEntry {
    let object = format!("{}/{}", swap.agent, swap.context);
    let mut entry = NewEntry::new(actor, Action::Swap, object, swap.outcome.as_str());
    let describe = |config: &AgentConfig| match &config.prompt {
        Some(prompt) => format!("{}, prompt of {} characters", config.spec_text(), prompt.chars().count()),
        None => config.spec_text(),
    };
    entry.before = swap.before.as_ref().map(describe);
    entry.after = swap.after.as_ref().map(describe);
    let asked = swap.model.as_ref().map_or_else(|| "same model".to_owned(), ToString::to_string);
    let prompt = match swap.prompt {
        PromptChange::Keep => "",
        PromptChange::Set(_) => ", new prompt",
        PromptChange::Clear => ", no prompt",
    };
    let why = swap.failed_step().map(|step| format!(": {}", step.detail)).unwrap_or_default();
    entry.detail = Some(format!("asked for {asked}{prompt}{why}"));
    entry
}
