//! The questions on a terminal.

use std::io::{BufRead as _, Write as _};

use secrecy::SecretString;

use super::InitArgs;
use crate::cli::Failure;

/// Longest answer that is read, in bytes.
const MAX_LINE: u64 = 8 * 1024;

/// Enter keeps what was found or given.
pub(super) fn ask(args: &mut InitArgs) -> Result<(), Failure> {
    args.proxy.url = line("Address of the LiteLLM proxy", args.proxy.url.take())?;
    if args.proxy.master_key.is_none() && args.proxy.master_key_file.is_none() && !args.new_master_key {
        args.proxy.master_key = hidden("Its admin key (LITELLM_MASTER_KEY; Enter to add it later)")?;
    }
    args.agents = line("Agents, as name=url", args.agents.take())?;
    args.login.username = line("Login name for the dashboard", Some(args.username()))?;
    if args.login.password.is_none() && args.login.password_file.is_none() {
        args.login.password = hidden("Password (Enter for a random one)")?;
    }
    Ok(())
}

fn line(question: &str, default: Option<String>) -> Result<Option<String>, Failure> {
    use std::io::Read as _;
    let shown = default.as_deref().map(|text| format!(" [{text}]")).unwrap_or_default();
    let mut err = std::io::stderr();
    let _ = write!(err, "{question}{shown}: ");
    let _ = err.flush();
    let mut text = String::new();
    std::io::stdin().lock().take(MAX_LINE).read_line(&mut text)?;
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()).or(default))
}

fn hidden(question: &str) -> Result<Option<SecretString>, Failure> {
    let text = rpassword::prompt_password(format!("{question}: "))?;
    Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(SecretString::from))
}
