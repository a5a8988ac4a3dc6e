//! One swap, step by step.

mod checks;
mod prove;
mod report;

use std::time::Instant;

use tokio::sync::watch;

pub(super) use self::checks::check_lines;
pub(super) use self::report::{StepError, StepReport};
use super::assess::Known;
use super::control::SendError;
use super::{Parts, Progress};
use crate::clients::a2a::AgentError;
use crate::domain::assessment::Assessment;
use crate::domain::context::ContextId;
use crate::domain::control::{AgentConfig, ControlMessage, Prompt, Reply};
use crate::domain::handover::HistoryFault;
use crate::domain::redact;
use crate::domain::swap::{Outcome, PromptChange, Step, StepKind, StepResult, Swap, SwapRequest};
use crate::domain::words::sentence;
use crate::services::agents::{AgentView, KnownAgent};
use crate::services::locks::Held;

/// Why steps fail at an agent that begins a conversation of its own.
const STRAY: &str = " The agent answered in another context: it does not keep the id that it is given.";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ack {
    Confirmed,
    /// No answer in time, or one that is no control reply.
    Unclear,
}

#[expect(clippy::struct_excessive_bools, reason = "each is another thing that was seen")]
pub(super) struct Run<'a> {
    parts: &'a Parts,
    agent: &'a KnownAgent,
    view: &'a AgentView,
    request: &'a SwapRequest,
    progress: &'a watch::Sender<Progress>,
    swap: Swap,
    held: &'a Held,
    is_touched: bool,
    /// Whether a reply since the first change shows by its metadata that the agent wrote it.
    is_attested: bool,
    /// Whether the model answered the probe, without a fallback.
    has_answered: bool,
    /// Whether a message was not sent because the lock was lost, or was not known to be held.
    is_fenced: bool,
    elsewhere: Option<(ContextId, AgentConfig)>,
    /// What the conversation's next turn is reckoned with.
    known: Option<Known>,
    is_one_of_many: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        parts: &'a Parts,
        agent: &'a KnownAgent,
        view: &'a AgentView,
        request: &'a SwapRequest,
        progress: &'a watch::Sender<Progress>,
        held: &'a Held,
        is_one_of_many: bool,
    ) -> Self {
        Self {
            parts,
            agent,
            view,
            request,
            progress,
            swap: progress.borrow().swap.clone(),
            held,
            is_touched: false,
            is_attested: false,
            has_answered: false,
            is_fenced: false,
            elsewhere: None,
            known: None,
            is_one_of_many,
        }
    }

    pub(super) async fn finish(mut self) -> Swap {
        self.swap.outcome = match self.before_touching().await {
            Err(outcome) => outcome,
            Ok(()) => match self.change().await {
                Ok(outcome) => outcome,
                Err(()) if self.is_touched && !self.is_fenced => self.roll_back().await,
                Err(()) => Outcome::Failed,
            },
        };
        if self.is_fenced {
            self.swap.outcome = Outcome::Unknown;
        }
        if self.swap.outcome.is_success() {
            self.swap.fault = None;
            self.swap.note_answers();
        }
        self.swap
    }

    fn begin(&self, kind: StepKind) -> Instant {
        self.progress.send_modify(|progress| {
            progress.swap.clone_from(&self.swap);
            progress.doing = Some(kind);
        });
        Instant::now()
    }

    fn note(
        &mut self,
        kind: StepKind,
        started: Instant,
        report: Result<StepReport, StepError>,
    ) -> Result<(), ()> {
        let (result, detail, end) = match report {
            Ok(report) => (report.result, report.detail, Ok(())),
            Err(error) => {
                self.swap.fault = Some(error.fault);
                let why = if self.agent.client.is_stray() { STRAY } else { "" };
                (StepResult::Failed, format!("{}{why}", error.detail), Err(()))
            }
        };
        let elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
        self.swap.steps.push(Step { kind, result, detail, elapsed_ms });
        end
    }

    async fn before_touching(&mut self) -> Result<(), Outcome> {
        let started = self.begin(StepKind::Preflight);
        let mut assessment = Assessment::default();
        let (agent, view, request) = (self.agent, self.view, self.request);
        let checked = self.parts.preflight(agent, view, request, self.is_one_of_many, &mut assessment).await;
        self.swap.assessment = assessment;
        let report = checked.map(|(report, known)| {
            self.known = known;
            report
        });
        self.note(StepKind::Preflight, started, report).map_err(|()| Outcome::Refused)?;
        if let (true, Some(model)) = (self.request.probe, self.request.model.clone()) {
            let started = self.begin(StepKind::Probe);
            let report = self.probe(&model).await;
            self.note(StepKind::Probe, started, report).map_err(|()| Outcome::Refused)?;
        }
        let started = self.begin(StepKind::ReadBefore);
        let report = self.read_before().await;
        self.note(StepKind::ReadBefore, started, report).map_err(|()| Outcome::Failed)
    }

    async fn read_before(&mut self) -> Result<StepReport, StepError> {
        match self.control(&ControlMessage::GetConfig).await? {
            Reply::Config(config) => {
                let report = StepReport::done(format!("The context is on {}.", describe(&config)));
                if let Some(known) = &self.known {
                    let from = self.parts.facts_on(&self.view.calls, &config).await;
                    self.swap.assessment.estimate = Some(known.estimate(from.as_ref()));
                }
                self.swap.before = Some(config);
                if self.request.minutes.is_some() {
                    // If Patchbay ends before the swap does, this is what the context goes back to.
                    self.check_lock().await?;
                    self.parts.store.begin_swap(&self.swap).await?;
                }
                self.elsewhere = self.parts.look_elsewhere(self.agent, self.view.scope).await;
                Ok(report)
            }
            Reply::Chat | Reply::Unknown => Err(not_switchable()),
            _ => Ok(StepReport::warning(
                "The agent does not report its configuration, so it could not be put back.",
            )),
        }
    }

    async fn change(&mut self) -> Result<Outcome, ()> {
        let mut ack = Ack::Confirmed;
        self.is_attested = false;
        if let Some(model) = self.request.model.clone() {
            ack = self.send_control(StepKind::Model, &ControlMessage::Model(model)).await?;
        }
        if let Some(message) = prompt_message(&self.request.prompt) {
            let prompt = self.send_control(StepKind::Prompt, &message).await?;
            ack = if prompt == Ack::Confirmed { ack } else { prompt };
        }
        let started = self.begin(StepKind::ReadBack);
        let read = self.read_back(ack).await;
        let outcome = match &read {
            Ok((outcome, _)) => *outcome,
            Err(_) => Outcome::Failed,
        };
        self.note(StepKind::ReadBack, started, read.map(|(_, report)| report))?;
        self.find_scope().await;
        let Some(message) = self.request.message.clone() else { return Ok(outcome) };
        let started = self.begin(StepKind::Prove);
        let proof = self.prove(&message, started).await;
        let proven = matches!(proof, Ok((true, _)));
        if let Err(error) = &proof {
            self.swap.assessment.history_fault = HistoryFault::find(&error.detail);
        }
        self.note(StepKind::Prove, started, proof.map(|(_, report)| report))?;
        Ok(if proven { Outcome::Proven } else { outcome })
    }

    async fn send_control(&mut self, kind: StepKind, message: &ControlMessage) -> Result<Ack, ()> {
        let started = self.begin(kind);
        let result = self.control(message).await;
        // A refusal in the agent's own words leaves it as it was; anything else may have changed it.
        self.is_touched |= !match &result {
            Ok(reply) => matches!(reply, Reply::Refused(_)),
            Err(SendError::Agent(error)) => error.is_refusal(),
            Err(SendError::Fenced(_)) => true,
        };
        let ack = if matches!(result, Ok(Reply::Done)) { Ack::Confirmed } else { Ack::Unclear };
        let report = match result {
            Ok(Reply::Done) => Ok(StepReport::done("The agent confirmed.")),
            Ok(Reply::Refused(reason)) => {
                Err(StepError::request(format!("The agent refused: {}", redact::error_text(&reason))))
            }
            Ok(Reply::Chat) => Err(not_switchable()),
            Ok(_) => Ok(StepReport::warning("The agent's reply was ambiguous; the read-back decides.")),
            // It may have arrived all the same.
            Err(SendError::Agent(AgentError::Transport(error))) => {
                Ok(StepReport::warning(format!("{} The read-back decides.", sentence(&error))))
            }
            Err(error) => Err(error.into()),
        };
        self.note(kind, started, report)?;
        Ok(ack)
    }

    async fn read_back(&mut self, ack: Ack) -> Result<(Outcome, StepReport), StepError> {
        let unreadable = |error: StepError| match ack {
            Ack::Confirmed => {
                let detail = format!("The configuration could not be read back: {}", error.detail);
                Ok((Outcome::Accepted, StepReport::warning(detail)))
            }
            Ack::Unclear => Err(error),
        };
        let config = match self.control(&ControlMessage::GetConfig).await {
            Ok(Reply::Config(config)) => config,
            Ok(Reply::Chat) => return unreadable(not_switchable()),
            Ok(_) => return unreadable(StepError::upstream("The agent does not report its configuration.")),
            Err(error @ SendError::Fenced(_)) => return Err(error.into()),
            Err(error) => return unreadable(error.into()),
        };
        let is_as_asked = self.request.is_met_by(&config);
        let now = describe(&config);
        self.swap.after = Some(config);
        if is_as_asked && !self.is_attested {
            let detail = format!(
                "The context is on {now}, by the text of the reply alone: nothing shows that the agent wrote it, and not a \
                 model."
            );
            Ok((Outcome::Accepted, StepReport::warning(detail)))
        } else if is_as_asked {
            Ok((Outcome::Verified, StepReport::done(format!("The context is on {now}."))))
        } else {
            Err(StepError::upstream(format!("The context is on {now}, which is not what was asked for.")))
        }
    }

    /// A swap shows whether other contexts change along. If it shows nothing, no step fails.
    async fn find_scope(&mut self) {
        let (Some(elsewhere), Some(before), Some(after)) =
            (self.elsewhere.take(), self.swap.before.clone(), self.swap.after.clone())
        else {
            return;
        };
        let started = self.begin(StepKind::Scope);
        if let Some(found) = self.parts.look_again_elsewhere(self.agent, elsewhere, &before, &after).await {
            let _ = self.note(StepKind::Scope, started, Ok(StepReport::done(found.detail)));
        }
    }

    async fn roll_back(&mut self) -> Outcome {
        let fault = self.swap.fault;
        let started = self.begin(StepKind::RollBack);
        let report = self.put_back().await;
        let outcome = if report.is_ok() { Outcome::RolledBack } else { Outcome::Failed };
        let _ = self.note(StepKind::RollBack, started, report);
        // The fault that decides the page's status is the one that made the swap fail.
        self.swap.fault = fault;
        outcome
    }

    async fn put_back(&mut self) -> Result<StepReport, StepError> {
        let Some(before) = self.swap.before.clone() else {
            return Err(StepError::upstream(
                "The former configuration is not known, so nothing was put back.",
            ));
        };
        let mut messages = Vec::new();
        if self.request.model.is_some() {
            let spec = before.spec().ok_or_else(|| {
                StepError::upstream(format!(
                    "The former model {} cannot be named to the agent.",
                    before.spec_text()
                ))
            })?;
            messages.push(ControlMessage::Model(spec));
        }
        if self.request.prompt != PromptChange::Keep {
            messages.push(ControlMessage::Prompt(self.former_prompt(&before)?));
        }
        for message in messages {
            self.control(&message).await?;
        }
        let is_on =
            |config: &AgentConfig| before.spec().map_or(*config == before, |spec| config.is_on(&spec));
        match self.control(&ControlMessage::GetConfig).await? {
            Reply::Config(config) if config.prompt == before.prompt && is_on(&config) => {
                let report = StepReport::done(format!("The context is back on {}.", describe(&config)));
                self.swap.after = Some(config);
                Ok(report)
            }
            Reply::Config(config) => {
                let detail =
                    format!("The context is now on {}, not on what it was before.", describe(&config));
                self.swap.after = Some(config);
                Err(StepError::upstream(detail))
            }
            _ => Err(StepError::upstream(
                "The agent does not report its configuration, so its current model is not known.",
            )),
        }
    }

    fn former_prompt(&self, before: &AgentConfig) -> Result<Option<Prompt>, StepError> {
        let Some(text) = &before.prompt else { return Ok(None) };
        let cannot = || StepError::upstream("The former prompt cannot be sent to this agent.");
        let prompt: Prompt = text.parse().map_err(|_| cannot())?;
        let multiline = self.view.card.value.as_ref().is_some_and(|card| card.multiline_prompt);
        if prompt.is_multiline() && !multiline { Err(cannot()) } else { Ok(Some(prompt)) }
    }

    async fn control(&mut self, message: &ControlMessage) -> Result<Reply, SendError> {
        self.check_lock().await?;
        let (agent, context) = (self.agent, &self.request.context);
        let (reply, is_attested) = self.parts.attested_control(agent, context, message, None).await?;
        self.is_attested |= is_attested;
        Ok(reply)
    }

    async fn check_lock(&mut self) -> Result<(), SendError> {
        self.held.check().await.map_err(|error| {
            self.is_fenced = true;
            error.into()
        })
    }
}

pub(super) fn prompt_message(change: &PromptChange) -> Option<ControlMessage> {
    match change {
        PromptChange::Keep => None,
        PromptChange::Set(prompt) => Some(ControlMessage::Prompt(Some(prompt.clone()))),
        PromptChange::Clear => Some(ControlMessage::Prompt(None)),
    }
}

fn not_switchable() -> StepError {
    StepError::upstream(
        "The agent takes control messages for chat, so it cannot be switched. docs/switchable-agents.md shows how to make \
         it switchable.",
    )
}

fn describe(config: &AgentConfig) -> String {
    match &config.prompt {
        Some(prompt) => {
            format!("{} with a prompt of {} characters", config.spec_text(), prompt.chars().count())
        }
        None => config.spec_text(),
    }
}
