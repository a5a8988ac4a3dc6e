//! The manual page.

use std::path::PathBuf;

use super::{Exit, Failure};

/// Writes the manual page, or those of all commands.
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
