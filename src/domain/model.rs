//! The proxy's model registry.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// Longest model spec that is sent to an agent, in characters.
pub const MAX_SPEC_CHARS: usize = 256;

/// `provider/model`, as a control message carries it: `openai/gpt-5`, `openrouter/anthropic/claude-sonnet-4`.
///
/// The provider is what stands before the first slash.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelSpec {
    text: String,
    slash: usize,
}

/// Why a text is no model spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("Name a model, such as openai/gpt-5.")]
    Empty,
    #[error("Write the model as provider/model, such as openai/gpt-5.")]
    NoProvider,
    /// Blanks, line breaks, control characters or brackets. The agents measured accept some of them
    /// (`wire/a2a/ctl_model_spaces_inside`) and then ask the proxy for a model that cannot exist.
    #[error("A model spec has no blanks, brackets or control characters.")]
    BadCharacter,
    #[error("A model spec has at most 256 characters.")]
    TooLong,
}

impl ModelSpec {
    /// What stands before the first slash.
    pub fn provider(&self) -> &str {
        &self.text[..self.slash]
    }

    /// What stands behind the first slash; may hold more slashes.
    pub fn model(&self) -> &str {
        &self.text[self.slash + 1..]
    }

    /// The whole, which is also the name that agents ask the proxy for.
    pub fn as_str(&self) -> &str {
        &self.text
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
        match text.find('/') {
            Some(slash) if slash > 0 && slash + 1 < text.len() => Ok(Self { text: text.to_owned(), slash }),
            _ => Err(SpecError::NoProvider),
        }
    }
}

impl TryFrom<String> for ModelSpec {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<ModelSpec> for String {
    fn from(spec: ModelSpec) -> Self {
        spec.text
    }
}

impl fmt::Display for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelSpec({})", self.text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Source {
    /// The proxy's database: can be changed through its API.
    Database,
    /// The proxy's configuration file: read-only for everybody but its owner.
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
    /// The upstream's address, where one is set; credentials in it are masked.
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
    pub description: Option<String>,
    pub access_groups: Vec<String>,
    /// Set aside by an admin: the proxy refuses calls to it (1.106 and later).
    pub blocked: bool,
}

impl Deployment {
    /// The spec that switches an agent to this model; none for a name without a provider before a slash,
    /// since agents prefix such a name with a provider of their own (`wire/a2a/swap_no_provider`).
    pub fn spec(&self) -> Option<ModelSpec> {
        self.name.parse().ok().filter(|spec: &ModelSpec| spec.as_str() == self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_split_at_its_first_slash() {
        let spec: ModelSpec = " openrouter/anthropic/claude-sonnet-4 ".parse().unwrap();
        assert_eq!((spec.provider(), spec.model()), ("openrouter", "anthropic/claude-sonnet-4"));
        assert_eq!(spec.to_string(), "openrouter/anthropic/claude-sonnet-4");
    }

    #[test]
    fn what_an_agent_would_misread_is_no_spec() {
        for (text, error) in [
            ("", SpecError::Empty),
            (" \t", SpecError::Empty),
            ("gpt-5", SpecError::NoProvider),
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
