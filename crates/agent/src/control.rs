//! Control messages that read and change a context's settings, and their replies.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(super) const PROMPT_LIMIT: usize = 256 * 1024;
const NAME_LIMIT: usize = 256;
const OPEN: &str = "[HOTSWAP:";
const RULE: &str = "━━━━━━━━━━━━━━━━━━━━━━";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) name: ModelName,
    #[serde(with = "super::store::shared_option")]
    pub(super) prompt: Option<Arc<str>>,
}

impl Settings {
    /// The reply to `GET_CONFIG`.
    pub(super) fn describe(&self) -> String {
        let provider = self.name.provider.as_deref().unwrap_or("(default provider)");
        let prompt = self.prompt.as_deref().unwrap_or("(default prompt)");
        let model = &self.name.model;
        format!(
            "📊 Current Configuration\n{RULE}\n\
             Model: {model}\nProvider: {provider}\nSystem Prompt: {prompt}\n{RULE}"
        )
    }
}

/// The proxy's name of a model: `provider/model`, or a bare name if the default is bare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ModelName {
    pub(super) provider: Option<String>,
    pub(super) model: String,
}

impl ModelName {
    /// Parses `provider/model`, or `model` of `default_provider`.
    pub(super) fn parse(spec: &str, default_provider: Option<&str>) -> Result<Self, &'static str> {
        let spec = spec.trim();
        if spec.len() > NAME_LIMIT {
            return Err("Model name is too long");
        }
        if spec.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err("Model name must be on one line");
        }
        match spec.split_once('/') {
            None if spec.is_empty() => Err("Model name cannot be empty"),
            None => Ok(Self { provider: default_provider.map(str::to_owned), model: spec.to_owned() }),
            Some((provider, model)) => {
                let (provider, model) = (provider.trim(), model.trim());
                if provider.is_empty() || model.is_empty() {
                    return Err("Model spec must include provider and model when using '/' format");
                }
                Ok(Self { provider: Some(provider.to_owned()), model: model.to_owned() })
            }
        }
    }

    pub(super) fn alias(&self) -> String {
        match &self.provider {
            Some(provider) => format!("{provider}/{}", self.model),
            None => self.model.clone(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Model(String),
    Prompt(String),
    GetConfig,
    Unknown(String),
}

impl Command {
    /// `None` for chat. The prefix is matched without case, so that a typo gets an error instead of a model's answer.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let opening = text.get(..OPEN.len())?;
        if !opening.eq_ignore_ascii_case(OPEN) {
            return None;
        }
        let inner = text[OPEN.len()..].strip_suffix(']')?;
        let (verb, payload) = inner.split_once(':').unwrap_or((inner, ""));
        Some(match verb {
            _ if opening != OPEN => Self::Unknown(text.trim_matches(['[', ']']).to_owned()),
            "MODEL" => Self::Model(payload.to_owned()),
            "PROMPT" => Self::Prompt(payload.to_owned()),
            "GET_CONFIG" => Self::GetConfig,
            _ => Self::Unknown(verb.to_owned()),
        })
    }
}

pub(super) mod reply {
    use super::PROMPT_LIMIT;

    pub(in super::super) const MISSING_MODEL: &str = "❌ Missing model specification for hot-swap.";
    pub(in super::super) const PROMPT_SET: &str =
        "✅ System prompt updated. This change takes effect immediately.";
    pub(in super::super) const PROMPT_CLEARED: &str =
        "✅ System prompt cleared. Reverting to default instruction.";

    pub(in super::super) fn switched(alias: &str) -> String {
        format!("✅ Model switched to: {alias}")
    }

    pub(in super::super) fn invalid(reason: &str) -> String {
        format!("❌ Invalid model specification: {reason}")
    }

    pub(in super::super) fn unavailable(alias: &str) -> String {
        format!("❌ Model not available at the proxy: {alias}")
    }

    pub(in super::super) const NOT_KEPT: &str =
        "❌ The agent's database failed, so that nothing was changed. Its log says more.";

    pub(in super::super) fn prompt_too_long() -> String {
        format!("❌ System prompt is too long: at most {PROMPT_LIMIT} bytes.")
    }

    pub(in super::super) fn unknown(what: &str) -> String {
        let shown: String = what.chars().filter(|c| !c.is_control()).take(40).collect();
        format!(
            "❌ Unknown hot-swap command `{shown}`. Use [HOTSWAP:MODEL:provider/model], [HOTSWAP:PROMPT:text] or [HOTSWAP:GET_CONFIG]."
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_whole_message_is_a_command() {
        for chat in ["", "hi", "[HOTSWAP]", "[HOTSWAP:GET_CONFIG", "say [HOTSWAP:GET_CONFIG]"] {
            assert_eq!(Command::read(chat), None, "{chat}");
        }
        assert_eq!(Command::read("[HOTSWAP:GET_CONFIG] please"), None);
        assert_eq!(Command::read(" \n[HOTSWAP:GET_CONFIG:x]\t"), Some(Command::GetConfig));
    }

    #[test]
    fn a_payload_keeps_its_lines_and_brackets() {
        assert_eq!(Command::read("[HOTSWAP:PROMPT:a\nb [c]]"), Some(Command::Prompt("a\nb [c]".into())));
        assert_eq!(Command::read("[HOTSWAP:MODEL:a/b:free]"), Some(Command::Model("a/b:free".into())));
    }

    #[test]
    fn a_slip_is_not_chat() {
        for slip in ["[HOTSWAP:FOO]", "[hotswap:model:x/y]", "[HOTSWAP:model:x/y]", "[HotSwap:GET_CONFIG]"] {
            assert!(matches!(Command::read(slip), Some(Command::Unknown(_))), "{slip}");
        }
    }

    #[test]
    fn names() {
        let of = |spec| ModelName::parse(spec, Some("openai")).map(|name| name.alias());
        assert_eq!(of("gpt-4o"), Ok("openai/gpt-4o".into()));
        assert_eq!(of(" openrouter / meta/llama:free "), Ok("openrouter/meta/llama:free".into()));
        assert!(of("a/b\nc").is_err());
        assert!(of(&"x".repeat(NAME_LIMIT + 1)).is_err());
        assert_eq!(ModelName::parse("gpt", None).map(|name| name.alias()), Ok("gpt".into()));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC*", head in "(\\[HOTSWAP:|\\[hotSWAP:|)", tail in "(\\]|)") {
            let _ = Command::read(&format!("{head}{text}{tail}"));
            let _ = ModelName::parse(&text, None);
        }
    }
}
