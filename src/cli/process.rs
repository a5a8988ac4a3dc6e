//! Files of settings, and the signal to stop.

use std::path::PathBuf;

use patchbay::config::dotenv;
use patchbay::domain::setup::DEFAULT_ENV_FILE;
use tokio_util::sync::CancellationToken;

/// Files with settings, the highest precedence first: `.env` in the working directory or beside the binary, then the
/// env file of the bootstrap.
pub(crate) fn env_files() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(".env")));
    let own = [Some(PathBuf::from(".env")), beside].into_iter().flatten().find(|path| path.is_file());
    let mut flags = std::env::args().skip_while(|arg| arg != "--env-file" && !arg.starts_with("--env-file="));
    let flag = flags.next().and_then(|flag| match flag.strip_prefix("--env-file=") {
        Some(path) => Some(path.to_owned()),
        None => flags.next(),
    });
    let named = flag.or_else(|| std::env::var("PATCHBAY_ENV_FILE").ok()).filter(|path| !path.is_empty());
    let in_own = || dotenv::read(own.as_ref()?).ok()?.remove("PATCHBAY_ENV_FILE");
    let shared = named.or_else(in_own).unwrap_or_else(|| DEFAULT_ENV_FILE.to_owned());
    own.into_iter().chain([PathBuf::from(shared)]).collect()
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
