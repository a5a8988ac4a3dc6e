//! Completion scripts.

use clap_complete::Shell;

use super::{Exit, Failure};

/// Writes a completion script for a shell.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  patchbay completions bash > /etc/bash_completion.d/patchbay
  patchbay completions zsh > ~/.zfunc/_patchbay
  patchbay completions fish > ~/.config/fish/completions/patchbay.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    #[expect(clippy::unnecessary_wraps, reason = "ends like the other commands")]
    pub(super) fn run(&self, mut command: clap::Command) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "patchbay", &mut script);
        say!("{}", String::from_utf8_lossy(&script).trim_end());
        Ok(Exit::Done)
    }
}
