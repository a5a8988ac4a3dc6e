//! `patchbay doctor`.

use patchbay::app::{Access, Tools};
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

/// Settings that are told, with whether they are secrets.
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

/// Looks at what a swap needs.
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

/// A setting, where it comes from, and what it says.
struct Setting {
    name: &'static str,
    origin: String,
    value: String,
}

impl DoctorArgs {
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let settings = settings();
        let checks = match self.serve.validate() {
            Ok(config) => examine(config).await,
            Err(error) => error.0.into_iter().map(wrong).collect(),
        };
        let is_bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
        if self.json {
            let settings: Vec<_> = settings
                .iter()
                .map(|set| json!({ "name": set.name, "from": set.origin, "value": set.value }))
                .collect();
            say!("{:#}", json!({ "settings": settings, "checks": checks }));
        } else {
            tell(&settings, &checks);
        }
        Ok(if is_bad { Exit::Failed } else { Exit::Done })
    }
}

/// A setting that keeps the dashboard from starting.
fn wrong(why: String) -> Check {
    let advice = Some("Set it in the environment, as a flag, or in a .env file.".to_owned());
    Check { what: "settings".to_owned(), verdict: Verdict::Bad, found: why, advice }
}

async fn examine(config: Config) -> Vec<Check> {
    let clock = Clock::system();
    let parts = async {
        let http = patchbay::clients::build_http().map_err(|error| error.to_string())?;
        let store = Store::open(&config.database_url, clock.clone()).await;
        Ok::<_, String>((http, store.map_err(|error| error.to_string())?))
    };
    let (http, store) = match parts.await {
        Ok(parts) => parts,
        Err(error) => return vec![wrong(error)],
    };
    let limit = switcher::Timeouts::default().control;
    let agents = Agents::new(&http, &config.agents, store.clone(), &clock, limit);
    let access = Access {
        proxy_url: config.proxy_url,
        master_key: config.master_key,
        agent_key: config.agent_key.clone(),
        timeouts: Timeouts::default(),
    };
    let Tools { proxy, keys, .. } = Tools::new(&http, access, store.clone(), &clock);
    let (agent_key, env) = (config.agent_key, EnvFile::new(config.setup.env_file));
    Doctor { proxy, keys, store, agents, agent_key, env }.examine().await
}

/// The settings that are set, in the environment or in a file. A flag counts more than both.
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

fn tell(settings: &[Setting], checks: &[Check]) {
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
