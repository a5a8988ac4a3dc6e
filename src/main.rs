//! The command line.

mod cli;
mod demo;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::CompleteEnv;
use cli::process::{chain, reason, stop_on_signal};
use cli::settings::{Settings, refuse_empty_flags};
use cli::{AgentArgs, OneShot};
use patchbay::app::{self, App, Timeouts};
use patchbay::config::{self, Hosts, ServeArgs};
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
    /// Serve a dashboard with a sandbox proxy and an agent, to try it out
    Demo(DemoArgs),
    /// Serve the A2A task agent, whose model is switched by control messages
    Agent(Box<AgentArgs>),
    /// Serve a stand-in for a LiteLLM proxy
    Sandbox(SandboxArgs),
    /// Check whether a running dashboard is healthy; exit code 0 if so
    Healthcheck(HealthcheckArgs),
    #[command(flatten)]
    OneShot(OneShot),
}

#[derive(clap::Args)]
struct DemoArgs {
    /// Address of the dashboard; sandbox and agent take free loopback ports
    #[arg(long, env = "PATCHBAY_BIND", value_name = "ADDRESS", default_value = config::DEFAULT_BIND)]
    bind: SocketAddr,
    /// Host names that the dashboard answers to, comma-separated, or * for any
    #[arg(long, env = "PATCHBAY_HOSTS", value_name = "NAME,…")]
    hosts: Option<String>,
    #[command(flatten)]
    login: config::LoginArgs,
}

#[derive(clap::Args)]
struct SandboxArgs {
    /// Address to listen on; if the variable is unset, `PATCHBAY_BIND` counts
    #[arg(long, env = "PATCHBAY_SANDBOX_BIND", value_name = "ADDRESS", default_value = "127.0.0.1:10999")]
    bind: SocketAddr,
    /// Host names that it answers to, comma-separated, or * for any [default: loopback names where it listens on a
    /// loopback address, else any]
    #[arg(long, env = "PATCHBAY_SANDBOX_HOSTS", value_name = "NAME,…")]
    hosts: Option<String>,
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
    fn address(self) -> String {
        self.url.unwrap_or_else(|| format!("{}/readyz", cli::local_address(self.bind, &self.base_path)))
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
    // Answers where a shell asks what may come next, and ends.
    CompleteEnv::with_factory(Cli::command).var(cli::complete::VARIABLE).complete();
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
    eprintln!("patchbay: {}", chain(error.chain()));
    ExitCode::FAILURE
}

/// Starts the log of a server.
fn parse() -> anyhow::Result<Cli> {
    let settings = Settings::read()?;
    let mut command = settings.apply(Cli::command());
    let matches = command.get_matches_mut();
    if let Err(error) = refuse_empty_flags(&mut command, &matches) {
        error.exit();
    }
    let cli = Cli::from_arg_matches(&matches)?;
    if matches!(cli.command, Command::OneShot(_)) {
        settings.warnings.iter().for_each(|warning| eprintln!("patchbay: {warning}"));
    } else {
        let log_format = settings.find(telemetry::LOG_FORMAT).map(|(value, _)| value);
        let filter = settings.find("RUST_LOG").map(|(value, _)| value);
        telemetry::init(log_format.as_deref(), filter.as_deref())?;
        settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
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
            let hosts = Hosts::read("PATCHBAY_HOSTS", args.hosts.as_deref(), args.bind)?;
            let listener = listen(args.bind, "PATCHBAY_BIND").await?;
            let demo = demo::start(listener.local_addr()?, login, hosts, stop.clone()).await?;
            println!("{demo}");
            Ok(demo.app.serve(listener, stop).await?)
        }
        Command::Agent(args) => {
            let listener = listen(args.bind, "PATCHBAY_AGENT_BIND").await?;
            let router = args.open().await?;
            tracing::info!(address = %listener.local_addr()?, "the agent listens");
            Ok(app::serve(listener, router, stop).await?)
        }
        Command::Sandbox(args) => {
            let world = World::new(sandbox::Options {
                master_key: args.master_key,
                generation: args.generation,
                database: sandbox::Database::Up,
                clock: Clock::system(),
                config_models: Vec::new(),
            });
            let hosts = Hosts::read("PATCHBAY_SANDBOX_HOSTS", args.hosts.as_deref(), args.bind)?;
            let listener = listen(args.bind, "PATCHBAY_SANDBOX_BIND").await?;
            tracing::info!(address = %listener.local_addr()?, "the sandbox listens");
            Ok(app::serve(listener, app::guard(sandbox::router(world), hosts), stop).await?)
        }
        Command::Healthcheck(args) => healthcheck(&args.address()).await,
        Command::OneShot(_) => Ok(()),
    }
}

async fn serve(args: ServeArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let config = args.validate().context("the settings are wrong")?;
    let (bind, path, is_default) = (config.bind, config.base_path.clone(), config.login.is_default);
    let _held = patchbay::store::hold_file(&config.database_url)?;
    let app = App::build(config, Clock::system(), Timeouts::default()).await?;
    let listener = listen(bind, "PATCHBAY_BIND").await?;
    tracing::info!("the dashboard is at http://{}{path}", listener.local_addr()?);
    if is_default {
        tracing::warn!("the default password is in use: set UI_PASSWORD");
    }
    Ok(app.serve(listener, stop).await?)
}

async fn listen(address: SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}: set --bind or {variable} to another address"))
}

async fn healthcheck(url: &str) -> anyhow::Result<()> {
    let http = patchbay::clients::build_http()?;
    let shown = config::shown(url).unwrap_or_else(|| "the address".to_owned());
    let answer = http.get(url).timeout(Duration::from_secs(5)).send().await;
    let answer = answer.map_err(|error| {
        anyhow::anyhow!("{shown} (--url, PATCHBAY_HEALTH_URL) does not answer: {}", reason(&error))
    })?;
    anyhow::ensure!(answer.status().is_success(), "{shown} answered {}", answer.status());
    Ok(())
}
