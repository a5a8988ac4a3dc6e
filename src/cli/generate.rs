//! Completion scripts and manual pages.

use std::path::PathBuf;

use clap_complete::Shell;

use super::{Exit, Failure};

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

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  patchbay man > /usr/local/share/man/man1/patchbay.1
  patchbay man --dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Folder that gets the pages of all commands
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl ManArgs {
    pub(super) fn run(&self, command: clap::Command) -> Result<Exit, Failure> {
        if let Some(dir) = &self.dir {
            clap_mangen::generate_to(command, dir)?;
            return Ok(Exit::Done);
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        say!("{}", String::from_utf8_lossy(&page).trim_end());
        Ok(Exit::Done)
    }
}
