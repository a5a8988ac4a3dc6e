//! Agents: A2A servers whose model is switched by control messages.

use std::str::FromStr;

use derive_more::{Display, Into};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};
use url::Url;

use crate::domain::calls::CallProfile;

/// `[A-Za-z0-9._-]{1,64}`, as in the setting `PATCHBAY_AGENTS`.
#[derive(Debug, Display, Into, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an agent's name has 1 to 64 letters, digits, dots, underscores and hyphens")]
pub struct AgentNameError;

impl AgentName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name made of free text that is not `taken` yet; none where a hundred like it are.
    pub fn like(text: &str, taken: impl Fn(&Self) -> bool) -> Option<Self> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_')));
        let mut base = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
        base.truncate(60);
        let base = if base.contains(|c: char| c.is_ascii_alphanumeric()) { base } else { "agent".to_owned() };
        let numbered = (2..100).map(|n| format!("{base}-{n}"));
        let mut names = std::iter::once(base.clone()).chain(numbered).filter_map(|name| name.parse().ok());
        names.find(|name| !taken(name))
    }
}

impl FromStr for AgentName {
    type Err = AgentNameError;

    fn from_str(text: &str) -> Result<Self, AgentNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let good = (1..=64).contains(&text.len())
            && text.chars().all(allowed)
            && text.chars().any(|c| c.is_ascii_alphanumeric());
        if good { Ok(Self(text.to_owned())) } else { Err(AgentNameError) }
    }
}

impl TryFrom<String> for AgentName {
    type Error = AgentNameError;

    fn try_from(text: String) -> Result<Self, AgentNameError> {
        text.parse()
    }
}

/// An agent as the settings name it.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    pub name: AgentName,
    pub url: Url,
    /// The virtual key with which it calls the proxy.
    pub key: Option<SecretString>,
    /// Sent with every request to the agent.
    pub auth: Option<Credentials>,
    pub calls: CallProfile,
    /// Whether it was adopted from the proxy's gateway, not named by the settings.
    pub is_adopted: bool,
}

/// An agent of the proxy's own A2A gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAgent {
    /// As in `{proxy}/a2a/{id}`.
    pub id: String,
    pub name: String,
    pub description: String,
    /// Its own address, which the gateway calls.
    pub url: Option<String>,
}

/// One of them that is used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedAgent {
    pub name: AgentName,
    pub gateway_id: String,
    /// The environment variable that holds its virtual key; none for `TASK_AGENT_API_KEY`.
    pub key_variable: Option<String>,
}

/// One header.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub header: String,
    pub value: SecretString,
}

impl AgentSettings {
    pub fn new(name: AgentName, url: Url) -> Self {
        Self { name, url, key: None, auth: None, calls: CallProfile::default(), is_adopted: false }
    }

    /// Whether nothing has changed, the secrets included.
    pub fn is_same(&self, other: &Self) -> bool {
        let secrets = |of: &Self| {
            let auth =
                of.auth.as_ref().map(|auth| (auth.header.clone(), auth.value.expose_secret().to_owned()));
            (of.key.as_ref().map(|key| key.expose_secret().to_owned()), auth)
        };
        (&self.name, &self.url, self.calls, self.is_adopted)
            == (&other.name, &other.url, other.calls, other.is_adopted)
            && secrets(self) == secrets(other)
    }
}

/// Whether an agent keeps its model and prompt per context or agent-wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Scope {
    Context,
    Agent,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The version of the A2A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
pub enum Dialect {
    /// `message/send`, lower-case roles and states.
    #[serde(rename = "0.3")]
    #[strum(serialize = "0.3")]
    V03,
    /// `SendMessage` with the header `A2A-Version: 1.0`.
    #[serde(rename = "1.0")]
    #[strum(serialize = "1.0")]
    V10,
}

impl Dialect {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn other(self) -> Self {
        match self {
            Self::V03 => Self::V10,
            Self::V10 => Self::V03,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentCard {
    pub name: String,
    pub description: String,
    pub version: String,
    /// Not used for calls: ADK agents claim a wrong address (`wire/a2a/card_agent-card`).
    pub claimed_url: Option<String>,
    pub dialect: Dialect,
    /// None where the card does not say.
    pub streaming: Option<bool>,
    pub skills: Vec<String>,
    pub multiline_prompt: bool,
    pub scope: Option<Scope>,
    /// How it says that it calls the proxy.
    pub calls: Option<CallProfile>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_that_fit_into_a_path() {
        for ok in ["task-agent", "a", "Agent_2.0"] {
            assert!(ok.parse::<AgentName>().is_ok(), "{ok}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "a=b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn makes_names_of_free_text() {
        let like = |text: &str, taken: &[&str]| {
            AgentName::like(text, |name| taken.contains(&name.as_str())).unwrap().to_string()
        };
        assert_eq!(like("Helper (one)", &[]), "Helper-one");
        assert_eq!(like("helper", &["helper", "helper-2"]), "helper-3");
        for odd in ["", "…", "../", "é é"] {
            assert_eq!(like(odd, &[]), "agent", "{odd}");
        }
        assert_eq!(like(&"x".repeat(200), &[]).len(), 60);
    }
}
