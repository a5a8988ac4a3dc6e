//! Processes messages: control messages change settings, others are answered by the context's model.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::chat::{Answer, ChatError, ChatMessage, Proxy};
use super::contexts::{Context, ContextId, Contexts, History};
use super::control::{Command, ModelName, PROMPT_LIMIT, Settings, reply};
use super::list;
use super::rpc::{Dialect, Fault};
use super::store::{Added, Store, StoreError};
use super::tasks::{Call, Outcome, Progress, Question, Running, State, Task, Tasks, ended};
use super::wire::Send;
use patchbay_clock::Clock;

/// Most running and waiting turns.
const TURN_LIMIT: usize = 64;
/// Control messages have their own limit, so that swaps get through when models are slow.
const CONTROL_LIMIT: usize = 64;
const DEFAULT_PROMPT: &str = "You are a helpful assistant. Answer briefly.";
const INTERRUPTED: &str =
    "The agent was stopped while it worked on this message, so there is no answer. Send it again.";

pub(super) struct Agent {
    proxy: Proxy,
    contexts: Contexts,
    tasks: Tasks,
    store: Store,
    clock: Clock,
    turns: Arc<Semaphore>,
    controls: Arc<Semaphore>,
}

enum Work {
    Control(Command),
    Chat {
        text: String,
        /// Taken at once if the context is idle, with its current settings: a later swap affects the next turn, even if
        /// this one was not scheduled yet.
        start: Option<(OwnedMutexGuard<History>, Settings)>,
        is_streamed: bool,
    },
}

/// An answered turn, to be added to the context's history.
struct Turn {
    history: OwnedMutexGuard<History>,
    question: String,
    answer: Arc<str>,
}

impl Agent {
    pub(super) fn new(proxy: Proxy, default_model: ModelName, clock: Clock) -> Self {
        Self {
            proxy,
            contexts: Contexts::new(Settings { name: default_model, prompt: None }),
            tasks: Tasks::default(),
            store: Store::default(),
            clock,
            turns: Arc::new(Semaphore::new(TURN_LIMIT)),
            controls: Arc::new(Semaphore::new(CONTROL_LIMIT)),
        }
    }

    /// Loads `store` and writes to it from now on. Tasks that were running when the agent stopped are marked as failed.
    pub(super) async fn restore(&mut self, store: Store) -> Result<(), StoreError> {
        let found = store.load().await?;
        let forgotten = self.contexts.restore(found.contexts);
        let mut gone = Vec::new();
        for mut task in found.tasks {
            if !task.is_done() {
                let text = INTERRUPTED.to_owned();
                task.finish(Outcome::Failure { text, call: None }, self.clock.now());
                store.end(&task, None).await?;
            }
            gone.extend(self.tasks.put(task));
        }
        store.forget(&forgotten, &gone).await?;
        self.store = store;
        Ok(())
    }

    /// Processes a message and returns its task at its end, or at once if the client does not wait.
    pub(super) async fn send(self: &Arc<Self>, send: Send, dialect: Dialect) -> Result<Task, Fault> {
        let is_blocking = send.blocking;
        let (task, mut progress) = self.begin(send, dialect, false).await?;
        Ok(if is_blocking { ended(&mut progress).await } else { task })
    }

    /// Processes a message and returns its task at the start with a receiver of updates.
    pub(super) async fn begin(
        self: &Arc<Self>,
        send: Send,
        dialect: Dialect,
        is_streamed: bool,
    ) -> Result<(Task, watch::Receiver<Progress>), Fault> {
        self.refuse_task(&send, dialect)?;
        let command = send.texts.first().and_then(|text| Command::read(text));
        let permit = self.admit(command.is_some())?;
        let context_id = send.context.unwrap_or_else(ContextId::new);
        let (context, gone) = self.contexts.open(&context_id);
        let work = match command {
            Some(command) => Work::Control(command),
            None => Work::Chat { text: send.texts.join("\n"), start: start(&context), is_streamed },
        };
        let question = Question { message_id: send.message_id, texts: send.texts };
        let task = Task::new(context_id, question, self.clock.now());
        let (running, old) = self.tasks.start(&task);
        let progress = running.progress.subscribe();
        let (kept, is_kept) = oneshot::channel();
        let agent = Arc::clone(self);
        let begun = task.clone();
        // Spawned, so that it is finished even if the client disconnects.
        tokio::spawn(async move {
            let store = agent.store.begin(&begun, &gone, &old).await;
            let is_stored = store.is_ok();
            let _ = kept.send(store);
            if is_stored {
                agent.run(begun, context, work, running, permit).await;
            } else {
                let text = "The agent's database failed.".to_owned();
                agent.finish(begun, Outcome::Failure { text, call: None }, None, &running).await;
            }
        });
        // On disk first, so that an accepted message is not lost.
        match is_kept.await {
            Ok(Ok(())) => Ok((task, progress)),
            Ok(Err(error)) => {
                tracing::error!(%error, "a message was refused");
                Err(Fault::Internal("The agent's database failed."))
            }
            Err(_) => Err(Fault::Internal("The agent is being stopped.")),
        }
    }

    pub(super) fn task(&self, id: &str) -> Result<Task, Fault> {
        self.tasks.get(id).ok_or(Fault::TaskNotFound)
    }

    pub(super) async fn cancel(&self, id: &str) -> Result<Task, Fault> {
        self.tasks.cancel(id).await
    }

    pub(super) fn list(&self, wanted: &list::Wanted) -> list::Listed {
        list::page(self.tasks.pick(|task| wanted.fits(task)), wanted)
    }

    /// A receiver of a running task's updates.
    pub(super) fn watch(&self, id: &str) -> Result<watch::Receiver<Progress>, Fault> {
        self.tasks.watch(id).ok_or_else(|| match self.tasks.get(id) {
            Some(_) => Fault::TaskEnded,
            None => Fault::TaskNotFound,
        })
    }

    /// Each message is a task of its own, so a task never takes a second one.
    fn refuse_task(&self, send: &Send, dialect: Dialect) -> Result<(), Fault> {
        let Some(id) = &send.task else { return Ok(()) };
        let task = self.task(id)?;
        if dialect == Dialect::V10 && send.context.as_ref().is_none_or(|context| *context == task.context) {
            return Err(Fault::Unsupported("A task takes no further message; give a contextId alone"));
        }
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
        &self,
        mut task: Task,
        context: Arc<Context>,
        work: Work,
        running: Running,
        _permit: OwnedSemaphorePermit,
    ) {
        let outcome = AssertUnwindSafe(async {
            match work {
                Work::Control(command) => (self.obey(&context, command).await, None),
                Work::Chat { text, start, is_streamed } => {
                    let chat = self.chat(&mut task, &context, text, start, is_streamed, &running);
                    tokio::select! {
                        // Dropping the call closes its connection, so the proxy stops as well.
                        biased;
                        () = running.cancel.cancelled() => (Outcome::Canceled, None),
                        done = chat => done,
                    }
                }
            }
        });
        // Otherwise a panicked task would stay "working" forever.
        let (outcome, turn) = outcome.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("a message could not be carried out: the agent panicked");
            (Outcome::Failure { text: "The agent failed. Its log says more.".to_owned(), call: None }, None)
        });
        self.finish(task, outcome, turn.map(|turn| (&*context, turn)), &running).await;
    }

    /// Stores a task's end before it is published.
    async fn finish(
        &self,
        mut task: Task,
        outcome: Outcome,
        turn: Option<(&Context, Turn)>,
        running: &Running,
    ) {
        task.finish(outcome, self.clock.now());
        let added = turn.as_ref().map(|(context, turn)| Added {
            context,
            question: &turn.question,
            answer: &turn.answer,
        });
        let mut kept = self.store.end(&task, added).await;
        if let Some((context, mut turn)) = turn {
            let dropped = turn.history.add(turn.question, turn.answer);
            kept = kept.and(self.store.drop_oldest(&context.id, dropped).await);
        }
        let gone = self.tasks.put(task.clone());
        kept = kept.and(if gone.is_empty() { Ok(()) } else { self.store.forget(&[], &gone).await });
        if let Err(error) = kept {
            tracing::error!(%error, task = %task.id, "an answer is not kept over a restart");
        }
        running.progress.send_modify(|progress| progress.task = task);
    }

    async fn obey(&self, context: &Context, command: Command) -> Outcome {
        let _in_order = context.control.lock().await;
        let text = match command {
            Command::Model(spec) if spec.is_empty() => reply::MISSING_MODEL.to_owned(),
            Command::Model(spec) => self.swap(context, &spec).await,
            Command::Prompt(prompt) => self.set_prompt(context, prompt.trim()).await,
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
        let done = reply::switched(&alias);
        let told = self.change(context, Settings { name, ..context.settings() }, done).await;
        tracing::info!(context = %context.id, model = alias, told, "context switched");
        told
    }

    async fn set_prompt(&self, context: &Context, prompt: &str) -> String {
        if prompt.len() > PROMPT_LIMIT {
            return reply::prompt_too_long();
        }
        let prompt = (!prompt.is_empty()).then(|| Arc::from(prompt));
        let done = prompt.as_ref().map_or(reply::PROMPT_CLEARED, |_| reply::PROMPT_SET);
        self.change(context, Settings { prompt, ..context.settings() }, done.to_owned()).await
    }

    /// Stores new settings, then uses them. The caller holds `control`.
    async fn change(&self, context: &Context, new: Settings, done: String) -> String {
        if let Err(error) = self.store.save_settings(context, &new).await {
            tracing::error!(%error, "a swap was refused");
            return reply::NOT_KEPT.to_owned();
        }
        context.set(new);
        done
    }

    async fn chat(
        &self,
        task: &mut Task,
        context: &Context,
        text: String,
        start: Option<(OwnedMutexGuard<History>, Settings)>,
        is_streamed: bool,
        running: &Running,
    ) -> (Outcome, Option<Turn>) {
        let (history, settings) = if let Some(start) = start {
            start
        } else {
            let history = Arc::clone(&context.history).lock_owned().await;
            (history, context.settings())
        };
        task.state = State::Working;
        task.since = self.clock.now();
        self.tasks.put(task.clone());
        running.progress.send_modify(|progress| progress.start(task.clone()));
        let mut call = Call { model: settings.name.alias(), served: None, elapsed_ms: 0, route: None };
        let begun = Instant::now();
        let answer = self
            .ask(
                task.context.as_str(),
                &call.model,
                &messages(&settings, &history, &text),
                is_streamed.then_some(running),
            )
            .await;
        call.elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match answer {
            Ok(answer) => {
                let said: Arc<str> = answer.text.into();
                (call.served, call.route) = (answer.served, answer.route);
                let turn = Turn { history, question: text, answer: Arc::clone(&said) };
                (Outcome::Answer { text: said, settings, usage: answer.usage, call }, Some(turn))
            }
            Err(error) => (Outcome::Failure { text: error.to_string(), call: Some(call) }, None),
        }
    }

    async fn ask(
        &self,
        context: &str,
        model: &str,
        messages: &[ChatMessage<'_>],
        streamed: Option<&Running>,
    ) -> Result<Answer, ChatError> {
        let Some(running) = streamed else { return self.proxy.complete(context, model, messages).await };
        let said = |piece: &str| {
            if !piece.is_empty() {
                running.progress.send_modify(|progress| progress.say(piece));
            }
        };
        self.proxy.stream(context, model, messages, said).await
    }
}

fn start(context: &Context) -> Option<(OwnedMutexGuard<History>, Settings)> {
    let history = Arc::clone(&context.history).try_lock_owned().ok()?;
    Some((history, context.settings()))
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
mod tests;
