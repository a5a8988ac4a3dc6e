//! The signal to stop, and how errors are printed.

use std::fmt::Write as _;

use tokio_util::sync::CancellationToken;

/// An error with its causes. A cause that an outer text quotes already is left out.
pub(crate) fn chain<'e>(errors: impl IntoIterator<Item = &'e (dyn std::error::Error + 'static)>) -> String {
    let mut text = String::new();
    for error in errors {
        let part = error.to_string();
        if !text.contains(&part) {
            let _ = write!(text, "{}{part}", if text.is_empty() { "" } else { ": " });
        }
    }
    text
}

/// The innermost cause, which says most ("connection refused").
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

/// Cancelled at the first Ctrl-C or SIGTERM.
pub(crate) fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
        stopping.cancel();
    });
    Ok(stop)
}
