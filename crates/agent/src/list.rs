//! `ListTasks`: matching tasks in pages, the latest change first.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::contexts::ContextId;
use super::rpc::{Dialect, Fault};
use super::tasks::Task;
use super::wire;

const USUAL_PAGE: usize = 50;
const LARGEST_PAGE: usize = 100;

pub(super) struct Wanted {
    context: Option<ContextId>,
    state: Option<String>,
    after: Option<Timestamp>,
    size: usize,
    cursor: Option<(i64, String)>,
    history_length: Option<usize>,
    with_artifacts: bool,
}

pub(super) struct Listed {
    tasks: Vec<Task>,
    next: String,
    total: usize,
}

impl Wanted {
    pub(super) fn read(params: &Map<String, Value>) -> Result<Self, Fault> {
        let text = |name: &str| match params.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
            Some(Value::String(_) | Value::Null) | None => Ok(None),
            Some(_) => Err(Fault::params(name, "must be a string")),
        };
        let context = text("contextId")?
            .map(|id| ContextId::parse(id).ok_or_else(|| Fault::params("contextId", ContextId::RULE)))
            .transpose()?;
        let after = text("statusTimestampAfter")?
            .map(|time| time.parse().map_err(|_| Fault::params("statusTimestampAfter", "must be a time")))
            .transpose()?;
        let cursor = text("pageToken")?
            .map(|token| read_cursor(token).ok_or_else(|| Fault::params("pageToken", "is not from here")))
            .transpose()?;
        let with_artifacts = match params.get("includeArtifacts") {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Null) | None => false,
            Some(_) => return Err(Fault::params("includeArtifacts", "must be true or false")),
        };
        Ok(Self {
            context,
            state: text("status")?.map(read_state).transpose()?.flatten(),
            after,
            size: read_size(params)?,
            cursor,
            history_length: wire::length(params, "historyLength")?,
            with_artifacts,
        })
    }

    pub(super) fn fits(&self, task: &Task) -> bool {
        self.context.as_ref().is_none_or(|context| *context == task.context)
            && self.state.as_ref().is_none_or(|state| wire::state(&task.state, Dialect::V10) == state)
            && self.after.is_none_or(|after| task.since >= after)
    }
}

fn read_state(text: &str) -> Result<Option<String>, Fault> {
    const STATES: [&str; 8] = [
        "SUBMITTED",
        "WORKING",
        "COMPLETED",
        "FAILED",
        "CANCELED",
        "INPUT_REQUIRED",
        "REJECTED",
        "AUTH_REQUIRED",
    ];
    match text.strip_prefix("TASK_STATE_") {
        Some("UNSPECIFIED") => Ok(None),
        Some(state) if STATES.contains(&state) => Ok(Some(text.to_owned())),
        _ => Err(Fault::params("status", "must be a state, such as TASK_STATE_COMPLETED")),
    }
}

/// The specification requires an error above the maximum; some clients send 0 for no value.
fn read_size(params: &Map<String, Value>) -> Result<usize, Fault> {
    let wrong = || Fault::params("pageSize", format!("must be a whole number from 1 to {LARGEST_PAGE}"));
    match params.get("pageSize") {
        Some(Value::Null) | None => Ok(USUAL_PAGE),
        Some(value) => {
            let size = value.as_u64().and_then(|size| usize::try_from(size).ok()).ok_or_else(wrong)?;
            if (1..=LARGEST_PAGE).contains(&size) { Ok(size) } else { Err(wrong()) }
        }
    }
}

/// `<milliseconds>.<id>` of the last task of the page.
fn read_cursor(token: &str) -> Option<(i64, String)> {
    let (time, id) = token.split_once('.')?;
    Some((time.parse().ok()?, id.to_owned()))
}

fn key(task: &Task) -> (i64, String) {
    (task.since.as_millisecond(), task.id.to_string())
}

pub(super) fn page(mut tasks: Vec<Task>, wanted: &Wanted) -> Listed {
    let total = tasks.len();
    tasks.retain(|task| wanted.cursor.as_ref().is_none_or(|cursor| key(task) < *cursor));
    tasks.sort_by_key(|task| std::cmp::Reverse(key(task)));
    let more = tasks.len() > wanted.size;
    tasks.truncate(wanted.size);
    let last = tasks.last().filter(|_| more).map(key);
    let next = last.map(|(time, id)| format!("{time}.{id}")).unwrap_or_default();
    Listed { tasks, next, total }
}

impl Listed {
    pub(super) fn render(&self, wanted: &Wanted) -> Value {
        let tasks = self.tasks.iter().map(|task| {
            let mut shown = wire::render(task, Dialect::V10, wanted.history_length);
            if let Some(fields) = shown.as_object_mut().filter(|_| !wanted.with_artifacts) {
                fields.remove("artifacts");
            }
            shown
        });
        let mut listed = json!({
            "nextPageToken": self.next, "pageSize": wanted.size, "totalSize": self.total,
        });
        listed["tasks"] = tasks.collect();
        listed
    }
}
