//! What the help page tells how to do, and where errors point.

use crate::domain::swap::Outcome;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recipe {
    Swap,
    Undo,
    Register,
    Key,
    Refused,
    Failed,
    Drift,
    Prompt,
    Outcomes,
    Script,
    Proxy,
    MasterKey,
    ProxyDatabase,
    NotLive,
    Agent,
    AgentKey,
    Role,
    Database,
    ReverseProxy,
}

impl Recipe {
    /// What people do, in the order of the page.
    pub(super) const DOING: [Self; 10] = [
        Self::Swap,
        Self::Undo,
        Self::Register,
        Self::Key,
        Self::Refused,
        Self::Failed,
        Self::Drift,
        Self::Prompt,
        Self::Outcomes,
        Self::Script,
    ];

    pub(super) const MENDING: [Self; 9] = [
        Self::Proxy,
        Self::MasterKey,
        Self::ProxyDatabase,
        Self::NotLive,
        Self::Agent,
        Self::AgentKey,
        Self::Role,
        Self::Database,
        Self::ReverseProxy,
    ];

    pub(super) fn anchor(self) -> &'static str {
        self.words().0
    }

    pub(super) fn title(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Swap => ("swap", "Switch a running context to another model"),
            Self::Undo => ("undo", "Undo a swap"),
            Self::Register => ("register", "Register a model"),
            Self::Key => ("key", "Make a virtual key, or lift a key's limits"),
            Self::Refused => ("refused", "Find out why a swap was refused"),
            Self::Failed => ("failed", "Find out why a swap failed"),
            Self::Drift => ("drift", "Deal with a drift"),
            Self::Prompt => ("prompt", "Give an agent a prompt of several lines"),
            Self::Outcomes => ("words", "Read an outcome"),
            Self::Script => ("script", "Do it from a script"),
            Self::Proxy => ("proxy", "Bring the proxy back"),
            Self::MasterKey => ("master-key", "Set the right master key"),
            Self::ProxyDatabase => ("proxy-database", "Bring the proxy's database back"),
            Self::NotLive => ("not-live", "Model saved but not routable"),
            Self::Agent => ("agent", "Reach an agent that is down or has no card"),
            Self::AgentKey => ("agent-key", "Give the agent a key that works"),
            Self::Role => ("role", "Get another role"),
            Self::Database => ("database", "Bring Patchbay's own database back"),
            Self::ReverseProxy => ("reverse-proxy", "Run it behind a reverse proxy"),
        }
    }

    /// What to read where a swap did not end well.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "templates call it, with the reference that a macro's parameter is"
    )]
    pub(super) fn of_outcome(outcome: &Outcome) -> Option<Self> {
        match *outcome {
            Outcome::Refused => Some(Self::Refused),
            Outcome::Failed | Outcome::RolledBack => Some(Self::Failed),
            Outcome::Unknown => Some(Self::Outcomes),
            Outcome::Accepted | Outcome::Verified | Outcome::Proven => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_anchor_is_on_the_page_once() {
        let all: Vec<Recipe> = Recipe::DOING.into_iter().chain(Recipe::MENDING).collect();
        let page = include_str!("../../templates/help.html");
        assert_eq!(page.matches("{{ title(Recipe::").count(), all.len());
        for recipe in all {
            let head = format!("aria-labelledby=\"{}\">{{{{ title(Recipe::{recipe:?}) }}}}", recipe.anchor());
            assert_eq!(page.matches(&head).count(), 1, "{head}");
        }
    }
}
