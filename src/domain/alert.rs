//! What others are told of while no one looks at the dashboard.

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use strum::{EnumString, IntoStaticStr, VariantArray};
use url::Url;

use super::audit::{Action, Entry};
use super::redact;
use super::swap::TIMER;
use super::words::cut;

/// Longest text of an alert, in characters.
const MAX_TEXT: usize = 500;

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum AlertKind {
    Down,
    Up,
    Drift,
    SwapFailed,
    SwapRolledBack,
    SwapFinished,
    TimerEnded,
    JobEnded,
    /// Sent by a button; it cannot be chosen.
    Test,
}

impl AlertKind {
    pub const ALL: &'static [Self] = Self::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Down => "Agent or proxy down",
            Self::Up => "Agent or proxy up again",
            Self::Drift => "Drift",
            Self::SwapFailed => "Swap failed or unknown",
            Self::SwapRolledBack => "Swap rolled back",
            Self::SwapFinished => "Swap finished",
            Self::TimerEnded => "Timed swap ended",
            Self::JobEnded => "Job ended or waiting for approval",
            Self::Test => "Test",
        }
    }

    /// Those that can be chosen.
    pub fn choices() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|kind| *kind != Self::Test)
    }

    /// All but finished swaps.
    pub fn defaults() -> Vec<Self> {
        Self::choices().filter(|kind| *kind != Self::SwapFinished).collect()
    }

    /// What an audit entry is as an alert, if it is one.
    pub fn of(entry: &Entry) -> Option<Self> {
        let is = |action: Action| entry.action == action.as_str();
        let outcome = entry.outcome.as_str();
        match outcome {
            "failed" if is(Action::Health) => Some(Self::Down),
            "ok" if is(Action::Health) => Some(Self::Up),
            "found" if is(Action::Drift) => Some(Self::Drift),
            "ok" | "failed" | "cancelled" | "stopped" | "asks" if Action::ENDS.into_iter().any(is) => {
                Some(Self::JobEnded)
            }
            "failed" | "unknown" if is(Action::Swap) => Some(Self::SwapFailed),
            "rolled-back" if is(Action::Swap) => Some(Self::SwapRolledBack),
            "accepted" | "verified" | "proven" if is(Action::Swap) => {
                Some(if entry.actor == TIMER { Self::TimerEnded } else { Self::SwapFinished })
            }
            _ => None,
        }
    }
}

/// Where alerts go. Its address may be a secret, as Slack's are.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub url: SecretUrl,
    /// Signs the alerts, where there is one.
    pub secret: Option<SecretString>,
    pub kinds: Vec<AlertKind>,
    /// In the form that Slack, Mattermost and others take.
    pub is_slack: bool,
}

#[derive(Clone, derive_more::Debug)]
#[debug("SecretUrl")]
pub struct SecretUrl(pub Url);

impl SecretUrl {
    /// Scheme and host alone.
    pub fn shown(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The same at each attempt: who has seen it may leave it out.
    pub id: String,
    pub kind: AlertKind,
    pub at: Timestamp,
    /// On what: an agent and a context, a job.
    pub object: String,
    pub actor: String,
    pub outcome: String,
    pub text: String,
}

impl Alert {
    pub fn of(entry: &Entry, kind: AlertKind, id: String) -> Self {
        let from = entry.before.as_deref().map(|before| format!(", was {before}")).unwrap_or_default();
        let to = entry.after.as_deref().map(|after| format!(": {after}")).unwrap_or_default();
        let why = entry.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let text = format!("{}: {}{to}{from}{why}, by {}", kind.label(), entry.object, entry.actor);
        Self {
            id,
            kind,
            at: entry.at,
            object: entry.object.clone(),
            actor: entry.actor.clone(),
            outcome: entry.outcome.clone(),
            text: cut(&redact::addresses(&text), MAX_TEXT).into_owned(),
        }
    }

    pub fn test(id: String, at: Timestamp, actor: &str) -> Self {
        let text = format!("Test of the alerts of Patchbay, by {actor}");
        let object = "alerts".to_owned();
        Self {
            id,
            kind: AlertKind::Test,
            at,
            object,
            actor: actor.to_owned(),
            outcome: "ok".to_owned(),
            text,
        }
    }

    /// As it is sent.
    pub fn body(&self, is_slack: bool) -> String {
        if is_slack {
            // What Slack, and Mattermost and others beside it, take for markup otherwise. What has no width parts the rest.
            let text = self.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let text = text.replace('@', "@\u{200b}").replace("](", "]\u{200b}(");
            json!({ "text": text }).to_string()
        } else {
            json!(self).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: &str, outcome: &str, actor: &str) -> Entry {
        Entry {
            id: 1,
            at: Timestamp::UNIX_EPOCH,
            actor: actor.to_owned(),
            address: None,
            action: action.to_owned(),
            object: "task-agent/c1".to_owned(),
            outcome: outcome.to_owned(),
            before: Some("openai/gpt-5".to_owned()),
            after: None,
            detail: Some("key sk-0123456789abcdef0123 <b>".to_owned()),
            request_id: None,
            count: 1,
        }
    }

    #[test]
    fn entries_become_alerts_without_secrets() {
        let kind = |action, outcome, actor| AlertKind::of(&entry(action, outcome, actor));
        assert_eq!(kind("health", "failed", "patchbay"), Some(AlertKind::Down));
        assert_eq!(kind("swap", "verified", "ada"), Some(AlertKind::SwapFinished));
        assert_eq!(kind("swap", "verified", TIMER), Some(AlertKind::TimerEnded));
        assert_eq!(kind("swap", "failed", TIMER), Some(AlertKind::SwapFailed));
        assert_eq!(kind("swap", "unknown", "ada"), Some(AlertKind::SwapFailed));
        assert_eq!(kind("bulk", "begun", "ada"), None);
        for action in ["bulk", "key.bulk", "model.import", "reset.end"] {
            assert_eq!(kind(action, "ok", "ada"), Some(AlertKind::JobEnded));
            assert_eq!(kind(action, "stopped", "ada"), Some(AlertKind::JobEnded));
        }
        for (action, outcome) in [("swap", "refused"), ("login", "ok"), ("model.edit", "failed")] {
            assert_eq!(kind(action, outcome, "ada"), None, "{action} {outcome}");
        }
        let alert = Alert::of(&entry("swap", "failed", "ada"), AlertKind::SwapFailed, "x".to_owned());
        for body in [alert.body(false), alert.body(true)] {
            assert!(body.contains("task-agent/c1") && !body.contains("0123456789"), "{body}");
        }
        assert!(alert.body(true).contains("&lt;b&gt;"));
        let called = entry("swap", "failed", "ada (token @all [Approve](http://evil.example))");
        let body = Alert::of(&called, AlertKind::SwapFailed, "x".to_owned()).body(true);
        assert!(!body.contains("@all") && !body.contains("]("), "{body}");
        assert!(!AlertKind::defaults().contains(&AlertKind::SwapFinished));
    }
}
