//! Brings a proxy to the desired state: secrets mirrored, models registered, keys issued and written into the env
//! file. Existing state is kept, and an interrupted run is continued by the next one.

mod env;
mod key_list;
mod keys;
mod models;
mod profile;
mod report;
mod reserved;
mod reset;

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Map;

pub use env::{EnvError, EnvFile, Lock};
pub use key_list::{KeySpec, read_keys, write_keys};
pub use keys::{StoredKey, classify_key};
pub use models::{default_list, secret_name};
pub use report::{Outcome, Part, Report, Step};
pub use reset::{Deletion, Stock};

use crate::clients::ClientError;
use crate::clients::litellm::{Database, LiteLlm};
use crate::config::dotenv;
use crate::domain::audit::Actor;
use crate::domain::setup::{Setup, is_placeholder};
use crate::services::keys::Keys;
use crate::services::registry::Models;
use crate::store::{Store, StoreError};
use report::Log;

/// Largest list that is read, in bytes.
const MAX_LIST: u64 = 16 * 1024 * 1024;

/// Pause between two attempts to reach the proxy.
const PAUSE: Duration = Duration::from_secs(1);

/// Attempts per message that the proxy does not answer yet.
const ATTEMPTS_PER_MESSAGE: u32 = 5;

#[derive(Debug, Clone)]
pub struct DesiredState {
    /// Holds the secrets of providers and keys.
    pub env: EnvFile,
    pub mirror: Option<EnvFile>,
    /// For the agent alone: holds the secret of the first key, and the agent's first model.
    pub key_file: Option<EnvFile>,
    /// A `model_list`, with a `keys:` section or without.
    pub list: Option<String>,
    /// `LITELLM_DEFAULT_MODELS`: registered if no model has the name.
    pub default_models: Vec<String>,
    pub keys: Vec<KeySpec>,
}

impl DesiredState {
    pub fn nothing(env: EnvFile) -> Self {
        Self { env, mirror: None, key_file: None, list: None, default_models: Vec::new(), keys: Vec::new() }
    }

    /// Waits for other runs on the same env file.
    async fn lock(&self) -> Option<Lock> {
        let env = self.env.clone();
        tokio::task::spawn_blocking(move || env.lock()).await.ok()
    }

    /// Reads the list that the settings name.
    pub fn from_settings(setup: &Setup) -> Result<Self, BootstrapError> {
        let env = EnvFile::new(&setup.env_file);
        let list = setup.models_file.as_deref().map(read_list).transpose()?;
        let target = match &setup.key_variable {
            Some(name) => name.clone(),
            // The agent reads this one first.
            None if env.variables()?.contains_key("TASK_AGENT_API_KEY") => "TASK_AGENT_API_KEY".to_owned(),
            None => "OPENAI_API_KEY".to_owned(),
        };
        let (alias, settings) = (setup.key_alias.clone(), setup.key_settings.clone());
        let (default_models, keys) = if let Some(profile) = setup.profile {
            profile::read(profile, &setup.default_models, profile::find)?
        } else {
            let key = KeySpec { alias, hash: None, target: Some(target), settings, at_issue: Map::new() };
            (setup.default_models.clone(), vec![key])
        };
        Ok(Self {
            env,
            mirror: Some(EnvFile::new(&setup.mirror_file)),
            key_file: setup.key_file.as_ref().map(EnvFile::new),
            list,
            default_models,
            keys,
        })
    }
}

/// Reads a list of models and keys; `-` is standard input.
pub fn read_list(path: &Path) -> Result<String, BootstrapError> {
    let text = if path == Path::new("-") {
        dotenv::text(std::io::stdin().lock(), MAX_LIST)
    } else {
        std::fs::File::open(path).and_then(|file| dotenv::text(file, MAX_LIST))
    };
    text.map_err(|error| BootstrapError::List { path: path.to_owned(), error })
}

#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent options")]
pub struct ApplyOptions {
    /// Only reports what would be done.
    pub dry_run: bool,
    pub sync_keys: bool,
    /// Issues new secrets; the keys that they replace end.
    pub new_secrets: bool,
    /// Ends keys that have an issued key's alias and another secret.
    pub replace: bool,
    pub raw_secrets: bool,
    pub prune: bool,
    /// Longest wait for the proxy.
    pub patience: Duration,
}

#[derive(Clone)]
pub struct Bootstrap {
    proxy: LiteLlm,
    models: Models,
    keys: Keys,
    store: Store,
    /// Never written into the env file as an agent's key.
    master_key: SecretString,
}

#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("after {} s: {error}", waited.as_secs())]
    NotUp { waited: Duration, error: ClientError },
    #[error("the proxy has no database: set its DATABASE_URL, since it keeps models and keys there")]
    NoDatabase,
    #[error("the proxy's database does not answer")]
    DatabaseDown,
    #[error("{name} {why}")]
    Variable { name: String, why: &'static str },
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error("{}: it cannot be read: {error}", path.display())]
    List { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Bootstrap {
    pub fn new(proxy: LiteLlm, models: Models, keys: Keys, store: Store, master_key: SecretString) -> Self {
        Self { proxy, models, keys, store, master_key }
    }

    /// Mirrors secrets, waits for the proxy, and applies the desired state. Each finished step is passed to `on_step`.
    /// A failed step does not stop the others.
    pub async fn run(
        &self,
        desired: &DesiredState,
        options: ApplyOptions,
        actor: &Actor,
        on_step: impl FnMut(&Step) + Send,
    ) -> Result<Report, BootstrapError> {
        let mut run = Run { desired, options, actor, log: Log::new(on_step) };
        let _lock = desired.lock().await;
        run.mirror();
        self.wait(options.patience, &mut run.log).await?;
        self.register(&mut run).await;
        self.issue(&mut run).await;
        Ok(run.log.report())
    }

    /// Applies models and keys only.
    pub async fn apply(
        &self,
        desired: &DesiredState,
        options: ApplyOptions,
        actor: &Actor,
        on_step: impl FnMut(&Step) + Send,
    ) -> Result<Report, BootstrapError> {
        let mut run = Run { desired, options, actor, log: Log::new(on_step) };
        let _lock = desired.lock().await;
        self.register(&mut run).await;
        self.issue(&mut run).await;
        Ok(run.log.report())
    }

    /// Waits until the proxy and its database answer.
    async fn wait(&self, patience: Duration, log: &mut Log<'_>) -> Result<(), BootstrapError> {
        let begun = tokio::time::Instant::now();
        let address = self.proxy.address();
        for round in 0_u32.. {
            let found = self.look().await;
            let waited = begun.elapsed();
            match found {
                Ok((Database::Connected, version)) => {
                    let version = version.map(|version| format!("LiteLLM {version}"));
                    let detail = version.unwrap_or_else(|| "it answers".to_owned());
                    log.add(Part::Proxy, &address, Outcome::Same, detail);
                    return Ok(());
                }
                Ok((Database::None, _)) => return Err(BootstrapError::NoDatabase),
                Ok((Database::Down, _)) if waited >= patience => return Err(BootstrapError::DatabaseDown),
                Err(error) if waited >= patience => return Err(BootstrapError::NotUp { waited, error }),
                Ok((Database::Down, _)) if round % ATTEMPTS_PER_MESSAGE == 0 => {
                    log.progress(Part::Proxy, &address, Outcome::Waiting, "its database does not answer yet");
                }
                Err(error) if round % ATTEMPTS_PER_MESSAGE == 0 => {
                    log.progress(Part::Proxy, &address, Outcome::Waiting, error.to_string());
                }
                _ => {}
            }
            tokio::time::sleep(PAUSE.min(patience.saturating_sub(waited))).await;
        }
        Ok(())
    }

    async fn look(&self) -> Result<(Database, Option<String>), ClientError> {
        self.proxy.live().await?;
        let health = self.proxy.health().await?;
        Ok((health.database, health.version))
    }
}

struct Run<'a> {
    desired: &'a DesiredState,
    options: ApplyOptions,
    actor: &'a Actor,
    log: Log<'a>,
}

impl Run<'_> {
    /// Copies the providers' secrets into the file that the proxy reads.
    fn mirror(&mut self) {
        let Some(mirror) = &self.desired.mirror else { return };
        let (outcome, detail) =
            self.mirror_into(mirror).unwrap_or_else(|error| (Outcome::Failed, error.to_string()));
        self.log.add(Part::Secrets, &mirror.path().display().to_string(), outcome, detail);
    }

    /// Copies the agent's key and its first model into the file that the agent reads.
    fn share_key(&mut self) {
        let Some(file) = self.desired.key_file.as_ref().filter(|_| !self.options.dry_run) else { return };
        let Some(name) = self.desired.keys.first().and_then(|key| key.target.as_deref()) else { return };
        let shared = self.desired.env.variables().and_then(|variables| {
            let value = |name: &str| variables.get(name).map(String::as_str);
            let StoredKey::Secret(secret) = classify_key(value(name)) else { return Ok(false) };
            let mut values = vec![(name, secret.expose_secret())];
            values.extend(value("LITELLM_MODEL").map(|model| ("LITELLM_MODEL", model)));
            let is_changed = file.set(&values)?;
            Ok(file.make_private()? || is_changed)
        });
        let (outcome, detail) = match shared {
            Ok(true) => (Outcome::Changed, name.to_owned()),
            Ok(false) => (Outcome::Same, name.to_owned()),
            Err(error) => (Outcome::Failed, error.to_string()),
        };
        self.log.add(Part::Secrets, &file.path().display().to_string(), outcome, detail);
    }

    fn mirror_into(&self, mirror: &EnvFile) -> Result<(Outcome, String), EnvError> {
        let env = &self.desired.env;
        let mut secrets: Vec<(String, String)> = Vec::new();
        for (name, value) in env.pairs()? {
            let is_secret = name.starts_with("LITELLM_") && name.ends_with("_API_KEY");
            if is_secret && !is_placeholder(&value) {
                secrets.retain(|(known, _)| *known != name);
                secrets.push((name, value));
            }
        }
        if secrets.is_empty() {
            return Ok((Outcome::Same, format!("{} holds no LITELLM_*_API_KEY", env.path().display())));
        }
        let (names, values): (Vec<&str>, Vec<(&str, &str)>) =
            secrets.iter().map(|(name, value)| (&**name, (&**name, &**value))).unzip();
        let is_changed = if self.options.dry_run {
            mirror.edited(&values)?.is_some()
        } else {
            let is_changed = mirror.set(&values)?;
            mirror.make_private()? || is_changed
        };
        let outcome = match (is_changed, self.options.dry_run) {
            (false, _) => Outcome::Same,
            (true, true) => Outcome::Planned,
            (true, false) => Outcome::Changed,
        };
        Ok((outcome, names.join(", ")))
    }
}
