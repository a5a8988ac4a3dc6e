//! Stores a context's configuration before its last swap, for `patchbay swap --undo`: a file per agent and context in
//! `PATCHBAY_STATE_DIR`, `$XDG_STATE_HOME/patchbay` or `~/.local/state/patchbay`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use patchbay::domain::context::ContextId;
use patchbay::domain::control::AgentConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

#[derive(Serialize, Deserialize)]
pub(super) struct Before {
    agent: String,
    context: ContextId,
    pub(super) config: AgentConfig,
}

fn directory() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("PATCHBAY_STATE_DIR")
        .or_else(|| Some(from("XDG_STATE_HOME")?.join("patchbay")))
        .or_else(|| Some(from("HOME")?.join(".local/state/patchbay")))
}

/// The name is a hash, since a context id may be too long for a file name.
fn file(agent: &str, context: &ContextId) -> Option<PathBuf> {
    let digest = Sha256::digest(format!("{agent}\n{context}").as_bytes());
    let name = patchbay::domain::key::hex(&digest[..16]);
    Some(directory()?.join(format!("{name}.json")))
}

pub(super) fn remember(agent: &str, context: &ContextId, config: &AgentConfig) -> std::io::Result<()> {
    let path = file(agent, context).ok_or(std::io::ErrorKind::NotFound)?;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let before = Before { agent: agent.to_owned(), context: context.clone(), config: config.clone() };
    // Private, since prompts are. A rename never leaves a part of a file.
    let partial = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut writer =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    writer.write_all(&serde_json::to_vec(&before)?)?;
    std::fs::rename(&partial, &path)
}

pub(super) fn recall(agent: &str, context: &ContextId) -> Option<Before> {
    let text = std::fs::read(file(agent, context)?).ok()?;
    let before: Before = serde_json::from_slice(&text).ok()?;
    (before.agent == agent && before.context == *context).then_some(before)
}
