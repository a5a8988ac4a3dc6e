//! Variables that hold other secrets: neither is a virtual key written into one, nor does one become a virtual key.

use std::collections::HashMap;

const NAMES: [&str; 8] = [
    "DATABASE_URL",
    "HF_TOKEN",
    "HUGGINGFACE_TOKEN",
    "POSTGRES_PASSWORD",
    "STORE_MODEL_IN_DB",
    "UI_PASSWORD",
    "UI_USERNAME",
    "WATSONX_ZENAPIKEY",
];

/// Whole families, among them the proxy's own settings and the mirrored secrets of its providers. `OPENAI_API_KEY` is the
/// guide's name for a virtual key.
const PREFIXES: [&str; 34] = [
    "AI21_",
    "ANTHROPIC_",
    "ASSEMBLYAI_",
    "AWS_",
    "AZURE_",
    "CEREBRAS_",
    "CLOUDFLARE_",
    "CODESTRAL_",
    "COHERE_",
    "DATABRICKS_",
    "DEEPINFRA_",
    "DEEPSEEK_",
    "ELEVENLABS_",
    "FIREWORKS_",
    "GEMINI_",
    "GITHUB_",
    "GOOGLE_",
    "GROQ_",
    "HUGGINGFACE_",
    "JINA_",
    "LITELLM_",
    "MISTRAL_",
    "MOONSHOT_",
    "NVIDIA_",
    "OLLAMA_",
    "OPENROUTER_",
    "PATCHBAY_",
    "PERPLEXITY",
    "REPLICATE_",
    "SAMBANOVA_",
    "TOGETHER",
    "VERTEX",
    "VOYAGE_",
    "XAI_",
];

fn is_reserved(name: &str) -> bool {
    let name = name.trim().to_ascii_uppercase();
    let name = name.strip_suffix("_FILE").unwrap_or(&name);
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Why a key's secret cannot be in the variable `target`. `list` is the document that may name it as a provider's.
pub(super) fn refusal(target: &str, env: &HashMap<String, String>, list: Option<&str>) -> Option<String> {
    if is_reserved(target) {
        return Some(format!("{target} is the variable of another secret: name one of the key's own as env"));
    }
    let is_provider = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let mark = format!("os.environ/{target}");
    if list.is_some_and(|list| list.split(&mark).skip(1).any(is_provider)) {
        return Some(format!(
            "{target} is a provider's secret in this list: name a variable of the key's own as env"
        ));
    }
    let value = env.get(target).map(|value| value.trim()).filter(|value| !value.is_empty())?;
    let twin = env.iter().find(|(name, other)| is_reserved(name) && other.trim() == value);
    twin.map(|(name, _)| {
        format!("{target} holds the secret of {name}, which must not become a virtual key: empty it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_secrets_are_no_virtual_keys() {
        let env = HashMap::from([
            ("LITELLM_OPENAI_API_KEY".to_owned(), "sk-provider-0123456789".to_owned()),
            ("COPY".to_owned(), " sk-provider-0123456789".to_owned()),
            ("OPENAI_API_KEY".to_owned(), "sk-own-0123456789abc".to_owned()),
        ]);
        let list = "api_key: os.environ/TEAM_KEY\napi_key: os.environ/OPENAI_API_KEY_2";
        for name in [
            "UI_PASSWORD",
            "ui_password",
            "UI_PASSWORD_FILE",
            "LITELLM_MASTER_KEY",
            "LITELLM_SALT_KEY",
            "DATABASE_URL",
            "LITELLM_OPENAI_API_KEY",
            "ANTHROPIC_API_KEY",
            "GEMINI_API_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "PATCHBAY_AGENT_TOKEN",
            "TEAM_KEY",
            "COPY",
        ] {
            assert!(refusal(name, &env, Some(list)).is_some(), "{name}");
        }
        for name in ["OPENAI_API_KEY", "TASK_AGENT_API_KEY", "COGNEE_API_KEY", "TEAM", "MY_KEY"] {
            assert_eq!(refusal(name, &env, Some(list)), None, "{name}");
        }
    }
}
