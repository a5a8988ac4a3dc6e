//! Messages asked in contexts. The answer comes in as the agent gives it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::clients::a2a::AgentError;
use crate::domain::agent::AgentName;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::{Ask, ContextId};
use crate::domain::control::{AgentConfig, Answer};
use crate::domain::redact;
use crate::domain::swap::Proof;
use crate::domain::words::sentence;
use crate::services::agents::{Agents, KnownAgent};
use crate::services::switcher::{ReadError, Switcher};
use crate::store::{Store, StoreError};
use patchbay_clock::Clock;

/// Longest answer that is kept, in characters.
pub const MAX_ANSWER_CHARS: usize = 20_000;

/// Questions under way at once.
const MAX_RUNNING: usize = 64;

/// No question was sent.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no agent is called {0}")]
    UnknownAgent(AgentName),
    #[error("{MAX_RUNNING} questions are under way already")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Clone)]
pub struct AskProgress {
    pub ask: Ask,
    pub is_done: bool,
}

#[derive(Clone)]
pub struct Asks {
    parts: Arc<Parts>,
}

struct Parts {
    agents: Agents,
    switcher: Switcher,
    store: Store,
    clock: Clock,
    timeout: Duration,
    running: TaskTracker,
    progress: Mutex<HashMap<String, watch::Receiver<AskProgress>>>,
}

impl Asks {
    /// Asks these agents between the switcher's swaps, and waits `timeout` for an answer.
    pub fn new(agents: Agents, switcher: Switcher, store: Store, clock: Clock, timeout: Duration) -> Self {
        let (running, progress) = (TaskTracker::new(), Mutex::default());
        Self { parts: Arc::new(Parts { agents, switcher, store, clock, timeout, running, progress }) }
    }

    /// Asks, and waits for the whole answer.
    pub async fn ask(
        &self,
        agent: &AgentName,
        context: &ContextId,
        message: &str,
        actor: &Actor,
    ) -> Result<Ask, AskError> {
        let mut progress = self.start(agent, context, message, actor)?;
        // The sender says so before it goes.
        let _ = progress.wait_for(|progress| progress.is_done).await;
        let ask = progress.borrow().ask.clone();
        Ok(ask)
    }

    /// Begins to ask; it goes on whatever becomes of the one who asked.
    pub fn start(
        &self,
        agent: &AgentName,
        context: &ContextId,
        message: &str,
        actor: &Actor,
    ) -> Result<watch::Receiver<AskProgress>, AskError> {
        let parts = Arc::clone(&self.parts);
        if parts.agents.get(agent).is_none() {
            return Err(AskError::UnknownAgent(agent.clone()));
        }
        let ask = Ask {
            id: Uuid::now_v7().to_string(),
            agent: agent.clone(),
            context: context.clone(),
            actor: actor.name.clone(),
            proof: Proof::unanswered(message),
            problem: None,
            at: parts.clock.now(),
        };
        let id = ask.id.clone();
        let (sender, receiver) = watch::channel(AskProgress { ask, is_done: false });
        {
            let mut running = parts.progress();
            if running.len() >= MAX_RUNNING {
                return Err(AskError::Busy);
            }
            running.insert(id, receiver.clone());
        }
        let actor = actor.clone();
        let question = async move { parts.carry_out(&sender, &actor).await };
        self.parts.running.spawn(question.in_current_span());
        Ok(receiver)
    }

    pub fn progress(&self, id: &str) -> Option<watch::Receiver<AskProgress>> {
        self.parts.progress().get(id).cloned()
    }

    /// The last questions in a context, the oldest first, those under way included.
    pub async fn of(&self, agent: &AgentName, context: &ContextId) -> Result<Vec<AskProgress>, StoreError> {
        let written = self.parts.store.asks_of(agent, context).await?;
        let mut asks: Vec<_> = written.into_iter().map(|ask| AskProgress { ask, is_done: true }).collect();
        let running = self.parts.progress();
        let here = |ask: &Ask| ask.agent == *agent && ask.context == *context;
        let more: Vec<_> = running
            .values()
            .map(|progress| progress.borrow().clone())
            .filter(|progress| here(&progress.ask))
            .collect();
        asks.extend(more.into_iter().filter(|progress| !progress.is_done));
        asks.sort_by(|a, b| a.ask.id.cmp(&b.ask.id));
        asks.dedup_by(|a, b| a.ask.id == b.ask.id);
        Ok(asks)
    }

    pub async fn drain(&self) {
        self.parts.running.close();
        self.parts.running.wait().await;
    }
}

impl Parts {
    fn progress(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<AskProgress>>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry_out(&self, progress: &watch::Sender<AskProgress>, actor: &Actor) {
        let mut ask = progress.borrow().ask.clone();
        let started = Instant::now();
        // The agent was there when the question began, and the settings do not change.
        let Some(agent) = self.agents.get(&ask.agent) else { return };
        let on_text = |text| progress.send_modify(|progress| progress.ask.proof.answer = text);
        let (context, message) = (&ask.context, &ask.proof.message);
        let answer = match self.switcher.lock_conversation(&ask.agent, context, &actor.name).await {
            Ok(turn) => match turn.check().await {
                Ok(()) => {
                    let answer = listen(&self.agents, agent, context, message, self.timeout, on_text).await;
                    answer.map_err(ReadError::from)
                }
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error),
        };
        ask.proof.elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
        // What came before a failure is shown as well.
        ask.proof.answer = progress.borrow().ask.proof.answer.clone();
        let state = match answer {
            Ok(answer) => fill(&mut ask.proof, answer),
            Err(error) => {
                ask.problem = Some(sentence(&error));
                None
            }
        };
        if let Err(error) = self.write(&ask, state.as_ref(), actor).await {
            tracing::error!(%error, ask = ask.id, "an answer was not written down");
        }
        self.progress().remove(&ask.id);
        progress.send_replace(AskProgress { ask, is_done: true });
    }

    async fn write(&self, ask: &Ask, state: Option<&AgentConfig>, actor: &Actor) -> Result<(), StoreError> {
        self.store.write_ask(ask).await?;
        if let Some(config) = state {
            self.store.note_config(&ask.agent, &ask.context, config).await?;
        }
        let outcome = if ask.problem.is_some() { "failed" } else { "ok" };
        let mut entry = NewEntry::new(actor, Action::Ask, format!("{}/{}", ask.agent, ask.context), outcome);
        // What was said is in the conversation, not in the audit.
        entry.after.clone_from(&ask.proof.served);
        entry.detail.clone_from(&ask.problem);
        self.store.audit(&entry).await
    }
}

pub(super) async fn listen(
    agents: &Agents,
    agent: &KnownAgent,
    context: &ContextId,
    message: &str,
    timeout: Duration,
    mut on_text: impl FnMut(String),
) -> Result<Answer, AgentError> {
    let (news, mut heard) = watch::channel(String::new());
    let asking = agent.client.ask(context, message, timeout, &news);
    tokio::pin!(asking);
    loop {
        tokio::select! {
            answer = &mut asking => {
                if let Ok(Answer { scope: Some(scope), .. }) = &answer {
                    agents.note_scope(agent, *scope).await;
                }
                return answer;
            }
            Ok(()) = heard.changed() => on_text(clean(&heard.borrow_and_update())),
        }
    }
}

/// Takes an answer over; returns what the agent's state says after it.
pub(super) fn fill(proof: &mut Proof, answer: Answer) -> Option<AgentConfig> {
    proof.answer = clean(&answer.text);
    proof.tokens = answer.tokens;
    let state = answer.state.filter(|_| answer.from_model);
    proof.served = answer.served.or_else(|| state.as_ref().map(AgentConfig::spec_text));
    state
}

fn clean(text: &str) -> String {
    redact::secrets(text).chars().take(MAX_ANSWER_CHARS).collect()
}
