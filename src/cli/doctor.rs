//! `patchbay doctor`.

use axum::http::HeaderName;
use ipnet::IpNet;
use patchbay::app::{ProxyAccess, Tools};
use patchbay::clients::litellm::Timeouts;
use patchbay::config::{self, Access, Config, ServeArgs};
use patchbay::domain::alert::Webhook;
use patchbay::domain::redact;
use patchbay::services::agents::Agents;
use patchbay::services::bootstrap::EnvFile;
use patchbay::services::doctor::{Check, Doctor, Verdict};
use patchbay::services::switcher;
use patchbay::store::Store;
use patchbay_clock::Clock;
use serde_json::json;

use super::settings::Settings;
use super::table::cell;
use super::{EXIT_CODES, Exit, Failure};

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
    /// Settings and checks as JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Setting {
    name: String,
    #[serde(rename = "from")]
    origin: String,
    value: String,
}

impl DoctorArgs {
    pub(super) async fn run(self, cli: &clap::Command) -> Result<Exit, Failure> {
        let found = Settings::read().map_err(Failure::failed)?;
        let settings = settings(&found, cli);
        let mut checks: Vec<Check> = found.warnings.into_iter().map(noted).collect();
        match self.serve.validate() {
            Ok(config) => {
                checks.extend(single_sign_on(&config.access));
                checks.extend(config.access.webhook.as_ref().map(webhook));
                checks.extend(examine(config).await.unwrap_or_else(|failure| vec![invalid(failure.text)]));
            }
            Err(error) => checks.extend(error.0.into_iter().map(|error| invalid(error.to_string()))),
        }
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

/// A setting that is probably not meant as it stands.
fn noted(why: String) -> Check {
    Check { what: "settings".to_owned(), verdict: Verdict::Note, found: why, advice: None }
}

/// What single sign-on believes, and whether too many could claim to be its reverse proxy.
fn single_sign_on(access: &Access) -> Vec<Check> {
    let Some(sso) = &access.sso else { return Vec::new() };
    let what = "single sign-on".to_owned();
    let headers: Vec<&str> = sso.headers().map(HeaderName::as_str).collect();
    let passwords = if access.is_password_login_off { "off" } else { "on" };
    let found = format!("by {}; passwords are {passwords}", headers.join(", "));
    let mut checks = vec![Check { what: what.clone(), verdict: Verdict::Good, found, advice: None }];
    let is_wide = |network: &&IpNet| network.max_prefix_len() - network.prefix_len() > 8;
    checks.extend(access.trusted_proxies.iter().filter(is_wide).map(|network| Check {
        what: what.clone(),
        verdict: Verdict::Note,
        found: format!("everything in {network} can log in as anyone: it is in PATCHBAY_TRUSTED_PROXIES"),
        advice: Some("List the address of the reverse proxy alone.".to_owned()),
    }));
    checks
}

fn webhook(webhook: &Webhook) -> Check {
    let form = if webhook.is_slack { "in Slack's form" } else { "as JSON" };
    let what = "alerts".to_owned();
    let found = format!("to {}, {form}", webhook.url.shown());
    if webhook.secret.is_some() || webhook.is_slack {
        return Check { what, verdict: Verdict::Good, found, advice: None };
    }
    let advice =
        Some("Set PATCHBAY_WEBHOOK_SECRET, so that the receiver can check who sends them.".to_owned());
    Check { what, verdict: Verdict::Note, found: format!("{found}, not signed"), advice }
}

async fn examine(config: Config) -> Result<Vec<Check>, Failure> {
    let clock = Clock::system();
    let http = patchbay::clients::build_http()?;
    let store = Store::open(&config.database_url, clock.clone()).await?;
    let limit = switcher::Timeouts::default().control;
    let agents = Agents::new(&http, config.agents, store.clone(), &clock, limit);
    let access = ProxyAccess {
        url: config.proxy_url,
        master_key: config.master_key,
        agents: Some(agents.clone()),
        timeouts: Timeouts::default(),
    };
    let Tools { proxy, keys, .. } = Tools::new(&http, access, store.clone(), &clock);
    let env = EnvFile::new(config.setup.env_file);
    Ok(Doctor { proxy, keys, store, agents, env }.examine().await)
}

/// Settings from the environment and from files. Flags are not seen here.
fn settings(found: &Settings, cli: &clap::Command) -> Vec<Setting> {
    let shown = |is_secret, value: &str| {
        let shown = if is_secret { None } else { config::shown(value) };
        shown.map_or_else(|| "(set, not shown)".to_owned(), |text| redact::secrets(&text))
    };
    let all = found.list(cli).into_iter();
    all.map(|(name, is_secret, value, origin)| Setting { name, origin, value: shown(is_secret, &value) })
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
