//! What a shell offers for models, contexts and agents: what `patchbay models` and `patchbay contexts` list.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use serde_json::Value;

/// The variable by which the shell's script asks.
pub(crate) const VARIABLE: &str = "PATCHBAY_COMPLETE";

/// A shell that waits longer seems to hang.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) fn models(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered("models", "name", typed)
}

pub(crate) fn contexts(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered("contexts", "context", typed)
}

pub(crate) fn agents(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered("contexts", "agent", typed)
}

/// Nothing where it cannot be told: an error would stand in the command line.
fn offered(command: &'static str, field: &str, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let names = listed(command).unwrap_or_default();
    let names = names.iter().filter_map(|row| row[field].as_str()).filter(|name| name.starts_with(typed));
    // A pattern is no name of a model.
    let names: BTreeSet<&str> = names.filter(|name| !name.contains('*')).collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// By a process of its own, which reads the settings as any command does.
fn listed(command: &'static str) -> Option<Vec<Value>> {
    let mut list = Command::new(std::env::current_exe().ok()?);
    list.args([command, "--json"]).env_remove(VARIABLE).stdin(Stdio::null()).stderr(Stdio::null());
    let (send, answer) = mpsc::channel();
    std::thread::spawn(move || send.send(list.output()));
    let output = answer.recv_timeout(PATIENCE).ok()?.ok()?;
    serde_json::from_slice(&output.stdout).ok()
}
