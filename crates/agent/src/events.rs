//! The events of a task's stream, in both versions of A2A.
//!
//! Each event has what is new since the last one. A slow reader gets larger pieces, so nothing is queued for it.

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

/// The events from `first`, the task's current state, to its end.
pub(super) fn follow(
    first: &Progress,
    progress: watch::Receiver<Progress>,
    id: Value,
    dialect: Dialect,
) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let mut onlooker = Onlooker {
        progress,
        id,
        dialect,
        told: first.said.len(),
        is_working_told: matches!(first.task.state, State::Working),
        is_over: false,
        waiting: VecDeque::new(),
    };
    onlooker.begin(first);
    stream::unfold(onlooker, async |mut onlooker| {
        let event = onlooker.next().await?;
        let event = Event::default().data(rpc::answer(onlooker.id.clone(), event).to_string());
        Some((Ok(event), onlooker))
    })
}

impl Onlooker {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_over || self.progress.changed().await.is_err() {
                return None;
            }
            let progress = self.progress.borrow_and_update().clone();
            self.look(&progress);
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
        } else {
            // Sends what has arrived since, even if nothing follows.
            self.progress.mark_changed();
        }
    }

    fn look(&mut self, progress: &Progress) {
        let Progress { task, said } = progress;
        if !self.is_working_told && matches!(task.state, State::Working) {
            self.is_working_told = true;
            self.status(task, false);
        }
        if let State::Done(reply) = &task.state {
            if wire::is_success(&reply.outcome) {
                let rest = reply.text().get(self.told..).unwrap_or_default().to_owned();
                self.piece(task, &rest, true);
            }
            self.end(task);
        } else if said.len() > self.told {
            self.piece(task, &said[self.told..], false);
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
