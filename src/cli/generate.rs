//! Completion scripts and manual pages.

use std::path::PathBuf;

use clap_complete::Shell;
use clap_complete::env::Shells;

use super::{Exit, Failure, complete};

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
    /// The script asks the binary each time, which knows the models, contexts and agents of the moment.
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let (name, mut script) = (self.shell.to_string(), Vec::new());
        let shells = Shells::builtins();
        let shell = shells.completer(&name).ok_or_else(|| Failure::usage(format!("no script for {name}")))?;
        shell.write_registration(complete::VARIABLE, "patchbay", "patchbay", "patchbay", &mut script)?;
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
