//! The proof of a swap: a question in its context, and what gave the answer.

use std::time::Instant;

use super::super::Parts;
use super::{Run, StepError, StepReport};
use crate::domain::calls::Certainty;
use crate::domain::contradiction::{differs, named_otherwise};
use crate::domain::control::Route;
use crate::domain::model::ModelSpec;
use crate::domain::redact;
use crate::domain::swap::Proof;
use crate::services::conversation::fill;

impl Run<'_> {
    /// Sends the message. True beside the report if the answer shows that the new model gave it.
    pub(super) async fn prove(
        &mut self,
        message: &str,
        started: Instant,
    ) -> Result<(bool, StepReport), StepError> {
        let time = self.parts.timeouts.message;
        self.check_lock().await?;
        let answer = self.agent.client.send(&self.request.context, message, time).await?;
        let from_model = answer.from_model;
        let named = answer.named.clone();
        let mut proof = Proof::unanswered(message);
        proof.elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
        fill(&mut proof, answer);
        let (served, route) = (proof.served.clone(), proof.route.clone());
        let text = proof.answer.clone();
        self.swap.proof = Some(proof);
        let wanted = self.request.model.clone().or_else(|| self.swap.after.as_ref()?.spec());
        // A fallback is said to be one anyway.
        let is_fallback = route.as_ref().and_then(Route::fallback).is_some();
        let otherwise = match &wanted {
            Some(wanted) if !is_fallback => self.parts.otherwise(wanted, named.as_deref(), &text).await,
            _ => None,
        };
        let judged = self.judge(wanted, served, route, from_model).await?;
        Ok(match otherwise {
            Some(otherwise) => (judged.0, StepReport::warning(format!("{} {otherwise}", judged.1.detail))),
            None => judged,
        })
    }

    /// What gave the answer, by the agent's word and by the proxy's.
    async fn judge(
        &self,
        wanted: Option<ModelSpec>,
        served: Option<String>,
        route: Option<Route>,
        from_model: bool,
    ) -> Result<(bool, StepReport), StepError> {
        let (Some(served), Some(wanted)) = (served, wanted) else {
            let report = StepReport::warning("An answer came; the agent does not say which model gave it.");
            return Ok((false, report));
        };
        if let Some(fallback) = route.as_ref().and_then(Route::fallback) {
            let report = format!("{wanted} did not answer: the proxy fell back to {fallback}.");
            return Ok((false, StepReport::warning(report)));
        }
        // To a name without a provider agents add one of their own, which the read-back shows.
        let is_read_back = || self.swap.after.as_ref().is_some_and(|config| config.spec_text() == served);
        let (call, certainty) = self.view.calls.of(&wanted);
        let is_called = certainty == Certainty::Known && call.name == served;
        if served != wanted.as_str() && !is_read_back() && !is_called {
            return Err(StepError::upstream(format!("{served} answered, not {wanted}.")));
        }
        Ok(match route {
            Some(Route { deployment: Some(id), .. }) => (
                true,
                StepReport::done(format!("{served} answered, by the proxy's word from deployment {id}.")),
            ),
            Some(_) => (true, StepReport::done(format!("{served} answered, by the proxy's word."))),
            None if !from_model => {
                (false, StepReport::warning("An answer came; the agent does not say that a model gave it."))
            }
            // The agent does not see a fallback of the proxy: the probe does.
            None if self.has_answered || self.parts.never_falls_back(&wanted).await => {
                (true, StepReport::done(format!("{served} answered, by the agent's word.")))
            }
            None => (
                false,
                StepReport::warning(format!(
                    "An answer came, by the agent's word from {served}. An agent does not see a fallback of the proxy: \
                     probe the model as well."
                )),
            ),
        })
    }
}

impl Parts {
    /// What an answer says of itself against the model that was asked for: other metadata, or its text.
    async fn otherwise(&self, wanted: &ModelSpec, named: Option<&str>, text: &str) -> Option<String> {
        let catalog = self.registry.refresh().await.value.unwrap_or_default();
        let serving = catalog.serving(wanted.as_str());
        let mut models = vec![wanted.as_str()];
        models.extend(serving.alias_of);
        models.extend(serving.deployments.iter().map(|one| one.upstream_model.as_str()));
        if let Some(named) = named.filter(|named| differs(named, &models)) {
            return Some(format!("But the answer's metadata names {}.", redact::error_text(named)));
        }
        let named = named_otherwise(text, &models)?;
        Some(format!("But the answer calls itself {named}; models are often wrong about that."))
    }
}
