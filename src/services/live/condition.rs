//! What every open page shows of the whole: what does not answer, and how many contexts have drifted.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;

use super::event::json;
use crate::domain::audit::{Action, Entry};
use crate::services::agents::Agents;

/// Patchbay's own database, among what does not answer.
const DATABASE: &str = "database";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// `proxy`, `proxy-database`, `database`, `agent/…`.
    pub down: BTreeSet<String>,
    /// Contexts, of those that are looked at.
    pub drifted: usize,
}

impl Condition {
    pub(super) fn note(&mut self, entry: &Entry) {
        if entry.action == Action::Health.as_str() {
            self.set(&entry.object, entry.outcome == "failed");
        }
    }

    pub(super) fn note_database(&mut self, is_down: bool) {
        self.set(DATABASE, is_down);
    }

    fn set(&mut self, name: &str, is_down: bool) {
        if is_down {
            self.down.insert(name.to_owned());
        } else {
            self.down.remove(name);
        }
    }

    /// Without agents that are no longer in the settings.
    pub(super) fn known(mut self, agents: &Agents) -> Self {
        self.down.retain(|name| match name.strip_prefix("agent/") {
            Some(agent) => agent.parse().is_ok_and(|agent| agents.get(&agent).is_some()),
            None => true,
        });
        self
    }

    pub(super) fn frame(&self) -> Bytes {
        format!("event: condition\ndata: {}\n\n", json(self)).into()
    }
}
