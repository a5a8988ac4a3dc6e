//! Control messages to an agent, and its replies.

use super::{Parts, ReadError};
use crate::clients::a2a::AgentError;
use crate::domain::context::ContextId;
use crate::domain::control::{AgentConfig, ControlMessage, Reply};
use crate::services::agents::KnownAgent;
use crate::services::locks::Held;
use crate::store::Fenced;

/// A message was not sent, or got no reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("nothing more was sent: {0}")]
    Fenced(#[from] Fenced),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

impl Parts {
    /// Sends a control message while `held` is. None is for throw-away contexts and for looks that change nothing.
    pub(super) async fn control(
        &self,
        agent: &KnownAgent,
        context: &ContextId,
        message: &ControlMessage,
        held: Option<&Held>,
    ) -> Result<Reply, SendError> {
        self.attested_control(agent, context, message, held).await.map(|(reply, _)| reply)
    }

    /// The same; true beside the reply where its metadata shows that the agent wrote it, and not a model.
    pub(super) async fn attested_control(
        &self,
        agent: &KnownAgent,
        context: &ContextId,
        message: &ControlMessage,
        held: Option<&Held>,
    ) -> Result<(Reply, bool), SendError> {
        if let Some(held) = held {
            held.check().await?;
        }
        let answer = agent.client.send(context, &message.to_text(), self.timeouts.control).await?;
        if let Some(scope) = answer.scope {
            self.agents.note_scope(agent, scope).await;
        }
        let reply = message.read_reply(&answer);
        if *message == ControlMessage::GetConfig {
            match reply {
                Reply::Config(_) => self.agents.note_chatted(agent, false).await,
                Reply::Chat => self.agents.note_chatted(agent, true).await,
                // Some agents report no use of tokens, so that a model's text looks like any other.
                Reply::Unknown if answer.state.is_none() => self.agents.note_chatted(agent, true).await,
                _ => {}
            }
        }
        let reply = match (reply, answer.state) {
            // The state holds the prompt as it is; the text may break it into lines.
            (Reply::Config(_), Some(state)) => Reply::Config(state),
            (reply, _) => reply,
        };
        Ok((reply, answer.is_attested))
    }

    pub(super) async fn config(
        &self,
        agent: &KnownAgent,
        context: &ContextId,
        held: Option<&Held>,
    ) -> Result<AgentConfig, ReadError> {
        match self.control(agent, context, &ControlMessage::GetConfig, held).await? {
            Reply::Config(config) => Ok(config),
            _ => Err(ReadError::NotSwitchable),
        }
    }
}
