//! The commands: the hot-swap helper and the quick looks, and how the agent is started.

/// Writes a line to standard output. Whoever reads it may have seen enough and closed it, as `head` does:
/// that is no fault.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod agent;
mod args;
mod ask;
mod complete;
mod dashboard;
mod doctor;
mod looks;
mod man;
pub(crate) mod process;
mod setup;
mod swap;
mod table;
mod undo;
mod user;

use std::process::ExitCode;

pub(crate) use agent::AgentArgs;
pub(crate) use ask::AskArgs;
pub(crate) use complete::CompletionsArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use looks::{ContextsArgs, KeysArgs, ModelsArgs};
pub(crate) use man::ManArgs;
pub(crate) use setup::{ApplyArgs, BootstrapArgs, ExportArgs, ResetArgs};
pub(crate) use swap::SwapArgs;
pub(crate) use user::UserArgs;

/// What the exit codes mean, below the help of each command.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: something could not be reached, or the agent's task failed
  2  the command line is wrong
  3  --verify: what was read back is not what was asked for
  4  refused: the agent, or the dashboard's checks, said no";

/// The same, of the commands that bring a proxy to where it should be.
pub(crate) const SETUP_EXIT_CODES: &str = "\
Exit codes:
  0  done, or nothing to do
  1  failed: something could not be reached, or was not done
  2  the command line is wrong
  4  refused: something cannot be done as it is wished";

/// How a command ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    NotVerified,
    Refused,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotVerified => 3,
            Self::Refused => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command went no further, in words for who typed it.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    fn failed(error: impl std::fmt::Display) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }

    fn usage(error: impl std::fmt::Display) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

/// A quick command.
#[derive(clap::Subcommand)]
pub(crate) enum Quick {
    /// Switch the model or the prompt of a running agent, as the guide's helper does
    Swap(Box<SwapArgs>),
    /// Ask an agent one question
    Ask(AskArgs),
    /// List the contexts that a dashboard knows
    Contexts(ContextsArgs),
    /// List the models that the proxy has registered
    Models(ModelsArgs),
    /// List the proxy's virtual keys, without their secrets
    Keys(KeysArgs),
    /// Bring a proxy to where the agent can work: secrets, models, keys
    Bootstrap(Box<BootstrapArgs>),
    /// Bring models and keys to what a list says
    Apply(Box<ApplyArgs>),
    /// Write models, and keys if asked for, as a list
    Export(ExportArgs),
    /// Delete the proxy's models and keys, and bootstrap it again
    Reset(Box<ResetArgs>),
    /// Look at the settings, the proxy, the database and the agents, and say what is wrong
    Doctor(Box<DoctorArgs>),
    /// Add, change, remove or list named users of the dashboard
    User(UserArgs),
    /// Write a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual page
    Man(ManArgs),
}

/// Runs a quick command; `command` is the whole command line, for the completions.
pub(crate) async fn run(quick: Quick, command: clap::Command) -> Exit {
    let ended = match quick {
        Quick::Swap(args) => args.run().await,
        Quick::Ask(args) => args.run().await,
        Quick::Contexts(args) => args.run().await,
        Quick::Models(args) => args.run().await,
        Quick::Keys(args) => args.run().await,
        Quick::Bootstrap(args) => args.run().await,
        Quick::Apply(args) => args.run().await,
        Quick::Export(args) => args.run().await,
        Quick::Reset(args) => args.run().await,
        Quick::Doctor(args) => args.run().await,
        Quick::User(args) => args.run(),
        Quick::Completions(args) => args.run(command),
        Quick::Man(args) => args.run(command),
    };
    ended.unwrap_or_else(|failure| {
        eprintln!("patchbay: {}", failure.text);
        failure.exit
    })
}
