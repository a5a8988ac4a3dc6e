//! What an agent reports without a message: whether it answers, and its contexts (`ListTasks`, which 0.3 does not have).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::{garbled, read_answer, status_error};
use super::{Agent, AgentError, get_task, observe};
use crate::clients::ClientError;
use crate::clients::lenient::{Objects, Text};
use crate::domain::agent::Dialect;
use crate::domain::context::ContextId;

/// Longest wait for the list.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Most tasks of a page, and most pages.
const PAGE: u32 = 100;
const PAGES: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tasks {
    tasks: Objects<Task>,
    next_page_token: Text,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    context_id: Text,
}

impl Agent {
    /// The contexts of the agent's last tasks, at most those of 1,000 tasks. None where the agent cannot list
    /// them. Ids that Patchbay does not take are left out.
    pub async fn list_contexts(&self) -> Result<Option<BTreeSet<ContextId>>, AgentError> {
        match observe("tasks/list", is_rpc, TIMEOUT, self.list_all()).await {
            Err(error) if is_rpc(&error) => Ok(None),
            listed => listed.map(Some),
        }
    }

    async fn list_all(&self) -> Result<BTreeSet<ContextId>, AgentError> {
        let mut contexts = BTreeSet::new();
        let mut token = None;
        for _ in 0..PAGES {
            let params =
                json!({ "pageSize": PAGE, "historyLength": 0, "pageToken": token.unwrap_or_default() });
            let result = self.call(Dialect::V10, "ListTasks", &params).await?;
            let page =
                Tasks::deserialize(result).map_err(|error| garbled(&format!("no list of tasks: {error}")))?;
            contexts.extend(page.tasks.0.into_iter().filter_map(|task| task.context_id.0?.parse().ok()));
            token = page.next_page_token.0.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        Ok(contexts)
    }
}

impl Agent {
    /// Whether the agent takes messages: asks for a task that it does not know, which no model sees. Any answer in
    /// JSON-RPC is a yes, but for an error of the proxy's gateway before the agent: it has a status of HTTP (`500` with
    /// -32603 where the agent is down, `404` with -32000 where the gateway does not know it; LiteLLM 1.109.1).
    pub async fn check(&self, time: Duration) -> Result<(), ClientError> {
        let first = self.dialect().unwrap_or(Dialect::V03);
        let params = json!({ "id": uuid::Uuid::new_v4().to_string() });
        let asked = observe("tasks/get", is_rpc, time, async {
            match self.ask_for_task(first, &params).await {
                Err(refusal) if refusal.is_wrong_dialect() => self.ask_for_task(first.other(), &params).await,
                result => result,
            }
        });
        match asked.await {
            Err(AgentError::Transport(error)) => Err(error),
            _ => Ok(()),
        }
    }

    async fn ask_for_task(&self, dialect: Dialect, params: &Value) -> Result<(), AgentError> {
        let answer = self.exchange(dialect, get_task(dialect), params).await?;
        match read_answer(&answer) {
            Err(AgentError::Rpc { code: -32603 | -32000, .. }) if !answer.status.is_success() => {
                Err(status_error(answer.status.as_u16(), &answer.body).into())
            }
            read => read.map(drop),
        }
    }
}

fn is_rpc(error: &AgentError) -> bool {
    matches!(error, AgentError::Rpc { .. })
}
