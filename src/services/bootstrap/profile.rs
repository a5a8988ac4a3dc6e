//! Keys that a known stack expects, with its own variables.

use serde_json::{Map, json};

use super::models::secret_name;
use super::{BootstrapError, KeySpec};
use crate::config::dotenv;
use crate::domain::key::Access;
use crate::domain::key_changes::{KeyChanges, Set, span};
use crate::domain::model::ModelSpec;
use crate::domain::setup::{Profile, is_placeholder};

/// One of the keys that FuzzForge's `llm-proxy-bootstrap` issues.
struct Expected {
    alias: &'static str,
    /// Where its secret is kept.
    variable: &'static str,
    /// Beginning of its `_BUDGET` (US dollars) and `_DURATION` variables.
    prefix: &'static str,
    budget: f64,
}

const DURATION: &str = "30d";

const FUZZFORGE: [Expected; 3] = [
    Expected {
        alias: "fuzzforge-task-agent",
        variable: "TASK_AGENT_API_KEY",
        prefix: "TASK_AGENT",
        budget: 25.0,
    },
    Expected { alias: "fuzzforge-cli", variable: "OPENAI_API_KEY", prefix: "CLI", budget: 100.0 },
    Expected { alias: "fuzzforge-cognee", variable: "COGNEE_API_KEY", prefix: "COGNEE", budget: 50.0 },
];

/// The models to register, and the keys to issue. `find` reads a variable.
pub(super) fn read(
    profile: Profile,
    default_models: &[String],
    find: impl Fn(&str) -> Option<String>,
) -> Result<(Vec<String>, Vec<KeySpec>), BootstrapError> {
    let Profile::Fuzzforge = profile;
    let models = models(default_models, &find);
    let keys = FUZZFORGE.iter().map(|expected| key(expected, &models, &find)).collect::<Result<_, _>>()?;
    Ok((models, keys))
}

/// A variable of the environment or the settings files.
pub(super) fn find(name: &str) -> Option<String> {
    dotenv::find(name).map(|(_, value)| value.trim().to_owned())
}

/// Without those of a provider that has no secret.
fn models(default_models: &[String], find: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let named = || {
        let model = find("LITELLM_MODEL")?;
        match find("LITELLM_PROVIDER") {
            Some(provider) if !model.contains('/') => Some(format!("{provider}/{model}")),
            _ => Some(model),
        }
    };
    let all = if default_models.is_empty() { named().into_iter().collect() } else { default_models.to_vec() };
    let has_secret = |name: &String| {
        let provider = name.parse::<ModelSpec>().ok().and_then(|spec| spec.provider().map(str::to_owned));
        // An invalid name is reported where it is registered.
        provider.is_none_or(|provider| {
            find(&secret_name(&provider)).is_some_and(|secret| !is_placeholder(&secret))
        })
    };
    all.into_iter().filter(has_secret).collect()
}

fn key(
    expected: &Expected,
    models: &[String],
    find: impl Fn(&str) -> Option<String>,
) -> Result<KeySpec, BootstrapError> {
    let Expected { alias, variable, prefix, budget } = expected;
    let (budget_name, duration_name) = (format!("{prefix}_BUDGET"), format!("{prefix}_DURATION"));
    let max_budget = match find(&budget_name) {
        None => *budget,
        Some(text) => text.parse().ok().filter(|budget: &f64| budget.is_finite() && *budget >= 0.0).ok_or(
            BootstrapError::Variable { name: budget_name, why: "is no amount of US dollars such as 25" },
        )?,
    };
    let duration = find(&duration_name).unwrap_or_else(|| DURATION.to_owned());
    if span(&duration).is_none() {
        return Err(BootstrapError::Variable { name: duration_name, why: "is not a duration such as 30d" });
    }
    let settings = KeyChanges {
        access: Some(Access::from_models(models.to_vec())),
        max_budget: Set::To(max_budget),
        duration: Set::To(duration),
        user_id: Set::To((*alias).to_owned()),
        ..KeyChanges::default()
    };
    let metadata = json!({ "provisioned_by": "bootstrap", "default_models": models });
    let at_issue =
        Map::from_iter([("key_type".to_owned(), json!("llm_api")), ("metadata".to_owned(), metadata)]);
    let target = Some((*variable).to_owned());
    Ok(KeySpec { alias: (*alias).to_owned(), hash: None, target, settings, at_issue })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_budgets_durations_and_models() {
        let variables = |name: &str| {
            let value = match name {
                "CLI_BUDGET" => "7.5",
                "COGNEE_DURATION" => "7d",
                "LITELLM_OPENAI_API_KEY" => "sk-proj-1",
                "LITELLM_ANTHROPIC_API_KEY" => "your-anthropic-key-here",
                "LITELLM_MODEL" => "gpt-5-mini",
                "LITELLM_PROVIDER" => "openai",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let named = ["openai/gpt-5".to_owned(), "anthropic/claude-sonnet-4-5".to_owned()];
        let (models, keys) = read(Profile::Fuzzforge, &named, variables).unwrap();
        assert_eq!(models, ["openai/gpt-5"]);
        let limits: Vec<_> =
            keys.iter().map(|key| (&key.settings.max_budget, &key.settings.duration)).collect();
        let to = |time: &str| Set::To(time.to_owned());
        assert_eq!(limits[0], (&Set::To(25.0), &to("30d")));
        assert_eq!(limits[1], (&Set::To(7.5), &to("30d")));
        assert_eq!(limits[2], (&Set::To(50.0), &to("7d")));
        assert_eq!(keys[0].at_issue["metadata"]["default_models"], json!(["openai/gpt-5"]));
        assert_eq!(read(Profile::Fuzzforge, &[], variables).unwrap().0, ["openai/gpt-5-mini"]);
        let wrong = |name: &str| (name == "CLI_BUDGET").then(|| "much".to_owned());
        let error = read(Profile::Fuzzforge, &[], wrong).unwrap_err().to_string();
        assert_eq!(error, "CLI_BUDGET is no amount of US dollars such as 25");
    }
}
