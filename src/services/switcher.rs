//! Swaps: pre-flight check, probe, control messages, read-back, proof, rollback, receipt.

mod assess;
mod choices;
mod compare;
mod context_lock;
mod control;
mod drift;
mod errors;
mod history;
mod learn;
mod outcome_writer;
mod progress;
mod record;
mod rehearse;
mod run;
mod scope;
mod served;
mod session;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span, field};
use uuid::Uuid;

pub use self::assess::{Check, Fits};
pub use self::choices::Choice;
use self::compare::Comparisons;
pub use self::compare::{Column, CompareError, CompareRequest, Comparison, MODELS, why_not};
pub use self::errors::{ReadError, SwapError};
use self::outcome_writer::OutcomeWriter;
pub use self::progress::{Progress, Watched};
use self::record::{audit_entry, new_swap};
pub use self::rehearse::Rehearsal;
use self::run::Run;
pub use self::scope::ScopeFound;
use self::served::KeyCopies;
pub use self::served::{Evidence, Standing};
pub use self::session::Session;
use crate::clients::ClientError;
use crate::clients::litellm::LiteLlm;
use crate::domain::agent::{AgentName, Scope};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::ContextId;
use crate::domain::control::AgentConfig;
use crate::domain::job::ItemRef;
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::lease::Lease;
use crate::domain::swap::{Outcome, Swap, SwapRequest};
use crate::services::agents::{AgentView, Agents, KnownAgent};
use crate::services::keys::{RulesCopy, RulesSource};
use crate::services::live::{Live, Message};
use crate::services::locks::{Held, Locks};
use crate::services::registry::Registry;
use crate::services::snapshot::View;
use crate::store::{Ended, Store};
use crate::telemetry;
use patchbay_clock::Clock;

/// The value of `seen` for a form that showed a context without any swap.
pub const NONE_SEEN: &str = "none";

/// How often a swap that runs in another replica is looked at.
const LOOK_ELSEWHERE: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Of a control message. Agents need 20 to 120 ms.
    pub control: Duration,
    pub message: Duration,
    /// When an agent-wide model is looked at again after a swap: a turn that ran meanwhile writes its own
    /// model back when it ends (measured on ADK agents).
    pub look_again: [Duration; 2],
    /// When the proxy's log is looked at after an answer, each after the one before.
    pub find_call: [Duration; 4],
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            control: Duration::from_secs(15),
            message: Duration::from_mins(2),
            look_again: [Duration::from_secs(5), Duration::from_secs(30)],
            find_call: learn::FIND_CALL,
        }
    }
}

#[derive(Clone)]
pub struct Switcher {
    parts: Arc<Parts>,
}

struct Parts {
    agents: Agents,
    registry: Registry,
    proxy: LiteLlm,
    keys: KeyCopies,
    rules: RulesCopy,
    comparisons: Comparisons,
    outcomes: OutcomeWriter,
    store: Store,
    clock: Clock,
    timeouts: Timeouts,
    /// US dollars for one reading of a conversation above which a swap has to be confirmed.
    confirm_cost: f64,
    locks: Locks,
    running: TaskTracker,
    progress: Mutex<HashMap<String, Watched>>,
    live: OnceLock<Live>,
}

pub struct OneOfMany {
    pub item: ItemRef,
    pub view: AgentView,
    /// Is given back when the agent has done its part; what is to be written comes after.
    pub turn: Option<OwnedSemaphorePermit>,
}

/// What a swap is part of.
#[derive(Default)]
struct Whole {
    one: Option<OneOfMany>,
    /// Has to be held as long as the swap's own lock.
    lease: Option<Lease>,
}

impl Switcher {
    pub fn new(
        agents: Agents,
        registry: Registry,
        proxy: LiteLlm,
        store: Store,
        clock: Clock,
        timeouts: Timeouts,
        confirm_cost: f64,
    ) -> Self {
        let rules = RulesCopy::new(RulesSource(proxy.clone()), clock.clone());
        let parts = Parts {
            keys: KeyCopies::new(&proxy, &clock),
            comparisons: Comparisons::default(),
            outcomes: OutcomeWriter::default(),
            agents,
            registry,
            proxy,
            rules,
            locks: Locks::new(&store),
            store,
            clock,
            timeouts,
            confirm_cost,
            running: TaskTracker::new(),
            progress: Mutex::default(),
            live: OnceLock::new(),
        };
        Self { parts: Arc::new(parts) }
    }

    pub fn telling(self, live: Live) -> Self {
        let _ = self.parts.live.set(live);
        self
    }

    /// Does a swap to its end. What goes wrong once it has begun is in its receipt, not an error.
    pub async fn swap(&self, request: SwapRequest, actor: &Actor) -> Result<Swap, SwapError> {
        self.swap_within(None, request, actor).await
    }

    /// The same as part of work that has a lease: where that one is lost, nothing more is sent.
    async fn swap_within(
        &self,
        lease: Option<&Lease>,
        request: SwapRequest,
        actor: &Actor,
    ) -> Result<Swap, SwapError> {
        let whole = Whole { one: None, lease: lease.cloned() };
        let mut progress = self.begin(whole, request, actor).await?;
        // The sender says so before it goes.
        let _ = progress.wait_for(|progress| progress.is_done).await;
        Self::receipt(&progress)
    }

    pub fn forget_keys(&self) {
        self.parts.keys.invalidate();
    }

    /// Does one swap of a job, and waits until its outcome is written, in the job as well.
    pub async fn swap_of_many(
        &self,
        one: OneOfMany,
        request: SwapRequest,
        actor: &Actor,
    ) -> Result<Swap, SwapError> {
        let lease = Some(one.item.lease.clone());
        let mut progress = self.begin(Whole { one: Some(one), lease }, request, actor).await?;
        let _ = progress.wait_for(Progress::is_written).await;
        Self::receipt(&progress)
    }

    /// Waits for a swap that runs here, until its outcome is written.
    pub async fn wait_for(&self, id: &str) {
        if let Some(mut progress) = self.progress(id) {
            let _ = progress.wait_for(Progress::is_written).await;
        }
    }

    fn receipt(progress: &Watched) -> Result<Swap, SwapError> {
        let Progress { swap, is_lost, .. } = progress.borrow().clone();
        if is_lost { Err(SwapError::NotWritten(Box::new(swap))) } else { Ok(swap) }
    }

    /// Begins a swap, which goes on if the caller is dropped.
    pub async fn start(&self, request: SwapRequest, actor: &Actor) -> Result<Watched, SwapError> {
        self.begin(Whole::default(), request, actor).await
    }

    async fn begin(&self, whole: Whole, request: SwapRequest, actor: &Actor) -> Result<Watched, SwapError> {
        let object = format!("{}/{}", request.agent, request.context);
        let begun = self.begin_unless_refused(whole, request, actor).await;
        if let Err(error @ (SwapError::Busy { .. } | SwapError::Changed { .. })) = &begun {
            let mut entry = NewEntry::new(actor, Action::Swap, object, "refused");
            entry.detail = Some(error.to_string());
            self.parts.store.audit(&entry).await?;
        }
        begun
    }

    async fn begin_unless_refused(
        &self,
        Whole { one, lease }: Whole,
        request: SwapRequest,
        actor: &Actor,
    ) -> Result<Watched, SwapError> {
        let parts = &self.parts;
        let agent = parts.agents.get(&request.agent);
        let agent = agent.ok_or_else(|| SwapError::UnknownAgent(request.agent.clone()))?;
        let (one, view) = match one {
            Some(OneOfMany { item, view, turn }) => (Some((item, turn)), view),
            None => (None, parts.agents.view(&agent).await?),
        };
        let held =
            parts.lock_swaps(view.scope, &request.agent, &request.context, &actor.name).await?.within(lease);
        parts.check_seen(&request, view.scope).await?;

        // Made behind the lock: later swaps of a context have greater ids.
        let id = one.as_ref().map_or_else(|| Uuid::now_v7().to_string(), |(item, _)| item.swap.clone());
        let swap = new_swap(id.clone(), &request, actor, parts.clock.now());
        parts.store.begin_swap(&swap).await?;
        let (sender, progress) = watch::channel(Progress::begun(swap));
        let span = tracing::info_span!(
            "swap", id, agent = %request.agent, context = %request.context, outcome = field::Empty
        );
        parts.progress().insert(id, progress.clone());
        // Of many the job tells how far it is.
        if let (Some(live), None) = (parts.live.get(), &one) {
            let object = format!("{}/{}", request.agent, request.context);
            live.tell(Message::Begun { topic: "swap".to_owned(), object, who: actor.name.clone() });
        }
        let (parts, actor) = (Arc::clone(parts), actor.clone());
        let swap = async move { parts.carry_out(&agent, request, &view, &actor, &sender, held, one).await };
        self.parts.running.spawn(swap.instrument(span));
        Ok(progress)
    }

    pub fn progress(&self, id: &str) -> Option<Watched> {
        self.parts.progress().get(id).cloned()
    }

    /// The progress of a swap that may run in another replica: then the database is asked now and then.
    pub fn follow(&self, swap: Swap) -> Watched {
        if let Some(progress) = self.progress(&swap.id) {
            return progress;
        }
        let (id, store) = (swap.id.clone(), self.parts.store.clone());
        let (sender, progress) = watch::channel(Progress::stored(swap));
        tokio::spawn(async move {
            while !sender.is_closed() && !sender.borrow().is_done {
                tokio::time::sleep(LOOK_ELSEWHERE).await;
                if let Ok(Some(swap)) = store.swap(&id).await {
                    sender.send_replace(Progress::stored(swap));
                }
            }
        });
        progress
    }

    pub async fn read_config(
        &self,
        agent: &AgentName,
        context: &ContextId,
    ) -> Result<AgentConfig, ReadError> {
        let known = self.parts.agents.get(agent).ok_or_else(|| ReadError::UnknownAgent(agent.clone()))?;
        let turn = if self.parts.reads_for_free(&known).await {
            None
        } else {
            Some(self.parts.lock_questions(agent, context, "a look at the model").await?)
        };
        let config = self.parts.config(&known, context, turn.as_ref()).await?;
        self.parts.store.note_config(agent, context, &config).await?;
        Ok(config)
    }

    /// Waits until no other question and no swap runs in a context. None begins while the result is held.
    ///
    /// An ADK agent fails a turn whose session was changed under it ("stale session", measured), and a turn
    /// that begins within a swap may go on with the former model, and write it back.
    pub(super) async fn lock_conversation(
        &self,
        agent: &AgentName,
        context: &ContextId,
        holder: &str,
    ) -> Result<Held, ReadError> {
        let known = self.parts.agents.get(agent).ok_or_else(|| ReadError::UnknownAgent(agent.clone()))?;
        let turn = self.parts.lock_questions(agent, context, holder).await?;
        let scope = self.parts.agents.view(&known).await?.scope;
        drop(self.parts.lock_swaps(scope, agent, context, holder).await?);
        Ok(turn)
    }

    /// The agents' virtual keys at the proxy, from background copies; none in one that the proxy does not know.
    pub async fn agent_keys(&self) -> Vec<(KeyHash, View<Option<VirtualKey>, ClientError>)> {
        let hashes: BTreeSet<_> = self.parts.agents.key_hashes().into_iter().map(|(_, hash)| hash).collect();
        let view = async |hash: KeyHash| {
            let view = self.parts.keys.of(&hash).key.refresh().await;
            (hash, view)
        };
        join_all(hashes.into_iter().map(view)).await
    }

    /// Waits for the swaps that run. None can begin afterwards.
    pub async fn drain(&self) {
        self.parts.running.close();
        self.parts.running.wait().await;
    }
}

impl Parts {
    fn progress(&self) -> MutexGuard<'_, HashMap<String, Watched>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::too_many_arguments, reason = "a swap with all that it is part of")]
    async fn carry_out(
        self: Arc<Self>,
        agent: &KnownAgent,
        request: SwapRequest,
        view: &AgentView,
        actor: &Actor,
        progress: &watch::Sender<Progress>,
        held: Held,
        one: Option<(ItemRef, Option<OwnedSemaphorePermit>)>,
    ) {
        let mut swap = Run::new(&self, agent, view, &request, progress, &held, one.is_some()).finish().await;
        metrics::counter!(telemetry::SWAPS, "outcome" => swap.outcome.as_str()).increment(1);
        Span::current().record("outcome", swap.outcome.as_str());
        tracing::debug!("swap ended");
        let now = self.clock.now();
        swap.finished_at = Some(now);
        if let Some(answer) = &swap.proof {
            self.learn_from(&swap.agent, swap.after.as_ref(), answer);
        }
        // The swap itself may have shown it; a job is not begun where one swap is for all contexts.
        let scope = match &one {
            Some(_) => view.scope,
            None => self.agents.view(agent).await.ok().and_then(|view| view.scope),
        };
        // The agent is free for the next one; where this one failed, the job may stop because of it.
        let (item, turn) = one.unzip();
        let _turn = turn.filter(|_| !swap.outcome.is_success());
        let minutes = request.minutes.filter(|_| swap.before.is_some());
        let ended = Arc::new(Ended {
            is_agent_wide: scope == Some(Scope::Agent),
            revert_at: minutes.map(|minutes| now + SignedDuration::from_mins(minutes.into())),
            item,
            leases: held.leases(),
            entry: audit_entry(&swap, actor),
            swap: swap.clone(),
        });
        let written = self.write_outcome(&ended, actor, progress).await;
        drop(held);
        self.progress().remove(&swap.id);
        let is_lost = written.is_none();
        let swap = written.unwrap_or(swap);
        if swap.outcome == Outcome::Unknown && !is_lost {
            tokio::spawn(Arc::clone(&self).look_after_lost_lock(swap.clone(), scope).in_current_span());
        }
        if scope == Some(Scope::Agent) && swap.outcome.is_success() {
            tokio::spawn(Arc::clone(&self).look_again(swap.clone()).in_current_span());
        }
        progress.send_replace(Progress { is_lost, ..Progress::ended(swap) });
    }
}
