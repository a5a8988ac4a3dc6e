//! A conversation in the proxy's log: its calls, and what they prove of the last swap.

use jiff::SignedDuration;
use serde::Serialize;

use super::{Parts, Switcher};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::ContextId;
use crate::domain::handover::HistoryFault;
use crate::domain::swap::{Outcome, Step, StepKind, StepResult, Swap};
use crate::domain::usage::Call;
use crate::services::agents::KnownAgent;
use crate::services::snapshot::PATIENCE;
use crate::store::StoreError;

/// Clocks of proxy and dashboard differ.
const LEEWAY: SignedDuration = SignedDuration::from_secs(1);

/// The calls of a conversation whose agent names it to the proxy.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Session {
    /// The newest first.
    pub calls: Vec<Call>,
    /// Why the last turn failed, where the history is at fault.
    pub fault: Option<HistoryFault>,
}

impl Switcher {
    /// The conversation in the proxy's log. A swap that was verified and has been answered since by its model is noted as
    /// proven.
    pub async fn session(
        &self,
        agent: &KnownAgent,
        swaps: &mut [Swap],
        context: &ContextId,
    ) -> Result<Session, StoreError> {
        let calls = self.parts.session(agent, context, PATIENCE).await;
        let last = swaps.iter_mut().find(|swap| swap.outcome != Outcome::Refused);
        if let Some(swap) = last {
            self.parts.prove_by_log(agent, swap, &calls).await?;
        }
        let failed = calls.first().filter(|call| call.has_failed);
        let fault = failed.and_then(|call| HistoryFault::find(call.message.as_deref()?));
        Ok(Session { calls, fault })
    }
}

impl Parts {
    async fn prove_by_log(
        &self,
        agent: &KnownAgent,
        swap: &mut Swap,
        calls: &[Call],
    ) -> Result<(), StoreError> {
        let (Outcome::Verified, Some(end), Some(after)) = (swap.outcome, swap.finished_at, &swap.after)
        else {
            return Ok(());
        };
        let Some(spec) = after.spec() else { return Ok(()) };
        let (asked, _) = self.agents.view(agent).await?.calls.of(&spec);
        // After a fallback the log has the name that answered, and a probe names a session of its own.
        let is_proof = |call: &&Call| {
            !call.has_failed && call.at > end + LEEWAY && call.model.as_deref() == Some(asked.name.as_str())
        };
        let Some(call) = calls.iter().rev().find(is_proof) else { return Ok(()) };
        let by = call.deployment.as_ref().map(|id| format!(" from deployment {id}")).unwrap_or_default();
        let detail = format!("{} answered a later turn{by}, by the proxy's log of {}.", asked.name, call.at);
        swap.steps.push(Step { kind: StepKind::Prove, result: StepResult::Done, detail, elapsed_ms: 0.0 });
        let actor = Actor::local("patchbay (proxy's log)");
        let object = format!("{}/{}", swap.agent, swap.context);
        let mut entry = NewEntry::new(&actor, Action::Swap, object, Outcome::Proven.as_str());
        entry.after = Some(after.spec_text());
        entry.detail = swap.steps.last().map(|step| step.detail.clone());
        self.store.prove_swap(swap, &entry).await?;
        swap.outcome = Outcome::Proven;
        Ok(())
    }
}
