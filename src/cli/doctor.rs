//! `patchbay doctor`.

use patchbay::app::{ProxyAccess, Tools};
use patchbay::clients::litellm::Timeouts;
use patchbay::config::{Config, ServeArgs, dotenv};
use patchbay::domain::redact;
use patchbay::services::agents::Agents;
use patchbay::services::bootstrap::EnvFile;
use patchbay::services::doctor::{Check, Doctor, Verdict};
use patchbay::services::switcher;
use patchbay::store::Store;
use patchbay_clock::Clock;
use serde_json::json;

use super::table::cell;
use super::{EXIT_CODES, Exit, Failure};

/// Reported settings, and whether they are secrets.
const SETTINGS: [(&str, bool); 15] = [
    ("PATCHBAY_ENV_FILE", false),
    ("PATCHBAY_BIND", false),
    ("PATCHBAY_BASE_PATH", false),
    ("PATCHBAY_DATABASE_URL", false),
    ("UI_USERNAME", false),
    ("UI_PASSWORD", true),
    ("LITELLM_PROXY_URL", false),
    ("FF_LLM_PROXY_BASE_URL", false),
    ("PROXY_BASE_URL", false),
    ("LITELLM_MASTER_KEY", true),
    ("PATCHBAY_AGENTS", false),
    ("TASK_AGENT_API_KEY", true),
    ("OPENAI_API_KEY", true),
    ("LITELLM_DEFAULT_MODELS", false),
    ("PATCHBAY_LOG_FORMAT", false),
];

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay doctor
  patchbay doctor --json

It changes nothing. Secrets are not shown.

{EXIT_CODES}"))]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// All that was seen, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Setting {
    name: &'static str,
    #[serde(rename = "from")]
    origin: String,
    value: String,
}

impl DoctorArgs {
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let settings = settings();
        let checks = match self.serve.validate() {
            Ok(config) => examine(config).await.unwrap_or_else(|failure| vec![invalid(failure.text)]),
            Err(error) => error.0.into_iter().map(|error| invalid(error.to_string())).collect(),
        };
        let is_bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
        if self.json {
            say!("{:#}", json!({ "settings": settings, "checks": checks }));
        } else {
            print(&settings, &checks);
        }
        Ok(if is_bad { Exit::Failed } else { Exit::Done })
    }
}

/// A setting that keeps the dashboard from starting.
fn invalid(why: String) -> Check {
    let advice = Some("Set it in the environment, as a flag, or in a .env file.".to_owned());
    Check { what: "settings".to_owned(), verdict: Verdict::Bad, found: why, advice }
}

async fn examine(config: Config) -> Result<Vec<Check>, Failure> {
    let clock = Clock::system();
    let http = patchbay::clients::build_http()?;
    let store = Store::open(&config.database_url, clock.clone()).await?;
    let limit = switcher::Timeouts::default().control;
    let agents = Agents::new(&http, &config.agents, store.clone(), &clock, limit);
    let access = ProxyAccess {
        url: config.proxy_url,
        master_key: config.master_key,
        agent_key: config.agent_key.clone(),
        timeouts: Timeouts::default(),
    };
    let Tools { proxy, keys, .. } = Tools::new(&http, access, store.clone(), &clock);
    let (agent_key, env) = (config.agent_key, EnvFile::new(config.setup.env_file));
    Ok(Doctor { proxy, keys, store, agents, agent_key, env }.examine().await)
}

/// Settings from the environment and from files. Flags are not seen here.
fn settings() -> Vec<Setting> {
    let files = crate::cli::process::env_files();
    let read: Vec<_> = files.iter().filter_map(|path| Some((path, dotenv::read(path).ok()?))).collect();
    let find = |name: &str| {
        if let Ok(value) = std::env::var(name) {
            return Some(("environment".to_owned(), value));
        }
        read.iter().find_map(|(path, values)| Some((path.display().to_string(), values.get(name)?.clone())))
    };
    SETTINGS
        .into_iter()
        .filter_map(|(name, is_secret)| {
            let (origin, value) = find(name)?;
            let value = match (is_secret, value.trim().is_empty()) {
                (_, true) => "(empty)".to_owned(),
                (true, false) => "(set, not shown)".to_owned(),
                (false, false) => redact::secrets(&value),
            };
            Some(Setting { name, origin, value })
        })
        .collect()
}

fn print(settings: &[Setting], checks: &[Check]) {
    say!("Settings in force, but for flags; what is not here has its default:");
    for Setting { name, origin, value } in settings {
        say!("  {name:24} {}  ({})", cell(value), cell(origin));
    }
    say!("");
    for check in checks {
        let mark = match check.verdict {
            Verdict::Good => "ok  ",
            Verdict::Note => "note",
            Verdict::Bad => "BAD ",
        };
        say!("{mark} {:20} {}", check.what, cell(&check.found));
        if let Some(advice) = &check.advice {
            say!("     {:20} {}", "", cell(advice));
        }
    }
}
