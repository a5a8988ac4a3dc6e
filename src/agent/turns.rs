//! What happens to a message: it is obeyed, or answered by the model of its context.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::chat::{ChatMessage, Proxy};
use super::contexts::{Context, ContextId, Contexts, History};
use super::control::{Command, ModelName, PROMPT_LIMIT, Settings, reply};
use super::rpc::Fault;
use super::tasks::{Call, Outcome, Question, State, Task, Tasks};
use super::wire::Send;
use crate::domain::clock::Clock;

/// Both running turns and those waiting for an earlier one of their context.
const TURN_LIMIT: usize = 64;
/// Control messages have their own room: a swap must get through when the models are slow.
const CONTROL_LIMIT: usize = 64;
const DEFAULT_PROMPT: &str = "You are a helpful assistant. Answer briefly.";

/// The agent itself, whatever the wire.
pub(super) struct Agent {
    proxy: Proxy,
    contexts: Contexts,
    tasks: Tasks,
    clock: Clock,
    turns: Arc<Semaphore>,
    controls: Arc<Semaphore>,
}

/// A message on its way, with all it needs to be carried out.
enum Work {
    Control(Command),
    Chat {
        text: String,
        /// Taken at once if the context is free, with the settings of that moment: a swap that comes
        /// later is for the next turn, even if this one has not been scheduled yet.
        start: Option<(OwnedMutexGuard<History>, Settings)>,
    },
}

impl Agent {
    pub(super) fn new(proxy: Proxy, default_model: ModelName, clock: Clock) -> Self {
        Self {
            proxy,
            contexts: Contexts::new(Settings { name: default_model, prompt: None }),
            tasks: Tasks::default(),
            clock,
            turns: Arc::new(Semaphore::new(TURN_LIMIT)),
            controls: Arc::new(Semaphore::new(CONTROL_LIMIT)),
        }
    }

    /// Takes a message; returns its task when it is done, or at once if the client does not want to wait.
    pub(super) async fn send(self: &Arc<Self>, send: Send) -> Result<Task, Fault> {
        self.refuse_task(send.task.as_deref())?;
        let command = send.texts.first().and_then(|text| Command::read(text));
        let permit = self.admit(command.is_some())?;
        let context_id = send.context.unwrap_or_else(ContextId::new);
        let context = self.contexts.open(&context_id);
        let work = match command {
            Some(command) => Work::Control(command),
            None => Work::Chat { text: send.texts.join("\n"), start: start(&context) },
        };
        let question = Question { message_id: send.message_id, texts: send.texts };
        let task = Task::new(context_id, question, self.clock.now());
        self.tasks.put(task.clone());
        let agent = Arc::clone(self);
        // On its own, so that it is finished even if the client hangs up.
        let running = tokio::spawn(agent.run(task.clone(), context, work, permit));
        if !send.blocking {
            return Ok(task);
        }
        // It ends early only with the whole runtime; then the task is as it was.
        Ok(running.await.unwrap_or(task))
    }

    pub(super) fn task(&self, id: &str) -> Result<Task, Fault> {
        self.tasks.get(id).ok_or(Fault::TaskNotFound)
    }

    /// Each message is a task of its own here: none takes a second message.
    fn refuse_task(&self, id: Option<&str>) -> Result<(), Fault> {
        let Some(id) = id else { return Ok(()) };
        self.task(id)?;
        Err(Fault::params(
            "message.taskId",
            "names a task that takes no further message; give a contextId alone",
        ))
    }

    fn admit(&self, control: bool) -> Result<OwnedSemaphorePermit, Fault> {
        let (room, busy) = if control {
            (&self.controls, "The agent is busy: too many control messages at once. Try again.")
        } else {
            (&self.turns, "The agent is busy: too many turns at once. Try again.")
        };
        Arc::clone(room).try_acquire_owned().map_err(|_| Fault::Busy(busy))
    }

    async fn run(
        self: Arc<Self>,
        mut task: Task,
        context: Arc<Context>,
        work: Work,
        _permit: OwnedSemaphorePermit,
    ) -> Task {
        let outcome = AssertUnwindSafe(async {
            match work {
                Work::Control(command) => self.obey(&context, command).await,
                Work::Chat { text, start } => self.chat(&mut task, &context, text, start).await,
            }
        });
        // Without this a task that meets a bug would be "working" for ever.
        let outcome = outcome.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("a message could not be carried out: the agent panicked");
            Outcome::Failure { text: "The agent failed. Its log says more.".to_owned(), call: None }
        });
        task.finish(outcome, self.clock.now());
        self.tasks.put(task.clone());
        task
    }

    async fn obey(&self, context: &Context, command: Command) -> Outcome {
        let _in_order = context.control.lock().await;
        let text = match command {
            Command::Model(spec) if spec.is_empty() => reply::MISSING_MODEL.to_owned(),
            Command::Model(spec) => self.swap(context, &spec).await,
            Command::Prompt(prompt) => set_prompt(context, prompt.trim()),
            Command::GetConfig => {
                let settings = context.settings();
                return Outcome::Control { text: settings.describe(), settings };
            }
            Command::Unknown(what) => reply::unknown(&what),
        };
        Outcome::Control { text, settings: context.settings() }
    }

    async fn swap(&self, context: &Context, spec: &str) -> String {
        let default_provider = self.contexts.defaults().name.provider.as_deref();
        let name = match ModelName::parse(spec, default_provider) {
            Ok(name) => name,
            Err(reason) => return reply::invalid(reason),
        };
        let alias = name.alias();
        if self.proxy.offers(&alias).await == Some(false) {
            return reply::unavailable(&alias);
        }
        context.change(|settings| settings.name = name);
        reply::switched(&alias)
    }

    async fn chat(
        &self,
        task: &mut Task,
        context: &Context,
        text: String,
        start: Option<(OwnedMutexGuard<History>, Settings)>,
    ) -> Outcome {
        let (mut history, settings) = if let Some(start) = start {
            start
        } else {
            let history = Arc::clone(&context.history).lock_owned().await;
            (history, context.settings())
        };
        task.state = State::Working;
        task.since = self.clock.now();
        self.tasks.put(task.clone());
        let mut call = Call { model: settings.name.alias(), served: None, elapsed_ms: 0 };
        let begun = Instant::now();
        let answer = self.proxy.complete(&call.model, &messages(&settings, &history, &text)).await;
        call.elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match answer {
            Ok(answer) => {
                let said: Arc<str> = answer.text.into();
                history.add(text, Arc::clone(&said));
                call.served = answer.served;
                Outcome::Answer { text: said, settings, usage: answer.usage, call }
            }
            Err(error) => Outcome::Failure { text: error.to_string(), call: Some(call) },
        }
    }
}

fn start(context: &Context) -> Option<(OwnedMutexGuard<History>, Settings)> {
    let history = Arc::clone(&context.history).try_lock_owned().ok()?;
    Some((history, context.settings()))
}

fn set_prompt(context: &Context, prompt: &str) -> String {
    if prompt.len() > PROMPT_LIMIT {
        return reply::prompt_too_long();
    }
    let prompt = (!prompt.is_empty()).then_some(prompt);
    context.change(|settings| settings.prompt = prompt.map(Into::into));
    prompt.map_or(reply::PROMPT_CLEARED, |_| reply::PROMPT_SET).to_owned()
}

fn messages<'a>(settings: &'a Settings, history: &'a History, text: &'a str) -> Vec<ChatMessage<'a>> {
    let message = |role, content| ChatMessage { role, content };
    let prompt = settings.prompt.as_deref().unwrap_or(DEFAULT_PROMPT);
    let mut messages = vec![message("system", prompt)];
    for (question, answer) in history.exchanges() {
        messages.extend([message("user", question), message("assistant", answer)]);
    }
    messages.push(message("user", text));
    messages
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn send(context: &ContextId, text: &str) -> Send {
        Send {
            message_id: "m".to_owned(),
            context: Some(context.clone()),
            task: None,
            texts: vec![text.to_owned()],
            blocking: false,
            history_length: None,
        }
    }

    /// On one thread nothing that is spawned has run when `send` returns.
    #[tokio::test(flavor = "current_thread")]
    async fn a_turn_that_has_not_begun_yet_keeps_the_settings_it_was_sent_under() {
        let name = |spec| ModelName::parse(spec, None).unwrap();
        let proxy = Proxy::new("http://127.0.0.1:9", None, Duration::from_secs(5)).unwrap();
        let agent = Arc::new(Agent::new(proxy, name("a/first"), Clock::system()));
        let id = ContextId::new();
        let sent = [agent.send(send(&id, "one")).await.unwrap(), agent.send(send(&id, "two")).await.unwrap()];
        agent.contexts.open(&id).change(|settings| settings.name = name("a/second"));
        for (task, expected) in sent.iter().zip(["a/first", "a/second"]) {
            let reply = loop {
                match agent.task(&task.id).unwrap().state {
                    State::Done(reply) => break reply,
                    _ => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            };
            let Outcome::Failure { call: Some(call), .. } = &reply.outcome else { panic!("it answered") };
            assert_eq!(call.model, expected, "the first turn had its context, the second waited for it");
        }
    }
}
