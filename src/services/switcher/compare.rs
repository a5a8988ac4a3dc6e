//! One message to several models, side by side, each in a throw-away context of its own.
//!
//! Only on agents that keep a model for each context: on others each column would switch all conversations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tracing::Instrument as _;
use uuid::Uuid;

use super::run::{StepError, check_lines, prompt_message};
use super::{Parts, Switcher};
use crate::clients::a2a::AgentError;
use crate::domain::agent::{AgentName, Scope};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::ContextId;
use crate::domain::control::{Answer, ControlMessage, Reply, Route};
use crate::domain::model::{Deployment, ModelSpec};
use crate::domain::swap::{PromptChange, Proof};
use crate::domain::words::sentence;
use crate::services::agents::KnownAgent;
use crate::services::conversation::{fill, listen};
use crate::services::registry::Catalog;
use crate::store::StoreError;

/// How many models are compared at least and at most.
pub const MODELS: std::ops::RangeInclusive<usize> = 2..=3;

const MAX_CONCURRENT: usize = 6;

/// Comparisons under way at once, and how many are kept to be looked at.
const MAX_RUNNING: usize = 8;
const KEPT: usize = 100;

#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Its id; later ones have greater ones.
    pub id: String,
    pub agent: AgentName,
    pub context: Option<ContextId>,
    pub message: String,
    pub actor: String,
    pub at: Timestamp,
    pub columns: Vec<Column>,
    pub is_done: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Column {
    pub model: ModelSpec,
    pub proof: Proof,
    /// What it cost in US dollars by the registered prices, where there are any.
    pub cost: Option<f64>,
    pub problem: Option<String>,
    pub is_done: bool,
}

impl Comparison {
    /// The column whose answer came first, where more than one answered.
    pub fn fastest(&self) -> Option<&ModelSpec> {
        let answered = || self.columns.iter().filter(|column| column.is_answered());
        let first = answered().min_by(|a, b| a.proof.elapsed_ms.total_cmp(&b.proof.elapsed_ms))?;
        (self.is_done && answered().count() > 1).then_some(&first.model)
    }
}

impl Column {
    pub(super) fn new(model: ModelSpec, message: &str) -> Self {
        Self { model, proof: Proof::unanswered(message), cost: None, problem: None, is_done: false }
    }

    pub fn is_answered(&self) -> bool {
        self.is_done && self.problem.is_none()
    }
}

#[derive(Debug, Clone)]
pub struct CompareRequest {
    pub agent: AgentName,
    pub context: Option<ContextId>,
    pub message: String,
    /// The models: as many as [`MODELS`] says.
    pub models: Vec<ModelSpec>,
}

#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("no agent is called {0}")]
    UnknownAgent(AgentName),
    #[error("{}", why_not(*.0).unwrap_or_default())]
    NotPerContext(Option<Scope>),
    #[error("{MAX_RUNNING} comparisons are under way already")]
    Busy,
    #[error("name a model: that of the context is not known here")]
    NoModel,
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub fn why_not(scope: Option<Scope>) -> Option<&'static str> {
    match scope {
        Some(Scope::Context) => None,
        Some(Scope::Agent) => {
            Some("All contexts of this agent share one model, so this would switch every conversation.")
        }
        None => Some(
            "It is not known yet whether a swap is for one context or for all of this agent: check it on the agent's page.",
        ),
    }
}

pub(super) struct Comparisons {
    by_id: Mutex<BTreeMap<String, watch::Receiver<Comparison>>>,
    pub(super) room: Semaphore,
}

impl Default for Comparisons {
    fn default() -> Self {
        Self { by_id: Mutex::default(), room: Semaphore::new(MAX_CONCURRENT) }
    }
}

impl Switcher {
    pub async fn compare(&self, request: CompareRequest, actor: &Actor) -> Result<Comparison, CompareError> {
        let mut progress = self.start_comparing(request, actor).await?;
        // The sender says so before it goes.
        let _ = progress.wait_for(|comparison| comparison.is_done).await;
        let comparison = progress.borrow().clone();
        Ok(comparison)
    }

    /// Begins to compare; it goes on whatever becomes of the one who asked.
    pub async fn start_comparing(
        &self,
        request: CompareRequest,
        actor: &Actor,
    ) -> Result<watch::Receiver<Comparison>, CompareError> {
        let parts = &self.parts;
        let agent = parts.agents.get(&request.agent);
        let agent = agent.ok_or_else(|| CompareError::UnknownAgent(request.agent.clone()))?;
        let scope = parts.agents.view(&agent).await?.scope;
        if scope != Some(Scope::Context) {
            return Err(CompareError::NotPerContext(scope));
        }
        let CompareRequest { agent: name, context, message, models } = request;
        let columns = models.into_iter().map(|model| Column::new(model, &message)).collect();
        let (id, actor_name, at) = (Uuid::now_v7().to_string(), actor.name.clone(), parts.clock.now());
        let comparison = Comparison {
            id: id.clone(),
            agent: name,
            context,
            message,
            actor: actor_name,
            at,
            columns,
            is_done: false,
        };
        let (sender, receiver) = watch::channel(comparison);
        {
            let mut kept = parts.comparisons.by_id.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.values().filter(|one| !one.borrow().is_done).count() >= MAX_RUNNING {
                return Err(CompareError::Busy);
            }
            // Those that run are the newest.
            while kept.len() >= KEPT {
                kept.pop_first();
            }
            kept.insert(id, receiver.clone());
        }
        let (parts, actor) = (Arc::clone(parts), actor.clone());
        let comparison = async move { parts.answer_all(&agent, &sender, &actor).await };
        self.parts.running.spawn(comparison.in_current_span());
        Ok(receiver)
    }

    pub fn comparison(&self, id: &str) -> Option<watch::Receiver<Comparison>> {
        self.parts.comparisons.by_id.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

impl Parts {
    async fn answer_all(&self, agent: &KnownAgent, progress: &watch::Sender<Comparison>, actor: &Actor) {
        let comparison = progress.borrow().clone();
        join_all((0..comparison.columns.len()).map(|index| self.answer(agent, progress, index))).await;
        let columns = progress.borrow().columns.clone();
        let answered = columns.iter().filter(|column| column.is_answered()).count();
        let outcome = if answered == columns.len() { "ok" } else { "failed" };
        let mut entry = NewEntry::new(actor, Action::Compare, comparison.agent.as_str(), outcome);
        let names: Vec<&str> = columns.iter().map(|column| column.model.as_str()).collect();
        entry.after = Some(names.join(", "));
        entry.detail = Some(format!("{answered} of {} answered", columns.len()));
        if let Err(error) = self.store.audit(&entry).await {
            tracing::error!(%error, comparison = comparison.id, "a comparison was not written down");
        }
        progress.send_modify(|comparison| comparison.is_done = true);
    }

    /// One column. Its failure is its own.
    async fn answer(&self, agent: &KnownAgent, progress: &watch::Sender<Comparison>, index: usize) {
        let Ok(_room) = self.comparisons.room.acquire().await else { return };
        let mut column = progress.borrow().columns[index].clone();
        let on_text = |text: String| {
            progress.send_modify(|comparison| comparison.columns[index].proof.answer = text);
        };
        let answered = self.answer_one(agent, &mut column, &PromptChange::Keep, on_text).await;
        // What came before a failure is shown as well.
        if column.proof.answer.is_empty() {
            column.proof.answer.clone_from(&progress.borrow().columns[index].proof.answer);
        }
        column.problem = answered.err().map(|error| error.detail);
        column.is_done = true;
        progress.send_modify(|comparison| comparison.columns[index] = column);
    }

    pub(super) async fn answer_one(
        &self,
        agent: &KnownAgent,
        column: &mut Column,
        prompt: &PromptChange,
        on_text: impl FnMut(String),
    ) -> Result<(), StepError> {
        let view = self.agents.view(agent).await.map_err(|error| StepError::upstream(sentence(&error)))?;
        check_lines(&view, prompt)?;
        self.check_model(agent, &column.model, view.calls.of(&column.model), false).await?;
        let context = ContextId::throw_away(Uuid::new_v4().as_u128());
        let messages = [Some(ControlMessage::Model(column.model.clone())), prompt_message(prompt)];
        for message in messages.iter().flatten() {
            if self.control(agent, &context, message, None).await? != Reply::Done {
                return Err(StepError::upstream("The agent did not switch the throw-away context to it."));
            }
        }
        let config = self
            .config(agent, &context, None)
            .await
            .map_err(|error| StepError::upstream(sentence(&error)))?;
        if !config.is_on(&column.model) {
            let on = config.spec_text();
            return Err(StepError::upstream(format!("The throw-away context is on {on} after the swap.")));
        }
        let started = Instant::now();
        let answer: Result<Answer, AgentError> =
            listen(&self.agents, agent, &context, &column.proof.message, self.timeouts.message, on_text)
                .await;
        column.proof.elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
        fill(&mut column.proof, answer?);
        if let Some(fallback) = column.proof.route.as_ref().and_then(Route::fallback) {
            let detail = format!("{} did not answer: the proxy fell back to {fallback}.", column.model);
            return Err(StepError::upstream(detail));
        }
        match &column.proof.served {
            // To a name without a provider agents add one of their own, which the read-back shows.
            Some(served) if *served != column.model.as_str() && *served != config.spec_text() => {
                return Err(StepError::upstream(format!("{served} answered, not {}.", column.model)));
            }
            _ => {}
        }
        let registry = self.registry.refresh().await;
        column.cost = registry.value.and_then(|all| cost(column, &all));
        Ok(())
    }
}

/// What an answer cost by the registered prices; none where deployments that share the name have several.
fn cost(column: &Column, catalog: &Catalog) -> Option<f64> {
    let tokens = column.proof.tokens?;
    let price = |deployment: &&Deployment| {
        Some((deployment.input_cost_per_token?, deployment.output_cost_per_token?))
    };
    let mut prices = catalog.serving(column.model.as_str()).deployments.into_iter().map(|one| price(&one));
    let first = prices.next()??;
    if prices.any(|other| other != Some(first)) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "no answer has that many tokens")]
    let cost = first.0 * tokens.input as f64 + first.1 * tokens.output as f64;
    Some(cost)
}
