//! What the form knows of providers and modes.

pub(super) const MODES: [&str; 9] = [
    "chat",
    "completion",
    "responses",
    "embedding",
    "rerank",
    "image_generation",
    "audio_transcription",
    "audio_speech",
    "moderation",
];

#[derive(Debug, Clone, Copy)]
pub(super) struct Preset {
    pub(super) id: &'static str,
    pub(super) label: &'static str,
    pub(super) example: &'static str,
    /// The variable that its secret is in; empty where it needs none.
    pub(super) secret: &'static str,
    pub(super) api_base: &'static str,
    /// An example of an address that each has to give.
    pub(super) address: &'static str,
    pub(super) api_version: &'static str,
}

const fn preset(
    id: &'static str,
    label: &'static str,
    example: &'static str,
    secret: &'static str,
    api_base: &'static str,
) -> Preset {
    Preset { id, label, example, secret, api_base, address: "https://host/v1", api_version: "" }
}

pub(super) const PRESETS: [Preset; 7] = [
    preset("openai", "OpenAI", "gpt-5-mini", "LITELLM_OPENAI_API_KEY", ""),
    preset("anthropic", "Anthropic", "claude-sonnet-4-5", "LITELLM_ANTHROPIC_API_KEY", ""),
    preset("gemini", "Gemini", "gemini-2.5-pro", "LITELLM_GEMINI_API_KEY", ""),
    preset("mistral", "Mistral", "mistral-large-latest", "LITELLM_MISTRAL_API_KEY", ""),
    preset("openrouter", "OpenRouter", "anthropic/claude-sonnet-4", "LITELLM_OPENROUTER_API_KEY", ""),
    preset("ollama", "Ollama", "llama3.1", "", "http://localhost:11434"),
    Preset {
        address: "https://my-resource.openai.azure.com",
        api_version: "2025-04-01-preview",
        ..preset("azure", "Azure", "my-deployment", "LITELLM_AZURE_API_KEY", "")
    },
];
