//! The `[HOTSWAP:…]` control messages of an agent, and what it replies to them.
//!
//! A control message is a plain user message. Agents take a text for one only if it stands on one line and
//! is whole; anything else goes to the model as chat and is paid for (`wire/a2a/ctl_*`).

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::domain::agent::Scope;
use crate::domain::model::ModelSpec;

/// Longest prompt that is sent, in bytes. An agent would take 5 MB, and send them with every call.
pub const MAX_PROMPT_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlMessage {
    Model(ModelSpec),
    /// Go on with another system prompt; `None` goes back to the agent's own.
    Prompt(Option<Prompt>),
    GetConfig,
}

impl ControlMessage {
    pub fn to_text(&self) -> String {
        match self {
            Self::Model(spec) => format!("[HOTSWAP:MODEL:{spec}]"),
            Self::Prompt(Some(prompt)) => format!("[HOTSWAP:PROMPT:{}]", prompt.as_str()),
            Self::Prompt(None) => "[HOTSWAP:PROMPT:]".to_owned(),
            Self::GetConfig => "[HOTSWAP:GET_CONFIG]".to_owned(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prompt(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    #[error("A prompt has no control characters.")]
    ControlCharacter,
    #[error("A prompt has at most 64 KiB.")]
    TooLong,
    /// Nothing but blanks: to clear the prompt is something else, and is asked for as such.
    #[error("A prompt cannot be empty.")]
    Empty,
}

impl Prompt {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has a line break, at which most agents would take it for chat
    /// (`wire/a2a/ctl_prompt_multiline`).
    pub fn is_multiline(&self) -> bool {
        self.0.contains('\n')
    }
}

impl FromStr for Prompt {
    type Err = PromptError;

    /// Trims the text, as agents do, and makes each line break a single `\n`, as browsers send `\r\n`.
    fn from_str(text: &str) -> Result<Self, PromptError> {
        let text = text.trim().replace("\r\n", "\n").replace('\r', "\n");
        if text.is_empty() {
            return Err(PromptError::Empty);
        }
        if text.len() > MAX_PROMPT_BYTES {
            return Err(PromptError::TooLong);
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(PromptError::ControlCharacter);
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for Prompt {
    type Error = PromptError;

    fn try_from(text: String) -> Result<Self, PromptError> {
        text.parse()
    }
}

impl From<Prompt> for String {
    fn from(prompt: Prompt) -> Self {
        prompt.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentConfig {
    /// The provider; none where the agent says that it has only a default one.
    pub provider: Option<String>,
    pub model: String,
    /// The system prompt; none for the agent's own.
    pub prompt: Option<String>,
}

impl AgentConfig {
    /// Builds it from what an agent reports.
    ///
    /// An agent that was never switched reports `Model: openai/gpt-4o-mini` beside `Provider: openai`
    /// (`wire/a2a/a2a_hot_swap_transcript`): the provider is then not doubled.
    pub fn new(provider: Option<&str>, model: &str, prompt: Option<&str>) -> Self {
        let provider = provider.map(str::trim).filter(|p| !p.is_empty() && *p != "(default provider)");
        let model = match provider.and_then(|p| model.strip_prefix(p)).and_then(|rest| rest.strip_prefix('/'))
        {
            Some(rest) if !rest.is_empty() => rest,
            _ => model,
        };
        let prompt = prompt.filter(|p| !p.trim().is_empty() && p.trim() != "(default prompt)");
        Self {
            provider: provider.map(str::to_owned),
            model: model.to_owned(),
            prompt: prompt.map(str::to_owned),
        }
    }

    /// `provider/model`, or the model alone where the provider is unknown.
    pub fn spec_text(&self) -> String {
        match &self.provider {
            Some(provider) => format!("{provider}/{}", self.model),
            None => self.model.clone(),
        }
    }

    /// The same as a model spec, if it is one.
    pub fn spec(&self) -> Option<ModelSpec> {
        self.spec_text().parse().ok()
    }

    /// Whether it is on the model. To a name without a provider agents add one of their own
    /// (`wire/a2a/swap_no_provider`).
    pub fn is_on(&self, spec: &ModelSpec) -> bool {
        // `openai/openai/x` is told in the same words as the untouched default `openai/x`: see `new`.
        let whole = Self::new(spec.provider(), spec.model(), None);
        self.model == whole.model && (whole.provider.is_none() || self.provider == whole.provider)
    }

    /// Whether a log or an answer that names `told` means this model. Agents and proxies leave the provider out,
    /// or put their own before it: what may be the same is not called another.
    pub fn is_called(&self, told: &str) -> bool {
        let ends_with = |whole: &str, end: &str| {
            whole.strip_suffix(end).is_some_and(|start| start.is_empty() || start.ends_with('/'))
        };
        ends_with(&self.spec_text(), told) || ends_with(told, &self.model)
    }

    /// Reads the reply to `[HOTSWAP:GET_CONFIG]`: a heading, a rule, three fields, a rule. The last field,
    /// the prompt, may run over several lines.
    pub fn parse(reply: &str) -> Option<Self> {
        let is_rule = |line: &str| line.chars().count() >= 8 && line.chars().all(|c| c == '━');
        let lines: Vec<&str> = reply.trim().lines().collect();
        let [heading, first_rule, model, provider, prompt @ .., last_rule] = lines.as_slice() else {
            return None;
        };
        if !heading.ends_with("Current Configuration") || !is_rule(first_rule) || !is_rule(last_rule) {
            return None;
        }
        let model = model.strip_prefix("Model: ")?;
        let provider = provider.strip_prefix("Provider: ")?;
        let prompt = prompt.join("\n");
        Some(Self::new(Some(provider), model, Some(prompt.strip_prefix("System Prompt: ")?)))
    }
}

/// What is known of an agent's answer to one message, whichever dialect it came in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Its text parts.
    pub text: String,
    /// All of it for people, where some of it is no text.
    pub whole: Option<String>,
    /// The context that the agent answered in, where that is not the one of the message.
    pub context: Option<String>,
    /// A model wrote it: the agent reports the tokens that were used (`adk_usage_metadata`).
    pub from_model: bool,
    /// Its metadata shows that the agent itself wrote it. A model that writes in the form of a control reply has none.
    pub is_attested: bool,
    pub tokens: Option<Tokens>,
    /// The configuration after the answer, as the agent's own state says (`stateDelta`).
    pub state: Option<AgentConfig>,
    pub scope: Option<Scope>,
    /// The model that the agent says it called.
    pub served: Option<String>,
    /// A model that other metadata names, in a form that is not the control messages' own.
    pub named: Option<String>,
    pub proxy: Option<Route>,
}

/// Which deployment of the proxy answered a call, by the proxy's headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// `x-litellm-model-group`: the name that was called, an alias or a wildcard's match too, or after a fallback the
    /// fallback's.
    pub group: String,
    /// `x-litellm-model-id`.
    pub deployment: Option<String>,
    /// `x-litellm-attempted-fallbacks`.
    pub fallbacks: u32,
}

impl Route {
    /// The name that answered in the place of the one that was called.
    pub fn fallback(&self) -> Option<&str> {
        (self.fallbacks > 0).then_some(self.group.as_str())
    }
}

impl Answer {
    pub fn shown(&self) -> &str {
        self.whole.as_deref().unwrap_or(&self.text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Done,
    Config(AgentConfig),
    Refused(String),
    /// A model answered: the agent took the control message for chat.
    Chat,
    Unknown,
}

impl ControlMessage {
    /// What `answer` means as the reply to this message.
    ///
    /// A text that merely looks like a control reply is not enough when a model wrote it: a model can be
    /// talked into any text. Nor is it where the agent's own state, told along with it, says otherwise.
    pub fn read_reply(&self, answer: &Answer) -> Reply {
        if answer.from_model {
            return Reply::Chat;
        }
        let text = answer.text.trim();
        if let Some(reason) = text.strip_prefix('❌') {
            return Reply::Refused(reason.trim().to_owned());
        }
        let state = answer.state.as_ref();
        let done = |is_said: bool, is_so: &dyn Fn(&AgentConfig) -> bool| {
            if is_said && state.is_none_or(is_so) { Reply::Done } else { Reply::Unknown }
        };
        match self {
            Self::Model(spec) => {
                let said = text.strip_prefix("✅ Model switched to: ").is_some_and(|said| {
                    let provider = said.strip_suffix(spec.as_str());
                    provider == Some("")
                        || spec.provider().is_none() && provider.is_some_and(|start| start.ends_with('/'))
                });
                done(said, &|state| state.is_on(spec))
            }
            Self::Prompt(Some(prompt)) => done(text.starts_with("✅ System prompt updated."), &|state| {
                state.prompt.as_deref() == Some(prompt.as_str())
            }),
            Self::Prompt(None) => {
                done(text.starts_with("✅ System prompt cleared."), &|state| state.prompt.is_none())
            }
            Self::GetConfig => match AgentConfig::parse(text) {
                Some(told) if state.is_none_or(|state| state.spec_text() == told.spec_text()) => {
                    Reply::Config(told)
                }
                _ => Reply::Unknown,
            },
        }
    }
}

/// Whether a chat text would be, or is meant as, a control message: the message box refuses it.
pub fn looks_like_control(text: &str) -> bool {
    // Agents strip more than Rust does: Python's `strip` takes U+001C to U+001F for blanks. No text begins with these.
    let is_blank = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    let start = text.trim_start_matches(is_blank).as_bytes();
    start.get(..8).is_some_and(|head| head.eq_ignore_ascii_case(b"[HOTSWAP"))
}
