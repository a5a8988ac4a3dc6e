//! `patchbay agent`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use patchbay::app;
use patchbay::config::{self, AgentKeyArgs, Hosts, ProxyArgs, dotenv};
use patchbay_agent::{self as agent, Extras, Options};
use patchbay_clock::Clock;
use secrecy::{ExposeSecret, SecretString};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  FF_LLM_PROXY_BASE_URL=http://127.0.0.1:10999 TASK_AGENT_API_KEY=sk-… patchbay agent
  PATCHBAY_AGENT_TOKEN=… patchbay agent --bind 0.0.0.0:10900 --public-url https://agents.example/a2a/litellm_agent

Stopped, or killed, and started again it goes on where it was: models, prompts and conversations are in its
database. A message that was being answered is then a failed task that says so.")]
pub(crate) struct AgentArgs {
    /// Address to listen on, for trusted callers only unless there is a token; if the variable is unset,
    /// `PATCHBAY_BIND` counts
    #[arg(long, env = "PATCHBAY_AGENT_BIND", value_name = "ADDRESS", default_value = "127.0.0.1:10900")]
    pub(crate) bind: SocketAddr,
    /// Host names that the agent answers to, comma-separated, or * for any [default: loopback names where it listens
    /// on a loopback address, else any]
    #[arg(long, env = "PATCHBAY_AGENT_HOSTS", value_name = "NAME,…")]
    hosts: Option<String>,
    #[command(flatten)]
    proxy: ProxyArgs,
    #[command(flatten)]
    key: AgentKeyArgs,
    /// Model of a context that was never switched
    #[arg(long, env = "LITELLM_MODEL", value_name = "PROVIDER/MODEL", default_value = "openai/gpt-5-mini")]
    model: String,
    /// The whole address of the A2A endpoint as callers see it, for the agent card
    #[arg(long, env = "PATCHBAY_AGENT_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// SQLite database of contexts and tasks; if the variable is unset, `PATCHBAY_DATABASE_URL` counts
    #[arg(
        long,
        env = "PATCHBAY_AGENT_DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite://patchbay-agent.db"
    )]
    database_url: String,
    /// Bearer token that callers must send
    #[arg(long, env = "PATCHBAY_AGENT_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
    /// File with the agent's key, as `TASK_AGENT_API_KEY` or `OPENAI_API_KEY`: read where no key is given, and
    /// again when the proxy refuses the key in use
    #[arg(long, env = "PATCHBAY_ENV_FILE", value_name = "FILE", default_value = "volumes/env/.env")]
    env_file: PathBuf,
}

impl AgentArgs {
    pub(crate) async fn open(self) -> anyhow::Result<axum::Router> {
        let hosts = Hosts::read("PATCHBAY_AGENT_HOSTS", self.hosts.as_deref(), self.bind)?;
        let options = Options {
            proxy: self.proxy.address()?.to_string(),
            api_key: self.key.key()?,
            default_model: self.model,
            public_url: self.public_url.filter(|url| !url.trim().is_empty()),
            clock: Clock::system(),
            timeout: Options::TIMEOUT,
        };
        let token = self.token.filter(|token| !token.expose_secret().is_empty());
        if token.is_none() && !self.bind.ip().is_loopback() {
            tracing::warn!("anyone who reaches the agent may use it: set PATCHBAY_AGENT_TOKEN");
        }
        let file = self.env_file;
        let extras = Extras {
            database_url: Some(self.database_url),
            token,
            key_source: Some(Arc::new(move || key_in(&file))),
            keep_alive: None,
        };
        let shown = |address: &str| config::shown(address).unwrap_or_default();
        let database = extras.database_url.as_deref().map(shown);
        tracing::info!(proxy = shown(&options.proxy), database, "the agent starts");
        Ok(app::guard(agent::open(options, extras).await?, hosts))
    }
}

fn key_in(file: &std::path::Path) -> Option<SecretString> {
    let values = dotenv::read(file)
        .inspect_err(|error| tracing::warn!(%error, file = %file.display(), "the agent's key is not read"))
        .ok()?;
    let names = ["TASK_AGENT_API_KEY", "OPENAI_API_KEY"];
    let key = names.iter().filter_map(|name| values.get(*name)).find(|key| !key.trim().is_empty())?;
    Some(SecretString::from(key.trim()))
}
