//! `patchbay bootstrap`, `apply`, `export` and `reset`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use patchbay::app::{ProxyAccess, Tools};
use patchbay::clients::ClientError;
use patchbay::clients::litellm::Timeouts;
use patchbay::config::{ProxyArgs, SetupArgs};
use patchbay::domain::audit::Actor;
use patchbay::domain::words::counted;
use patchbay::services::bootstrap::{
    ApplyOptions, BootstrapError, DesiredState, EnvFile, Outcome, Part, Report, Step, Stock, read_list,
    write_keys,
};
use patchbay::services::registry::{ModelError, write_document};
use patchbay::store::Store;
use patchbay_clock::Clock;

use super::args::{proxy_failed, seconds};
use super::table::cell;
use super::{Exit, Failure, SETUP_EXIT_CODES};

#[derive(clap::Args)]
struct ToolArgs {
    #[command(flatten)]
    proxy: ProxyArgs,
    /// Database of the dashboard: what is done is in its audit
    #[arg(long, env = "PATCHBAY_DATABASE_URL", value_name = "URL", default_value = "sqlite://patchbay.db")]
    database_url: String,
}

impl ToolArgs {
    async fn open(&self) -> Result<Tools, Failure> {
        let access = ProxyAccess {
            url: self.proxy.address().map_err(Failure::usage)?,
            master_key: self.proxy.master_key().map_err(Failure::usage)?,
            agents: None,
            timeouts: Timeouts::default(),
        };
        let http = patchbay::clients::build_http()?;
        let clock = Clock::system();
        let store = Store::open(&self.database_url, clock.clone()).await?;
        Ok(Tools::new(&http, access, store, &clock))
    }
}

impl ToolArgs {
    fn failed(&self, error: BootstrapError) -> Failure {
        match error {
            BootstrapError::NotUp { error, .. } => proxy_failed(&self.proxy, &error),
            error => Failure::failed(error),
        }
    }
}

fn actor(command: &str) -> Actor {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    Actor::local(
        &user.map_or_else(|| format!("patchbay {command}"), |user| format!("{user} (patchbay {command})")),
    )
}

/// Prints each step at once, or all of them at the end as JSON.
struct Printer {
    json: bool,
    /// Hides steps that found nothing to do.
    is_brief: bool,
}

impl Printer {
    fn step(&self, step: &Step) {
        if self.json || (self.is_brief && step.outcome == Outcome::Same) {
            return;
        }
        let (part, name) = (step.part.word(), cell(&step.name));
        say!("{} {part:8} {name:36} {}", sign(step), cell(&step.detail));
        for change in &step.changes {
            let field = cell(&change.field);
            if let Some(before) = &change.before {
                say!("      - {field}: {}", cell(before));
            }
            say!("      + {field}: {}", cell(&change.after));
        }
    }

    fn end(&self, report: &Report, is_dry_run: bool) -> Exit {
        if self.json {
            say!("{:#}", serde_json::json!(report));
        } else {
            let (done, same) = (report.changed, report.steps.len() - report.changed - report.failed);
            let word = if is_dry_run { "to do" } else { "done" };
            let failed = match report.failed {
                0 => String::new(),
                failed => format!(", {failed} not as wished"),
            };
            say!("{done} {word}, {same} as it should be{failed}.");
        }
        let is = |outcome| report.steps.iter().any(|step| step.outcome == outcome);
        match (is(Outcome::Failed), is(Outcome::Refused)) {
            (true, _) => Exit::Failed,
            (false, true) => Exit::Refused,
            (false, false) => Exit::Done,
        }
    }
}

/// Signs as in a diff.
fn sign(step: &Step) -> char {
    match step.outcome {
        Outcome::Waiting => '…',
        Outcome::Same => '=',
        Outcome::Refused | Outcome::Failed => '!',
        Outcome::Planned | Outcome::Changed if step.detail.starts_with("delete") => '-',
        Outcome::Planned | Outcome::Changed if step.changes.is_empty() && step.part != Part::Secrets => '+',
        Outcome::Planned | Outcome::Changed => '~',
    }
}

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay bootstrap
  patchbay bootstrap --models models.yaml --key-budget 25 --key-budget-duration 30d
  patchbay bootstrap --sync-keys --watch 60
  patchbay bootstrap --profile fuzzforge
  patchbay bootstrap --dry-run --json

In this order: waits for the proxy and its database; mirrors the providers' secrets; registers models; issues the
agent's key and writes it into the env file in the place of a placeholder (empty, or sk-proxy-…). Existing
state is kept, and a run that was killed is continued. A key that the proxy has lost is issued again with the secret
in the env file, so that the agent need not be restarted.

{SETUP_EXIT_CODES}"))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct BootstrapArgs {
    #[command(flatten)]
    tools: ToolArgs,
    #[command(flatten)]
    setup: SetupArgs,
    /// Longest wait for the proxy
    #[arg(long, env = "LITELLM_PROXY_WAIT_SECONDS", value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    wait: Duration,
    /// Let keys that may not call everything call the registered models, and no others
    #[arg(long)]
    sync_keys: bool,
    /// Keep running, and update the keys when models change
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30", value_parser = seconds, requires = "sync_keys")]
    watch: Option<Duration>,
    /// Issue new secrets for the keys; the old ones end
    #[arg(long)]
    new_secrets: bool,
    /// End a key that has an issued key's alias and another secret
    #[arg(long)]
    replace: bool,
    /// Register models also where the list holds their secrets by value
    #[arg(long)]
    raw_secrets: bool,
    /// Preview only
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
    /// All steps, as JSON
    #[arg(long, conflicts_with = "watch")]
    json: bool,
}

impl BootstrapArgs {
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let (tools, setup) = (self.tools.open().await?, self.setup.validate().map_err(Failure::usage)?);
        let options = ApplyOptions {
            dry_run: self.dry_run,
            sync_keys: self.sync_keys,
            new_secrets: self.new_secrets,
            replace: self.replace,
            raw_secrets: self.raw_secrets,
            patience: self.wait,
            ..ApplyOptions::default()
        };
        let (actor, printer) = (actor("bootstrap"), Printer { json: self.json, is_brief: false });
        let desired = DesiredState::from_settings(&setup)?;
        let report = tools.bootstrap.run(&desired, options, &actor, |step| printer.step(step)).await;
        let report = report.map_err(|error| self.tools.failed(error))?;
        let exit = printer.end(&report, self.dry_run);
        let Some(pause) = self.watch else { return Ok(exit) };
        let (options, printer) = (
            ApplyOptions { new_secrets: false, replace: false, ..options },
            Printer { json: false, is_brief: true },
        );
        let stop = crate::cli::process::stop_on_signal().map_err(Failure::failed)?;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(Exit::Done),
                () = tokio::time::sleep(pause) => {}
            }
            let desired = DesiredState::from_settings(&setup)?;
            // The proxy may be down for a while: the next round tries again.
            let round = tools.bootstrap.run(&desired, options, &actor, |step| printer.step(step));
            tokio::select! {
                () = stop.cancelled() => return Ok(Exit::Done),
                ended = round => if let Err(error) = ended {
                    eprintln!("patchbay: {error}");
                },
            }
        }
    }
}

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay export > models.yaml
  patchbay apply -f models.yaml --dry-run
  patchbay apply -f models.yaml --prune

The list is LiteLLM's model_list, with a section of keys or without:
  model_list:
    - model_name: openai/gpt-5
      litellm_params: {{model: gpt-5, custom_llm_provider: openai, api_key: os.environ/LITELLM_OPENAI_API_KEY}}
  keys:
    - {{key_alias: task-agent, env: OPENAI_API_KEY, models: [], max_budget: 25, budget_duration: 30d}}
A key's secret is in the variable env of the env file, where a new one is written to. --prune deletes models that
are not in the list, and no keys.

{SETUP_EXIT_CODES}"))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ApplyArgs {
    /// The list; - for what comes in
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    tools: ToolArgs,
    /// The env file, for secrets of keys
    #[arg(long, env = "PATCHBAY_ENV_FILE", value_name = "FILE", default_value = patchbay::domain::setup::DEFAULT_ENV_FILE)]
    env_file: PathBuf,
    /// Delete models that are not in the list
    #[arg(long)]
    prune: bool,
    /// End a key that has an issued key's alias and another secret
    #[arg(long)]
    replace: bool,
    /// Register models also where the list holds their secrets by value
    #[arg(long)]
    raw_secrets: bool,
    /// Preview only
    #[arg(long)]
    dry_run: bool,
    /// All steps, as JSON
    #[arg(long)]
    json: bool,
}

impl ApplyArgs {
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let list = read_list(&self.file)?;
        let tools = self.tools.open().await?;
        let desired = DesiredState { list: Some(list), ..DesiredState::nothing(EnvFile::new(self.env_file)) };
        let options = ApplyOptions {
            dry_run: self.dry_run,
            raw_secrets: self.raw_secrets,
            prune: self.prune,
            replace: self.replace,
            ..ApplyOptions::default()
        };
        let printer = Printer { json: self.json, is_brief: false };
        let report =
            tools.bootstrap.apply(&desired, options, &actor("apply"), |step| printer.step(step)).await;
        let report = report.map_err(|error| self.tools.failed(error))?;
        Ok(printer.end(&report, self.dry_run))
    }
}

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay export > models.yaml
  patchbay export --keys --all

It has no secrets, since the proxy does not show them. It has references (os.environ/NAME) where they are known.

{SETUP_EXIT_CODES}"))]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    tools: ToolArgs,
    /// Models of the proxy's configuration file too
    #[arg(long)]
    all: bool,
    /// Keys too, without their secrets
    #[arg(long)]
    keys: bool,
}

impl ExportArgs {
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let tools = self.tools.open().await?;
        let failed = |error: &ClientError| proxy_failed(&self.tools.proxy, error);
        let list = tools.models.export(self.all).await.map_err(|error| match error {
            ModelError::Proxy(error) => failed(&error),
            error => Failure::failed(error),
        })??;
        let mut keys = String::new();
        if self.keys {
            let all = tools.bootstrap.all_keys().await.map_err(|error| failed(&error))?;
            keys = write_document(&write_keys(&all))?;
        }
        let mut out = std::io::stdout();
        let _ = write!(out, "{list}{keys}");
        Ok(Exit::Done)
    }
}

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay reset --dry-run
  patchbay reset
  patchbay reset --yes --models models.yaml

Models of the proxy's configuration file stay. The agent's key is issued again with the secret in the env file, so
that the agent continues without a restart.

{SETUP_EXIT_CODES}"))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ResetArgs {
    #[command(flatten)]
    tools: ToolArgs,
    #[command(flatten)]
    setup: SetupArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Issue new secrets for the keys
    #[arg(long)]
    new_secrets: bool,
    /// Preview only
    #[arg(long)]
    dry_run: bool,
    /// All steps, as JSON
    #[arg(long)]
    json: bool,
}

impl ResetArgs {
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let (tools, setup) = (self.tools.open().await?, self.setup.validate().map_err(Failure::usage)?);
        let options = ApplyOptions {
            dry_run: self.dry_run,
            new_secrets: self.new_secrets,
            patience: Duration::from_secs(30),
            ..ApplyOptions::default()
        };
        let desired = DesiredState::from_settings(&setup)?;
        if !self.dry_run && !self.yes {
            let stock =
                tools.bootstrap.stock().await.map_err(|error| proxy_failed(&self.tools.proxy, &error))?;
            confirm(&stock, &tools.proxy.address())?;
        }
        let printer = Printer { json: self.json, is_brief: false };
        let report =
            tools.bootstrap.reset(&desired, options, &actor("reset"), |step| printer.step(step)).await;
        let report = report.map_err(|error| self.tools.failed(error))?;
        Ok(printer.end(&report, self.dry_run))
    }
}

/// Lists what would be deleted, and asks for the proxy's address.
fn confirm(stock: &Stock, address: &str) -> Result<(), Failure> {
    let mut err = std::io::stderr();
    let _ = writeln!(err, "This deletes at {address}:");
    let _ = writeln!(err, "  {}: {}", counted(stock.models, "model"), cell(&stock.model_names.join(", ")));
    let keys = counted(usize::try_from(stock.keys).unwrap_or(usize::MAX), "key");
    let _ = writeln!(err, "  {keys}: {}", cell(&stock.key_names.join(", ")));
    if !stock.config_models.is_empty() {
        let names = cell(&stock.config_models.join(", "));
        let _ = writeln!(err, "It cannot delete models of the proxy's configuration file: {names}");
    }
    if std::io::stdin().is_terminal() {
        let _ = write!(err, "Type the address to go on: ");
    }
    let mut typed = String::new();
    let _ = std::io::stdin().lock().read_line(&mut typed);
    if typed.trim() == address {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        "nothing was deleted: the address was not confirmed (--yes skips the question)",
    ))
}
