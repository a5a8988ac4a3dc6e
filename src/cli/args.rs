//! Arguments that several commands share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::ArgValueCompleter;
use patchbay::clients::ClientError;
use patchbay::clients::a2a::{Agent, AgentError};
use patchbay::config::agents::AgentsArgs;
use patchbay::config::{self, ProxyArgs};
use patchbay::domain::agent::Credentials;
use patchbay::domain::context::ContextId;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::dashboard::Dashboard;
use super::{Failure, complete, local_address};

/// Of an agent that begins a conversation of its own.
pub(super) const STRAY: &str =
    "the agent answered in another context: it does not keep the id that it is given";

const DEFAULT_NAME: &str = "task-agent";
const DEFAULT_AGENT: &str = "http://localhost:10900/a2a/litellm_agent";

#[derive(clap::Args)]
pub(super) struct TargetArgs {
    /// Address of the agent [default: that of --agent in the agents file, else port 10900 on this machine]
    #[arg(long, env = "PATCHBAY_AGENT_URL", value_name = "URL")]
    url: Option<String>,
    /// Name of the agent, in the agents file or in the dashboard's settings [default: task-agent]
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::agents))]
    agent: Option<String>,
    /// YAML file of agents with their addresses and credentials
    #[arg(long, env = "PATCHBAY_AGENTS_FILE", value_name = "FILE")]
    agents_file: Option<PathBuf>,
    /// Bearer token, where the agent asks for one and the agents file has no credentials for it
    #[arg(long, env = "PATCHBAY_AGENT_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
    /// Longest wait for each answer
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub(super) timeout: Duration,
}

impl TargetArgs {
    pub(super) fn agent(&self) -> Result<Agent, Failure> {
        let (url, credentials) = self.settings()?;
        Ok(Agent::new(patchbay::clients::build_http()?, url).with_credentials(credentials))
    }

    pub(super) fn failed(&self, error: &AgentError) -> Failure {
        let address = self.url.as_deref().unwrap_or(DEFAULT_AGENT);
        match error {
            AgentError::Transport(error) => Failure::at(address, "--url, PATCHBAY_AGENT_URL", error),
            error => Failure::failed(error),
        }
    }

    /// The agent's name at a dashboard.
    pub(super) fn name(&self) -> &str {
        self.agent.as_deref().unwrap_or(DEFAULT_NAME)
    }

    /// Whether it names an agent that a dashboard need not know.
    pub(super) fn is_address(&self) -> bool {
        self.url.as_deref().is_some_and(|url| !url.trim().is_empty())
    }

    fn settings(&self) -> Result<(Url, Option<Credentials>), Failure> {
        let given = self.url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        let given = given.map(|url| web_url("--url", url)).transpose()?;
        let args = AgentsArgs { agents: None, agents_file: self.agents_file.clone() };
        let (agents, file) = args.validate(None).map_err(Failure::usage)?;
        let agents = if file.is_some() { agents } else { Vec::new() };
        let found = match &given {
            // Credentials are for the address that stands beside them.
            Some(url) => agents.into_iter().find(|agent| agent.url == *url),
            None if agents.len() == 1 && self.agent.is_none() => agents.into_iter().next(),
            None => agents.into_iter().find(|agent| agent.name.as_str() == self.name()),
        };
        let url = match (given, &found) {
            (Some(url), _) => url,
            (None, Some(found)) => found.url.clone(),
            (None, None) if file.is_some() || self.agent.is_some() => {
                let why = format!("--agent: the agents file has no agent {}", self.name());
                return Err(Failure::usage(why));
            }
            (None, None) => web_url("--url", DEFAULT_AGENT)?,
        };
        let own = found.and_then(|found| found.auth);
        Ok((url, own.map_or_else(|| self.bearer(), |own| Ok(Some(own)))?))
    }

    fn bearer(&self) -> Result<Option<Credentials>, Failure> {
        let Some(token) =
            self.token.as_ref().map(ExposeSecret::expose_secret).filter(|token| !token.is_empty())
        else {
            return Ok(None);
        };
        if !token.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(Failure::usage("--token: a token is printable ASCII, on one line"));
        }
        let value = SecretString::from(format!("Bearer {token}"));
        Ok(Some(Credentials { header: "authorization".to_owned(), value }))
    }
}

/// Names the proxy's address where that may be what is wrong.
pub(super) fn proxy_failed(proxy: &ProxyArgs, error: &ClientError) -> Failure {
    match (error, proxy.address()) {
        (
            ClientError::Unreachable { .. } | ClientError::Timeout { .. } | ClientError::NotUnderstood { .. },
            Ok(url),
        ) => Failure::at(url.as_str(), "--proxy-url, LITELLM_PROXY_URL", error),
        _ => Failure::failed(error),
    }
}

/// Where a dashboard with the settings of this machine listens.
#[derive(clap::Args)]
pub(super) struct LocalArgs {
    #[arg(long, env = "PATCHBAY_BIND", hide = true, default_value = config::DEFAULT_BIND)]
    bind: SocketAddr,
    #[arg(long, env = "PATCHBAY_BASE_PATH", hide = true, default_value = "")]
    base_path: String,
}

impl LocalArgs {
    pub(super) fn address(&self) -> String {
        local_address(self.bind, &self.base_path)
    }
}

#[derive(clap::Args)]
pub(super) struct LoginArgs {
    /// Name of the dashboard's login
    #[arg(long, env = "UI_USERNAME", value_name = "NAME", default_value = config::DEFAULT_USERNAME)]
    username: String,
    /// Password of the dashboard's login [default: the guide's]
    #[arg(long, env = "UI_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    password: Option<SecretString>,
}

impl LoginArgs {
    pub(super) fn dashboard(&self, url: &str) -> Result<Dashboard, Failure> {
        let url = web_url("--dashboard", url)?;
        let password = self.password.clone().filter(|given| !given.expose_secret().is_empty());
        let password = password.unwrap_or_else(|| SecretString::from(config::DEFAULT_PASSWORD));
        Ok(Dashboard::new(patchbay::clients::build_http()?, url, self.username.clone(), password))
    }
}

fn web_url(flag: &str, text: &str) -> Result<Url, Failure> {
    let url =
        text.trim().parse::<Url>().ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none()
        });
    url.ok_or_else(|| Failure::usage(format!("{flag}: write it like http://host:port/path")))
}

/// A new context if none is named.
pub(super) fn context(named: Option<&str>) -> Result<ContextId, Failure> {
    named
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
        .parse()
        .map_err(|error| Failure::usage(format!("--context: {error}")))
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SecondsError {
    #[error("a number of seconds is wanted")]
    NoNumber,
    #[error("from 0 to 86400 s")]
    OutOfRange,
}

pub(super) fn seconds(text: &str) -> Result<Duration, SecondsError> {
    let seconds = text.parse().map_err(|_| SecondsError::NoNumber)?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero() && *time <= Duration::from_hours(24))
        .ok_or(SecondsError::OutOfRange)
}
