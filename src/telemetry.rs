//! Logs and metrics.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

/// What tower-sessions warns of is any cookie that anyone may send.
const DEFAULT_FILTER: &str = "warn,tower_sessions=off,tower_sessions_core=off,patchbay=info";

pub const LOG_FORMAT: &str = "PATCHBAY_LOG_FORMAT";

#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum LogFormat {
    Human,
    Json,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{LOG_FORMAT} is {0}: set it to human or json")]
pub struct UnknownLogFormat(String);

impl LogFormat {
    /// The format that a setting names; if it is unset or empty, the one for a terminal or for anything else.
    pub fn choose(setting: Option<&str>, is_terminal: bool) -> Result<Self, UnknownLogFormat> {
        match setting.map(str::trim).filter(|text| !text.is_empty()) {
            Some(text) => text.parse().map_err(|_| UnknownLogFormat(text.to_owned())),
            None if is_terminal => Ok(Self::Human),
            None => Ok(Self::Json),
        }
    }
}

/// Starts logging to standard error. `log_format` is the setting [`LOG_FORMAT`], and `filter` what is logged, as in
/// `RUST_LOG`.
pub fn init(log_format: Option<&str>, filter: Option<&str>) -> Result<(), UnknownLogFormat> {
    let is_terminal = std::io::stderr().is_terminal();
    let format = LogFormat::choose(log_format, is_terminal)?;
    let asked = filter.and_then(|text| text.parse::<Targets>().ok());
    let filter = asked.or_else(|| DEFAULT_FILTER.parse().ok()).unwrap_or_default();
    let log = tracing_subscriber::registry().with(filter).with(Sparing::default());
    let lines = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Human => log.with(lines.with_target(false).with_ansi(is_terminal)).init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true)).init(),
    }
    Ok(())
}

/// Most warnings and errors of one place in the code at once; then one may come each half a second. Strangers can cause
/// some of them as fast as they send requests.
const BURST: u32 = 100;
const REFILL: Duration = Duration::from_millis(500);

/// Leaves out warnings and errors of a place that has written too many, and counts them in [`LEFT_OUT`].
#[derive(Default)]
struct Sparing(Mutex<HashMap<Identifier, (Instant, u32)>>);

impl Sparing {
    fn takes(&self, place: Identifier, now: Instant) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, written) = places.entry(place).or_insert((now, 0));
        let refilled =
            u32::try_from(now.duration_since(*since).as_millis() / REFILL.as_millis()).unwrap_or(BURST);
        if refilled > 0 {
            (*since, *written) = (now, written.saturating_sub(refilled));
        }
        if *written == BURST {
            return false;
        }
        *written += 1;
        true
    }
}

impl<S: Subscriber> Layer<S> for Sparing {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let is_taken = *metadata.level() > Level::WARN || self.takes(metadata.callsite(), Instant::now());
        if !is_taken {
            metrics::counter!(LEFT_OUT).increment(1);
        }
        is_taken
    }
}

/// Warnings and errors that were not logged, since the same place in the code had written too many.
pub const LEFT_OUT: &str = "patchbay_log_lines_left_out_total";
/// Requests, by method, route pattern and status. No label ever holds what someone typed.
pub const REQUESTS: &str = "patchbay_requests_total";
/// How long they took until the answer began, in seconds, by method and route pattern.
pub const REQUEST_SECONDS: &str = "patchbay_request_seconds";
/// Swaps that ended, by outcome.
pub const SWAPS: &str = "patchbay_swaps_total";
/// Calls of the proxy and of agents, by upstream, route template and status: a class of HTTP statuses, `rpc_error`,
/// `not_understood`, `too_large`, `timeout` or `unreachable`.
pub const UPSTREAM_CALLS: &str = "patchbay_upstream_calls_total";
/// How long they took, in seconds, by server, route template and whether there was an answer.
pub const UPSTREAM_SECONDS: &str = "patchbay_upstream_seconds";
/// Whether an agent of the settings answered when it was last asked for its card: 1 or 0.
pub const AGENT_UP: &str = "patchbay_agent_up";
/// Whether the proxy, its database and Patchbay's own answered when they were last asked: 1 or 0.
pub const UP: &str = "patchbay_up";
/// Jobs that ended, by kind and state.
pub const JOBS: &str = "patchbay_jobs_total";
/// Jobs that this replica works on, by kind.
pub const JOBS_RUNNING: &str = "patchbay_jobs_running";
/// Age of the copies of the proxy's state, in seconds.
pub const SNAPSHOT_AGE: &str = "patchbay_snapshot_age_seconds";
/// Login sessions that have not expired.
pub const SESSIONS: &str = "patchbay_sessions";
pub const LISTENERS: &str = "patchbay_listeners";

/// Upper bounds of the histograms' buckets, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

static RECORDER: LazyLock<Option<PrometheusHandle>> = LazyLock::new(|| {
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS);
    // Fails only where the process has a recorder already.
    builder.and_then(PrometheusBuilder::install_recorder).ok()
});

/// What happens before is not counted.
pub fn install_recorder() {
    LazyLock::force(&RECORDER);
}

/// All metrics in the format of Prometheus.
pub fn render() -> String {
    RECORDER.as_ref().map(PrometheusHandle::render).unwrap_or_default()
}

/// Counts a job as running until it is dropped.
#[must_use]
pub struct RunningJob(&'static str);

impl RunningJob {
    pub fn new(kind: &'static str) -> Self {
        metrics::gauge!(JOBS_RUNNING, "kind" => kind).increment(1.0);
        Self(kind)
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        metrics::gauge!(JOBS_RUNNING, "kind" => self.0).decrement(1.0);
    }
}

pub fn count_ended_job(kind: &'static str, state: &'static str) {
    metrics::counter!(JOBS, "kind" => kind, "state" => state).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_format_is_chosen_by_setting_then_by_terminal() {
        assert_eq!(LogFormat::choose(None, true), Ok(LogFormat::Human));
        assert_eq!(LogFormat::choose(Some(" "), false), Ok(LogFormat::Json));
        assert_eq!(LogFormat::choose(Some("human"), false), Ok(LogFormat::Human));
        assert_eq!(LogFormat::choose(Some("json"), true), Ok(LogFormat::Json));
        let error = LogFormat::choose(Some("xml"), true).unwrap_err();
        assert_eq!(error.to_string(), "PATCHBAY_LOG_FORMAT is xml: set it to human or json");
    }

    #[test]
    fn one_place_cannot_fill_the_log() {
        let metadata = tracing::Span::current().metadata().map(tracing::Metadata::callsite);
        let place = metadata.unwrap_or_else(|| tracing::info_span!("a place").metadata().unwrap().callsite());
        let (sparing, begun) = (Sparing::default(), Instant::now());
        let written = |at| (0..1000).filter(|_| sparing.takes(place.clone(), begun + at)).count();
        assert_eq!(written(Duration::ZERO), 100);
        assert_eq!(written(Duration::from_secs(1)), 2);
        assert_eq!(written(Duration::from_mins(5)), 100);
    }
}
