//! The command line.

mod cli;
mod demo;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use cli::process::{env_files, stop_on_signal};
use cli::{AgentArgs, OneShot};
use patchbay::app::{self, App, Timeouts};
use patchbay::config::{self, ServeArgs, dotenv};
use patchbay::telemetry;
use patchbay_clock::Clock;
use patchbay_sandbox::{self as sandbox, World};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
#[command(
    version,
    about,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the dashboard
    Serve(Box<ServeArgs>),
    /// Serve a dashboard with a sandbox proxy and an agent beside it: nothing else is needed
    Demo(DemoArgs),
    /// Serve the A2A task agent, whose model is switched by control messages
    Agent(Box<AgentArgs>),
    /// Serve a stand-in for a LiteLLM proxy, for trying things out
    Sandbox(SandboxArgs),
    /// Ask a running dashboard whether it is well; exit code 0 if so
    Healthcheck(HealthcheckArgs),
    #[command(flatten)]
    OneShot(OneShot),
}

#[derive(clap::Args)]
struct DemoArgs {
    /// Address of the dashboard; sandbox and agent take free loopback ports
    #[arg(long, env = "PATCHBAY_BIND", value_name = "ADDRESS", default_value = config::DEFAULT_BIND)]
    bind: SocketAddr,
    #[command(flatten)]
    login: config::LoginArgs,
}

#[derive(clap::Args)]
struct SandboxArgs {
    /// Address to listen on
    #[arg(long, env = "PATCHBAY_BIND", value_name = "ADDRESS", default_value = "127.0.0.1:10999")]
    bind: SocketAddr,
    /// Admin key
    #[arg(
        long,
        env = "LITELLM_MASTER_KEY",
        value_name = "KEY",
        default_value = "sk-sandbox-master",
        hide_env_values = true
    )]
    master_key: SecretString,
    /// Release whose answers are given: 1.80 or 1.109
    #[arg(long, value_name = "RELEASE", default_value = "1.109")]
    generation: sandbox::Generation,
}

#[derive(clap::Args)]
struct HealthcheckArgs {
    /// Address to ask [default: that of a dashboard here, by the settings below]
    #[arg(long, env = "PATCHBAY_HEALTH_URL", value_name = "URL")]
    url: Option<String>,
    /// Where the dashboard listens
    #[arg(long, env = "PATCHBAY_BIND", value_name = "ADDRESS", default_value = config::DEFAULT_BIND)]
    bind: SocketAddr,
    /// Path under which it serves
    #[arg(long, env = "PATCHBAY_BASE_PATH", value_name = "PATH", default_value = "")]
    base_path: String,
}

impl HealthcheckArgs {
    /// Uses loopback for a server that listens on all addresses.
    fn address(self) -> String {
        let ip = match self.bind.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let here = SocketAddr::new(ip, self.bind.port());
        let path = self.base_path.trim().trim_end_matches('/');
        self.url.unwrap_or_else(|| format!("http://{here}{path}/readyz"))
    }
}

/// Best effort: no core dumps, since memory holds secrets; new files private to their owner, since databases hold
/// prompts; and the highest limit of open files, since each connection is one.
fn guard_process() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let _ = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Core, none);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    // The limit does not apply to dumps that are piped to a program.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

fn main() -> ExitCode {
    guard_process();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return report(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow::Error::new(error).context("no threads to work with")),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("patchbay: {error:#}");
    ExitCode::FAILURE
}

/// Settings that are neither flags nor in the environment come from [`env_files`]. Starts the log of a server.
fn parse() -> anyhow::Result<Cli> {
    let mut values = HashMap::new();
    for file in env_files().iter().rev() {
        match dotenv::read(file) {
            Ok(read) => values.extend(read),
            // Most commands do not need another user's file.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                eprintln!("patchbay: {} is not read: {error}", file.display());
            }
            error => {
                error.with_context(|| format!("{} cannot be read", file.display()))?;
            }
        }
    }
    let log_format =
        std::env::var(telemetry::LOG_FORMAT).ok().or_else(|| values.get(telemetry::LOG_FORMAT).cloned());
    let mut command = Cli::command();
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| {
            sub.mut_args(|arg| {
                let set = arg.get_env().filter(|name| std::env::var_os(name).is_none());
                match set.and_then(|name| values.get(name.to_str()?)) {
                    // Hidden in the help: it may be a secret.
                    Some(value) => arg.default_value(value.clone()).hide_default_value(true),
                    None => arg,
                }
            })
        });
    }
    let cli = Cli::from_arg_matches(&command.get_matches())?;
    if !matches!(cli.command, Command::OneShot(_)) {
        telemetry::init(log_format.as_deref())?;
    }
    Ok(cli)
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    if let Command::OneShot(command) = command {
        return Ok(cli::run(command, Cli::command()).await.into());
    }
    serve_or_check(command).await?;
    Ok(ExitCode::SUCCESS)
}

async fn serve_or_check(command: Command) -> anyhow::Result<()> {
    let stop = stop_on_signal()?;
    match command {
        Command::Serve(args) => serve(*args, stop).await,
        Command::Demo(args) => {
            let login = config::login(&args.login, args.bind)?;
            let listener = listen(args.bind).await?;
            let demo = demo::start(listener.local_addr()?, login, stop.clone()).await?;
            println!("{demo}");
            Ok(demo.app.serve(listener, stop).await?)
        }
        Command::Agent(args) => {
            let listener = listen(args.bind).await?;
            tracing::info!(address = %listener.local_addr()?, "the agent listens");
            Ok(app::serve(listener, args.open().await?, stop).await?)
        }
        Command::Sandbox(args) => {
            let world = World::new(sandbox::Options {
                master_key: args.master_key,
                generation: args.generation,
                database: sandbox::Database::Up,
                clock: Clock::system(),
                config_models: Vec::new(),
            });
            let listener = listen(args.bind).await?;
            tracing::info!(address = %listener.local_addr()?, "the sandbox listens");
            Ok(app::serve(listener, sandbox::router(world), stop).await?)
        }
        Command::Healthcheck(args) => healthcheck(&args.address()).await,
        Command::OneShot(_) => Ok(()),
    }
}

async fn serve(args: ServeArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let config = args.validate().context("the settings are wrong")?;
    let (bind, path, is_default) = (config.bind, config.base_path.clone(), config.login.is_default);
    let app = App::build(config, Clock::system(), Timeouts::default()).await?;
    let listener = listen(bind).await?;
    tracing::info!("the dashboard is at http://{}{path}", listener.local_addr()?);
    if is_default {
        tracing::warn!("the default password is in use: set UI_PASSWORD");
    }
    Ok(app.serve(listener, stop).await?)
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn healthcheck(url: &str) -> anyhow::Result<()> {
    let http = patchbay::clients::build_http()?;
    let answer = http.get(url).timeout(Duration::from_secs(5)).send().await.context("no answer")?;
    anyhow::ensure!(answer.status().is_success(), "{url} answered {}", answer.status());
    Ok(())
}
