//! `patchbay init`: writes the env file that the other commands read.

mod ask;
mod find;

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use patchbay::config::agents::AgentsArgs;
use patchbay::config::{self, ProxyArgs, SettingError};
use patchbay::domain::env_file;
use patchbay::domain::setup::DEFAULT_ENV_FILE;
use patchbay::services::bootstrap::EnvFile;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use uuid::Uuid;

use super::{Exit, Failure, SETUP_EXIT_CODES};

const TEMPLATE: &str = include_str!("../../volumes/env/.env.template");

/// Of the shared login where none is given: the default of a dashboard without settings is as well known as its password.
const USERNAME: &str = "admin";

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay init
  patchbay init --proxy-url http://127.0.0.1:4000 --agents helper=http://127.0.0.1:9999
  patchbay init --new-master-key --yes
  patchbay init --force --agents helper=http://127.0.0.1:9999

On a terminal it asks for what is not given. A proxy and agents that are not given are looked for on the usual ports:
10999 and 4000; 10900, 8000, 8001, 9000, 9999, 10000, 10001 and 41241. Secrets are best given in variables
(LITELLM_MASTER_KEY), since other users of the machine can see the flags of a command.

{SETUP_EXIT_CODES}"))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct InitArgs {
    /// The file to write
    #[arg(long, env = "PATCHBAY_ENV_FILE", value_name = "FILE", default_value = DEFAULT_ENV_FILE)]
    env_file: PathBuf,
    /// Write the file again; it keeps the values that are not given anew
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    proxy: ProxyArgs,
    /// Create the admin key and the salt key of a new proxy
    #[arg(long)]
    new_master_key: bool,
    /// Agents, as name=url, comma-separated
    #[arg(long, env = "PATCHBAY_AGENTS", value_name = "NAME=URL,…")]
    agents: Option<String>,
    /// Virtual key with which the agents call the proxy
    #[arg(long, env = "TASK_AGENT_API_KEY", value_name = "KEY", hide_env_values = true)]
    agent_key: Option<SecretString>,
    #[command(flatten)]
    login: config::LoginArgs,
    /// Host on which to look for a proxy and agents
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// What was written and what is missing, as JSON without secrets
    #[arg(long)]
    json: bool,
}

/// What goes into the file.
#[derive(Default)]
struct Draft {
    values: Vec<(&'static str, String)>,
    has_master_key: bool,
    /// A password that was made up.
    password: Option<String>,
}

impl InitArgs {
    pub(super) async fn run(mut self) -> Result<Exit, Failure> {
        let file = EnvFile::new(&self.env_file);
        if file.is_there() && !self.force {
            let why = "exists and was not changed: --force writes it again and keeps its values";
            return Err(Failure::new(Exit::Refused, format!("{} {why}", self.env_file.display())));
        }
        let version = self.look().await?;
        if !self.yes && !self.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            ask::ask(&mut self)?;
        }
        let draft = self.draft()?;
        file.create(&Self::text(&file, &draft)?, self.force)?;
        self.report(&draft, version.as_deref());
        Ok(Exit::Done)
    }

    fn username(&self) -> String {
        let given = self.login.username.as_deref().map(str::trim).filter(|name| !name.is_empty());
        given.unwrap_or(USERNAME).to_owned()
    }

    /// Fills in what is not given. Returns the release of a proxy that was found.
    async fn look(&mut self) -> Result<Option<String>, Failure> {
        let http = patchbay::clients::build_http()?;
        let has_proxy = [&self.proxy.url, &self.proxy.ff_llm_proxy_base_url, &self.proxy.proxy_base_url];
        let has_proxy = has_proxy.into_iter().any(Option::is_some);
        let proxy = async { if has_proxy { None } else { find::proxy(&http, &self.host).await } };
        let agents =
            async { if self.agents.is_some() { Vec::new() } else { find::agents(&http, &self.host).await } };
        let (proxy, agents) = tokio::join!(proxy, agents);
        if has_proxy {
            let url = self.proxy.address().map_err(Failure::usage)?;
            self.proxy.url = Some(url.as_str().trim_end_matches('/').to_owned());
        }
        if !agents.is_empty() {
            self.agents = Some(agents.join(","));
        }
        let Some(proxy) = proxy else { return Ok(None) };
        self.proxy.url = Some(proxy.url.as_str().trim_end_matches('/').to_owned());
        Ok(proxy.version)
    }

    /// Checks the values as `patchbay serve` does.
    fn draft(&self) -> Result<Draft, Failure> {
        let mut draft = Draft::default();
        if self.proxy.url.is_some() {
            let url = self.proxy.address().map_err(Failure::usage)?;
            draft.values.push(("LITELLM_PROXY_URL", url.as_str().trim_end_matches('/').to_owned()));
        }
        if let Some(agents) = &self.agents {
            let args = AgentsArgs { agents: Some(agents.clone()), agents_file: None };
            args.validate(None).map_err(Failure::usage)?;
            draft.values.push(("PATCHBAY_AGENTS", agents.clone()));
        }
        self.keys(&mut draft)?;
        self.login(&mut draft)?;
        Ok(draft)
    }

    fn keys(&self, draft: &mut Draft) -> Result<(), Failure> {
        let master_key = match self.proxy.master_key() {
            Ok(key) => Some(key.expose_secret().to_owned()),
            Err(SettingError::NoMasterKey) => None,
            Err(error) => return Err(Failure::usage(error)),
        };
        if self.new_master_key && master_key.is_some() {
            return Err(Failure::usage(
                "--new-master-key: there is an admin key already (LITELLM_MASTER_KEY)",
            ));
        }
        draft.has_master_key = master_key.is_some() || self.new_master_key;
        let new_key = || format!("sk-{}", Uuid::new_v4().simple());
        let (master_key, salt_key) = match (&self.proxy.master_key_file, master_key) {
            (Some(file), Some(_)) if self.proxy.master_key.is_none() => {
                draft.values.push(("LITELLM_MASTER_KEY_FILE", absolute(file)?));
                (String::new(), String::new())
            }
            (_, Some(key)) => (key, String::new()),
            (_, None) if self.new_master_key => (new_key(), new_key()),
            (_, None) => (String::new(), String::new()),
        };
        draft.values.extend([("LITELLM_MASTER_KEY", master_key), ("LITELLM_SALT_KEY", salt_key)]);
        if let Some(key) = &self.agent_key {
            draft.values.push(("TASK_AGENT_API_KEY", key.expose_secret().trim().to_owned()));
        }
        Ok(())
    }

    fn login(&self, draft: &mut Draft) -> Result<(), Failure> {
        let args = config::LoginArgs { username: Some(self.username()), ..self.login.clone() };
        let login =
            config::login(&args, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(Failure::usage)?;
        draft.values.push(("UI_USERNAME", login.username));
        let password = match &self.login.password_file {
            Some(file) if self.login.password.is_none() => {
                draft.values.push(("UI_PASSWORD_FILE", absolute(file)?));
                return Ok(());
            }
            _ if login.is_default => {
                let password = Uuid::new_v4().simple().to_string();
                draft.password = Some(password.clone());
                password
            }
            _ => login.password.expose_secret().to_owned(),
        };
        draft.values.push(("UI_PASSWORD", password));
        Ok(())
    }

    /// The template with the values of the former file and the new ones.
    fn text(file: &EnvFile, draft: &Draft) -> Result<Vec<u8>, Failure> {
        let mut text = TEMPLATE.as_bytes().to_vec();
        let former = file.pairs()?;
        let kept = |name: &str| former.iter().any(|(known, value)| known == name && !value.trim().is_empty());
        for (name, value) in &former {
            text = env_file::set(&text, name, value)?;
        }
        for (name, value) in &draft.values {
            // An empty value only takes the place of the template's.
            if !value.is_empty() || !kept(name) {
                text = env_file::set(&text, name, value)?;
            }
        }
        Ok(text)
    }

    fn report(&self, draft: &Draft, version: Option<&str>) {
        let path = self.env_file.display().to_string();
        let proxy = self.proxy.url.as_deref().and_then(config::shown);
        let agents = self.agents.as_deref().and_then(config::shown);
        let next = self.next(draft);
        if self.json {
            let report = json!({
                "file": path, "proxy": proxy, "version": version, "agents": agents, "username": self.username(),
                "has_master_key": draft.has_master_key, "next": next,
            });
            say!("{report:#}");
            return;
        }
        let [proxy_port, other_port] = find::PROXY_PORTS;
        let none = format!("none answers on {}, ports {proxy_port} and {other_port}", self.host);
        let release = version.map(|version| format!(" (LiteLLM {version})")).unwrap_or_default();
        say!("Wrote {path}, which only you can read.");
        say!("  Proxy     {}{release}", proxy.unwrap_or(none));
        say!(
            "  Agents    {}",
            agents.unwrap_or_else(|| "none found: the default is task-agent on port 10900".into())
        );
        let password = match &draft.password {
            Some(password) if std::io::stdout().is_terminal() => format!("password {password}"),
            _ => format!("password: see UI_PASSWORD in {path}"),
        };
        say!("  Login     {}, {password}", self.username());
        say!("Next: {next}");
    }

    /// What to do now, ending with a command.
    fn next(&self, draft: &Draft) -> String {
        let path = self.env_file.display();
        let is_default = self.env_file == Path::new(DEFAULT_ENV_FILE);
        let flag = if is_default { String::new() } else { format!(" --env-file {path}") };
        if !draft.has_master_key {
            let what = format!("write the proxy's admin key into LITELLM_MASTER_KEY in {path}");
            return format!("{what}, then run `patchbay serve{flag}`");
        }
        if self.new_master_key && Path::new("compose.yaml").is_file() {
            return format!("docker compose --env-file {path} up -d --build");
        }
        if self.new_master_key {
            let what = format!("start the proxy with the LITELLM_MASTER_KEY and LITELLM_SALT_KEY of {path}");
            return format!("{what}, then run `patchbay bootstrap{flag}` and `patchbay serve{flag}`");
        }
        format!("patchbay serve{flag}")
    }
}

fn absolute(file: &Path) -> Result<String, Failure> {
    Ok(std::path::absolute(file)?.display().to_string())
}
