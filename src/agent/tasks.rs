//! The tasks: one for each message, kept in memory to be asked for again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use uuid::Uuid;

use super::contexts::{ContextId, unpoisoned};
use super::control::Settings;

const TASK_LIMIT: usize = 1_000;
const TASK_BYTES: usize = 64 * 1024 * 1024;

/// A message and what became of it.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) id: Arc<str>,
    pub(super) context: ContextId,
    /// The message as it came.
    pub(super) question: Arc<Question>,
    pub(super) state: State,
    /// When the state was reached.
    pub(super) since: Timestamp,
}

/// What the client said.
pub(super) struct Question {
    pub(super) message_id: String,
    pub(super) texts: Vec<String>,
}

#[derive(Clone)]
pub(super) enum State {
    Submitted,
    Working,
    Done(Arc<Reply>),
}

/// What the agent said, under the ids it keeps however often the task is asked for.
pub(super) struct Reply {
    pub(super) message_id: Uuid,
    pub(super) artifact_id: Uuid,
    pub(super) outcome: Outcome,
}

/// How a message ended.
pub(super) enum Outcome {
    /// A control message was answered.
    Control { text: String, settings: Settings },
    /// The model answered.
    Answer { text: Arc<str>, settings: Settings, usage: Usage, call: Call },
    /// The model did not answer.
    Failure { text: String, call: Option<Call> },
}

/// Tokens, as far as the proxy counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) prompt: Option<u64>,
    pub(super) answer: Option<u64>,
    pub(super) total: Option<u64>,
}

/// A call to the proxy.
pub(super) struct Call {
    /// The alias that was asked for.
    pub(super) model: String,
    /// The model that the proxy says it used.
    pub(super) served: Option<String>,
    pub(super) elapsed_ms: u64,
}

impl Task {
    pub(super) fn new(context: ContextId, question: Question, now: Timestamp) -> Self {
        let id = Uuid::new_v4().to_string().into();
        Self { id, context, question: Arc::new(question), state: State::Submitted, since: now }
    }

    pub(super) fn finish(&mut self, outcome: Outcome, now: Timestamp) {
        let reply = Reply { message_id: Uuid::new_v4(), artifact_id: Uuid::new_v4(), outcome };
        self.state = State::Done(Arc::new(reply));
        self.since = now;
    }

    fn bytes(&self) -> usize {
        let asked =
            self.question.message_id.len() + self.question.texts.iter().map(String::len).sum::<usize>();
        let State::Done(reply) = &self.state else { return asked };
        let prompt = |settings: &Settings| settings.prompt.as_ref().map_or(0, |prompt| prompt.len());
        asked
            + match &reply.outcome {
                Outcome::Control { text, settings } => text.len() + prompt(settings),
                Outcome::Answer { text, settings, .. } => text.len() + prompt(settings),
                Outcome::Failure { text, .. } => text.len(),
            }
    }
}

/// The last tasks. Those still running are never dropped; how many run is bounded elsewhere.
#[derive(Default)]
pub(super) struct Tasks(Mutex<Table>);

#[derive(Default)]
struct Table {
    tasks: HashMap<Arc<str>, Task>,
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

impl Tasks {
    pub(super) fn get(&self, id: &str) -> Option<Task> {
        unpoisoned(&self.0).tasks.get(id).cloned()
    }

    /// Keeps the task, in place of what was kept under its id.
    pub(super) fn put(&self, task: Task) {
        let mut table = unpoisoned(&self.0);
        let id = Arc::clone(&task.id);
        table.bytes += task.bytes();
        match table.tasks.insert(Arc::clone(&id), task) {
            Some(before) => table.bytes -= before.bytes(),
            None => table.order.push_back(id),
        }
        table.trim();
    }
}

impl Table {
    fn trim(&mut self) {
        while self.tasks.len() > TASK_LIMIT || self.bytes > TASK_BYTES {
            let done =
                |id: &Arc<str>| self.tasks.get(id).is_none_or(|task| matches!(task.state, State::Done(_)));
            let Some(oldest) = self.order.iter().position(done) else { break };
            let dropped = self.order.remove(oldest).and_then(|id| self.tasks.remove(&id));
            self.bytes -= dropped.map_or(0, |task| task.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: String) -> Task {
        let question = Question { message_id: "m".into(), texts: vec![text] };
        Task::new(ContextId::new(), question, Timestamp::UNIX_EPOCH)
    }

    fn done(text: String) -> Task {
        let mut task = task(text);
        task.finish(Outcome::Failure { text: "no".into(), call: None }, Timestamp::UNIX_EPOCH);
        task
    }

    #[test]
    fn the_oldest_that_is_done_goes_first() {
        let tasks = Tasks::default();
        let (running, first, second) = (task("r".into()), done("a".into()), done("b".into()));
        for task in [&running, &first, &second] {
            tasks.put(task.clone());
        }
        (0..TASK_LIMIT - 2).for_each(|_| tasks.put(done("x".into())));
        assert!(tasks.get(&running.id).is_some());
        assert!(tasks.get(&first.id).is_none());
        assert!(tasks.get(&second.id).is_some());
    }

    #[test]
    fn they_are_bounded_in_size() {
        let tasks = Tasks::default();
        (0..100).for_each(|_| tasks.put(done("x".repeat(1024 * 1024))));
        let table = unpoisoned(&tasks.0);
        assert!(table.bytes <= TASK_BYTES);
        assert_eq!(table.tasks.len(), 63);
        assert_eq!(table.tasks.values().map(Task::bytes).sum::<usize>(), table.bytes);
    }
}
