//! A swap by control messages to the agent.

use std::time::Instant;

use patchbay::clients::a2a::{Agent, AgentError};
use patchbay::domain::context::ContextId;
use patchbay::domain::control::{AgentConfig, Answer, ControlMessage, Prompt, Reply};
use patchbay::domain::model::ModelSpec;
use patchbay::domain::swap::PromptChange;
use serde_json::{Value, json};

use super::report::Report;
use super::{Plan, SwapArgs};
use crate::cli::args::{STRAY, TargetArgs};
use crate::cli::{Exit, Failure, undo};

struct Conversation<'a> {
    agent: Agent,
    target: &'a TargetArgs,
    address: String,
    context: &'a ContextId,
    report: Report,
}

pub(super) async fn run(args: &SwapArgs, plan: &Plan) -> Result<Exit, Failure> {
    let agent = args.target.agent()?;
    let address = agent.address();
    let mut conversation = Conversation {
        target: &args.target,
        report: Report::new(args.json, &plan.context, ("agent", address.clone())),
        address,
        agent,
        context: &plan.context,
    };
    let result = conversation.carry_out(plan).await;
    Ok(conversation.report.end(result))
}

impl Conversation<'_> {
    async fn carry_out(&mut self, plan: &Plan) -> Result<Exit, Failure> {
        let before = if plan.swaps() { self.read().await.ok() } else { None };
        let (model, prompt) = if plan.undo {
            self.changes_to_undo(before.as_ref())?
        } else {
            (plan.model.clone(), plan.prompt.clone())
        };
        if let PromptChange::Set(prompt) = &prompt {
            self.refuse_lines(prompt).await?;
        }
        let prompt_message = match &prompt {
            PromptChange::Keep => None,
            PromptChange::Clear => Some(ControlMessage::Prompt(None)),
            PromptChange::Set(prompt) => Some(ControlMessage::Prompt(Some(prompt.clone()))),
        };
        let messages = [("model", model.clone().map(ControlMessage::Model)), ("prompt", prompt_message)];
        for (name, message) in messages {
            let Some(message) = message else { continue };
            self.control(name, message).await?;
            self.remember(before.as_ref());
        }
        if plan.config {
            self.show_config().await?;
        }
        if plan.verify {
            self.verify(model.as_ref(), &prompt).await?;
        }
        if let Some(message) = &plan.message {
            self.ask(message).await?;
        }
        Ok(Exit::Done)
    }

    async fn send(&self, text: &str) -> Result<Answer, AgentError> {
        let answer = self.agent.send(self.context, text, self.target.timeout).await;
        if let Ok(Answer { context: Some(_), .. }) = &answer {
            eprintln!("patchbay: {STRAY}");
        }
        answer
    }

    /// Reports a failed task's text as the response, as the guide's helper does.
    async fn send_reported(&mut self, name: &str, text: &str) -> Result<Answer, Failure> {
        match self.send(text).await {
            Err(AgentError::Task { state, message }) => {
                self.report.response(name, &message, json!({ "state": state }));
                Err(Failure::failed(format!("the agent's task ended as {state}")))
            }
            answer => answer.map_err(|error| self.target.failed(&error)),
        }
    }

    async fn read(&self) -> Result<AgentConfig, Failure> {
        self.read_attested().await.map(|(config, _)| config)
    }

    /// True beside the configuration if the agent wrote it, and no model, by its metadata.
    async fn read_attested(&self) -> Result<(AgentConfig, bool), Failure> {
        let answer = self.send(&ControlMessage::GetConfig.to_text()).await;
        let answer = answer.map_err(|error| self.target.failed(&error))?;
        match ControlMessage::GetConfig.read_reply(&answer) {
            Reply::Config(config) => Ok((config, answer.is_attested)),
            _ => Err(Failure::failed("the agent does not report its configuration")),
        }
    }

    async fn control(&mut self, name: &str, message: ControlMessage) -> Result<(), Failure> {
        let answer = self.send_reported(name, &message.to_text()).await?;
        let reply = message.read_reply(&answer);
        self.report.response(name, &answer.text, json!({ "done": reply == Reply::Done }));
        let refused = |text: &str| Err(Failure::new(Exit::Refused, text));
        match reply {
            Reply::Done => Ok(()),
            Reply::Refused(_) => refused("the agent refused"),
            Reply::Chat => refused("the agent took the control message for chat: a model has answered it"),
            Reply::Config(_) | Reply::Unknown => refused("this is not the reply of an agent that obeyed"),
        }
    }

    async fn show_config(&mut self) -> Result<(), Failure> {
        let answer = self.send_reported("config", &ControlMessage::GetConfig.to_text()).await?;
        let config = match ControlMessage::GetConfig.read_reply(&answer) {
            Reply::Config(config) => Some(json!(config)),
            _ => None,
        };
        let is_config = config.is_some();
        self.report.response("config", &answer.text, config.unwrap_or(Value::Null));
        if is_config {
            return Ok(());
        }
        Err(Failure::new(Exit::Refused, "this is not the configuration of an agent"))
    }

    async fn verify(&mut self, model: Option<&ModelSpec>, prompt: &PromptChange) -> Result<(), Failure> {
        let (config, is_attested) = self.read_attested().await?;
        let is_model = model.is_none_or(|model| config.is_on(model));
        let found = config.prompt.as_deref().map(str::trim);
        let is_prompt = match prompt {
            PromptChange::Keep => true,
            PromptChange::Clear => found.is_none(),
            PromptChange::Set(prompt) => found == Some(prompt.as_str()),
        };
        self.report.fact("verified", (is_model && is_prompt && is_attested).into());
        self.report.line("on", "Read back", config.spec_text().into());
        if is_model && is_prompt && !is_attested {
            let why = "not verified: nothing shows that the agent wrote the configuration, and not a model";
            return Err(Failure::new(Exit::NotVerified, why));
        }
        if is_model && is_prompt {
            return Ok(());
        }
        let what = if is_model { "another prompt" } else { "another model" };
        Err(Failure::new(Exit::NotVerified, format!("not verified: the context is on {what}")))
    }

    async fn ask(&mut self, message: &str) -> Result<(), Failure> {
        let begun = Instant::now();
        let answer = self.send_reported("message", message).await?;
        let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let facts = json!({ "served": answer.served, "tokens": answer.tokens, "elapsed_ms": elapsed });
        self.report.response("message", &answer.text, facts);
        Ok(())
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

    fn changes_to_undo(
        &self,
        now: Option<&AgentConfig>,
    ) -> Result<(Option<ModelSpec>, PromptChange), Failure> {
        let before = undo::recall(&self.address, self.context)
            .ok_or_else(|| Failure::failed("no swap of this context is known here"))?
            .config;
        let model = match before.spec() {
            _ if now.is_some_and(|now| now.spec_text() == before.spec_text()) => None,
            Some(spec) => Some(spec),
            None => return Err(Failure::failed("the model before the swap has no provider's name")),
        };
        let prompt = match &before.prompt {
            prompt if now.is_some_and(|now| now.prompt == *prompt) => PromptChange::Keep,
            Some(text) => PromptChange::Set(text.parse()?),
            None => PromptChange::Clear,
        };
        Ok((model, prompt))
    }

    fn remember(&mut self, before: Option<&AgentConfig>) {
        let Some(before) = before else { return };
        self.report.fact("before", json!(before));
        if let Err(error) = undo::remember(&self.address, self.context, before) {
            eprintln!("patchbay: this swap cannot be undone by --undo: {error}");
        }
    }
}
