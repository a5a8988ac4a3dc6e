//! Contexts: the conversations of an agent.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use crate::domain::agent::AgentName;
use crate::domain::control::AgentConfig;
use crate::domain::swap::{Outcome, Proof};

/// Longest context id, in characters.
pub const MAX_CONTEXT_CHARS: usize = 128;

/// An A2A `contextId` that is safe in a path, a log and an agent's database: `[A-Za-z0-9._:-]{1,128}`.
///
/// Agents store and echo any text verbatim, blanks and markup included (`wire/a2a/hostile_ctx_*`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContextId(String);

/// Why a text is no context id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContextIdError {
    #[error("Name the context, such as switch-demo.")]
    Empty,
    #[error("A context id has at most 128 characters.")]
    TooLong,
    /// Something else than letters, digits, dot, underscore, colon and hyphen; or only dots, which a
    /// browser would take for a step up in the path.
    #[error("A context id has letters, digits, dots, underscores, colons and hyphens only.")]
    BadCharacter,
}

impl ContextId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const THROW_AWAY: &str = "patchbay.";

impl ContextId {
    /// An id that no conversation has, for a look that is over at once: such contexts are in no list.
    pub fn throw_away(random: u128) -> Self {
        Self(format!("{THROW_AWAY}{random:032x}"))
    }

    pub fn is_throw_away(&self) -> bool {
        self.0.starts_with(THROW_AWAY)
    }
}

impl FromStr for ContextId {
    type Err = ContextIdError;

    fn from_str(text: &str) -> Result<Self, ContextIdError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ContextIdError::Empty);
        }
        if text.chars().count() > MAX_CONTEXT_CHARS {
            return Err(ContextIdError::TooLong);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        if !text.chars().all(allowed) || matches!(text, "." | "..") {
            return Err(ContextIdError::BadCharacter);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ContextId {
    type Error = ContextIdError;

    fn try_from(text: String) -> Result<Self, ContextIdError> {
        text.parse()
    }
}

impl From<ContextId> for String {
    fn from(id: ContextId) -> Self {
        id.0
    }
}

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextId({})", self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnownContext {
    pub agent: AgentName,
    pub context: ContextId,
    pub config: Option<AgentConfig>,
    /// What the last swap that succeeded left it on. None where it was never swapped, or where a swap in
    /// another context of an agent-wide agent came after.
    pub selected: Option<AgentConfig>,
    pub label: Option<String>,
    pub is_pinned: bool,
    pub is_kept: bool,
    pub reverts_at: Option<Timestamp>,
    pub read_at: Option<Timestamp>,
    /// Id of the last swap, also the value of the form's `seen` field.
    pub last_swap: Option<String>,
    pub last_outcome: Option<Outcome>,
    pub last_actor: Option<String>,
    pub last_swap_at: Option<Timestamp>,
    pub last_swap_end: Option<Timestamp>,
    pub served: Option<Served>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Served {
    pub model: String,
    pub at: Timestamp,
}

/// What contexts are filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ContextState {
    Drifted,
    /// Goes back by itself at a set time.
    Timed,
    Pinned,
}

impl KnownContext {
    pub fn unread(agent: AgentName, context: ContextId) -> Self {
        Self {
            agent,
            context,
            config: None,
            selected: None,
            label: None,
            is_pinned: false,
            is_kept: false,
            reverts_at: None,
            read_at: None,
            last_swap: None,
            last_outcome: None,
            last_actor: None,
            last_swap_at: None,
            last_swap_end: None,
            served: None,
        }
    }

    /// What a context is found by.
    pub fn is_in(&self, state: ContextState) -> bool {
        match state {
            ContextState::Drifted => self.has_drifted(),
            ContextState::Timed => self.reverts_at.is_some(),
            ContextState::Pinned => self.is_pinned,
        }
    }

    pub fn words(&self) -> impl Iterator<Item = String> {
        let model = self.config.as_ref().map(AgentConfig::spec_text);
        let named = [self.context.to_string(), self.agent.to_string()];
        named.into_iter().chain(self.label.clone()).chain(model)
    }

    /// The last answer, where another model gave it than the one that was selected before it was asked for. An
    /// older answer says nothing.
    pub fn served_otherwise(&self) -> Option<&Served> {
        let (selected, served) = (self.selected.as_ref()?, self.served.as_ref()?);
        let is_later = self.last_swap_end.is_some_and(|end| served.at >= end);
        (is_later && !selected.is_called(&served.model)).then_some(served)
    }

    /// Whether someone else than Patchbay changed it: what was read last is not what was selected.
    pub fn has_drifted(&self) -> bool {
        matches!((&self.selected, &self.config), (Some(selected), Some(config)) if selected != config)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ask {
    /// Its id; later ones have greater ones.
    pub id: String,
    pub agent: AgentName,
    pub context: ContextId,
    pub actor: String,
    #[serde(flatten)]
    pub proof: Proof,
    pub problem: Option<String>,
    pub at: Timestamp,
}

/// What people say about a context; fields without a value stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextChange {
    /// Empty for none.
    pub label: Option<FieldChange<String>>,
    /// Bulk swaps leave it alone.
    pub is_pinned: Option<FieldChange<bool>>,
    /// After a drift it is put back by itself.
    pub is_kept: Option<FieldChange<bool>>,
}

impl ContextChange {
    pub fn pin(is_pinned: bool) -> Self {
        Self { is_pinned: FieldChange::between(None, is_pinned), ..Self::default() }
    }
}

/// A new value, which is taken if the field still has the value that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange<T> {
    /// None to take the new value in any case.
    pub seen: Option<T>,
    pub to: T,
}

impl<T: PartialEq> FieldChange<T> {
    /// None where the value stays.
    pub fn between(seen: Option<T>, to: T) -> Option<Self> {
        (seen.as_ref() != Some(&to)).then_some(Self { seen, to })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Described {
    Done,
    Unknown,
    /// Someone else changed one of the fields since it was seen.
    Changed,
}

/// Longest label, in characters.
pub const MAX_LABEL_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_against_the_selection_only_if_it_came_after_it() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut known = KnownContext::unread("a".parse().unwrap(), "c".parse().unwrap());
        known.served = Some(Served { model: "openai/gpt-5".to_owned(), at: at(100) });
        assert_eq!(known.served_otherwise(), None, "nothing was selected");
        known.selected = Some(AgentConfig::new(Some("openai"), "gpt-5-mini", None));
        known.last_swap_end = Some(at(101));
        assert_eq!(known.served_otherwise(), None, "it is older");
        known.last_swap_end = Some(at(99));
        assert_eq!(known.served_otherwise(), known.served.as_ref());
        known.selected = Some(AgentConfig::new(Some("openai"), "gpt-5", None));
        assert_eq!(known.served_otherwise(), None, "it is the one");
    }

    #[test]
    fn ids_are_limited_to_what_every_layer_carries_unchanged() {
        for ok in ["switch-demo", "a", "A.b_c:d-9", "...", &"x".repeat(128)] {
            assert_eq!(ok.parse::<ContextId>().map(String::from), Ok(ok.to_owned()));
        }
        assert_eq!(" c1 ".parse::<ContextId>().map(String::from), Ok("c1".to_owned()));
        for (bad, error) in [
            ("", ContextIdError::Empty),
            ("  ", ContextIdError::Empty),
            (&*"x".repeat(129), ContextIdError::TooLong),
            ("a b", ContextIdError::BadCharacter),
            ("../x", ContextIdError::BadCharacter),
            ("..", ContextIdError::BadCharacter),
            ("<b>", ContextIdError::BadCharacter),
            ("é", ContextIdError::BadCharacter),
            ("a\nb", ContextIdError::BadCharacter),
        ] {
            assert_eq!(bad.parse::<ContextId>(), Err(error), "{bad:?}");
        }
    }
}
