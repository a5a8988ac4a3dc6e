//! Answers as they come: `message/stream` in 0.3, `SendStreamingMessage` in 1.0.
//!
//! A connection that is lost does not stop the agent's work (measured on ADK 1 and 2), so the answer is then
//! asked for by its task. An agent that does not stream is asked the plain way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use reqwest::{Response, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::echo::Echo;
use super::errors::{RpcAnswer, garbled, read_answer, rpc_error};
use super::send::message;
use super::task::{self, Content, MAX_TEXT, Progress, TaskReport, TaskState};
use super::{Agent, AgentError, MAX_ANSWER, observe};
use crate::clients::http;
use crate::clients::lenient::{Lenient, Object, Text, memory_of};
use crate::domain::agent::Dialect;
use crate::domain::context::ContextId;
use crate::domain::control::Answer;

/// Shortest time between two looks at an answer that grows: its text is put together anew for each.
const PAUSE: Duration = Duration::from_millis(50);

/// Largest event, and most bytes of a stream. An answer that does not fit is asked for by its task.
const MAX_EVENT: usize = 1024 * 1024;
const MAX_STREAM: usize = 16 * 1024 * 1024;

/// Most artifacts and most pieces of metadata of an answer.
const MAX_PARTS: usize = 100;

/// Longest name of a task, an artifact or a piece of metadata that is kept.
const MAX_ID: usize = 1024;

/// Most memory that metadata takes, in bytes.
const MAX_METADATA: usize = 1024 * 1024;

/// How far an opened stream, or the plain answer in its place, has come.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Heard {
    Result(Value),
    Progress(Progress),
    /// The connection was lost while this task ran.
    Lost(String),
}

impl Agent {
    /// Sends `text` in `context` and waits at most `time` for the answer. What has come of it so far is reported
    /// to `progress`.
    pub async fn ask(
        &self,
        context: &ContextId,
        text: &str,
        time: Duration,
        progress: &watch::Sender<String>,
    ) -> Result<Answer, AgentError> {
        observe("message/stream", |_| false, time, self.deliver(context, text, Some(progress))).await
    }

    /// Hands a message over by a stream, and reads what comes.
    pub(super) async fn submit_streamed(
        &self,
        dialect: Dialect,
        context: &ContextId,
        text: &str,
        progress: &watch::Sender<String>,
    ) -> Result<Heard, AgentError> {
        let method = if dialect == Dialect::V03 { "message/stream" } else { "SendStreamingMessage" };
        let params = json!({ "message": message(dialect, context, text) });
        let request = self.request(dialect, method, &params).header(header::ACCEPT, "text/event-stream");
        let response = http::open(self.limiter.upstream(), request).await?;
        let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_vec());
        if !kind.unwrap_or_default().starts_with(b"text/event-stream") {
            let mut answer = http::read_body(&self.limiter, response, MAX_ANSWER).await?;
            self.echo.remove(&mut answer.body);
            return read_answer(&answer).map(Heard::Result);
        }
        let mut seen = Collector::default();
        let broken = collect(response, &mut seen, progress, &self.echo).await;
        let task_id = seen.report.task_id.clone();
        match (seen.ended(), task_id, broken) {
            (Some(ended), ..) => ended.map(Heard::Progress),
            (None, Some(task_id), _) => Ok(Heard::Lost(task_id)),
            (None, None, Err(error)) => Err(error),
            (None, None, Ok(())) => Err(garbled("a stream that ended before it began")),
        }
    }
}

/// Reads events until the end, the connection's loss or an error.
async fn collect(
    response: Response,
    seen: &mut Collector,
    progress: &watch::Sender<String>,
    echo: &Echo,
) -> Result<(), AgentError> {
    let pending = Arc::new(AtomicUsize::new(0));
    let mut events = sseer::EventStream::new(Box::pin(bounded(response, Arc::clone(&pending))));
    let (mut told_at, mut is_news) = (None::<Instant>, false);
    loop {
        let due = told_at.map_or_else(Instant::now, |at| at + PAUSE);
        if is_news && due <= Instant::now() {
            tell(seen, progress);
            (told_at, is_news) = (Some(Instant::now()), false);
        }
        let event = if is_news {
            let Ok(event) = timeout_at(due, events.next()).await else { continue };
            event
        } else {
            events.next().await
        };
        let Some(event) = event else { break };
        let event = event.map_err(|error| garbled(&format!("a stream that broke: {error}")))?;
        pending.store(0, Ordering::Relaxed);
        // Some servers begin a stream so.
        if event.data.trim().is_empty() {
            continue;
        }
        let mut data = event.data.as_bytes().to_vec();
        echo.remove(&mut data);
        let rpc: RpcAnswer = http::small_tree(&data)
            .map_err(|error| garbled(&format!("{error}, in {}", http::excerpt(&data))))?;
        if let Some(error) = rpc.error.0 {
            return Err(rpc_error(error));
        }
        if let Some(result) = rpc.result {
            seen.take(result);
            is_news = true;
        }
        if seen.is_ended {
            break;
        }
    }
    tell(seen, progress);
    Ok(())
}

fn tell(seen: &Collector, progress: &watch::Sender<String>) {
    let news = seen.text();
    progress.send_if_modified(|text| {
        let is_news = *text != news;
        *text = news;
        is_news
    });
}

/// The body, until it or an event is larger than it may be. `event` counts the bytes since the last one.
fn bounded(response: Response, event: Arc<AtomicUsize>) -> impl Stream<Item = Result<Bytes, String>> {
    let mut total = 0;
    response.bytes_stream().map_err(|error| error.to_string()).map(move |chunk| {
        let chunk = chunk?;
        total += chunk.len();
        let pending = event.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
        if total > MAX_STREAM || pending > MAX_EVENT {
            Err("larger than it may be".to_owned())
        } else {
            Ok(chunk)
        }
    })
}

/// What a stream has reported so far.
#[derive(Default)]
struct Collector {
    report: TaskReport,
    /// About what the metadata takes in memory, in bytes.
    metadata_size: usize,
    /// A whole task or message that ended the stream at once.
    whole: Option<Value>,
    is_ended: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    task_id: Text,
    context_id: Text,
    status: Option<Value>,
    artifact: Option<Value>,
    append: Lenient<bool>,
    metadata: Object<Map<String, Value>>,
}

impl Collector {
    /// Takes one event: 0.3 tells events apart by `kind`, 1.0 by the name of the field they stand in.
    fn take(&mut self, result: Value) {
        let kind = result.get("kind").and_then(Value::as_str).unwrap_or_default();
        let within = |name: &str| result.get(name).filter(|inner| inner.is_object());
        let update = match kind {
            "status-update" | "artifact-update" => Some(&result),
            _ => within("statusUpdate").or_else(|| within("artifactUpdate")),
        };
        if let Some(update) = update {
            // An update that cannot be read tells nothing; the task can still be asked for.
            if let Ok(update) = Update::deserialize(update) {
                self.update(update);
            }
            return;
        }
        let task = within("task").unwrap_or(&result);
        if let Some(id) = task.get("id").and_then(Value::as_str).filter(|id| id.len() <= MAX_ID) {
            self.report.task_id = Some(id.to_owned());
        }
        let is_message = kind == "message" || within("message").is_some();
        self.is_ended = is_message || !matches!(task::read(&result), Ok(Progress::Running { .. }));
        if self.is_ended {
            self.whole = Some(result);
        }
    }

    fn update(&mut self, update: Update) {
        self.report.task_id = update.task_id.0.or(self.report.task_id.take());
        self.report.context = update.context_id.0.or(self.report.context.take());
        let metadata = &mut self.report.metadata;
        for (name, value) in update.metadata.0.unwrap_or_default() {
            // The last events of a turn carry empty actions, which must not hide those of the answer.
            let delta = value.get("stateDelta").and_then(Value::as_object);
            let is_empty = name == "adk_actions" && delta.is_none_or(Map::is_empty);
            let is_known = metadata.contains_key(&name);
            let before = metadata.get(&name).map_or(0, memory_of);
            let size = self.metadata_size - before + memory_of(&value);
            let has_room = (is_known || metadata.len() < MAX_PARTS) && size <= MAX_METADATA;
            if !(is_empty && is_known) && has_room && name.len() <= MAX_ID {
                metadata.insert(name, value);
                self.metadata_size = size;
            }
        }
        if let Some(status) = update.status.filter(Value::is_object) {
            let state = status.get("state").and_then(Value::as_str).unwrap_or_default();
            self.is_ended = TaskState::parse(state).is_some_and(|state| state != TaskState::Running);
            self.report.state = state.chars().take(MAX_ID).collect();
            // The first update of an ADK agent repeats the user's own words.
            let is_agents = |message: &&Value| {
                message
                    .get("role")
                    .and_then(Value::as_str)
                    .is_some_and(|role| role.ends_with("agent") || role.ends_with("AGENT"))
            };
            let said = status.get("message").filter(is_agents).map(Content::of);
            if let Some(said) = said.filter(|said| !said.is_empty()) {
                self.report.said = said;
            }
        }
        if let Some(artifact) = update.artifact.filter(Value::is_object) {
            let id = artifact.get("artifactId").and_then(Value::as_str).unwrap_or_default();
            let content = Content::of(&artifact);
            let artifacts = &mut self.report.artifacts;
            let place = artifacts.iter().position(|(known, _)| known == id);
            if place.is_none() && (artifacts.len() == MAX_PARTS || id.len() > MAX_ID) {
                return;
            }
            let place = place.unwrap_or_else(|| {
                artifacts.push((id.to_owned(), Content::default()));
                artifacts.len() - 1
            });
            if !update.append.0.unwrap_or_default() {
                artifacts[place].1 = Content::default();
            }
            let taken: usize = artifacts.iter().map(|(_, content)| content.size()).sum();
            if taken + content.size() <= 2 * MAX_TEXT {
                artifacts[place].1.append(&content);
            }
        }
    }

    /// What there is of the answer.
    fn text(&self) -> String {
        if self.report.artifacts.is_empty() {
            return self.report.said.shown().to_owned();
        }
        self.report.artifacts.iter().map(|(_, content)| content.shown()).collect::<Vec<_>>().join("\n")
    }

    /// What a plain request would have brought, once the stream has ended.
    fn ended(self) -> Option<Result<Progress, AgentError>> {
        if !self.is_ended {
            return None;
        }
        Some(match self.whole {
            Some(whole) => task::read(&whole),
            None => self.report.progress(),
        })
    }
}
