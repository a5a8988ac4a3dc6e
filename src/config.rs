//! Settings: read, validated, redacted.
//!
//! Each comes from a flag, else from the environment, else from a `.env` file, else its default.

mod access;
pub mod dotenv;
mod setup;
pub mod users;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub use self::access::{Access, AccessArgs, Network, UsersFile};
use crate::domain::agent::AgentName;
use crate::domain::redact;
use crate::domain::setup::Setup;

pub use setup::SetupArgs;

/// The login that is used where none is set, as in the guide that Patchbay follows.
pub const DEFAULT_USERNAME: &str = "fuzzforge";
/// See [`DEFAULT_USERNAME`]; accepted on loopback only.
pub const DEFAULT_PASSWORD: &str = "fuzzforge123";
/// Where the dashboard listens.
pub const DEFAULT_BIND: &str = "127.0.0.1:10950";
/// Where the agent's A2A endpoint is by default.
pub const DEFAULT_AGENTS: &str = "task-agent=http://127.0.0.1:10900/a2a/litellm_agent";
/// Where the proxy is by default.
pub const DEFAULT_PROXY: &str = "http://127.0.0.1:10999";

/// Settings of the login.
#[derive(Args, Debug, Clone)]
pub struct LoginArgs {
    /// Name of the shared login [default: fuzzforge]
    #[arg(long = "username", env = "UI_USERNAME", value_name = "NAME")]
    pub username: Option<String>,
    /// Password of the shared login [default: fuzzforge123, on a loopback address only]
    #[arg(long = "password", env = "UI_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub password: Option<SecretString>,
    /// File that holds the password instead
    #[arg(long = "password-file", env = "UI_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// Settings of the LiteLLM proxy.
#[derive(Args, Debug, Clone)]
pub struct ProxyArgs {
    /// Address of the LiteLLM proxy [default: port 10999 on this machine]
    #[arg(long = "proxy-url", env = "LITELLM_PROXY_URL", value_name = "URL")]
    pub url: Option<String>,
    /// The agents' name for the same setting
    #[arg(long, env = "FF_LLM_PROXY_BASE_URL", hide = true)]
    pub ff_llm_proxy_base_url: Option<String>,
    /// The proxy's own name for the same setting
    #[arg(long, env = "PROXY_BASE_URL", hide = true)]
    pub proxy_base_url: Option<String>,
    /// The proxy's admin key; never leaves the server
    #[arg(long = "master-key", env = "LITELLM_MASTER_KEY", value_name = "KEY", hide_env_values = true)]
    pub master_key: Option<SecretString>,
    /// File that holds the admin key instead
    #[arg(long = "master-key-file", env = "LITELLM_MASTER_KEY_FILE", value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,
}

/// The virtual key with which the agent calls the proxy.
#[derive(Args, Debug, Clone)]
pub struct AgentKeyArgs {
    /// The agent's virtual key: for checking it, and for trying a model before a swap
    #[arg(long = "agent-key", env = "TASK_AGENT_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub agent_key: Option<SecretString>,
    /// File that holds the agent's key instead
    #[arg(long = "agent-key-file", env = "TASK_AGENT_API_KEY_FILE", value_name = "FILE")]
    pub agent_key_file: Option<PathBuf>,
    /// The guide's name for the same setting
    #[arg(long, env = "OPENAI_API_KEY", hide = true, hide_env_values = true)]
    pub openai_api_key: Option<SecretString>,
}

/// Settings of the dashboard.
#[derive(Args, Debug, Clone)]
pub struct ServeArgs {
    /// Address to listen on
    #[arg(long, env = "PATCHBAY_BIND", value_name = "ADDRESS", default_value = DEFAULT_BIND)]
    pub bind: SocketAddr,
    /// Path under which a reverse proxy serves the dashboard, such as /tools/patchbay
    #[arg(long, env = "PATCHBAY_BASE_PATH", value_name = "PATH", default_value = "")]
    pub base_path: String,
    /// Database
    #[arg(long, env = "PATCHBAY_DATABASE_URL", value_name = "URL", default_value = "sqlite://patchbay.db")]
    pub database_url: String,
    /// Agents, as name=url, comma-separated
    #[arg(long, env = "PATCHBAY_AGENTS", value_name = "NAME=URL,…", default_value = DEFAULT_AGENTS)]
    pub agents: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group: its own type says what it is")]
    pub login: LoginArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group: its own type says what it is")]
    pub proxy: ProxyArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group: its own type says what it is")]
    pub agent_key: AgentKeyArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group: its own type says what it is")]
    pub setup: SetupArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group: its own type says what it is")]
    pub access: AccessArgs,
}

/// Validated settings of the dashboard.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub bind: SocketAddr,
    /// Path prefix without a slash at its end; empty, or `/a/b`.
    pub base_path: String,
    /// Where the data is.
    pub database_url: String,
    /// The shared login.
    pub login: Login,
    /// The proxy's address.
    pub proxy_url: Url,
    /// The proxy's admin key.
    pub master_key: SecretString,
    /// The agents.
    pub agents: Vec<(AgentName, Url)>,
    /// The agent's virtual key.
    pub agent_key: Option<SecretString>,
    /// What is bootstrapped again after a reset.
    pub setup: Setup,
    /// Who may come in, and from where.
    pub access: Access,
}

/// The shared login.
#[derive(Debug, Clone)]
pub struct Login {
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// The password was not set: a banner says so.
    pub is_default: bool,
}

/// Everything that is wrong with the settings, at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl ServeArgs {
    /// Checks the settings, and reads the files that they name.
    pub fn validate(self) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        let mut note = |problem: String| wrong.push(problem);
        let login = login(&self.login, self.bind).map_err(&mut note).ok();
        let base_path = base_path(&self.base_path).map_err(&mut note).ok();
        let proxy_url = self.proxy.address().map_err(&mut note).ok();
        let master_key = self.proxy.master_key().map_err(&mut note).ok();
        let agents = agents(&self.agents).map_err(&mut note).ok();
        let agent_key = self.agent_key.key().map_err(&mut note).ok();
        let setup = self.setup.validate().map_err(&mut note).ok();
        let username = login.as_ref().map_or(DEFAULT_USERNAME, |login| &login.username);
        let access =
            self.access.validate(username).map_err(|problems| problems.into_iter().for_each(&mut note));
        let all = (login, base_path, proxy_url, master_key, agents, agent_key, setup, access.ok());
        let (
            Some(login),
            Some(base_path),
            Some(proxy_url),
            Some(master_key),
            Some(agents),
            Some(agent_key),
            Some(setup),
            Some(access),
        ) = all
        else {
            return Err(ConfigError(wrong));
        };
        let (bind, database_url) = (self.bind, self.database_url);
        Ok(Config {
            bind,
            base_path,
            database_url,
            login,
            proxy_url,
            master_key,
            agents,
            agent_key,
            setup,
            access,
        })
    }
}

impl ProxyArgs {
    /// The proxy's address: the first that is set, without a `/v1` at its end.
    pub fn address(&self) -> Result<Url, String> {
        let given = [&self.url, &self.ff_llm_proxy_base_url, &self.proxy_base_url];
        let text = given.into_iter().flatten().map(|text| text.trim()).find(|text| !text.is_empty());
        let text = text.unwrap_or(DEFAULT_PROXY).trim_end_matches('/');
        web_url(text.strip_suffix("/v1").unwrap_or(text)).map_err(|why| format!("LITELLM_PROXY_URL: {why}"))
    }

    /// The admin key, or what is wrong with it.
    pub fn master_key(&self) -> Result<SecretString, String> {
        secret("LITELLM_MASTER_KEY", self.master_key.as_ref(), self.master_key_file.as_ref())?
            .ok_or_else(|| "LITELLM_MASTER_KEY is not set: give the proxy's admin key, or its file in LITELLM_MASTER_KEY_FILE".to_owned())
    }
}

impl AgentKeyArgs {
    /// The agent's key, if there is one.
    pub fn key(&self) -> Result<Option<SecretString>, String> {
        let own = secret("TASK_AGENT_API_KEY", self.agent_key.as_ref(), self.agent_key_file.as_ref())?;
        Ok(own.or_else(|| filled(self.openai_api_key.as_ref())))
    }
}

fn filled(secret: Option<&SecretString>) -> Option<SecretString> {
    let text = secret?.expose_secret().trim();
    (!text.is_empty()).then(|| SecretString::from(text))
}

/// A secret given as itself or as a file; an empty one counts as none.
fn secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&PathBuf>,
) -> Result<Option<SecretString>, String> {
    if let Some(value) = filled(value) {
        return Ok(Some(value));
    }
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{name}_FILE: {} cannot be read: {error}", file.display()))?;
    match filled(Some(&SecretString::from(text))) {
        Some(secret) => Ok(Some(secret)),
        None => Err(format!("{name}_FILE: {} is empty", file.display())),
    }
}

/// The shared login, with the rule for the default password.
pub fn login(args: &LoginArgs, bind: SocketAddr) -> Result<Login, String> {
    let given = args.username.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let username = given.unwrap_or(DEFAULT_USERNAME).to_owned();
    // HTTP Basic splits name and password at the first colon.
    if username.contains(':') || username.chars().any(char::is_control) {
        return Err("UI_USERNAME: a name has no colon and no control characters".to_owned());
    }
    if let Some(password) = secret("UI_PASSWORD", args.password.as_ref(), args.password_file.as_ref())? {
        return Ok(Login { username, password, is_default: false });
    }
    if !bind.ip().is_loopback() {
        return Err(format!(
            "UI_PASSWORD is not set: the default password is accepted on a loopback address only, and {bind} is none"
        ));
    }
    Ok(Login { username, password: SecretString::from(DEFAULT_PASSWORD), is_default: true })
}

fn base_path(text: &str) -> Result<String, String> {
    let path = text.trim().trim_end_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let good = path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/')
            .all(|part| !part.is_empty() && !matches!(part, "." | "..") && part.chars().all(is_plain))
    });
    if good {
        Ok(path.to_owned())
    } else {
        Err(format!("PATCHBAY_BASE_PATH: {path:?} is no path such as /tools/patchbay"))
    }
}

fn agents(text: &str) -> Result<Vec<(AgentName, Url)>, String> {
    let mut agents: Vec<(AgentName, Url)> = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let wrong = |why: &str| format!("PATCHBAY_AGENTS: {}: {why}", redact::secrets(entry));
        let (name, url) = entry.split_once('=').ok_or_else(|| wrong("write it as name=url"))?;
        let name: AgentName = name.trim().parse().map_err(|error| wrong(&format!("{error}")))?;
        let url = web_url(url.trim()).map_err(|why| wrong(&why))?;
        if agents.iter().any(|(known, _)| *known == name) {
            return Err(wrong("this name is there twice"));
        }
        agents.push((name, url));
    }
    if agents.is_empty() {
        Err("PATCHBAY_AGENTS: name at least one agent, as name=url".to_owned())
    } else {
        Ok(agents)
    }
}

/// An address that can be asked: http or https, with a host, without query and fragment.
fn web_url(text: &str) -> Result<Url, String> {
    let url: Url =
        text.parse().map_err(|error| format!("{} is no address: {error}", redact::secrets(text)))?;
    let is_plain = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_plain && url.query().is_none() && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(format!("{} is no plain http or https address", redact::secrets(text)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(args_override_self = true)]
    struct Cli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn validate(args: &[&str]) -> Result<Config, ConfigError> {
        // An empty value stands for an unset variable, whatever the machine's environment holds.
        let base = ["patchbay", "--openai-api-key=", "--proxy-url="];
        Cli::try_parse_from(base.iter().chain(args)).unwrap().serve.validate()
    }

    #[test]
    fn the_default_password_is_for_loopback_only() {
        let config = validate(&["--master-key=sk-1"]).unwrap();
        assert!(config.login.is_default);
        assert_eq!(config.login.username, DEFAULT_USERNAME);
        let error = validate(&["--master-key=sk-1", "--bind=0.0.0.0:1"]).unwrap_err();
        assert!(error.to_string().contains("UI_PASSWORD is not set"), "{error}");
        let config = validate(&["--master-key=sk-1", "--bind=0.0.0.0:1", "--password=x"]).unwrap();
        assert!(!config.login.is_default);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_and_without_secrets() {
        let error = validate(&["--base-path=a", "--agents=x=ftp://u:pw@h", "--username=a:b"]).unwrap_err();
        let text = error.to_string();
        for part in ["UI_USERNAME", "PATCHBAY_BASE_PATH", "LITELLM_MASTER_KEY", "PATCHBAY_AGENTS"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("pw"), "{text}");
    }

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        let config = validate(&[
            "--master-key=sk-1",
            "--proxy-url=http://h:1/x/v1/",
            "--base-path=/a/b/",
            "--agents= one=http://h/a , two=https://h/b",
        ])
        .unwrap();
        assert_eq!(config.proxy_url.as_str(), "http://h:1/x");
        assert_eq!(config.base_path, "/a/b");
        assert_eq!(config.agents.len(), 2);
    }

    #[test]
    fn secrets_are_read_from_files_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "sk-from-file\n").unwrap();
        let flag = format!("--master-key-file={}", file.display());
        let config = validate(&[&flag]).unwrap();
        assert_eq!(config.master_key.expose_secret(), "sk-from-file");
        assert!(!format!("{config:?}").contains("sk-from-file"));
        std::fs::write(&file, " \n").unwrap();
        assert!(validate(&[&flag]).unwrap_err().to_string().contains("is empty"));
    }
}
