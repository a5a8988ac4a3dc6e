//! Settings of the bootstrap.

use std::path::PathBuf;

use clap::Args;

use super::SettingError;
use crate::domain::key::Access;
use crate::domain::key_changes::{KeyChanges, Set, span};
use crate::domain::setup::{DEFAULT_ENV_FILE, DEFAULT_KEY_ALIAS, Profile, Setup, mirror_beside};

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "What is bootstrapped")]
pub struct SetupArgs {
    /// Issue the keys that a stack expects, with its own variables, in the place of the one described below: fuzzforge
    #[arg(long, env = "PATCHBAY_PROFILE", value_name = "STACK")]
    pub profile: Option<String>,
    /// The env file: providers' secrets are read from it, and keys' secrets are written into it
    #[arg(long, env = "PATCHBAY_ENV_FILE", value_name = "FILE", default_value = DEFAULT_ENV_FILE)]
    pub env_file: PathBuf,
    /// Where every `LITELLM_*_API_KEY` of the env file is mirrored to [default: .env.litellm beside it]
    #[arg(long, env = "PATCHBAY_MIRROR_FILE", value_name = "FILE")]
    pub mirror_file: Option<PathBuf>,
    /// Env file for the agent alone: its key and `LITELLM_MODEL` are written there as well
    #[arg(long, env = "PATCHBAY_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Models to register, as LiteLLM's `model_list` in YAML, and keys to issue
    #[arg(long = "models", env = "PATCHBAY_MODELS_FILE", value_name = "FILE")]
    pub models_file: Option<PathBuf>,
    /// Models to register by their names, where none of that name is there
    #[arg(long, env = "LITELLM_DEFAULT_MODELS", value_name = "PROVIDER/MODEL,…")]
    pub default_models: Option<String>,
    /// Name of the agent's key
    #[arg(long, env = "PATCHBAY_KEY_ALIAS", value_name = "ALIAS", default_value = DEFAULT_KEY_ALIAS)]
    pub key_alias: String,
    /// Variable of the env file that holds its secret [default: `TASK_AGENT_API_KEY` where the file has that,
    /// else `OPENAI_API_KEY`]
    #[arg(long, env = "PATCHBAY_KEY_VARIABLE", value_name = "NAME")]
    pub key_variable: Option<String>,
    /// Models that it may call [default: for a new key all of them]
    #[arg(long, env = "PATCHBAY_KEY_MODELS", value_name = "NAME,…")]
    pub key_models: Option<String>,
    /// Its budget, in US dollars
    #[arg(long, env = "PATCHBAY_KEY_BUDGET", value_name = "DOLLARS")]
    pub key_budget: Option<f64>,
    /// How often its budget begins anew, such as 30d
    #[arg(long, env = "PATCHBAY_KEY_BUDGET_DURATION", value_name = "TIME")]
    pub key_budget_duration: Option<String>,
    /// How long it lives from its issue, such as 90d [default: for ever]
    #[arg(long, env = "PATCHBAY_KEY_DURATION", value_name = "TIME")]
    pub key_duration: Option<String>,
}

impl SetupArgs {
    /// Reads no files.
    pub fn validate(self) -> Result<Setup, SettingError> {
        let list = |text: Option<String>| -> Vec<String> {
            let all = text.unwrap_or_default();
            let names = all.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let time = |name, text| match filled(text) {
            None => Ok(Set::Keep),
            Some(text) if span(text.trim()).is_some() => Ok(Set::To(text.trim().to_owned())),
            Some(text) => Err(SettingError::invalid(name, format!("{text:?} is not a duration such as 30d"))),
        };
        if self.key_alias.trim().is_empty() {
            return Err(SettingError::invalid("PATCHBAY_KEY_ALIAS", "a key wants a name"));
        }
        let budget = match self.key_budget {
            Some(budget) if !(budget.is_finite() && budget >= 0.0) => {
                return Err(SettingError::invalid("PATCHBAY_KEY_BUDGET", "a budget is not negative"));
            }
            budget => budget.map_or(Set::Keep, Set::To),
        };
        let key_models = list(self.key_models);
        let key_settings = KeyChanges {
            access: (!key_models.is_empty()).then(|| Access::from_models(key_models)),
            max_budget: budget,
            budget_duration: time("PATCHBAY_KEY_BUDGET_DURATION", self.key_budget_duration)?,
            duration: time("PATCHBAY_KEY_DURATION", self.key_duration)?,
            ..KeyChanges::default()
        };
        let is_named = |path: &PathBuf| !path.as_os_str().is_empty();
        let profile = filled(self.profile).map(|name| name.trim().parse::<Profile>());
        let profile = profile.transpose().map_err(|_| {
            SettingError::invalid("PATCHBAY_PROFILE (--profile)", "the only profile is fuzzforge")
        })?;
        Ok(Setup {
            profile,
            mirror_file: self.mirror_file.filter(is_named).unwrap_or_else(|| mirror_beside(&self.env_file)),
            env_file: self.env_file,
            key_file: self.key_file.filter(is_named),
            models_file: self.models_file.filter(is_named),
            default_models: list(self.default_models),
            key_alias: self.key_alias.trim().to_owned(),
            key_variable: filled(self.key_variable),
            key_settings,
        })
    }
}
