//! Control messages to an agent, and its replies.

use super::{Parts, ReadError};
use crate::clients::a2a::AgentError;
use crate::domain::context::ContextId;
use crate::domain::control::{AgentConfig, ControlMessage, Reply};
use crate::services::agents::KnownAgent;

impl Parts {
    pub(super) async fn control(
        &self,
        agent: &KnownAgent,
        context: &ContextId,
        message: &ControlMessage,
    ) -> Result<Reply, AgentError> {
        let answer = agent.client.send(context, &message.to_text(), self.timeouts.control).await?;
        if let Some(scope) = answer.scope {
            self.agents.note_scope(agent, scope).await;
        }
        Ok(match (message.read_reply(&answer), answer.state) {
            // The state holds the prompt as it is; the text may break it into lines.
            (Reply::Config(_), Some(state)) => Reply::Config(state),
            (reply, _) => reply,
        })
    }

    pub(super) async fn config(
        &self,
        agent: &KnownAgent,
        context: &ContextId,
    ) -> Result<AgentConfig, ReadError> {
        match self.control(agent, context, &ControlMessage::GetConfig).await? {
            Reply::Config(config) => Ok(config),
            _ => Err(ReadError::NotSwitchable),
        }
    }
}
