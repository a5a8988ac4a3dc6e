//! The events of a task's stream, in both versions of A2A.
//!
//! All streams of a task have the same events (1.0, 3.5.2). Each is made when it is read, so nothing is queued for a slow
//! reader.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::Event;
use futures_util::{Stream, stream};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::rpc::{self, Dialect};
use super::tasks::{Progress, State, Task};
use super::wire;

struct Onlooker {
    progress: watch::Receiver<Progress>,
    id: Value,
    dialect: Dialect,
    /// Bytes of the answer that were sent already.
    told: usize,
    is_working_told: bool,
    is_over: bool,
    waiting: VecDeque<Value>,
}

/// What comes next in a stream.
enum News {
    Working(Task),
    Piece(Task, String),
    End(Task),
}

/// The events from `first`, the task's current state, to its end.
pub(super) fn follow(
    first: &Progress,
    progress: watch::Receiver<Progress>,
    id: Value,
    dialect: Dialect,
) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let onlooker = Onlooker::new(first, progress, id, dialect);
    stream::unfold(onlooker, async |mut onlooker| {
        let event = onlooker.next().await?;
        let event = Event::default().data(rpc::answer(onlooker.id.clone(), event).to_string());
        Some((Ok(event), onlooker))
    })
}

impl Onlooker {
    fn new(first: &Progress, progress: watch::Receiver<Progress>, id: Value, dialect: Dialect) -> Self {
        let mut onlooker = Self {
            progress,
            id,
            dialect,
            told: first.said.len(),
            is_working_told: matches!(first.task.state, State::Working),
            is_over: false,
            waiting: VecDeque::new(),
        };
        onlooker.begin(first);
        onlooker
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            match self.news() {
                Some(news) => self.report(news),
                None => self.progress.changed().await.ok()?,
            }
        }
    }

    fn begin(&mut self, first: &Progress) {
        let mut shown = wire::render(&first.task, self.dialect, None);
        if !first.said.is_empty() && !first.task.is_done() {
            shown["artifacts"] = json!([self.artifact(&first.task, &first.said)]);
        }
        self.tell("task", shown);
        if first.task.is_done() {
            self.end(&first.task);
        }
    }

    fn news(&mut self) -> Option<News> {
        let progress = self.progress.borrow_and_update();
        let task = progress.task.clone();
        match (&progress.working, progress.piece(self.told)) {
            (Some(working), _) if !self.is_working_told => Some(News::Working(working.clone())),
            (_, Some(piece)) => Some(News::Piece(task, piece.to_owned())),
            _ => task.is_done().then_some(News::End(task)),
        }
    }

    fn report(&mut self, news: News) {
        match news {
            News::Working(task) => {
                self.is_working_told = true;
                self.status(&task, false);
            }
            News::Piece(task, text) => self.piece(&task, &text, false),
            News::End(task) => {
                if let State::Done(reply) = &task.state
                    && wire::is_success(&reply.outcome)
                {
                    let rest = reply.text().get(self.told..).unwrap_or_default();
                    self.piece(&task, rest, true);
                }
                self.end(&task);
            }
        }
    }

    fn piece(&mut self, task: &Task, text: &str, is_last: bool) {
        let mut update = Self::update(task);
        update["artifact"] = self.artifact(task, text);
        update["append"] = (self.told > 0).into();
        update["lastChunk"] = is_last.into();
        self.told += text.len();
        self.tell("artifact-update", update);
    }

    fn end(&mut self, task: &Task) {
        self.is_over = true;
        self.status(task, true);
    }

    fn status(&mut self, task: &Task, is_final: bool) {
        let mut shown = wire::render(task, self.dialect, Some(0));
        let mut update = Self::update(task);
        update["status"] = shown["status"].take();
        if shown.get("metadata").is_some() {
            update["metadata"] = shown["metadata"].take();
        }
        // 1.0 closes the stream instead.
        if self.dialect == Dialect::V03 {
            update["final"] = is_final.into();
        }
        self.tell("status-update", update);
    }

    fn update(task: &Task) -> Value {
        json!({ "taskId": *task.id, "contextId": task.context.to_string() })
    }

    fn artifact(&self, task: &Task, text: &str) -> Value {
        json!({ "artifactId": task.artifact_id.to_string(), "parts": [wire::part(text, self.dialect)] })
    }

    /// 0.3 has a `kind` field, 1.0 a field per kind.
    fn tell(&mut self, kind: &str, mut event: Value) {
        if self.dialect == Dialect::V03 {
            event["kind"] = kind.into();
            return self.waiting.push_back(event);
        }
        let field = match kind {
            "status-update" => "statusUpdate",
            "artifact-update" => "artifactUpdate",
            _ => "task",
        };
        self.waiting.push_back(Value::Object(Map::from_iter([(field.to_owned(), event)])));
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::contexts::ContextId;
    use super::super::control::{ModelName, Settings};
    use super::super::tasks::{Outcome, Question};
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_gets_the_same_events() {
        let question = Question { message_id: "m".into(), texts: vec!["hi".into()] };
        let mut task = Task::new(ContextId::new(), question, Timestamp::UNIX_EPOCH);
        let (sender, receiver) = watch::channel(Progress::new(task.clone()));
        let join = || Onlooker::new(&receiver.borrow(), receiver.clone(), Value::Null, Dialect::V10);
        let (mut quick, mut slow) = (join(), join());
        let mut seen = vec![quick.next().await.unwrap()];
        task.state = State::Working;
        sender.send_modify(|progress| progress.start(task.clone()));
        seen.push(quick.next().await.unwrap());
        for piece in ["one ", "two ", "three"] {
            sender.send_modify(|progress| progress.say(piece));
            seen.push(quick.next().await.unwrap());
        }
        let settings = Settings { name: ModelName::parse("a/b", None).unwrap(), prompt: None };
        let outcome = Outcome::Control { text: "one two three".into(), settings };
        task.finish(outcome, Timestamp::UNIX_EPOCH);
        sender.send_modify(|progress| progress.task = task);
        while let Some(event) = quick.next().await {
            seen.push(event);
        }
        assert_eq!(seen.len(), 7, "the task, working, three pieces, the last piece, completed: {seen:?}");
        for event in seen {
            assert_eq!(slow.next().await, Some(event));
        }
        assert_eq!(slow.next().await, None);
    }
}
