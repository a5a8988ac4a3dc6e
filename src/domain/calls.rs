//! How agents call the proxy: on which route, and by which form of the model's name.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

use crate::domain::model::ModelSpec;

/// How an agent calls the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum CallProfile {
    /// Found out.
    #[default]
    Auto,
    /// `/v1/chat/completions` by the whole name, `provider/model`.
    Chat,
    /// `/v1/responses` by the whole name.
    Responses,
    /// As the `FuzzForge` task agent does: OpenAI's newer models on `/v1/responses` by the whole name, its others on
    /// `/v1/chat/completions` by the bare name, other providers by the proxy's pass-through.
    Mixed,
    Unknown,
}

/// A route of the proxy that answers with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Endpoint {
    Chat,
    Responses,
    /// `/{provider}/…`: past the registry, its aliases and the models of keys.
    PassThrough,
}

/// One call as an agent makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelCall {
    pub endpoint: Endpoint,
    /// The provider of a pass-through.
    pub provider: Option<String>,
    /// As the proxy is asked for it.
    pub name: String,
}

/// A call that the proxy logged for an answered turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObservedCall {
    /// The model that the context was on.
    pub model: ModelSpec,
    pub endpoint: Endpoint,
    /// As the proxy was asked for it; after a fallback or behind an alias another name.
    pub name: String,
    pub at: Timestamp,
}

/// What is known of how one agent calls the proxy.
#[derive(Debug, Clone, Default, Serialize)]
pub struct KnownCalls {
    /// By the settings or, failing that, by the agent's card.
    pub stated: CallProfile,
    /// The newest first.
    pub observed: Vec<ObservedCall>,
}

/// How sure it is that an agent makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    Known,
    /// Nothing is known of this agent, so it is taken for one as most are.
    Assumed,
    /// What is known of the agent leaves several calls.
    Unsure,
}

impl CallProfile {
    /// What [`Self::Auto`] finds out, the most common first.
    const FOUND: [Self; 3] = [Self::Chat, Self::Responses, Self::Mixed];

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn describe(self) -> &'static str {
        match self {
            Self::Auto => "not known yet: it is found out by the next answered message",
            Self::Chat => "chat completions, by the whole name",
            Self::Responses => "the responses route, by the whole name",
            Self::Mixed => "by provider: responses, chat completions by the bare name, or a pass-through",
            Self::Unknown => "not known",
        }
    }

    fn call(self, model: &ModelSpec) -> Option<ModelCall> {
        let whole = |endpoint| ModelCall { endpoint, provider: None, name: model.as_str().to_owned() };
        let bare = |endpoint, provider: Option<&str>| ModelCall {
            endpoint,
            provider: provider.map(str::to_owned),
            name: model.model().to_owned(),
        };
        match (self, model.provider().unwrap_or("openai")) {
            (Self::Auto | Self::Unknown, _) => None,
            (Self::Chat, _) => Some(whole(Endpoint::Chat)),
            (Self::Responses, _) => Some(whole(Endpoint::Responses)),
            (Self::Mixed, "openai") if ["gpt-5", "o1"].iter().any(|new| model.model().starts_with(new)) => {
                let name = format!("openai/{}", model.model());
                Some(ModelCall { endpoint: Endpoint::Responses, provider: None, name })
            }
            (Self::Mixed, "openai") => Some(bare(Endpoint::Chat, None)),
            (Self::Mixed, provider) => Some(bare(Endpoint::PassThrough, Some(provider))),
        }
    }

    /// Whether an agent of this profile may have made the call.
    fn explains(self, seen: &ObservedCall) -> bool {
        self.call(&seen.model).is_some_and(|call| {
            call.endpoint == seen.endpoint && (!seen.is_plain() || call.name == seen.name)
        })
    }
}

impl ObservedCall {
    /// Whether the log has a form of the model's own name.
    fn is_plain(&self) -> bool {
        [self.model.as_str(), self.model.model()].contains(&self.name.as_str())
    }
}

impl Endpoint {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// By the `call_type` of a row of the proxy's spend log.
    pub fn of_call_type(text: &str) -> Option<Self> {
        match text {
            "completion" | "acompletion" => Some(Self::Chat),
            "responses" | "aresponses" => Some(Self::Responses),
            "pass_through_endpoint" => Some(Self::PassThrough),
            _ => None,
        }
    }
}

impl ModelCall {
    pub fn chat(name: impl Into<String>) -> Self {
        Self { endpoint: Endpoint::Chat, provider: None, name: name.into() }
    }

    /// Whether it is what most agents do: chat completions by the whole name.
    pub fn is_plain(&self, model: &ModelSpec) -> bool {
        self.endpoint == Endpoint::Chat && self.name == model.as_str()
    }

    pub fn describe(&self) -> String {
        match (self.endpoint, &self.provider) {
            (Endpoint::Chat, _) => format!("{} on chat completions", self.name),
            (Endpoint::Responses, _) => format!("{} on the responses route", self.name),
            (Endpoint::PassThrough, Some(provider)) => {
                format!("{} by the proxy's pass-through for {provider}", self.name)
            }
            (Endpoint::PassThrough, None) => format!("{} by a pass-through of the proxy", self.name),
        }
    }
}

impl KnownCalls {
    /// The profiles that explain what was seen.
    fn profiles(&self) -> Vec<CallProfile> {
        match self.stated {
            CallProfile::Auto => {
                let explains =
                    |profile: &CallProfile| self.observed.iter().all(|seen| profile.explains(seen));
                CallProfile::FOUND.into_iter().filter(explains).collect()
            }
            CallProfile::Unknown => CallProfile::FOUND.to_vec(),
            stated => vec![stated],
        }
    }

    /// The profile, where one alone is possible.
    pub fn profile(&self) -> CallProfile {
        match (self.profiles().as_slice(), self.observed.is_empty()) {
            ([profile], _) => *profile,
            (_, true) => self.stated,
            (_, false) => CallProfile::Unknown,
        }
    }

    /// The call that the agent makes when it is on `model`, as far as that is known.
    pub fn of(&self, model: &ModelSpec) -> (ModelCall, Certainty) {
        if self.stated == CallProfile::Auto
            && let Some(seen) = self.observed.iter().find(|seen| seen.model == *model && seen.is_plain())
        {
            let provider = model.provider().filter(|_| seen.endpoint == Endpoint::PassThrough);
            let name = seen.name.clone();
            let call = ModelCall { endpoint: seen.endpoint, provider: provider.map(str::to_owned), name };
            return (call, Certainty::Known);
        }
        let calls: Vec<ModelCall> =
            self.profiles().iter().filter_map(|profile| profile.call(model)).collect();
        let Some(first) = calls.first().cloned() else {
            return (ModelCall::chat(model.as_str()), Certainty::Unsure);
        };
        let is_one = calls.iter().all(|call| *call == first);
        let is_nothing_known = self.observed.is_empty() && self.stated == CallProfile::Auto;
        match (is_one, is_nothing_known) {
            (true, false) => (first, Certainty::Known),
            (_, true) => (first, Certainty::Assumed),
            (false, false) => (first, Certainty::Unsure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(model: &str, endpoint: Endpoint, name: &str) -> ObservedCall {
        ObservedCall {
            model: model.parse().unwrap(),
            endpoint,
            name: name.to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn of(known: &KnownCalls, model: &str) -> (Endpoint, String, Certainty) {
        let (call, certainty) = known.of(&model.parse().unwrap());
        (call.endpoint, call.name, certainty)
    }

    #[test]
    fn an_answered_turn_shows_how_the_agent_calls_other_models() {
        use Certainty::{Assumed, Known, Unsure};
        use Endpoint::{Chat, PassThrough, Responses};
        let none = KnownCalls::default();
        assert_eq!(of(&none, "openai/gpt-4o"), (Chat, "openai/gpt-4o".to_owned(), Assumed));

        let chat =
            KnownCalls { observed: vec![seen("openai/gpt-4o", Chat, "openai/gpt-4o")], ..none.clone() };
        assert_eq!(chat.profile(), CallProfile::Chat);
        assert_eq!(of(&chat, "anthropic/claude"), (Chat, "anthropic/claude".to_owned(), Known));

        let mixed = KnownCalls { observed: vec![seen("openai/gpt-4o", Chat, "gpt-4o")], ..none.clone() };
        assert_eq!(mixed.profile(), CallProfile::Mixed);
        assert_eq!(of(&mixed, "openai/gpt-5-mini"), (Responses, "openai/gpt-5-mini".to_owned(), Known));
        assert_eq!(of(&mixed, "anthropic/claude"), (PassThrough, "claude".to_owned(), Known));

        // Both of them ask for newer models so.
        let newer = seen("openai/gpt-5", Responses, "openai/gpt-5");
        let either = KnownCalls { observed: vec![newer.clone()], ..none.clone() };
        assert_eq!(either.profile(), CallProfile::Unknown);
        assert_eq!(of(&either, "openai/gpt-5-mini").2, Known);
        assert_eq!(of(&either, "openai/gpt-4o").2, Unsure);

        // A fallback or an alias gives the log another name, which says nothing of the form.
        let fallen = KnownCalls { observed: vec![seen("acme/dead", Chat, "openai/gpt-5")], ..none.clone() };
        assert_eq!(fallen.profile(), CallProfile::Chat);
        assert_eq!(of(&fallen, "acme/dead").1, "acme/dead");

        // No profile explains both: what was seen holds for these models alone.
        let odd = KnownCalls { observed: vec![newer, seen("openai/gpt-4o", Chat, "openai/gpt-4o")], ..none };
        assert_eq!(of(&odd, "openai/gpt-5"), (Responses, "openai/gpt-5".to_owned(), Known));
        assert_eq!(of(&odd, "openai/gpt-4"), (Chat, "openai/gpt-4".to_owned(), Unsure));
    }
}
