//! Contexts that someone else changed, and swaps whose time is up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{Parts, ReadError, Switcher};
use crate::domain::agent::Scope;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::KnownContext;
use crate::domain::control::AgentConfig;
use crate::domain::lease::Lease;
use crate::domain::swap::{Swap, SwapRequest, TIMER};
use crate::services::agents::KnownAgent;
use crate::store::DueRevert;

/// How often the background looks whether something is to be done.
const TICK: Duration = Duration::from_secs(5);

/// Age at which a context is read again.
const READ_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Most contexts that are read in a round, those swapped last first.
const CONTEXTS: u32 = 200;

const MAX_CONCURRENT: usize = 4;

/// How long a timed swap that could not be ended waits for the next try.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(60);

const NAME: &str = "patchbay";

/// In whose name it looks at a swap again.
const HOLDER: &str = "a look back";

impl Switcher {
    /// Ends timed swaps and looks for drift, until `stop`.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // One replica does it for all.
            let Some(lease) = self.parts.store.lead("swaps").await else { continue };
            let round = async {
                self.close_unfinished().await;
                self.end_timed_swaps_within(Some(&lease)).await;
                self.look_for_drift_within(Some(&lease)).await;
            };
            round.instrument(tracing::info_span!("job", kind = "drift")).await;
        }
    }

    async fn close_unfinished(&self) {
        match self.parts.store.close_unfinished_swaps().await {
            Ok(0) => {}
            Ok(swaps) => tracing::warn!(swaps, "swaps of a replica that is gone are marked as unknown"),
            Err(error) => tracing::warn!(%error, "unfinished swaps could not be looked up"),
        }
        match self.parts.store.close_unfinished_writes().await {
            Ok(0) => {}
            Ok(writes) => tracing::warn!(writes, "changes of a replica that is gone are marked as unknown"),
            Err(error) => tracing::warn!(%error, "unfinished changes could not be looked up"),
        }
    }

    pub async fn end_timed_swaps(&self) {
        self.end_timed_swaps_within(None).await;
    }

    async fn end_timed_swaps_within(&self, lease: Option<&Lease>) {
        let due = match self.parts.store.due_reverts().await {
            Ok(due) => due,
            Err(error) => return tracing::warn!(%error, "timed swaps could not be looked up"),
        };
        stream::iter(due)
            .for_each_concurrent(MAX_CONCURRENT, |due| async move { self.end_or_put_off(&due, lease).await })
            .await;
    }

    async fn end_or_put_off(&self, due: &DueRevert, lease: Option<&Lease>) {
        let DueRevert { agent, context, gives_up_at, .. } = due;
        let now = self.parts.clock.now();
        let next = match self.end_timed_swap(due, lease).await {
            // A swap that succeeded took its own revert away.
            Ok(true) => return,
            Ok(false) => None,
            Err(error) if now >= *gives_up_at => {
                let object = format!("{agent}/{context}");
                let mut entry = NewEntry::new(&Actor::local(TIMER), Action::Swap, object, "failed");
                entry.detail =
                    Some(format!("the time is up, and it was tried for an hour to go back: {error}"));
                if let Err(error) = self.parts.store.audit(&entry).await {
                    tracing::warn!(%error, "a timed swap that could not be ended was not written down");
                }
                None
            }
            Err(error) => {
                tracing::warn!(%error, %agent, %context, "a timed swap could not be ended; trying again");
                Some(now + RETRY_AFTER)
            }
        };
        if let Err(error) = self.parts.store.move_revert(agent, context, next).await {
            tracing::warn!(%error, %agent, %context, "a timed swap could not be put off");
        }
    }

    /// Whether it was ended; false where it cannot ever be.
    async fn end_timed_swap(&self, due: &DueRevert, lease: Option<&Lease>) -> Result<bool, String> {
        let swap = async |id: &str| self.parts.store.swap(id).await.map_err(|error| error.to_string());
        let (last, first) = (swap(&due.swap).await?, swap(&due.goes_to).await?);
        let request = first.and_then(|first| {
            let now = last.as_ref().and_then(|last| last.after.as_ref());
            SwapRequest::going_to(&due.agent, &due.context, now, first.before.as_ref()?)
        });
        // What it is on already is not sent.
        let Some(request) = request.filter(SwapRequest::changes_something) else { return Ok(false) };
        let actor = Actor::local(TIMER);
        match self.swap_within(lease, request, &actor).await {
            Ok(swap) if swap.outcome.is_success() => Ok(true),
            Ok(swap) => Err(format!("the swap back ended as {}", swap.outcome.as_str())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Reads the contexts of agents that are not charged a history entry for it.
    pub async fn look_for_drift(&self) {
        self.look_for_drift_within(None).await;
    }

    async fn look_for_drift_within(&self, lease: Option<&Lease>) {
        let contexts = match self.parts.store.contexts(CONTEXTS).await {
            Ok(contexts) => contexts,
            Err(error) => return tracing::warn!(%error, "the contexts could not be looked up"),
        };
        let now = self.parts.clock.now();
        let is_old = |at: Option<jiff::Timestamp>| at.is_none_or(|at| now.duration_since(at) >= READ_AFTER);
        let mut due = Vec::new();
        for known in contexts.into_iter().filter(|known| known.selected.is_some() && is_old(known.read_at)) {
            let Some(agent) = self.parts.agents.get(&known.agent) else { continue };
            if self.parts.reads_for_free(&agent).await {
                due.push(known);
            }
        }
        stream::iter(due)
            .for_each_concurrent(MAX_CONCURRENT, |known| async move { self.look_at(&known, lease).await })
            .await;
    }

    async fn look_at(&self, known: &KnownContext, lease: Option<&Lease>) {
        match self.read_config(&known.agent, &known.context).await {
            Ok(config) => self.after_reading(known, &config, lease).await,
            Err(error) => {
                tracing::debug!(%error, agent = %known.agent, context = %known.context, "a context was not read");
            }
        }
    }

    async fn after_reading(&self, known: &KnownContext, config: &AgentConfig, lease: Option<&Lease>) {
        let Some(selected) = known.selected.as_ref().filter(|selected| *selected != config) else { return };
        if !known.has_drifted() {
            self.parts.note_drift(known, selected, config).await;
        }
        if !known.is_kept {
            return;
        }
        let request = SwapRequest::going_to(&known.agent, &known.context, Some(config), selected);
        let Some(request) = request else { return };
        if let Err(error) = self.swap_within(lease, request, &Actor::local("patchbay (kept)")).await {
            tracing::warn!(%error, agent = %known.agent, context = %known.context, "a kept context was not put back");
        }
    }
}

impl Parts {
    pub(super) async fn reads_for_free(&self, agent: &KnownAgent) -> bool {
        let view = self.agents.view(agent).await;
        view.is_ok_and(|view| {
            view.card.problem.is_none() && view.card.value.is_some_and(|card| card.scope.is_some())
        })
    }

    async fn note_drift(&self, known: &KnownContext, selected: &AgentConfig, config: &AgentConfig) {
        let object = format!("{}/{}", known.agent, known.context);
        let mut entry = NewEntry::new(&Actor::local(NAME), Action::Drift, object, "found");
        entry.before = Some(selected.spec_text());
        entry.after = Some(config.spec_text());
        entry.detail = Some("changed by someone else, or by a turn that ran during the swap".to_owned());
        if let Err(error) = self.store.audit(&entry).await {
            tracing::warn!(%error, "a drift was not written down");
        }
    }

    /// Reads an agent-wide model again some time after a swap, since a turn that ran during the swap writes
    /// its own model back when it ends.
    pub(super) async fn look_again(self: Arc<Self>, swap: Swap) {
        for pause in self.timeouts.look_again {
            tokio::time::sleep(pause).await;
            match self.is_as_left(&swap).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, swap = swap.id, "a swap was not looked at again");
                    return;
                }
            }
        }
    }

    /// Reads a context whose swap was interrupted, when those who took over are done: what was sent late may have changed
    /// what they left.
    pub(super) async fn look_after_lost_lock(self: Arc<Self>, swap: Swap, scope: Option<Scope>) {
        let read = async {
            let agent = self.agents.get(&swap.agent);
            let agent = agent.ok_or_else(|| ReadError::UnknownAgent(swap.agent.clone()))?;
            let held = self.lock_swaps(scope, &swap.agent, &swap.context, HOLDER).await?;
            let config = self.config(&agent, &swap.context, Some(&held)).await?;
            Ok::<_, ReadError>(self.store.note_config(&swap.agent, &swap.context, &config).await?)
        };
        if let Err(error) = read.await {
            tracing::warn!(%error, swap = swap.id, "a context was not read after an interrupted swap");
        }
    }

    /// False where someone swapped since, or where the swap is gone.
    async fn is_as_left(&self, swap: &Swap) -> Result<bool, ReadError> {
        let agent =
            self.agents.get(&swap.agent).ok_or_else(|| ReadError::UnknownAgent(swap.agent.clone()))?;
        // However long the answer takes, and whoever asks next: the question goes first.
        let _turn = loop {
            match self.lock_questions(&swap.agent, &swap.context, HOLDER).await {
                Err(ReadError::Asked { .. }) => {}
                taken => break taken?,
            }
        };
        // Reading writes an ADK agent's state back as it was, so it must not meet a swap.
        let Ok(held) = self.lock_swaps(Some(Scope::Agent), &swap.agent, &swap.context, HOLDER).await else {
            return Ok(false);
        };
        if self.store.last_swap(&swap.agent, None).await?.is_none_or(|last| last.id != swap.id) {
            return Ok(false);
        }
        let config = self.config(&agent, &swap.context, Some(&held)).await?;
        let Some(known) = self.store.context(&swap.agent, &swap.context).await? else { return Ok(false) };
        self.store.note_config(&swap.agent, &swap.context, &config).await?;
        let Some(selected) = known.selected.as_ref().filter(|selected| **selected != config) else {
            return Ok(true);
        };
        self.note_drift(&known, selected, &config).await;
        Ok(false)
    }
}
