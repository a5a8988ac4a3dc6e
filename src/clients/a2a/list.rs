//! The contexts that an agent can list: `ListTasks`, which 1.0 has and 0.3 has not.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Agent, AgentError, garbled, observe};
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

fn is_rpc(error: &AgentError) -> bool {
    matches!(error, AgentError::Rpc { .. })
}
