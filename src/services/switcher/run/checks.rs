//! What is looked at before the agent is touched.

use std::sync::Arc;

use super::super::Parts;
use super::super::assess::Known;
use super::{Run, StepError, StepReport};
use crate::clients::litellm::Database;
use crate::clients::{ClientError, Meaning};
use crate::domain::assessment::{AnswerState, Answers, Assessment};
use crate::domain::calls::{Certainty, Endpoint, ModelCall};
use crate::domain::control::Route;
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::model::{ModelSpec, chats};
use crate::domain::permission::{Denial, Target, Verdict};
use crate::domain::routing::is_pattern;
use crate::domain::swap::{Fault, PromptChange, SwapRequest};
use crate::services::agents::{AgentView, KnownAgent};
use crate::services::registry::{By, Catalog, Serving};
use crate::services::snapshot::View;

impl Parts {
    /// Nothing is sent to the agent but the question for its card.
    pub(in crate::services::switcher) async fn preflight(
        &self,
        agent: &KnownAgent,
        view: &AgentView,
        request: &SwapRequest,
        is_one_of_many: bool,
        assessment: &mut Assessment,
    ) -> Result<(StepReport, Option<Known>), StepError> {
        if request.model.is_none() && request.prompt == PromptChange::Keep {
            return Err(StepError::request("Nothing to change: name a model or a prompt."));
        }
        let mut report = Vec::new();
        let mut is_unsure = false;
        match (&view.card.value, &view.card.problem) {
            (_, Some(problem @ (ClientError::Unreachable { .. } | ClientError::Timeout { .. }))) => {
                return Err(problem.clone().into());
            }
            (None, _) => {
                is_unsure = true;
                report.push("The agent shows no card.".to_owned());
            }
            (Some(_), _) => {}
        }
        check_lines(view, &request.prompt)?;
        let mut known = None;
        if let Some(model) = &request.model {
            let check = self.check_model(agent, model, view.calls.of(model), is_one_of_many);
            let (checked, assessed) = tokio::join!(check, self.assess(agent, view, request, assessment));
            let (is_permitted, text) = checked?;
            known = assessed?;
            is_unsure |= !is_permitted;
            report.push(text);
        }
        let detail = report.join(" ");
        let report = if is_unsure { StepReport::warning(detail) } else { StepReport::done(detail) };
        Ok((report, known))
    }
}

impl Run<'_> {
    pub(super) async fn probe(&mut self, model: &ModelSpec) -> Result<StepReport, StepError> {
        let Some(key) = &self.agent.key else {
            return Ok(StepReport::warning(
                "Not tried: the agent's key is not in the settings (TASK_AGENT_API_KEY, or key in the agents file).",
            ));
        };
        let (call, certainty) = self.view.calls.of(model);
        let probe = match self.parts.proxy.probe(key, &call).await {
            Ok(Some(probe)) => probe,
            Ok(None) => {
                let why = "the requests of its pass-through are not known here";
                self.swap.assessment.answers = Some(Answers::new(AnswerState::NotKnown, why));
                return Ok(StepReport::warning(format!(
                    "Not tried: the agent calls {}, whose requests are not known here.",
                    call.describe()
                )));
            }
            Err(error) => {
                let error = StepError::from(error);
                let what = if call.is_plain(model) { model.to_string() } else { call.describe() };
                let detail = format!("A tiny call of {what} failed: {}", error.detail);
                if certainty == Certainty::Unsure {
                    return Ok(StepReport::warning(format!("{detail} How the agent calls it is not known.")));
                }
                self.swap.assessment.answers = Some(Answers::new(AnswerState::No, error.detail.clone()));
                return Err(StepError { detail, ..error });
            }
        };
        if let Some(fallback) = probe.route.as_ref().and_then(Route::fallback) {
            let detail = format!("{model} did not answer: the proxy fell back to {fallback}.");
            self.swap.assessment.answers = Some(Answers::new(AnswerState::Fallback, fallback));
            return Ok(StepReport::warning(detail));
        }
        // A pass-through has no fallback.
        let is_seen = probe.route.is_some() || call.endpoint == Endpoint::PassThrough;
        self.has_answered = is_seen && certainty != Certainty::Unsure;
        let served = probe.route.map(|route| route.group).or(probe.model);
        let by = served.as_ref().map(|served| format!(" by {served}")).unwrap_or_default();
        let what = if call.is_plain(model) { String::new() } else { format!(" of {}", call.describe()) };
        self.swap.assessment.answers = Some(match certainty {
            Certainty::Known => Answers::new(AnswerState::Yes, served.unwrap_or_default()),
            Certainty::Assumed | Certainty::Unsure => Answers::new(
                AnswerState::NotKnown,
                format!("It answers {}; how this agent calls the proxy is not known yet.", call.describe()),
            ),
        });
        Ok(StepReport::done(format!("A tiny call{what} with the agent's key was answered{by}.")))
    }
}

impl Parts {
    /// Whether the model is registered and the agent's key may call it; false beside the text where the latter is
    /// not known.
    pub(in crate::services::switcher) async fn check_model(
        &self,
        agent: &KnownAgent,
        model: &ModelSpec,
        (call, certainty): (ModelCall, Certainty),
        is_one_of_many: bool,
    ) -> Result<(bool, String), StepError> {
        if call.endpoint == Endpoint::PassThrough {
            let call = call.describe();
            return Ok((
                false,
                format!("The agent calls {call}, past the registry and the models of its key."),
            ));
        }
        match self.check_name(agent, &call.name, is_one_of_many).await {
            // The proxy finds the provider of names that it knows: `openai/*` answers `gpt-4.1`, seen on 1.109.
            Err(error) if error.fault == Fault::Request && self.may_be_covered(model, &call.name).await? => {
                Ok((false, format!("{} A wildcard may serve it all the same.", error.detail)))
            }
            Err(error) if error.fault == Fault::Request && !call.is_plain(model) => {
                let detail = format!("The agent calls {}. {}", call.describe(), error.detail);
                Err(StepError { detail, ..error })
            }
            Err(error) if error.fault == Fault::Request && certainty == Certainty::Unsure => {
                Ok((false, format!("{} How the agent calls it is not known.", error.detail)))
            }
            checked => checked,
        }
    }

    /// Whether nothing serves a bare name, and a wildcard the whole one.
    async fn may_be_covered(&self, model: &ModelSpec, name: &str) -> Result<bool, StepError> {
        if name == model.as_str() || name != model.model() {
            return Ok(false);
        }
        let catalog = self.catalog().await?;
        let whole = catalog.serving(model.as_str());
        Ok(!catalog.serving(name).is_served() && matches!(whole.by, By::Wildcard(_)))
    }

    async fn check_name(
        &self,
        agent: &KnownAgent,
        name: &str,
        is_one_of_many: bool,
    ) -> Result<(bool, String), StepError> {
        let mut catalog = self.catalog().await?;
        if check_registered(&catalog.serving(name)).is_err() {
            // It may have been registered since the copy was made.
            self.registry.invalidate();
            catalog = self.catalog().await?;
        }
        let serving = catalog.serving(name);
        let registered = check_registered(&serving)?;
        if matches!(serving.by, By::Wildcard(_)) {
            // The wildcard's row does not have the mode of each model that it covers.
            let asked = serving.alias_of.unwrap_or(serving.name);
            let mode = self.proxy.group(asked).await.ok().flatten().and_then(|group| group.mode);
            check_mode(serving.name, mode.as_deref().filter(|mode| !chats(Some(mode))))?;
        }
        let target = catalog.target(name);
        let (is_permitted, text) = self.check_key(agent, name, &target, is_one_of_many).await?;
        Ok((is_permitted, format!("{registered} {text}")))
    }

    /// Whether the proxy is known to have no fallback for the model, however the agent calls it.
    pub(super) async fn never_falls_back(&self, model: &ModelSpec) -> bool {
        let catalog = self.registry.refresh().await.value;
        catalog.is_some_and(|catalog| {
            let routing = &catalog.routing;
            let names = [model.as_str(), model.model()];
            routing.fallbacks.is_some() && names.iter().all(|name| routing.fallbacks_of(name).is_empty())
        })
    }

    async fn catalog(&self) -> Result<Arc<Catalog>, StepError> {
        let mut registry = self.registry.refresh().await;
        if registry.problem.is_some() {
            // It may be over.
            self.registry.invalidate();
            registry = self.registry.refresh().await;
        }
        match registry.problem {
            Some(problem) => Err(problem.into()),
            None => Ok(registry.value.unwrap_or_default()),
        }
    }

    /// Whether the agent's key may call the model; false beside the text where that is not known.
    async fn check_key(
        &self,
        agent: &KnownAgent,
        model: &str,
        target: &Target<'_>,
        is_one_of_many: bool,
    ) -> Result<(bool, String), StepError> {
        let Some(secret) = &agent.key else {
            let text = "The agent's key is not in the settings, so it is not checked.";
            return Ok((false, text.to_owned()));
        };
        let hash = KeyHash::of(secret);
        let key = match self.key_at_proxy(&hash, is_one_of_many).await {
            Ok(Some(key)) => key,
            Ok(None) => {
                let why = "The proxy does not know the agent's key. Issue the agent a new one.";
                return Err(StepError::request(why));
            }
            // Keys that are not the proxy's own may be good all the same: the probe decides.
            Err(error) if self.has_no_database(&error).await => {
                let text = "The agent's key cannot be checked: the proxy has no database.";
                return Ok((false, text.to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        let label = key.label();
        let rules = if key.grant().needs_rules() {
            self.rules.refresh().await.value.unwrap_or_default()
        } else {
            Arc::default()
        };
        match rules.may_call(&key, target, self.clock.now()) {
            Verdict::Allowed => Ok((true, format!("The agent's key {label} may call it."))),
            Verdict::NotKnown(why) => {
                Ok((false, format!("Whether the agent's key {label} may call it is not known: {why}.")))
            }
            Verdict::Denied(why @ Denial::NotListed) => Err(StepError::request(format!(
                "The agent's key {label} may not call {model}: {why}. Allow all models, or add it to the key."
            ))),
            Verdict::Denied(why) => {
                Err(StepError::request(format!("The agent's key {label} may not call {model}: {why}.")))
            }
        }
    }
}

impl Parts {
    async fn key_at_proxy(&self, hash: &KeyHash, from_copy: bool) -> Result<Option<VirtualKey>, ClientError> {
        if !from_copy {
            return self.proxy.key(hash).await;
        }
        let View { value, problem, .. } = self.keys.of(hash).key.refresh().await;
        match problem {
            Some(problem) => Err(problem),
            None => Ok(value.and_then(|key| (*key).clone())),
        }
    }

    /// Whether an error about a key comes from a proxy that stores none. 1.109 does not say so in the error.
    async fn has_no_database(&self, error: &ClientError) -> bool {
        match error {
            ClientError::Status { meaning: Meaning::NoDatabase, .. } => true,
            ClientError::Status { status: 500, .. } => {
                self.proxy.health().await.is_ok_and(|health| health.database == Database::None)
            }
            _ => false,
        }
    }
}

/// Refuses a prompt with line breaks that the agent does not announce to take.
pub(in crate::services::switcher) fn check_lines(
    view: &AgentView,
    prompt: &PromptChange,
) -> Result<(), StepError> {
    let takes_lines = view.card.value.as_ref().is_some_and(|card| card.multiline_prompt);
    match prompt {
        PromptChange::Set(prompt) if prompt.is_multiline() && !takes_lines => Err(StepError::request(
            "The prompt has line breaks. This agent would take it for chat, and pay for it; write it on one line.",
        )),
        _ => Ok(()),
    }
}

fn check_registered(serving: &Serving<'_>) -> Result<String, StepError> {
    let name = serving.name;
    if is_pattern(name) {
        let why = format!("{name} is a wildcard. Name a model that it covers.");
        return Err(StepError::request(why));
    }
    if !serving.is_served() {
        let why = match serving.alias_of {
            Some(target) => format!("{name} is an alias of {target}, which the proxy does not have."),
            None => format!("The proxy has no model called {name}. Register it first."),
        };
        return Err(StepError::request(why));
    }
    if serving.is_blocked() {
        return Err(StepError::request(format!("{name} is blocked at the proxy.")));
    }
    check_mode(name, serving.other_mode())?;
    Ok(serving.describe())
}

fn check_mode(name: &str, other: Option<&str>) -> Result<(), StepError> {
    match other {
        None => Ok(()),
        Some(mode) => Err(StepError::request(format!(
            "{name} cannot chat: its mode is {mode}. Choose a model that answers chat completions."
        ))),
    }
}
