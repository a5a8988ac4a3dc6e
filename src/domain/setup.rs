//! Settings of the bootstrap.

use std::path::{Path, PathBuf};

use crate::domain::key_changes::KeyChanges;

pub const DEFAULT_ENV_FILE: &str = "volumes/env/.env";
pub const DEFAULT_KEY_ALIAS: &str = "task-agent";

/// A stack whose keys and variables are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Profile {
    Fuzzforge,
}

#[derive(Debug, Clone)]
pub struct Setup {
    /// Its keys are issued in the place of the one that the settings describe.
    pub profile: Option<Profile>,
    pub env_file: PathBuf,
    pub mirror_file: PathBuf,
    pub key_file: Option<PathBuf>,
    pub models_file: Option<PathBuf>,
    pub default_models: Vec<String>,
    pub key_alias: String,
    pub key_variable: Option<String>,
    pub key_settings: KeyChanges,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            profile: None,
            env_file: PathBuf::from(DEFAULT_ENV_FILE),
            mirror_file: mirror_beside(Path::new(DEFAULT_ENV_FILE)),
            key_file: None,
            models_file: None,
            default_models: Vec::new(),
            key_alias: DEFAULT_KEY_ALIAS.to_owned(),
            key_variable: None,
            key_settings: KeyChanges::default(),
        }
    }
}

/// Whether a secret is still to be filled in: empty, `<…>`, `sk-proxy-…`, or as FuzzForge's template has it,
/// `your-openai-key-here`.
pub fn is_placeholder(value: &str) -> bool {
    let value = value.trim();
    let is_hint = value.starts_with("your-") && value.ends_with("-here");
    value.is_empty() || value.starts_with("sk-proxy-") || value.starts_with('<') || is_hint
}

/// The default mirror file of an env file.
pub fn mirror_beside(env_file: &Path) -> PathBuf {
    env_file.with_file_name(".env.litellm")
}
