//! Logs and figures.

use std::io::IsTerminal as _;
use std::sync::LazyLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const BY_DEFAULT: &str = "warn,patchbay=info";

/// Starts logging to standard error: for people on a terminal, as JSON lines elsewhere. `RUST_LOG` chooses
/// what is logged; by default Patchbay's own words and the warnings of its parts.
pub fn init() {
    let asked = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = asked.or_else(|| BY_DEFAULT.parse().ok()).unwrap_or_default();
    let (log, lines) =
        (tracing_subscriber::registry().with(filter), fmt::layer().with_writer(std::io::stderr));
    if std::io::stderr().is_terminal() {
        log.with(lines.with_target(false)).init();
    } else {
        log.with(lines.json().flatten_event(true)).init();
    }
}

/// Requests, by method, route pattern and status. No label ever holds what someone typed.
pub const REQUESTS: &str = "patchbay_requests_total";
/// How long they took until the answer began, in seconds, by method and route pattern.
pub const REQUEST_SECONDS: &str = "patchbay_request_seconds";
pub const SWAPS: &str = "patchbay_swaps_total";
/// Calls of the proxy and of agents, by upstream, route template and status: a class of HTTP statuses, `rpc_error`,
/// `not_understood`, `too_large`, `timeout` or `unreachable`.
pub const UPSTREAM_CALLS: &str = "patchbay_upstream_calls_total";
/// How long they took, in seconds, by server, route template and whether there was an answer.
pub const UPSTREAM_SECONDS: &str = "patchbay_upstream_seconds";
/// Age of the copies of the proxy's state, in seconds.
pub const SNAPSHOT_AGE: &str = "patchbay_snapshot_age_seconds";
/// Login sessions that have not expired.
pub const SESSIONS: &str = "patchbay_sessions";
pub const LISTENERS: &str = "patchbay_listeners";

/// Upper bounds of the times, in seconds.
const TIMES: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

static FIGURES: LazyLock<Option<PrometheusHandle>> = LazyLock::new(|| {
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &TIMES);
    // Fails only where the process has a recorder already.
    builder.and_then(PrometheusBuilder::install_recorder).ok()
});

/// Begins to count. What happens before is not counted.
pub fn count() {
    LazyLock::force(&FIGURES);
}

pub fn figures() -> String {
    FIGURES.as_ref().map(PrometheusHandle::render).unwrap_or_default()
}
