//! The commands other than servers.

/// `println!` that ignores a closed pipe, as with `| head`.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod agent;
mod args;
mod ask;
pub(crate) mod complete;
mod dashboard;
mod doctor;
mod generate;
mod init;
mod list;
pub(crate) mod process;
pub(crate) mod settings;
mod setup;
mod swap;
mod table;
mod undo;
mod user;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

pub(crate) use agent::AgentArgs;
pub(crate) use ask::AskArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use generate::{CompletionsArgs, ManArgs};
pub(crate) use init::InitArgs;
pub(crate) use list::{ContextsArgs, KeysArgs, ModelsArgs};
pub(crate) use setup::{ApplyArgs, BootstrapArgs, ExportArgs, ResetArgs};
pub(crate) use swap::SwapArgs;
pub(crate) use user::UserArgs;

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: something could not be reached, or the agent's task failed
  2  the command line is wrong
  3  --verify: the configuration read back is not the requested one
  4  refused by the agent or by the dashboard's checks";

pub(crate) const SETUP_EXIT_CODES: &str = "\
Exit codes:
  0  done, or nothing to do
  1  failed: something could not be reached, or was not done
  2  the command line is wrong
  4  refused by validation";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotVerified = 3,
    Refused = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

/// Ends a command. Any other error becomes a `Failed`.
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

    /// With the address that failed, and the flag and the variable that set it.
    fn at(address: &str, flag: &str, error: impl std::fmt::Display) -> Self {
        let shown = patchbay::config::shown(address).unwrap_or_else(|| "the address".to_owned());
        Self::failed(format!("{shown} ({flag}): {error}"))
    }

    fn usage(error: impl std::fmt::Display) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

#[derive(clap::Subcommand)]
pub(crate) enum OneShot {
    /// Write an env file with the settings: proxy, agents, login
    Init(Box<InitArgs>),
    /// Switch the model or the prompt of a context
    Swap(Box<SwapArgs>),
    /// Ask an agent one question
    Ask(AskArgs),
    /// List the contexts that a dashboard knows
    Contexts(ContextsArgs),
    /// List the models that the proxy has registered
    Models(ModelsArgs),
    /// List the proxy's virtual keys, without their secrets
    Keys(KeysArgs),
    /// Set up a proxy for the agent: secrets, models, keys
    Bootstrap(Box<BootstrapArgs>),
    /// Apply a list of models and keys to the proxy
    Apply(Box<ApplyArgs>),
    /// Write models, and optionally keys, as a list
    Export(ExportArgs),
    /// Delete the proxy's models and keys, and bootstrap it again
    Reset(Box<ResetArgs>),
    /// Check settings, proxy, database and agents, and say what to do
    Doctor(Box<DoctorArgs>),
    /// Add, change, remove or list named users of the dashboard
    User(UserArgs),
    /// Write a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual page
    Man(ManArgs),
}

/// Where a dashboard with these settings is reached on this machine: by loopback if it listens on all addresses.
pub(crate) fn local_address(bind: SocketAddr, base_path: &str) -> String {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}{}", SocketAddr::new(ip, bind.port()), base_path.trim().trim_end_matches('/'))
}

/// `cli` is the whole command line, for completions and manual pages.
pub(crate) async fn run(command: OneShot, cli: clap::Command) -> Exit {
    let ended = match command {
        OneShot::Init(args) => args.run().await,
        OneShot::Swap(args) => args.run().await,
        OneShot::Ask(args) => args.run().await,
        OneShot::Contexts(args) => args.run().await,
        OneShot::Models(args) => args.run().await,
        OneShot::Keys(args) => args.run().await,
        OneShot::Bootstrap(args) => args.run().await,
        OneShot::Apply(args) => args.run().await,
        OneShot::Export(args) => args.run().await,
        OneShot::Reset(args) => args.run().await,
        OneShot::Doctor(args) => args.run(&cli).await,
        OneShot::User(args) => args.run(),
        OneShot::Completions(args) => args.run(),
        OneShot::Man(args) => args.run(cli),
    };
    ended.unwrap_or_else(|failure| {
        eprintln!("patchbay: {}", failure.text);
        failure.exit
    })
}
