//! Agents: the short form `PATCHBAY_AGENTS`, and the file that `PATCHBAY_AGENTS_FILE` names.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use secrecy::SecretString;
use serde::Deserialize;
use serde_saphyr::Spanned;
use url::Url;

use super::{SettingError, address, dotenv};
use crate::domain::agent::{AgentName, AgentSettings, Credentials};
use crate::domain::redact;

const DEFAULT_AGENTS: &str = "task-agent=http://127.0.0.1:10900/a2a/litellm_agent";
const SHORT_FORM: &str = "PATCHBAY_AGENTS";
const FILE: &str = "PATCHBAY_AGENTS_FILE";

/// Largest agents file, and largest file of a secret, in bytes.
const MAX_FILE: u64 = 256 * 1024;
const MAX_SECRET: u64 = 16 * 1024;

const MAX_AGENTS: usize = 200;

/// Headers that requests set themselves, or that would change how they are read.
const OWN_HEADERS: [&str; 9] = [
    "a2a-version",
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

#[derive(Args, Debug, Clone, Default)]
pub struct AgentsArgs {
    /// Agents, as name=url, comma-separated [default: `task-agent` on this machine, unless there is an agents file]
    #[arg(long, env = "PATCHBAY_AGENTS", value_name = "NAME=URL,…")]
    pub agents: Option<String>,
    /// YAML file of agents with their credentials and virtual keys; read again when it changes
    #[arg(long, env = "PATCHBAY_AGENTS_FILE", value_name = "FILE")]
    pub agents_file: Option<PathBuf>,
}

/// Where the agents come from when the file is read again.
#[derive(Debug, Clone)]
pub struct AgentsFile {
    path: PathBuf,
    /// Those of the short form, which stand beside the file's.
    short: Vec<AgentSettings>,
}

/// Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentsFileError {
    #[error("{path} cannot be read: {why}")]
    Unreadable { path: String, why: String },
    #[error("{path}: {why}")]
    Invalid { path: String, why: String },
    #[error("{path}, line {line}: {why}")]
    Line { path: String, line: u64, why: String },
}

impl AgentsArgs {
    /// `key` is the virtual key of agents in the short form.
    pub fn validate(
        &self,
        key: Option<&SecretString>,
    ) -> Result<(Vec<AgentSettings>, Option<AgentsFile>), SettingError> {
        let given = self.agents.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let path = self.agents_file.clone().filter(|path| !path.as_os_str().is_empty());
        let short = match (given, &path) {
            (Some(text), _) => short_form(text, key)?,
            (None, None) => short_form(DEFAULT_AGENTS, key)?,
            (None, Some(_)) => Vec::new(),
        };
        let Some(path) = path else { return Ok((short, None)) };
        let file = AgentsFile { path, short };
        let agents = file.read().map_err(|error| SettingError::invalid(FILE, error.to_string()))?;
        Ok((agents, Some(file)))
    }
}

fn short_form(text: &str, key: Option<&SecretString>) -> Result<Vec<AgentSettings>, SettingError> {
    let mut agents: Vec<AgentSettings> = Vec::new();
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    for (entry, n) in entries.zip(1..) {
        // An entry may hold a password.
        let setting = format!("{SHORT_FORM}: entry {n}");
        let (name, url) =
            entry.split_once('=').ok_or_else(|| SettingError::invalid(&setting, "write it as name=url"))?;
        let name = name
            .trim()
            .parse::<AgentName>()
            .map_err(|error| SettingError::invalid(&setting, error.to_string()))?;
        let setting = format!("{SHORT_FORM}: {name}");
        let url = address::web(&setting, url.trim())?;
        if agents.iter().any(|known| known.name == name) {
            return Err(SettingError::invalid(&setting, "this name is there twice"));
        }
        agents.push(AgentSettings { key: key.cloned(), ..AgentSettings::new(name, url) });
    }
    if agents.is_empty() {
        return Err(SettingError::invalid(SHORT_FORM, "name at least one agent, as name=url"));
    }
    Ok(agents)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    agents: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    url: Spanned<String>,
    key: Option<Spanned<String>>,
    auth: Option<Spanned<Auth>>,
    calls: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    bearer: Option<Spanned<String>>,
    header: Option<Spanned<String>>,
    value: Option<Spanned<String>>,
    basic: Option<Spanned<String>>,
}

/// What is wrong at a line.
type AtLine<T> = Result<T, (u64, String)>;

fn at<T, V>(place: &Spanned<V>, result: Result<T, String>) -> AtLine<T> {
    result.map_err(|why| (place.referenced.line(), why))
}

impl AgentsFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file, and the variables and files of secrets that it names.
    pub fn read(&self) -> Result<Vec<AgentSettings>, AgentsFileError> {
        let path = || redact::secrets(&self.path.display().to_string());
        let invalid = |why: String| AgentsFileError::Invalid { path: path(), why };
        let text = read_bounded(&self.path, MAX_FILE)
            .map_err(|error| AgentsFileError::Unreadable { path: path(), why: error.to_string() })?;
        let document: Document = serde_saphyr::from_str(&text).map_err(|error| invalid(plain(&error)))?;
        if document.agents.is_empty() || document.agents.len() > MAX_AGENTS {
            return Err(invalid(format!("name 1 to {MAX_AGENTS} agents")));
        }
        let mut agents = self.short.clone();
        for entry in document.agents {
            let agent = self.agent(&entry, &agents).map_err(|(line, why)| AgentsFileError::Line {
                path: path(),
                line,
                why,
            })?;
            agents.push(agent);
        }
        Ok(agents)
    }

    fn agent(&self, entry: &Entry, before: &[AgentSettings]) -> AtLine<AgentSettings> {
        let name: AgentName =
            at(&entry.name, entry.name.value.parse().map_err(|error| format!("name: {error}")))?;
        if before.iter().any(|known| known.name == name) {
            return Err((entry.name.referenced.line(), format!("the agent {name} is there twice")));
        }
        let url = at(&entry.url, address(&entry.url.value))?;
        let key = entry.key.as_ref().map(|key| at(key, self.secret("key", &key.value)));
        let auth = entry.auth.as_ref().map(|auth| self.credentials(auth)).transpose()?;
        let calls = entry.calls.as_ref().map(|calls| {
            let wrong = |_| "calls: write auto, chat, responses, mixed or unknown".to_owned();
            at(calls, calls.value.parse().map_err(wrong))
        });
        Ok(AgentSettings {
            key: key.transpose()?.map(SecretString::from),
            auth,
            calls: calls.transpose()?.unwrap_or_default(),
            ..AgentSettings::new(name, url)
        })
    }

    fn credentials(&self, auth: &Spanned<Auth>) -> AtLine<Credentials> {
        let (header, given, value) = match &auth.value {
            Auth { bearer: Some(given), header: None, value: None, basic: None } => {
                let secret = at(given, self.secret("auth.bearer", &given.value))?;
                ("authorization", given, format!("Bearer {secret}"))
            }
            Auth { basic: Some(given), bearer: None, header: None, value: None } => {
                let secret = at(given, self.secret("auth.basic", &given.value))?;
                if !secret.contains(':') || secret.contains(char::is_control) {
                    return Err((
                        given.referenced.line(),
                        "auth.basic: the secret is user:password on one line".to_owned(),
                    ));
                }
                ("authorization", given, format!("Basic {}", STANDARD.encode(secret)))
            }
            Auth { header: Some(header), value: Some(given), bearer: None, basic: None } => {
                at(header, header_name(&header.value))?;
                (header.value.as_str(), given, at(given, self.secret("auth.value", &given.value))?)
            }
            _ => {
                let why = "auth: write {bearer: env:NAME}, {header: X-API-Key, value: env:NAME} or {basic: env:NAME}";
                return Err((auth.referenced.line(), why.to_owned()));
            }
        };
        if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err((
                given.referenced.line(),
                "auth: a secret is printable ASCII on one line".to_owned(),
            ));
        }
        Ok(Credentials { header: header.to_owned(), value: SecretString::from(value) })
    }

    /// The secret that a reference names. A relative path is below the folder of the agents file.
    fn secret(&self, field: &str, reference: &str) -> Result<String, String> {
        let secret = if let Some(name) = reference.strip_prefix("env:") {
            let name = name.trim();
            // What is no name may be the secret itself.
            if !is_variable(name) {
                return Err(format!("{field}: write env:NAME with the name of a variable"));
            }
            dotenv::find(name)
                .map(|(_, value)| value)
                .filter(|value| !value.trim().is_empty())
                .ok_or_else(|| format!("{field}: the variable {name} is not set"))?
        } else if let Some(path) = reference.strip_prefix("file:") {
            let path = self.path.parent().unwrap_or(Path::new("")).join(path.trim());
            let shown = redact::secrets(&path.display().to_string());
            read_bounded(&path, MAX_SECRET)
                .map_err(|error| format!("{field}: {shown} cannot be read: {error}"))?
        } else {
            return Err(format!("{field}: write env:NAME or file:PATH, not the secret itself"));
        };
        match secret.trim() {
            "" => Err(format!("{field}: the secret is empty")),
            secret => Ok(secret.to_owned()),
        }
    }
}

fn is_variable(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&name.len())
        && name.chars().all(is_word)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn address(text: &str) -> Result<Url, String> {
    let url = address::web("url", text.trim()).map_err(|error| error.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("url: write credentials under auth, as a reference".to_owned());
    }
    Ok(url)
}

fn header_name(name: &str) -> Result<(), String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || name.len() > 100 || !name.chars().all(is_token) {
        return Err("auth.header: write the name of a header, such as X-API-Key".to_owned());
    }
    if OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(format!("auth.header: {name} is set by the request itself"));
    }
    Ok(())
}

/// One line, without values of the file: a secret may stand where a reference belongs.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let shown = match (line.find('"'), line.rfind('"')) {
        (Some(start), Some(end)) if start < end => format!("{}…{}", &line[..start], &line[end + 1..]),
        _ => line.to_owned(),
    };
    redact::error_text(&shown)
}

/// Devices and pipes could be read without end.
fn read_bounded(path: &Path, limit: u64) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    if File::open(path)?.take(limit + 1).read_to_string(&mut text)? as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} KiB", limit / 1024)));
    }
    Ok(text)
}
