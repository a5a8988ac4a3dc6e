//! The proxy's model registry.

use std::str::FromStr;

use derive_more::{Display, Into};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::domain::routing::is_pattern;

/// Longest model spec, in characters.
const MAX_SPEC_CHARS: usize = 256;

/// A model as a control message names it: `openai/gpt-5`, `openrouter/anthropic/claude-sonnet-4`, `gpt-5`.
#[derive(Debug, Display, Into, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelSpec(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("Name a model, such as openai/gpt-5.")]
    Empty,
    #[error(
        "Write the model as provider/model, such as openai/gpt-5: nothing may be missing beside the slash."
    )]
    NoProvider,
    /// Agents accept some of these characters (`wire/a2a/ctl_model_spaces_inside`), then call a model that cannot exist.
    #[error("A model spec has no blanks, brackets or control characters.")]
    BadCharacter,
    #[error("A model spec has at most 256 characters.")]
    TooLong,
}

impl ModelSpec {
    /// The part before the first slash, if there is one.
    pub fn provider(&self) -> Option<&str> {
        self.0.split_once('/').map(|(provider, _)| provider)
    }

    /// The part after the first slash, which may contain more slashes.
    pub fn model(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, model)| model)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SpecError::Empty);
        }
        if text.chars().count() > MAX_SPEC_CHARS {
            return Err(SpecError::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '[' | ']')) {
            return Err(SpecError::BadCharacter);
        }
        match text.split_once('/') {
            Some(("", _) | (_, "")) => Err(SpecError::NoProvider),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ModelSpec {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Source {
    /// Can be changed through the proxy's API.
    Database,
    /// Read-only.
    Config,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One row of the proxy's registry. Several may share a model name and are then load-balanced.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deployment {
    /// `model_info.id`.
    pub id: String,
    pub name: String,
    pub provider: Option<String>,
    /// `litellm_params.model`: what the proxy asks the provider for.
    pub upstream_model: String,
    /// Credentials in it are masked.
    pub api_base: Option<String>,
    pub source: Source,
    /// `chat`, `embedding`, …
    pub mode: Option<String>,
    pub max_input_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    /// US dollars per input token.
    pub input_cost_per_token: Option<f64>,
    /// US dollars per output token.
    pub output_cost_per_token: Option<f64>,
    /// US dollars per input token that the provider has in its cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_cost_per_token: Option<f64>,
    /// Prices of long inputs, the shortest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub long_prices: Vec<LongPrices>,
    pub description: Option<String>,
    pub access_groups: Vec<String>,
    /// The proxy refuses calls to it (1.106 and later).
    pub blocked: bool,
    /// Serves the keys of one team only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<Team>,
}

/// US dollars per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    pub input: Option<f64>,
    /// Of input that the provider has in its cache.
    pub cached_input: Option<f64>,
    pub output: Option<f64>,
}

/// Prices of all tokens of a call whose input is longer than `above`; what is missing costs the same as below.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LongPrices {
    /// Input tokens.
    pub above: u64,
    #[serde(flatten)]
    pub prices: Prices,
}

impl Prices {
    /// The same, with what is missing from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            input: self.input.or(other.input),
            cached_input: self.cached_input.or(other.cached_input),
            output: self.output.or(other.output),
        }
    }

    /// For an input of this length in tokens, where longer ones have prices of their own.
    #[must_use]
    pub fn at(self, input: u64, long: &[LongPrices]) -> Self {
        let longer = long.iter().filter(|one| input > one.above);
        longer.fold(self, |prices, one| one.prices.or(prices))
    }
}

/// The team of a deployment, and the name by which its keys call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Team {
    pub id: String,
    pub name: String,
}

/// Whether models of this mode answer chat completions; an unknown mode may.
pub fn chats(mode: Option<&str>) -> bool {
    matches!(mode, None | Some("" | "chat" | "completion" | "responses"))
}

impl Deployment {
    /// Whether its name is a wildcard, such as `openai/*`.
    pub fn is_pattern(&self) -> bool {
        is_pattern(&self.name)
    }

    /// Prices of a call whose input has this many tokens.
    pub fn prices(&self, input: u64) -> Prices {
        let usual = Prices {
            input: self.input_cost_per_token,
            cached_input: self.cached_input_cost_per_token,
            output: self.output_cost_per_token,
        };
        usual.at(input, &self.long_prices)
    }

    /// The spec that switches an agent to this model. None for a name that cannot be in a control message.
    pub fn spec(&self) -> Option<ModelSpec> {
        self.name.parse().ok().filter(|spec: &ModelSpec| spec.as_str() == self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_spec_at_first_slash() {
        let spec: ModelSpec = " openrouter/anthropic/claude-sonnet-4 ".parse().unwrap();
        assert_eq!((spec.provider(), spec.model()), (Some("openrouter"), "anthropic/claude-sonnet-4"));
        assert_eq!(spec.to_string(), "openrouter/anthropic/claude-sonnet-4");
        let spec: ModelSpec = "gpt-5-mini".parse().unwrap();
        assert_eq!((spec.provider(), spec.model()), (None, "gpt-5-mini"));
    }

    #[test]
    fn rejects_specs_that_agents_misread() {
        for (text, error) in [
            ("", SpecError::Empty),
            (" \t", SpecError::Empty),
            ("openai/", SpecError::NoProvider),
            ("/gpt-5", SpecError::NoProvider),
            ("openai/gpt 5", SpecError::BadCharacter),
            ("openai/gpt-5]", SpecError::BadCharacter),
            ("openai/gpt\n5", SpecError::BadCharacter),
            ("openai/gpt\u{2028}5", SpecError::BadCharacter),
            ("openai/gpt\u{0}5", SpecError::BadCharacter),
        ] {
            assert_eq!(text.parse::<ModelSpec>(), Err(error), "{text:?}");
        }
        assert_eq!(format!("o/{}", "x".repeat(255)).parse::<ModelSpec>(), Err(SpecError::TooLong));
    }
}
