//! Arguments that several commands share.

use std::time::Duration;

use patchbay::clients::ClientError;
use patchbay::clients::a2a::{Agent, AgentError};
use patchbay::config::{self, ProxyArgs};
use patchbay::domain::context::ContextId;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, redirect};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Failure;
use super::dashboard::Dashboard;

const DEFAULT_AGENT: &str = "http://localhost:10900/a2a/litellm_agent";

#[derive(clap::Args)]
pub(super) struct TargetArgs {
    /// Address of the agent
    #[arg(long, env = "PATCHBAY_AGENT_URL", value_name = "URL", default_value = DEFAULT_AGENT)]
    url: String,
    /// Bearer token, where the agent asks for one
    #[arg(long, env = "PATCHBAY_AGENT_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
    /// Longest wait for each answer
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub(super) timeout: Duration,
}

impl TargetArgs {
    pub(super) fn agent(&self) -> Result<Agent, Failure> {
        let url = web_url("--url", &self.url)?;
        Ok(Agent::new(client(self.token.as_ref())?, url))
    }

    pub(super) fn failed(&self, error: &AgentError) -> Failure {
        match error {
            AgentError::Transport(error) => Failure::at(&self.url, "--url, PATCHBAY_AGENT_URL", error),
            error => Failure::failed(error),
        }
    }

    pub(super) fn address(&self) -> &str {
        self.url.trim_end_matches('/')
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
        Ok(Dashboard::new(client(None)?, url, self.username.clone(), password))
    }
}

/// The dashboard's client, with the bearer token if there is one.
fn client(token: Option<&SecretString>) -> Result<Client, Failure> {
    let Some(token) = token.filter(|token| !token.expose_secret().is_empty()) else {
        return Ok(patchbay::clients::build_http()?);
    };
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
        .map_err(|_| Failure::usage("--token: a token is printable ASCII, on one line"))?;
    value.set_sensitive(true);
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::builder()
        .default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .build()?)
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
