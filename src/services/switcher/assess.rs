//! What is known before a switch: whether the conversation fits, and what the switch costs.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::run::StepError;
use super::{Parts, SwapError, Switcher};
use crate::clients::litellm::LogPage;
use crate::domain::agent::AgentName;
use crate::domain::assessment::{Assessment, Estimate, Fit, HeldBack, ModelFacts, Size, SizeSource};
use crate::domain::calls::{Endpoint, KnownCalls, ModelCall};
use crate::domain::context::ContextId;
use crate::domain::control::AgentConfig;
use crate::domain::key::KeyHash;
use crate::domain::model::ModelSpec;
use crate::domain::swap::SwapRequest;
use crate::domain::usage::Call;
use crate::domain::words::{money, tokens};
use crate::services::agents::{AgentView, KnownAgent};
use crate::store::StoreError;

/// Longest wait for the proxy's log, which a swap can do without.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// Most conversations whose size is looked up, at a time, and the longest wait for all of them.
const LOOKED_AT: usize = 200;
const SIZES_AT_ONCE: usize = 8;
const SIZES_PATIENCE: Duration = Duration::from_secs(5);

/// What is known of a swap that was not begun.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Why it would be refused.
    pub refused: Option<String>,
    pub detail: String,
    /// The assessment in one line.
    pub line: String,
    pub assessment: Assessment,
}

/// What a conversation's next turn is reckoned with.
pub(super) struct Known {
    pub(super) size: Size,
    to: ModelFacts,
}

impl Known {
    pub(super) fn estimate(&self, from: Option<&ModelFacts>) -> Estimate {
        Estimate::new(self.size.clone(), from, &self.to)
    }
}

impl Switcher {
    /// Checks a swap as its pre-flight check does, and sends nothing to the agent.
    pub async fn check(&self, request: &SwapRequest) -> Result<Check, SwapError> {
        let parts = &self.parts;
        let agent = parts.agents.get(&request.agent);
        let agent = agent.ok_or_else(|| SwapError::UnknownAgent(request.agent.clone()))?;
        let view = parts.agents.view(&agent).await?;
        let mut assessment = Assessment::default();
        let report = parts.preflight(&agent, &view, request, false, &mut assessment).await;
        let (refused, detail) = match report {
            Ok((report, _)) => (None, report.detail),
            Err(error) => (Some(error.detail), String::new()),
        };
        let line = assessment.line();
        Ok(Check { refused, detail, line, assessment })
    }
}

/// How many conversations fit a model, and what they cost to read.
#[derive(Debug, Default, Serialize)]
pub struct Fits {
    pub fits: usize,
    pub tight: usize,
    /// Refused when they are switched, with the tokens of their next turn.
    pub too_long: Vec<(ContextId, u64)>,
    /// Conversations whose size is not known here, or that were not looked at.
    pub not_known: usize,
    /// US dollars to read those of known size once.
    pub reread: Option<f64>,
    /// Whether that is more than has to be confirmed.
    pub is_costly: bool,
}

impl Switcher {
    /// Looks how the conversations fit a model; of very many, at the first only.
    pub async fn fits(
        &self,
        agent: &AgentName,
        contexts: &[ContextId],
        model: &ModelSpec,
    ) -> Result<Fits, SwapError> {
        let parts = &self.parts;
        let known = parts.agents.get(agent).ok_or_else(|| SwapError::UnknownAgent(agent.clone()))?;
        let view = parts.agents.view(&known).await?;
        let (call, _) = view.calls.of(model);
        let facts = parts.facts_of(&call).await;
        let looked_at: Vec<ContextId> = contexts.iter().take(LOOKED_AT).cloned().collect();
        let (parts, known) = (parts.as_ref(), known.as_ref());
        let sizes = stream::iter(looked_at)
            .map(|context| async move {
                let size = parts.size_of(known, &context).await?;
                Ok::<_, StoreError>((context, size))
            })
            .buffered(SIZES_AT_ONCE)
            .take_until(tokio::time::sleep(SIZES_PATIENCE));
        let sizes: Vec<_> = sizes.try_collect().await?;
        let mut fits = Fits { not_known: contexts.len(), ..Fits::default() };
        for (context, size) in sizes {
            let Some(size) = size else { continue };
            let estimate = Estimate::new(size, None, &facts);
            match estimate.fit {
                Fit::Fits => fits.fits += 1,
                Fit::Tight => fits.tight += 1,
                Fit::TooLong => fits.too_long.push((context, estimate.size.next())),
                Fit::NotKnown => continue,
            }
            fits.not_known -= 1;
            if estimate.fit != Fit::TooLong {
                fits.reread =
                    estimate.reread.map(|cost| cost + fits.reread.unwrap_or_default()).or(fits.reread);
            }
        }
        fits.is_costly = fits.reread.is_some_and(|cost| cost > parts.confirm_cost);
        Ok(fits)
    }
}

impl Parts {
    /// Fits and costs; the error says what has to be accepted first.
    pub(super) async fn assess(
        &self,
        agent: &KnownAgent,
        view: &AgentView,
        request: &SwapRequest,
        assessment: &mut Assessment,
    ) -> Result<Option<Known>, StepError> {
        let Some(model) = &request.model else { return Ok(None) };
        let (call, _) = view.calls.of(model);
        let (size, to, from) = tokio::join!(
            self.size_of(agent, &request.context),
            self.facts_of(&call),
            self.facts_now(view, request)
        );
        let Some(size) = size? else { return Ok(None) };
        let known = Known { size, to };
        let estimate = known.estimate(from?.as_ref());
        let refusal = self.refusal(&estimate, request);
        assessment.held_back = refusal.as_ref().map(|(held_back, _)| *held_back);
        assessment.estimate = Some(estimate);
        match refusal {
            Some((_, text)) => Err(StepError::request(text)),
            None => Ok(Some(known)),
        }
    }

    fn refusal(&self, estimate: &Estimate, request: &SwapRequest) -> Option<(HeldBack, String)> {
        let size = tokens(estimate.size.next());
        if let (Fit::TooLong, Some(window), false) = (estimate.fit, estimate.window, request.accepted.size) {
            let window = tokens(window);
            return Some((
                HeldBack::Size,
                format!(
                    "The conversation does not fit: its next turn has {size} tokens, and the model takes {window}. Choose \
                     a model with a larger window, or continue in a new context."
                ),
            ));
        }
        let cost = estimate.reread.filter(|cost| *cost > self.confirm_cost)?;
        (!request.accepted.cost).then(|| {
            let (cost, limit) = (money(cost), money(self.confirm_cost));
            let text = format!(
                "The new model reads the conversation of {size} tokens once for {cost}, which is more than {limit}. Accept \
                 the cost first."
            );
            (HeldBack::Cost, text)
        })
    }

    /// What is known of the model that the context is on.
    async fn facts_now(
        &self,
        view: &AgentView,
        request: &SwapRequest,
    ) -> Result<Option<ModelFacts>, StoreError> {
        let known = self.store.context(&request.agent, &request.context).await?;
        match known.and_then(|known| known.config) {
            Some(config) => Ok(self.facts_on(&view.calls, &config).await),
            None => Ok(None),
        }
    }

    pub(super) async fn facts_on(&self, calls: &KnownCalls, config: &AgentConfig) -> Option<ModelFacts> {
        let (call, _) = calls.of(&config.spec()?);
        Some(self.facts_of(&call).await)
    }

    /// Limits and prices of what serves a call; of a name that only a wildcard serves, or a pass-through, by the proxy's
    /// own data.
    async fn facts_of(&self, call: &ModelCall) -> ModelFacts {
        let catalog = self.registry.refresh().await.value.unwrap_or_default();
        let serving = catalog.serving(&call.name);
        let registered = match call.endpoint {
            Endpoint::PassThrough => ModelFacts::default(),
            Endpoint::Chat | Endpoint::Responses => ModelFacts::of(&serving.deployments),
        };
        if registered.is_complete() {
            return registered;
        }
        let asked = serving.alias_of.unwrap_or(&call.name);
        let group = self.proxy.group(asked).await.ok().flatten();
        registered.or(group.map(|group| group.facts).unwrap_or_default())
    }

    /// The newest of what the agent answered here and of what the proxy logged.
    async fn size_of(&self, agent: &KnownAgent, context: &ContextId) -> Result<Option<Size>, StoreError> {
        let (own, calls) = tokio::join!(
            self.store.last_tokens(&agent.name, context),
            self.session(agent, context, LOG_PATIENCE)
        );
        let own = own?.map(|(tokens, at)| Size {
            input: tokens.input,
            cached: 0,
            output: tokens.output,
            source: SizeSource::Agent,
            at,
        });
        let logged = calls.iter().find(|call| !call.has_failed && call.prompt_tokens > 0).map(|call| Size {
            input: call.prompt_tokens,
            cached: call.cached_tokens,
            output: call.completion_tokens,
            source: SizeSource::Log,
            at: call.at,
        });
        Ok([own, logged].into_iter().flatten().max_by_key(|size| size.at))
    }

    /// The last calls of a conversation in the proxy's log, the newest first, of agents that name their conversations to
    /// the proxy.
    pub(super) async fn session(
        &self,
        agent: &KnownAgent,
        context: &ContextId,
        patience: Duration,
    ) -> Vec<Call> {
        let Some(key) = agent.key.as_ref().map(KeyHash::of) else { return Vec::new() };
        let calls = self.proxy.session_log(context.as_str());
        let Ok(Ok(Some(LogPage { mut calls, .. }))) = tokio::time::timeout(patience, calls).await else {
            return Vec::new();
        };
        // Anyone with a key can name a conversation so.
        calls.retain(|call| call.key.as_ref() == Some(&key));
        calls
    }
}
