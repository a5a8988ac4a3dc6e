//! Arguments that several commands share.

use std::time::Duration;

use patchbay::clients::a2a::Agent;
use patchbay::config;
use patchbay::domain::context::ContextId;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, redirect};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::Failure;
use super::dashboard::Dashboard;

/// The agent, where a guide's reader finds it.
const DEFAULT_AGENT: &str = "http://localhost:10900/a2a/litellm_agent";

/// Which agent, and how long to wait for it.
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
    /// A client of the agent.
    pub(super) fn agent(&self) -> Result<Agent, Failure> {
        let url = web_url("--url", &self.url)?;
        Ok(Agent::new(client(self.token.as_ref())?, url))
    }

    /// The address as it was given.
    pub(super) fn address(&self) -> &str {
        self.url.trim_end_matches('/')
    }
}

/// Which dashboard, and who asks.
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
    /// A client of the dashboard at `url`.
    pub(super) fn dashboard(&self, url: &str) -> Result<Dashboard, Failure> {
        let url = web_url("--dashboard", url)?;
        let password = self.password.clone().filter(|given| !given.expose_secret().is_empty());
        let password = password.unwrap_or_else(|| SecretString::from(config::DEFAULT_PASSWORD));
        Ok(Dashboard::new(client(None)?, url, self.username.clone(), password))
    }
}

/// The same client that the dashboard uses, with a bearer token for an agent that asks for one.
fn client(token: Option<&SecretString>) -> Result<Client, Failure> {
    let Some(token) = token.filter(|token| !token.expose_secret().is_empty()) else {
        return patchbay::clients::build_http().map_err(Failure::failed);
    };
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
        .map_err(|_| Failure::usage("--token: a token is printable ASCII, on one line"))?;
    value.set_sensitive(true);
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        .build()
        .map_err(Failure::failed)
}

fn web_url(flag: &str, text: &str) -> Result<Url, Failure> {
    let url =
        text.trim().parse::<Url>().ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none()
        });
    url.ok_or_else(|| Failure::usage(format!("{flag}: write it like http://host:port/path")))
}

/// The context that is named, or a new one.
pub(super) fn context(named: Option<&str>) -> Result<ContextId, Failure> {
    let fresh = || uuid::Uuid::new_v4().to_string();
    let text = named.map_or_else(fresh, str::to_owned);
    text.parse().map_err(|error| Failure::usage(format!("--context: {error}")))
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is wanted".to_owned())?;
    let positive = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero());
    positive.filter(|time| *time <= Duration::from_hours(24)).ok_or_else(|| "from 0 to 86400 s".to_owned())
}
