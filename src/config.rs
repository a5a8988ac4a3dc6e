//! Settings. Each comes from a flag, else from the environment, else from a `.env` file, else its default.

mod access;
mod address;
pub mod agents;
pub mod dotenv;
mod hosts;
mod setup;
pub mod sso;
pub mod users;
mod webhook;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub use self::access::{Access, AccessArgs, CONFIRM_COST, UsersFile};
pub use self::address::shown;
use self::agents::{AgentsArgs, AgentsFile};
pub use self::hosts::Hosts;
pub use self::webhook::WebhookArgs;
use crate::domain::agent::AgentSettings;
use crate::domain::setup::{Setup, is_placeholder};

pub use setup::SetupArgs;

pub const DEFAULT_USERNAME: &str = "fuzzforge";
/// Accepted on loopback only.
pub const DEFAULT_PASSWORD: &str = "fuzzforge123";
pub const DEFAULT_BIND: &str = "127.0.0.1:10950";
/// Largest file of a secret, in bytes.
const MAX_SECRET: u64 = 64 * 1024;
const DEFAULT_PROXY: &str = "http://127.0.0.1:10999";

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
    #[command(flatten)]
    pub agents: AgentsArgs,
    #[command(flatten)]
    pub login: LoginArgs,
    #[command(flatten)]
    pub proxy: ProxyArgs,
    #[command(flatten)]
    pub agent_key: AgentKeyArgs,
    #[command(flatten)]
    pub setup: SetupArgs,
    #[command(flatten)]
    pub access: AccessArgs,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub bind: SocketAddr,
    /// Path prefix without a slash at its end: empty, or `/a/b`.
    pub base_path: String,
    pub database_url: String,
    pub login: Login,
    pub proxy_url: Url,
    pub master_key: SecretString,
    /// As read at startup.
    pub agents: Vec<AgentSettings>,
    /// Read again while the dashboard runs.
    pub agents_file: Option<AgentsFile>,
    /// The virtual key of agents that name none of their own: those of the short form, and adopted ones.
    pub agent_key: Option<SecretString>,
    /// Used to bootstrap the proxy again after a reset.
    pub setup: Setup,
    pub access: Access,
}

/// The shared login.
#[derive(Debug, Clone)]
pub struct Login {
    pub username: String,
    pub password: SecretString,
    /// The password is the one that everybody knows: pages show a warning.
    pub is_default: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    #[error(
        "LITELLM_MASTER_KEY is not set: give the proxy's admin key, or its file in LITELLM_MASTER_KEY_FILE"
    )]
    NoMasterKey,
    #[error(
        "UI_PASSWORD is not set, or is the default password, which is accepted on a loopback address only: set \
         another one to listen on {0}"
    )]
    DefaultPassword(SocketAddr),
    #[error("{setting}: {why}")]
    Invalid { setting: String, why: String },
}

impl SettingError {
    fn invalid(setting: &str, why: impl Into<String>) -> Self {
        Self::Invalid { setting: setting.to_owned(), why: why.into() }
    }
}

/// All invalid settings together, one per line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<SettingError>);

impl ServeArgs {
    /// Checks the settings, and reads the files that they name.
    pub fn validate(self) -> Result<Config, ConfigError> {
        let mut wrong = Vec::new();
        let mut note = |problem| wrong.push(problem);
        let login = self.login().map_err(&mut note).ok();
        let base_path = base_path(&self.base_path).map_err(&mut note).ok();
        let proxy_url = self.proxy.address().map_err(&mut note).ok();
        let master_key = self.proxy.master_key().map_err(&mut note).ok();
        let agent_key = self.agent_key.key().map_err(&mut note).ok().flatten();
        let agents = self.agents.validate(agent_key.as_ref()).map_err(&mut note).ok();
        let setup = self.setup.validate().map_err(&mut note).ok();
        let username = login.as_ref().map_or(DEFAULT_USERNAME, |login| &login.username);
        let access = self
            .access
            .validate(username, self.bind)
            .map_err(|problems| problems.into_iter().for_each(note))
            .ok();
        let config = || {
            let (agents, agents_file) = agents?;
            Some(Config {
                bind: self.bind,
                database_url: self.database_url,
                login: login?,
                base_path: base_path?,
                proxy_url: proxy_url?,
                master_key: master_key?,
                agents,
                agents_file,
                agent_key,
                setup: setup?,
                access: access?,
            })
        };
        config().ok_or(ConfigError(wrong))
    }
}

impl ServeArgs {
    /// Where passwords are off, the default one opens nothing.
    fn login(&self) -> Result<Login, SettingError> {
        if self.access.is_password_login_off().unwrap_or_default() {
            let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            return Ok(Login { is_default: false, ..login(&self.login, loopback)? });
        }
        login(&self.login, self.bind)
    }
}

impl ProxyArgs {
    /// The first address that is set, without a `/v1` at its end.
    pub fn address(&self) -> Result<Url, SettingError> {
        let given = [&self.url, &self.ff_llm_proxy_base_url, &self.proxy_base_url];
        let text = given.into_iter().flatten().map(|text| text.trim()).find(|text| !text.is_empty());
        let text = text.unwrap_or(DEFAULT_PROXY).trim_end_matches('/');
        address::web("LITELLM_PROXY_URL", text.strip_suffix("/v1").unwrap_or(text))
    }

    pub fn master_key(&self) -> Result<SecretString, SettingError> {
        secret("LITELLM_MASTER_KEY", self.master_key.as_ref(), self.master_key_file.as_ref())?
            .ok_or(SettingError::NoMasterKey)
    }
}

impl AgentKeyArgs {
    pub fn key(&self) -> Result<Option<SecretString>, SettingError> {
        let own = secret("TASK_AGENT_API_KEY", self.agent_key.as_ref(), self.agent_key_file.as_ref())?;
        let key = own.or_else(|| filled(self.openai_api_key.as_ref()));
        Ok(key.filter(|key| !is_placeholder(key.expose_secret())))
    }
}

fn filled(secret: Option<&SecretString>) -> Option<SecretString> {
    let text = secret?.expose_secret().trim();
    (!text.is_empty()).then(|| SecretString::from(text))
}

/// Takes a secret from its value or its file. An empty value counts as none.
fn secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&PathBuf>,
) -> Result<Option<SecretString>, SettingError> {
    if let Some(value) = filled(value) {
        return Ok(Some(value));
    }
    let Some(file) = file else { return Ok(None) };
    let wrong =
        |why: String| SettingError::invalid(&format!("{name}_FILE"), format!("{} {why}", file.display()));
    let text = File::open(file).and_then(|file| dotenv::text(file, MAX_SECRET));
    let text = text.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    filled(Some(&SecretString::from(text))).map(Some).ok_or_else(|| wrong("is empty".to_owned()))
}

pub fn login(args: &LoginArgs, bind: SocketAddr) -> Result<Login, SettingError> {
    let given = args.username.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let username = given.unwrap_or(DEFAULT_USERNAME).to_owned();
    // HTTP Basic splits name and password at the first colon.
    if username.contains(':') || username.chars().any(char::is_control) {
        return Err(SettingError::invalid("UI_USERNAME", "a name has no colon and no control characters"));
    }
    let password = secret("UI_PASSWORD", args.password.as_ref(), args.password_file.as_ref())?;
    let password = password.unwrap_or_else(|| SecretString::from(DEFAULT_PASSWORD));
    let is_default = password.expose_secret() == DEFAULT_PASSWORD;
    if is_default && !bind.ip().to_canonical().is_loopback() {
        return Err(SettingError::DefaultPassword(bind));
    }
    Ok(Login { username, password, is_default })
}

fn base_path(text: &str) -> Result<String, SettingError> {
    let path = text.trim().trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    let is_segment =
        |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.chars().all(is_plain);
    if path.is_empty() || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment)) {
        Ok(path.to_owned())
    } else {
        let why = format!("{path:?} is not a path such as /tools/patchbay");
        Err(SettingError::invalid("PATCHBAY_BASE_PATH", why))
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
        // Empty values hide variables that may be set on the machine.
        let base = ["patchbay", "--openai-api-key=", "--proxy-url="];
        Cli::try_parse_from(base.iter().chain(args)).unwrap().serve.validate()
    }

    #[test]
    fn default_password_works_on_loopback_only() {
        let config = validate(&["--master-key=sk-1"]).unwrap();
        assert!(config.login.is_default);
        assert_eq!(config.login.username, DEFAULT_USERNAME);
        let error = validate(&["--master-key=sk-1", "--bind=0.0.0.0:1"]).unwrap_err();
        assert!(error.to_string().contains("UI_PASSWORD is not set"), "{error}");
        let config = validate(&["--master-key=sk-1", "--bind=0.0.0.0:1", "--password=x"]).unwrap();
        assert!(!config.login.is_default);
        assert_eq!(config.access.hosts, Hosts::Any);
    }

    #[test]
    fn default_password_is_no_matter_where_passwords_are_off() {
        let sso =
            ["--master-key=sk-1", "--bind=0.0.0.0:1", "--sso-user-header=X-User", "--sso-roles=*=viewer"];
        let with = |more: &[&str]| validate(&[&sso, more].concat());
        assert!(with(&["--trusted-proxies=10.0.0.1", "--password-login=no"]).is_ok_and(|config| {
            config.access.is_password_login_off && !config.login.is_default && config.access.sso.is_some()
        }));
        for (more, named) in [
            (&["--trusted-proxies=10.0.0.1"][..], "UI_PASSWORD"),
            (&["--password=long enough"], "PATCHBAY_TRUSTED_PROXIES"),
        ] {
            let error = with(more).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    /// The compose file used to pass it.
    #[test]
    fn default_password_is_told_by_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "\u{feff}fuzzforge123\r\n").unwrap();
        let in_file = format!("--password-file={}", file.display());
        for given in ["--password=fuzzforge123", "--password= fuzzforge123\n", "--password=", &in_file] {
            for (bind, is_loopback) in
                [("127.0.0.1:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("[::]:1", false)]
            {
                let args =
                    ["--master-key=sk-1", given, &format!("--bind={bind}"), "--hosts=patchbay.example"];
                match validate(&args) {
                    Ok(config) => assert!(is_loopback && config.login.is_default, "{given} {bind}"),
                    Err(error) => {
                        assert!(
                            !is_loopback && error.to_string().contains("UI_PASSWORD"),
                            "{given} {bind}: {error}"
                        );
                    }
                }
            }
        }
        let typed = users::check_password(&SecretString::from(DEFAULT_PASSWORD));
        assert!(matches!(typed, Err(users::UsersError::DefaultPassword)));
    }

    #[test]
    fn reports_every_invalid_setting_without_secrets() {
        let error = validate(&["--base-path=a", "--agents=x=ftp://u:pw@h", "--username=a:b"]).unwrap_err();
        let text = error.to_string();
        for part in ["UI_USERNAME", "PATCHBAY_BASE_PATH", "LITELLM_MASTER_KEY", "PATCHBAY_AGENTS"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("pw"), "{text}");
    }

    #[test]
    fn accepts_slashes_and_blanks_around_addresses() {
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
    fn reads_secrets_from_files_and_hides_them() {
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
