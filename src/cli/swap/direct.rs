//! A swap by control messages to the agent.

use std::time::{Duration, Instant};

use patchbay::clients::a2a::{Agent, AgentError};
use patchbay::domain::context::ContextId;
use patchbay::domain::control::{AgentConfig, Answer, ControlMessage, Prompt, Reply};
use patchbay::domain::model::ModelSpec;
use patchbay::domain::swap::PromptChange;
use serde_json::{Value, json};

use super::report::Report;
use super::{Plan, SwapArgs};
use crate::cli::{Exit, Failure, undo};

struct Conversation<'a> {
    agent: Agent,
    address: &'a str,
    context: &'a ContextId,
    timeout: Duration,
}

struct Wanted {
    model: Option<ModelSpec>,
    prompt: PromptChange,
}

pub(super) async fn run(args: &SwapArgs, plan: &Plan) -> Result<Exit, Failure> {
    let conversation = Conversation {
        agent: args.target.agent()?,
        address: args.target.address(),
        context: &plan.context,
        timeout: args.target.timeout,
    };
    let mut report = Report::new(args.json, &plan.context);
    let ended = carry_out(&conversation, plan, &mut report).await;
    Ok(report.end(ended))
}

async fn carry_out(
    conversation: &Conversation<'_>,
    plan: &Plan,
    report: &mut Report,
) -> Result<Exit, Failure> {
    let swaps = plan.model.is_some() || plan.prompt != PromptChange::Keep || plan.undo;
    let before = if swaps { conversation.read().await.ok() } else { None };
    let wanted = if plan.undo {
        conversation.undoing(before.as_ref())?
    } else {
        Wanted { model: plan.model.clone(), prompt: plan.prompt.clone() }
    };
    if let PromptChange::Set(prompt) = &wanted.prompt {
        conversation.refuse_lines(prompt).await?;
    }
    if let Some(model) = &wanted.model {
        conversation.control("model", ControlMessage::Model(model.clone()), report).await?;
        conversation.remember(before.as_ref(), report);
    }
    if let Some(prompt) = wanted.prompt_message() {
        conversation.control("prompt", prompt, report).await?;
        conversation.remember(before.as_ref(), report);
    }
    if plan.config {
        conversation.show_config(report).await?;
    }
    if plan.verify {
        conversation.verify(&wanted, report).await?;
    }
    match &plan.message {
        Some(message) => conversation.ask(message, report).await,
        None => Ok(Exit::Done),
    }
}

impl Wanted {
    fn prompt_message(&self) -> Option<ControlMessage> {
        match &self.prompt {
            PromptChange::Keep => None,
            PromptChange::Clear => Some(ControlMessage::Prompt(None)),
            PromptChange::Set(prompt) => Some(ControlMessage::Prompt(Some(prompt.clone()))),
        }
    }
}

impl Conversation<'_> {
    async fn send(&self, text: &str) -> Result<Answer, AgentError> {
        self.agent.send(self.context, text, self.timeout).await
    }

    async fn read(&self) -> Result<AgentConfig, Failure> {
        let answer = self.send(&ControlMessage::GetConfig.to_text()).await?;
        match ControlMessage::GetConfig.read_reply(&answer) {
            Reply::Config(config) => Ok(config),
            _ => Err(Failure::failed("the agent does not tell its configuration")),
        }
    }

    async fn control(&self, name: &str, message: ControlMessage, report: &mut Report) -> Result<(), Failure> {
        let answer =
            self.send(&message.to_text()).await.map_err(|error| report_failure(name, error, report))?;
        let reply = message.read_reply(&answer);
        report.response(name, &answer.text, json!({ "done": reply == Reply::Done }));
        let refused = |text: &str| Err(Failure::new(Exit::Refused, text));
        match reply {
            Reply::Done => Ok(()),
            Reply::Refused(_) => refused("the agent refused"),
            Reply::Chat => refused("the agent took the control message for chat: a model has answered it"),
            Reply::Config(_) | Reply::Unknown => refused("this is not the reply of an agent that obeyed"),
        }
    }

    async fn show_config(&self, report: &mut Report) -> Result<(), Failure> {
        let answer = self
            .send(&ControlMessage::GetConfig.to_text())
            .await
            .map_err(|error| report_failure("config", error, report))?;
        let Reply::Config(config) = ControlMessage::GetConfig.read_reply(&answer) else {
            report.config(&answer.text, Value::Null);
            return Err(Failure::new(Exit::Refused, "this is not the configuration of an agent"));
        };
        report.config(&answer.text, json!(config));
        Ok(())
    }

    async fn verify(&self, wanted: &Wanted, report: &mut Report) -> Result<(), Failure> {
        let config = self.read().await?;
        let is_model = wanted.model.as_ref().is_none_or(|spec| config.is_on(spec));
        let prompt = config.prompt.as_deref().map(str::trim);
        let is_prompt = match &wanted.prompt {
            PromptChange::Keep => true,
            PromptChange::Clear => prompt.is_none(),
            PromptChange::Set(wanted) => prompt == Some(wanted.as_str()),
        };
        report.fact("verified", (is_model && is_prompt).into());
        report.line("on", "Read back", config.spec_text().into());
        if is_model && is_prompt {
            return Ok(());
        }
        let what = if is_model { "another prompt" } else { "another model" };
        Err(Failure::new(Exit::NotVerified, format!("not verified: the context is on {what}")))
    }

    async fn ask(&self, message: &str, report: &mut Report) -> Result<Exit, Failure> {
        let begun = Instant::now();
        let answer = self.send(message).await.map_err(|error| report_failure("message", error, report))?;
        let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let facts = json!({ "served": answer.served, "tokens": answer.tokens, "elapsed_ms": elapsed });
        report.response("message", &answer.text, facts);
        Ok(Exit::Done)
    }

    /// Most agents treat a control message with a line break as chat.
    async fn refuse_lines(&self, prompt: &Prompt) -> Result<(), Failure> {
        if !prompt.is_multiline() || self.agent.card().await.is_ok_and(|card| card.multiline_prompt) {
            return Ok(());
        }
        let text = "the prompt has line breaks, and this agent does not announce that it takes them: it would \
                    take the control message for chat. Nothing was sent";
        Err(Failure::new(Exit::Refused, text))
    }

    fn undoing(&self, now: Option<&AgentConfig>) -> Result<Wanted, Failure> {
        let before = undo::recall(self.address, self.context)
            .ok_or_else(|| Failure::failed("no swap of this context is known here"))?
            .config;
        let is_there = now.is_some_and(|now| now.spec_text() == before.spec_text());
        let model = match before.spec() {
            _ if is_there => None,
            Some(spec) => Some(spec),
            None => return Err(Failure::failed("the model before the swap has no provider's name")),
        };
        let prompt = match &before.prompt {
            prompt if now.is_some_and(|now| now.prompt == *prompt) => PromptChange::Keep,
            Some(text) => PromptChange::Set(text.parse()?),
            None => PromptChange::Clear,
        };
        Ok(Wanted { model, prompt })
    }

    fn remember(&self, before: Option<&AgentConfig>, report: &mut Report) {
        let Some(before) = before else { return };
        report.fact("before", json!(before));
        if let Err(error) = undo::remember(self.address, self.context, before) {
            eprintln!("patchbay: this swap cannot be undone by --undo: {error}");
        }
    }
}

/// Shows a failed task's text as the response, as the guide's helper does.
fn report_failure(name: &str, error: AgentError, report: &mut Report) -> Failure {
    if let AgentError::Task { state, message } = &error {
        if name == "config" {
            report.config(message, json!({ "state": state }));
        } else {
            report.response(name, message, json!({ "state": state }));
        }
        return Failure::failed(format!("the agent's task ended as {state}"));
    }
    Failure::failed(error)
}
