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
use crate::domain::words::{cut, sentence};
use crate::services::agents::{Agents, KnownAgent};
use crate::services::journal::{Failure, Record, journaled};
use crate::services::switcher::{ReadError, Switcher};
use crate::store::{Store, StoreError};
use patchbay_clock::Clock;

/// Longest answer that is kept, in characters.
pub const MAX_ANSWER_CHARS: usize = 20_000;

/// Longest context id of an agent that is kept, in characters.
const MAX_ID: usize = 128;

/// The problem of a question until its answer is written down.
const UNANSWERED: &str =
    "No answer was recorded: Patchbay ended before it came, or another replica still waits for it.";

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
        let known = parts.agents.get(agent).ok_or_else(|| AskError::UnknownAgent(agent.clone()))?;
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
        let question = async move { parts.carry_out(&known, &sender, &actor).await };
        self.parts.running.spawn(question.in_current_span());
        Ok(receiver)
    }

    pub fn progress(&self, id: &str) -> Option<watch::Receiver<AskProgress>> {
        self.parts.progress().get(id).cloned()
    }

    /// The last questions in a context, the oldest first, those under way included.
    pub async fn of(&self, agent: &AgentName, context: &ContextId) -> Result<Vec<AskProgress>, StoreError> {
        let written = self.parts.store.asks_of(agent, context).await?;
        let here = |ask: &Ask| ask.agent == *agent && ask.context == *context;
        // Those that run here come first: they are written too, but not yet with an answer.
        let running = |progress: &watch::Receiver<AskProgress>| progress.borrow().clone();
        let mut asks: Vec<_> = self.parts.progress().values().map(running).collect();
        asks.retain(|progress| here(&progress.ask) && !progress.is_done);
        asks.extend(written.into_iter().map(|ask| AskProgress { ask, is_done: true }));
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

    async fn carry_out(&self, agent: &KnownAgent, progress: &watch::Sender<AskProgress>, actor: &Actor) {
        let mut ask = progress.borrow().ask.clone();
        let started = Instant::now();
        let entry = NewEntry::new(actor, Action::Ask, format!("{}/{}", ask.agent, ask.context), "ok");
        let written = journaled(&self.store, entry, async |Record { entry, .. }| {
            let answer = self.put(agent, &ask, progress).await;
            ask.proof.elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
            // What came before a failure is shown as well.
            ask.proof.answer.clone_from(&progress.borrow().ask.proof.answer);
            let state = match answer {
                Ok(answer) => fill(&mut ask.proof, answer),
                Err(error) => {
                    ask.problem = Some(sentence(&error));
                    "failed".clone_into(&mut entry.outcome);
                    None
                }
            };
            // What was said is in the conversation, not in the audit.
            entry.after.clone_from(&ask.proof.served);
            entry.detail.clone_from(&ask.problem);
            self.store.write_ask(&ask).await?;
            self.switcher.learn_call(&ask.agent, state.as_ref(), &ask.proof);
            match state {
                Some(config) => self.store.note_config(&ask.agent, &ask.context, &config).await,
                None => Ok(()),
            }
        })
        .await;
        if let Err(error) = written {
            tracing::error!(%error, ask = ask.id, "an answer was not written down");
            ask.problem.get_or_insert_with(|| sentence(&error));
        }
        self.progress().remove(&ask.id);
        progress.send_replace(AskProgress { ask, is_done: true });
    }

    /// Sends a question once it is written down: it is paid for even if this process ends before the answer comes.
    async fn put(
        &self,
        agent: &KnownAgent,
        ask: &Ask,
        progress: &watch::Sender<AskProgress>,
    ) -> Result<Answer, ReadError> {
        let turn = self.switcher.lock_conversation(&ask.agent, &ask.context, &ask.actor).await?;
        self.store.write_ask(&Ask { problem: Some(UNANSWERED.to_owned()), ..ask.clone() }).await?;
        turn.check().await?;
        let on_text = |text| progress.send_modify(|progress| progress.ask.proof.answer = text);
        let message = &ask.proof.message;
        Ok(listen(&self.agents, agent, &ask.context, message, self.timeout, on_text).await?)
    }
}

impl Failure for StoreError {}

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
    proof.answer = clean(answer.shown());
    proof.tokens = answer.tokens;
    proof.context = answer.context.as_deref().map(|context| cut(&clean(context), MAX_ID).into_owned());
    let state = answer.state.filter(|_| answer.from_model);
    let said = answer.served.or_else(|| state.as_ref().map(AgentConfig::spec_text));
    // The proxy knows better than the agent.
    proof.served = answer.proxy.as_ref().map(|route| route.group.clone()).or(said);
    proof.route = answer.proxy;
    state
}

/// Looks a little beyond the end, so that a secret there is not cut before it is found.
fn clean(text: &str) -> String {
    let head = cut(text, MAX_ANSWER_CHARS + 4_096);
    redact::secrets(&head).chars().take(MAX_ANSWER_CHARS).collect()
}
