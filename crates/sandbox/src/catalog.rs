//! The providers and models that the proxy knows.

use serde_json::{Map, Value};

#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: &'static str,
    pub(super) mode: &'static str,
    pub(super) provider: &'static str,
    pub(super) prices: (f64, f64),
    pub(super) max_input_tokens: u32,
    pub(super) max_output_tokens: u32,
    pub(super) reasoning: bool,
}

const fn chat(
    key: &'static str,
    provider: &'static str,
    prices: (f64, f64),
    tokens: (u32, u32),
    reasoning: bool,
) -> Entry {
    Entry {
        key,
        mode: "chat",
        provider,
        prices,
        max_input_tokens: tokens.0,
        max_output_tokens: tokens.1,
        reasoning,
    }
}

const ENTRIES: &[Entry] = &[
    chat("gpt-5", "openai", (1.25e-6, 1e-5), (272_000, 128_000), true),
    chat("gpt-5-mini", "openai", (2.5e-7, 2e-6), (272_000, 128_000), true),
    chat("gpt-5-nano", "openai", (5e-8, 4e-7), (272_000, 128_000), true),
    chat("gpt-4o", "openai", (2.5e-6, 1e-5), (128_000, 16_384), false),
    chat("gpt-4o-mini", "openai", (1.5e-7, 6e-7), (128_000, 16_384), false),
    chat("claude-opus-4-1", "anthropic", (1.5e-5, 7.5e-5), (200_000, 32_000), true),
    chat("claude-sonnet-4-5", "anthropic", (3e-6, 1.5e-5), (200_000, 64_000), true),
    chat("claude-haiku-4-5", "anthropic", (1e-6, 5e-6), (200_000, 64_000), true),
    Entry { mode: "embedding", ..chat("text-embedding-3-small", "openai", (2e-8, 0.0), (8_191, 0), false) },
];

pub(super) const PROVIDERS: &[&str] = &[
    "ai21",
    "anthropic",
    "azure",
    "azure_ai",
    "bedrock",
    "cerebras",
    "cloudflare",
    "cohere",
    "cohere_chat",
    "custom_openai",
    "databricks",
    "deepinfra",
    "deepseek",
    "fireworks_ai",
    "gemini",
    "github",
    "github_copilot",
    "groq",
    "hosted_vllm",
    "huggingface",
    "litellm_proxy",
    "lm_studio",
    "mistral",
    "moonshot",
    "nvidia_nim",
    "ollama",
    "ollama_chat",
    "openai",
    "openai_like",
    "openrouter",
    "perplexity",
    "replicate",
    "sagemaker",
    "sambanova",
    "text-completion-openai",
    "together_ai",
    "vertex_ai",
    "vllm",
    "voyage",
    "watsonx",
    "xai",
];

/// Model names without a provider that the proxy can place.
const KNOWN_NAMES: &[(&str, &str)] = &[
    ("chatgpt-", "openai"),
    ("gpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-", "openai"),
    ("claude-", "anthropic"),
    ("gemini-", "vertex_ai"),
    ("command-", "cohere_chat"),
];

/// A deployment's provider and the name it calls the model by, or nothing if the proxy cannot place it:
/// such a deployment is stored and never served (`model_new_unknown_provider`, `model_new_no_provider_prefix`).
pub(super) fn provider(params: &Map<String, Value>) -> Option<(&str, &str)> {
    let model = params.get("model")?.as_str()?;
    let known = |name: &str| PROVIDERS.contains(&name);
    if let Some(named) = params.get("custom_llm_provider").and_then(Value::as_str) {
        let bare = model.strip_prefix(named).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
        return known(named).then_some((named, bare));
    }
    match model.split_once('/') {
        Some((prefix, bare)) if known(prefix) => Some((prefix, bare)),
        Some(_) => None,
        None => KNOWN_NAMES
            .iter()
            .find(|(prefix, _)| model.starts_with(prefix))
            .map(|(_, provider)| (*provider, model)),
    }
}

/// The price map's entry for a model without its provider; dated names count as their family.
pub(super) fn entry(model: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| {
        model == entry.key
            || model
                .strip_prefix(entry.key)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|rest| rest.starts_with("20"))
    })
}

/// The models of a provider, by which lists show a pattern.
pub(super) fn models_of(provider: &str) -> impl Iterator<Item = &'static Entry> {
    ENTRIES.iter().filter(move |entry| entry.provider == provider)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn placed(params: Value) -> Option<(String, String)> {
        let Value::Object(params) = params else { return None };
        provider(&params).map(|(provider, model)| (provider.to_owned(), model.to_owned()))
    }

    #[test]
    fn places_a_model_by_prefix_field_or_name() {
        let openai = Some(("openai".to_owned(), "gpt-5".to_owned()));
        assert_eq!(placed(json!({ "model": "openai/gpt-5" })), openai);
        assert_eq!(placed(json!({ "model": "gpt-5", "custom_llm_provider": "openai" })), openai);
        assert_eq!(placed(json!({ "model": "openai/gpt-5", "custom_llm_provider": "openai" })), openai);
        assert_eq!(placed(json!({ "model": "gpt-5" })), openai);
        assert_eq!(placed(json!({ "model": "nonsense/foo" })), None);
        assert_eq!(placed(json!({ "model": "totally-unknown-model" })), None);
        assert_eq!(placed(json!({ "model": "x", "custom_llm_provider": "nonsense" })), None);
    }

    #[test]
    fn knows_dated_names() {
        assert_eq!(entry("claude-sonnet-4-5-20250929").map(|entry| entry.key), Some("claude-sonnet-4-5"));
        assert_eq!(entry("gpt-5-mini").map(|entry| entry.key), Some("gpt-5-mini"));
        assert_eq!(entry("gpt-5-turbo"), None);
    }
}
