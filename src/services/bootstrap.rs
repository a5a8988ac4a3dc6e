//! Brings a proxy to where it should be: secrets mirrored, models registered, keys issued and written into the
//! env file. Whatever is so already stays; whatever was cut short goes on.

mod env;
mod job;
mod key_list;
mod keys;
mod models;
mod report;
mod reset;

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

pub use env::{EnvError, EnvFile, Lock};
pub use job::ResetJob;
pub use key_list::{KeyWish, read_keys, write_keys};
pub use keys::{Held, held};
pub use models::{default_list, secret_name};
pub use report::{Outcome, Part, Report, Step};
pub use reset::Stock;

use crate::clients::ClientError;
use crate::clients::litellm::{Database, LiteLlm};
use crate::domain::audit::Actor;
use crate::domain::setup::Setup;
use crate::services::keys::Keys;
use crate::services::registry::Models;
use crate::store::{Store, StoreError};
use report::Log;

/// Pause between two looks at a proxy that does not answer yet.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it is said that the proxy does not answer yet.
const SAY_EVERY: u32 = 5;

#[derive(Debug, Clone)]
pub struct Wishes {
    /// The env file: the secrets of providers and keys.
    pub env: EnvFile,
    pub mirror: Option<EnvFile>,
    /// A `model_list`, with a `keys:` section or without.
    pub list: Option<String>,
    /// `LITELLM_DEFAULT_MODELS`: registered where no model of that name is.
    pub default_models: Vec<String>,
    pub keys: Vec<KeyWish>,
}

impl Wishes {
    /// What the settings wish for; reads the list that they name.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn of(setup: &Setup) -> Result<Self, BootstrapError> {
        let env = EnvFile::new(&setup.env_file);
        let list = setup.models_file.as_deref().map(read_list).transpose()?;
        let target = match &setup.key_variable {
            Some(name) => name.clone(),
            // The agent reads this one first.
            None if env.variables()?.contains_key("TASK_AGENT_API_KEY") => "TASK_AGENT_API_KEY".to_owned(),
            None => "OPENAI_API_KEY".to_owned(),
        };
        let (alias, settings) = (setup.key_alias.clone(), setup.key_settings.clone());
        Ok(Self {
            env,
            mirror: Some(EnvFile::new(&setup.mirror_file)),
            list,
            default_models: setup.default_models.clone(),
            keys: vec![KeyWish { alias, target: Some(target), settings }],
        })
    }
}

/// A list of models and keys; `-` is what comes in.
///
/// # Errors
/// Where it cannot be read.
pub fn read_list(path: &Path) -> Result<String, BootstrapError> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|error| BootstrapError::List { path: path.to_owned(), error })
}

#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct How {
    /// Nothing is written; what would be done is told.
    pub dry_run: bool,
    pub sync_keys: bool,
    pub new_secrets: bool,
    pub raw_secrets: bool,
    pub prune: bool,
    pub patience: Duration,
}

#[derive(Clone)]
pub struct Bootstrap {
    proxy: LiteLlm,
    models: Models,
    keys: Keys,
    store: Store,
    master_key: SecretString,
    last: job::Last,
}

/// What [`Bootstrap`] works with.
pub struct Parts {
    pub proxy: LiteLlm,
    pub models: Models,
    pub keys: Keys,
    pub store: Store,
    /// Its admin key, which is no key for an agent.
    pub master_key: SecretString,
}

#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("after {} s: {error}", waited.as_secs())]
    NotUp { waited: Duration, error: ClientError },
    #[error("{0}")]
    NoDatabase(&'static str),
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error("{}: it cannot be read: {error}", path.display())]
    List { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Bootstrap {
    pub fn new(parts: Parts) -> Self {
        let Parts { proxy, models, keys, store, master_key } = parts;
        Self { proxy, models, keys, store, master_key, last: job::Last::default() }
    }

    /// Everything, in the order in which it is needed. Each step is told to `say` when it is done. A step that
    /// fails does not keep the others from being tried.
    pub async fn run(
        &self,
        wishes: &Wishes,
        how: How,
        actor: &Actor,
        say: impl FnMut(&Step) + Send,
    ) -> Result<Report, BootstrapError> {
        let mut log = Log::new(say);
        let locked = wishes.env.clone();
        // Waits for a file lock, which may take as long as another run does.
        let _lock = tokio::task::spawn_blocking(move || locked.lock()).await.ok();
        mirror(wishes, how, &mut log);
        self.wait(how.patience, &mut log).await?;
        self.register(wishes, how, actor, &mut log).await;
        self.issue(wishes, how, actor, &mut log).await;
        Ok(log.report())
    }

    /// What is in a list: its models and its keys, with what is not in it deleted where that is asked for.
    pub async fn apply(
        &self,
        wishes: &Wishes,
        how: How,
        actor: &Actor,
        say: impl FnMut(&Step) + Send,
    ) -> Result<Report, BootstrapError> {
        let mut log = Log::new(say);
        let locked = wishes.env.clone();
        let _lock = tokio::task::spawn_blocking(move || locked.lock()).await.ok();
        self.register(wishes, how, actor, &mut log).await;
        self.issue(wishes, how, actor, &mut log).await;
        Ok(log.report())
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
                Ok((Database::None, _)) => {
                    return Err(BootstrapError::NoDatabase(
                        "the proxy has no database: set its DATABASE_URL, since it keeps models and keys there",
                    ));
                }
                Ok((Database::Down, _)) if waited >= patience => {
                    return Err(BootstrapError::NoDatabase("the proxy's database does not answer"));
                }
                Err(error) if waited >= patience => return Err(BootstrapError::NotUp { waited, error }),
                Ok((Database::Down, _)) if round % SAY_EVERY == 0 => {
                    log.say(Part::Proxy, &address, Outcome::Waiting, "its database does not answer yet");
                }
                Err(error) if round % SAY_EVERY == 0 => {
                    log.say(Part::Proxy, &address, Outcome::Waiting, error.to_string());
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

/// Puts the providers' secrets where the proxy alone reads them.
fn mirror(wishes: &Wishes, how: How, log: &mut Log<'_>) {
    let Some(mirror) = &wishes.mirror else { return };
    let name = mirror.path().display().to_string();
    match mirrored(wishes, mirror, how) {
        Ok((outcome, detail)) => log.add(Part::Secrets, &name, outcome, detail),
        Err(error) => log.add(Part::Secrets, &name, Outcome::Failed, error.to_string()),
    }
}

fn mirrored(wishes: &Wishes, mirror: &EnvFile, how: How) -> Result<(Outcome, String), EnvError> {
    let mut secrets: Vec<(String, String)> = Vec::new();
    for (name, value) in wishes.env.pairs()? {
        let is_secret = name.starts_with("LITELLM_") && name.ends_with("_API_KEY");
        if is_secret && !value.trim().is_empty() {
            secrets.retain(|(known, _)| *known != name);
            secrets.push((name, value));
        }
    }
    let names: Vec<&str> = secrets.iter().map(|(name, _)| &**name).collect();
    if names.is_empty() {
        return Ok((Outcome::Same, format!("{} holds no LITELLM_*_API_KEY", wishes.env.path().display())));
    }
    let values: Vec<(&str, &str)> = secrets.iter().map(|(name, value)| (&**name, &**value)).collect();
    let changes = if how.dry_run {
        mirror.edited(&values)?.is_some()
    } else {
        let is_changed = mirror.set(&values)?;
        mirror.make_private()? || is_changed
    };
    let outcome = if changes { Outcome::of_change(how.dry_run) } else { Outcome::Same };
    Ok((outcome, names.join(", ")))
}
