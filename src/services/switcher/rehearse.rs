//! A rehearsal: a swap and a question in a throw-away context, on agents that keep a model for each context. Nothing is
//! sent to the context that it is about.

use serde::Serialize;

use super::compare::{Column, CompareError};
use super::run::StepError;
use super::{Parts, Switcher};
use crate::domain::agent::{AgentName, Scope};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::ContextId;
use crate::domain::swap::{PromptChange, SwapRequest};
use crate::services::agents::KnownAgent;

/// What is asked where the request has no question.
const QUESTION: &str = "Which model am I using?";

/// What a rehearsal came to.
#[derive(Debug, Clone, Serialize)]
pub struct Rehearsal {
    pub agent: AgentName,
    /// The context that it is about, to which nothing was sent.
    pub context: ContextId,
    /// The model's answer, or why there is none.
    #[serde(flatten)]
    pub column: Column,
}

impl Switcher {
    /// Does what `request` asks for, and asks its question, in a throw-away context. A model or prompt that it does not name
    /// is that of the context when it was read last.
    pub async fn rehearse(&self, request: &SwapRequest, actor: &Actor) -> Result<Rehearsal, CompareError> {
        let parts = &self.parts;
        let agent = parts.agents.get(&request.agent);
        let agent = agent.ok_or_else(|| CompareError::UnknownAgent(request.agent.clone()))?;
        let scope = parts.agents.view(&agent).await?.scope;
        if scope != Some(Scope::Context) {
            return Err(CompareError::NotPerContext(scope));
        }
        let now = parts.store.context(&request.agent, &request.context).await?.and_then(|known| known.config);
        let model = request.model.clone().or_else(|| now.as_ref()?.spec());
        let model = model.ok_or(CompareError::NoModel)?;
        let prompt = match (&request.prompt, now.and_then(|now| now.prompt)) {
            (PromptChange::Keep, Some(prompt)) => {
                prompt.parse().map_or(PromptChange::Keep, PromptChange::Set)
            }
            (prompt, _) => prompt.clone(),
        };
        let mut column = Column::new(model, request.message.as_deref().unwrap_or(QUESTION));
        let answered = parts.rehearse(&agent, &mut column, &prompt).await;
        column.problem = answered.err().map(|error| error.detail);
        column.is_done = true;
        let object = format!("{}/{}", request.agent, request.context);
        let outcome = if column.is_answered() { "ok" } else { "failed" };
        let mut entry = NewEntry::new(actor, Action::Rehearse, object, outcome);
        entry.after = Some(column.model.to_string());
        entry.detail.clone_from(&column.problem);
        parts.store.audit(&entry).await?;
        Ok(Rehearsal { agent: request.agent.clone(), context: request.context.clone(), column })
    }
}

impl Parts {
    async fn rehearse(
        &self,
        agent: &KnownAgent,
        column: &mut Column,
        prompt: &PromptChange,
    ) -> Result<(), StepError> {
        let Ok(_room) = self.comparisons.room.acquire().await else { return Ok(()) };
        self.answer_one(agent, column, prompt, |_| ()).await
    }
}
