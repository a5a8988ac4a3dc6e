//! Tasks: one per message, kept for `tasks/get`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::contexts::{ContextId, unpoisoned};
use super::control::Settings;
use super::rpc::Fault;

const TASK_LIMIT: usize = 1_000;
const TASK_BYTES: usize = 64 * 1024 * 1024;

#[derive(Clone)]
pub(super) struct Task {
    pub(super) id: Arc<str>,
    pub(super) context: ContextId,
    pub(super) question: Arc<Question>,
    pub(super) state: State,
    pub(super) since: Timestamp,
    pub(super) artifact_id: Uuid,
}

#[derive(Serialize, Deserialize)]
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

/// The agent's answer, with stable ids.
#[derive(Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) message_id: String,
    pub(super) outcome: Outcome,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Outcome {
    Control {
        text: String,
        settings: Settings,
    },
    Answer {
        #[serde(with = "super::store::shared")]
        text: Arc<str>,
        settings: Settings,
        usage: Usage,
        call: Call,
    },
    Failure {
        text: String,
        call: Option<Call>,
    },
    Canceled,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usage {
    pub(super) prompt: Option<u64>,
    pub(super) answer: Option<u64>,
    pub(super) total: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) model: String,
    pub(super) served: Option<String>,
    pub(super) elapsed_ms: u64,
    #[serde(default)]
    pub(super) route: Option<Route>,
}

/// Which deployment answered, by the proxy's headers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Route {
    /// `x-litellm-model-group`: after a fallback the fallback's.
    pub(super) group: String,
    /// `x-litellm-model-id`.
    pub(super) deployment: Option<String>,
    /// `x-litellm-attempted-fallbacks`.
    pub(super) fallbacks: u32,
}

impl Task {
    pub(super) fn new(context: ContextId, question: Question, now: Timestamp) -> Self {
        Self {
            id: Uuid::new_v4().to_string().into(),
            context,
            question: Arc::new(question),
            state: State::Submitted,
            since: now,
            artifact_id: Uuid::new_v4(),
        }
    }

    pub(super) fn finish(&mut self, outcome: Outcome, now: Timestamp) {
        self.state = State::Done(Arc::new(Reply { message_id: Uuid::new_v4().to_string(), outcome }));
        self.since = now;
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
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
                Outcome::Canceled => 0,
            }
    }
}

#[derive(Clone)]
pub(super) struct Progress {
    pub(super) task: Task,
    /// The task as it was when the model was asked.
    pub(super) working: Option<Task>,
    /// The answer so far.
    pub(super) said: String,
    /// Where its pieces end, in bytes.
    ends: Vec<usize>,
}

impl Progress {
    pub(super) fn new(task: Task) -> Self {
        Self { task, working: None, said: String::new(), ends: Vec::new() }
    }

    pub(super) fn start(&mut self, task: Task) {
        self.working = Some(task.clone());
        self.task = task;
    }

    pub(super) fn say(&mut self, piece: &str) {
        self.said.push_str(piece);
        self.ends.push(self.said.len());
    }

    /// The piece that begins at `start`.
    pub(super) fn piece(&self, start: usize) -> Option<&str> {
        let next = self.ends.partition_point(|end| *end <= start);
        self.said.get(start..*self.ends.get(next)?)
    }
}

/// The sending side of a running task.
pub(super) struct Running {
    pub(super) progress: watch::Sender<Progress>,
    pub(super) cancel: CancellationToken,
}

struct Live {
    progress: watch::Receiver<Progress>,
    cancel: CancellationToken,
}

/// The latest tasks. Running ones are never dropped; their number is limited elsewhere.
#[derive(Default)]
pub(super) struct Tasks(Mutex<Table>);

#[derive(Default)]
struct Table {
    tasks: HashMap<Arc<str>, Task>,
    order: VecDeque<Arc<str>>,
    bytes: usize,
    live: HashMap<Arc<str>, Live>,
}

impl Tasks {
    pub(super) fn get(&self, id: &str) -> Option<Task> {
        unpoisoned(&self.0).tasks.get(id).cloned()
    }

    /// The tasks that match `wanted`.
    pub(super) fn pick(&self, wanted: impl Fn(&Task) -> bool) -> Vec<Task> {
        unpoisoned(&self.0).tasks.values().filter(|task| wanted(task)).cloned().collect()
    }

    /// Stores a task and returns the ids of the ones dropped for it.
    pub(super) fn put(&self, task: Task) -> Vec<Arc<str>> {
        let mut table = unpoisoned(&self.0);
        let id = Arc::clone(&task.id);
        if task.is_done() {
            table.live.remove(&id);
        }
        table.bytes += task.bytes();
        match table.tasks.insert(Arc::clone(&id), task) {
            Some(before) => table.bytes -= before.bytes(),
            None => table.order.push_back(id),
        }
        table.trim()
    }

    pub(super) fn start(&self, task: &Task) -> (Running, Vec<Arc<str>>) {
        let (progress, seen) = watch::channel(Progress::new(task.clone()));
        let cancel = CancellationToken::new();
        let live = Live { progress: seen, cancel: cancel.clone() };
        unpoisoned(&self.0).live.insert(Arc::clone(&task.id), live);
        (Running { progress, cancel }, self.put(task.clone()))
    }

    /// None if the task is not running.
    pub(super) fn watch(&self, id: &str) -> Option<watch::Receiver<Progress>> {
        unpoisoned(&self.0).live.get(id).map(|live| live.progress.clone())
    }

    /// Cancels a running task and waits for its end.
    pub(super) async fn cancel(&self, id: &str) -> Result<Task, Fault> {
        let mut progress = {
            let table = unpoisoned(&self.0);
            let live = match (table.live.get(id), table.tasks.contains_key(id)) {
                (Some(live), _) => live,
                (None, true) => return Err(Fault::NotCancelable),
                (None, false) => return Err(Fault::TaskNotFound),
            };
            live.cancel.cancel();
            live.progress.clone()
        };
        let task = ended(&mut progress).await;
        match &task.state {
            State::Done(reply) if matches!(reply.outcome, Outcome::Canceled) => Ok(task),
            _ => Err(Fault::NotCancelable),
        }
    }
}

/// Waits for the end of a task; returns early only at shutdown.
pub(super) async fn ended(progress: &mut watch::Receiver<Progress>) -> Task {
    if let Ok(last) = progress.wait_for(|progress| progress.task.is_done()).await {
        return last.task.clone();
    }
    progress.borrow().task.clone()
}

impl Table {
    fn trim(&mut self) -> Vec<Arc<str>> {
        let mut gone = Vec::new();
        while self.tasks.len() > TASK_LIMIT || self.bytes > TASK_BYTES {
            let done = |id: &Arc<str>| self.tasks.get(id).is_none_or(Task::is_done);
            let Some(oldest) = self.order.iter().position(done) else { break };
            let Some(id) = self.order.remove(oldest) else { break };
            self.bytes -= self.tasks.remove(&id).map_or(0, |task| task.bytes());
            gone.push(id);
        }
        gone
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
        for _ in 0..TASK_LIMIT - 2 {
            tasks.put(done("x".into()));
        }
        assert!(tasks.get(&running.id).is_some());
        assert!(tasks.get(&first.id).is_none());
        assert!(tasks.get(&second.id).is_some());
    }

    #[test]
    fn they_are_bounded_in_size() {
        let tasks = Tasks::default();
        let gone: usize = (0..100).map(|_| tasks.put(done("x".repeat(1024 * 1024))).len()).sum();
        assert_eq!(gone, 37);
        let table = unpoisoned(&tasks.0);
        assert!(table.bytes <= TASK_BYTES);
        assert_eq!(table.tasks.len(), 63);
        assert_eq!(table.tasks.values().map(Task::bytes).sum::<usize>(), table.bytes);
    }
}
