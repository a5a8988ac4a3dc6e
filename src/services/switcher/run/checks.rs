//! What is looked at before the agent is touched.

use std::sync::Arc;

use super::super::Parts;
use super::{Run, StepError, StepReport};
use crate::clients::ClientError;
use crate::domain::key::{KeyHash, KeyState, Permission};
use crate::domain::model::{Deployment, ModelSpec};
use crate::domain::swap::PromptChange;
use crate::services::registry::{Catalog, serving};
use crate::services::snapshot::View;

impl Run<'_> {
    /// Nothing is sent to the agent but the question for its card.
    pub(super) async fn preflight(&self) -> Result<StepReport, StepError> {
        if self.request.model.is_none() && self.request.prompt == PromptChange::Keep {
            return Err(StepError::request("Nothing to change: name a model or a prompt."));
        }
        let mut report = Vec::new();
        let mut is_unsure = false;
        match (&self.view.card.value, &self.view.card.problem) {
            (_, Some(problem @ (ClientError::Unreachable { .. } | ClientError::Timeout { .. }))) => {
                return Err(problem.clone().into());
            }
            (None, _) => {
                is_unsure = true;
                report.push("The agent shows no card.".to_owned());
            }
            (Some(_), _) => {}
        }
        let multiline = self.view.card.value.as_ref().is_some_and(|card| card.multiline_prompt);
        if let (PromptChange::Set(prompt), false) = (&self.request.prompt, multiline)
            && prompt.is_multiline()
        {
            return Err(StepError::request(
                "The prompt has line breaks. This agent would take it for chat, and pay for it; write it on one line.",
            ));
        }
        if let Some(model) = &self.request.model {
            let (is_permitted, text) = self.parts.check_model(model, self.is_one_of_many).await?;
            is_unsure |= !is_permitted;
            report.push(text);
        }
        let detail = report.join(" ");
        Ok(if is_unsure { StepReport::warning(detail) } else { StepReport::done(detail) })
    }

    pub(super) async fn probe(&self, model: &ModelSpec) -> Result<StepReport, StepError> {
        let Some(key) = &self.parts.agent_key else {
            return Ok(StepReport::warning(
                "Not tried: the agent's key is not in the settings (TASK_AGENT_API_KEY).",
            ));
        };
        let probe = self.parts.proxy.probe(key, model).await.map_err(|error| {
            let error = StepError::from(error);
            StepError { detail: format!("A tiny call of {model} failed: {}", error.detail), ..error }
        })?;
        Ok(StepReport::done(match probe.model {
            Some(served) => format!("A tiny call with the agent's key was answered by {served}."),
            None => "A tiny call with the agent's key was answered.".to_owned(),
        }))
    }
}

impl Parts {
    /// Whether the model is registered and the agent's key may call it; false beside the text where nobody can
    /// tell the latter.
    pub(in crate::services::switcher) async fn check_model(
        &self,
        model: &ModelSpec,
        is_one_of_many: bool,
    ) -> Result<(bool, String), StepError> {
        let mut deployments = self.deployments().await?;
        if check_registered(model, &serving(&deployments, model.as_str())).is_err() {
            // It may have been registered since the copy was made.
            self.registry.invalidate();
            deployments = self.deployments().await?;
        }
        let serving = serving(&deployments, model.as_str());
        let registered = check_registered(model, &serving)?;
        let (is_permitted, text) = self.check_key(model, &serving, is_one_of_many).await?;
        Ok((is_permitted, format!("{registered} {text}")))
    }

    async fn deployments(&self) -> Result<Arc<Catalog>, StepError> {
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

    /// Whether the agent's key may call the model; false beside the text where nobody can tell.
    async fn check_key(
        &self,
        model: &ModelSpec,
        serving: &[&Deployment],
        is_one_of_many: bool,
    ) -> Result<(bool, String), StepError> {
        let Some(secret) = &self.agent_key else {
            let text = "The agent's key is not in the settings (TASK_AGENT_API_KEY), so it is not checked.";
            return Ok((false, text.to_owned()));
        };
        let key = if is_one_of_many {
            let View { value, problem, .. } = self.agent_key_copy.refresh().await;
            match problem {
                Some(problem) => return Err(problem.into()),
                None => value.and_then(|key| (*key).clone()),
            }
        } else {
            self.proxy.key(&KeyHash::of(secret)).await?
        };
        let Some(key) = key else {
            return Err(StepError::request(
                "The proxy does not know the agent's key (TASK_AGENT_API_KEY). Issue the agent a new one.",
            ));
        };
        let label = key.label();
        match key.state(self.clock.now()) {
            KeyState::Active => {}
            state => {
                return Err(StepError::request(format!("The agent's key {label} is {}.", state.label())));
            }
        }
        match key.access.permits(model.as_str(), serving) {
            Permission::Allowed => Ok((true, format!("The agent's key {label} may call it."))),
            Permission::Unsure => {
                Ok((false, format!("Whether the agent's key {label} may call it is up to its team.")))
            }
            Permission::Denied => Err(StepError::request(format!(
                "The agent's key {label} may not call {model}. Relax the key, or add the model to it."
            ))),
        }
    }
}

fn check_registered(model: &ModelSpec, serving: &[&Deployment]) -> Result<String, StepError> {
    if serving.is_empty() {
        return Err(StepError::request(format!("The proxy has no model called {model}. Register it first.")));
    }
    if serving.iter().all(|deployment| deployment.blocked) {
        return Err(StepError::request(format!("{model} is blocked at the proxy.")));
    }
    Ok(format!("{model} is registered."))
}
