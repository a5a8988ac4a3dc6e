//! Sending a message: in one of two dialects, by `message/send` or `message/stream`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::errors::garbled;
use super::stream::Heard;
use super::task::{self, Progress};
use super::{Agent, AgentError, CARD_TIMEOUT, Known, Route, get_task, observe};
use crate::domain::agent::Dialect;
use crate::domain::context::ContextId;
use crate::domain::control::Answer;

/// First pause between two looks at a task that is not done yet; each is twice the one before. An answer
/// takes 45 ms where the model is quick.
const POLL: Duration = Duration::from_millis(50);

/// Longest such pause.
const POLL_MAX: Duration = Duration::from_secs(1);

impl Agent {
    /// Sends `text` in `context` and waits at most `time` for the answer.
    pub async fn send(&self, context: &ContextId, text: &str, time: Duration) -> Result<Answer, AgentError> {
        observe("message/send", |_| false, time, self.deliver(context, text, None)).await
    }

    /// What to try first.
    async fn known(&self) -> Known {
        let known = self.remembered();
        if known.dialect.is_none() {
            // A card that is missing or unreadable does not mean that the agent cannot answer.
            let _ = self.fetch_card(CARD_TIMEOUT, |_| true).await;
        }
        Known { dialect: known.dialect, ..self.remembered() }
    }

    /// Sends a message. What an agent refuses before it does anything is tried in the other dialect, and by the other
    /// of `message/send` and `message/stream`; each of the four once.
    pub(super) async fn deliver(
        &self,
        context: &ContextId,
        text: &str,
        progress: Option<&watch::Sender<String>>,
    ) -> Result<Answer, AgentError> {
        use Route::{Plain, Stream};
        let known = self.known().await;
        let dialect = known.dialect.or(known.announced).unwrap_or(Dialect::V03);
        let other = dialect.other();
        let tries = if progress.is_some() && known.streams != Some(false) {
            [(Stream, dialect), (Plain, dialect), (Plain, other), (Stream, other)]
        } else {
            [(Plain, dialect), (Plain, other), (Stream, dialect), (Stream, other)]
        };
        let (mut closed, mut first) = (Vec::new(), None);
        for (route, dialect) in tries {
            if closed.contains(&route) {
                continue;
            }
            let refusal = match self.submit(route, dialect, context, text, progress).await {
                Err(error) if error.is_wrong_dialect() => error,
                Err(error) if error.is_closed(route) => {
                    closed.push(route);
                    error
                }
                // What the first way was refused for says more.
                Err(AgentError::Transport(_)) if first.is_some() => break,
                heard => {
                    if !matches!(heard, Err(AgentError::Transport(_))) {
                        self.remember(|known| known.dialect = Some(dialect));
                    }
                    let mut answer = self.conclude(dialect, heard?).await?;
                    answer.context = answer.context.filter(|answered| answered != context.as_str());
                    self.remember(|known| known.is_stray = answer.context.is_some());
                    return Ok(answer);
                }
            };
            first.get_or_insert(refusal);
        }
        // An agent that takes none keeps its first refusal.
        Err(first.unwrap_or_else(|| garbled("no way to send a message")))
    }

    /// Hands the message over. A refusal that comes later than this is of a message that was taken.
    async fn submit(
        &self,
        route: Route,
        dialect: Dialect,
        context: &ContextId,
        text: &str,
        progress: Option<&watch::Sender<String>>,
    ) -> Result<Heard, AgentError> {
        if route == Route::Stream {
            let unheard = watch::Sender::default();
            return self.submit_streamed(dialect, context, text, progress.unwrap_or(&unheard)).await;
        }
        let (method, configuration) = match dialect {
            Dialect::V03 => ("message/send", json!({ "blocking": true })),
            Dialect::V10 => ("SendMessage", json!({ "returnImmediately": false })),
        };
        let params = json!({ "message": message(dialect, context, text), "configuration": configuration });
        self.call(dialect, method, &params).await.map(Heard::Result)
    }

    async fn conclude(&self, dialect: Dialect, heard: Heard) -> Result<Answer, AgentError> {
        match heard {
            Heard::Progress(Progress::Done(answer)) => Ok(answer),
            Heard::Progress(Progress::Running { task_id }) | Heard::Lost(task_id) => {
                let result = self.look_up(dialect, &task_id).await?;
                self.follow(dialect, result).await
            }
            Heard::Result(result) => self.follow(dialect, result).await,
        }
    }

    /// Waits for the task to end. Asked to wait, an agent may return early all the same; `observe`
    /// bounds the time.
    async fn follow(&self, dialect: Dialect, mut result: Value) -> Result<Answer, AgentError> {
        let mut pause = POLL;
        loop {
            let task_id = match task::read(&result)? {
                Progress::Done(answer) => return Ok(answer),
                Progress::Running { task_id } => task_id,
            };
            // It may be large, and is not needed while the agent works.
            drop(result);
            tokio::time::sleep(pause).await;
            pause = POLL_MAX.min(pause * 2);
            result = self.look_up(dialect, &task_id).await?;
        }
    }

    /// The task as it is now.
    async fn look_up(&self, dialect: Dialect, task_id: &str) -> Result<Value, AgentError> {
        match self.call(dialect, get_task(dialect), &json!({ "id": task_id })).await {
            // The message itself was taken, so this must not read as its refusal.
            Err(AgentError::Rpc { code, message }) => Err(garbled(&format!(
                "it took the message, but not the question how it goes: {message} ({code})"
            ))),
            result => result,
        }
    }
}

/// The `message` of a request.
pub(super) fn message(dialect: Dialect, context: &ContextId, text: &str) -> Value {
    let message_id = Uuid::new_v4().to_string();
    match dialect {
        Dialect::V03 => json!({
            "kind": "message", "messageId": message_id, "role": "user", "contextId": context,
            "parts": [{ "kind": "text", "text": text }],
        }),
        Dialect::V10 => json!({
            "messageId": message_id, "role": "ROLE_USER", "contextId": context, "parts": [{ "text": text }],
        }),
    }
}
