//! `patchbay contexts`, `patchbay models` and `patchbay keys`.

use patchbay::clients::litellm::{LiteLlm, Timeouts};
use patchbay::config::ProxyArgs;
use patchbay::domain::key::{Access, VirtualKey};
use patchbay::domain::model::Deployment;
use patchbay_clock::Clock;
use serde_json::{Value, json};

use super::args::{LocalArgs, LoginArgs, proxy_failed};
use super::table::{self, cell};
use super::{EXIT_CODES, Exit, Failure};

/// Limit of fetched pages, 100 keys each.
const KEY_PAGES: u32 = 1_000;

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay contexts
  patchbay contexts gpt-5 --dashboard https://patchbay.example --json

{EXIT_CODES}"))]
pub(crate) struct ContextsArgs {
    /// Only contexts with this in their name, agent or model
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// Address of the dashboard [default: one that runs on this machine]
    #[arg(long, env = "PATCHBAY_DASHBOARD", value_name = "URL")]
    dashboard: Option<String>,
    #[command(flatten)]
    local: LocalArgs,
    #[command(flatten)]
    login: LoginArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay models
  patchbay models anthropic --json

{EXIT_CODES}"))]
pub(crate) struct ModelsArgs {
    /// Only models with this in their name or upstream model
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    proxy: ProxyArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  patchbay keys
  patchbay keys task-agent --json

{EXIT_CODES}"))]
pub(crate) struct KeysArgs {
    /// Only keys with this in their alias, masked name or hash
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    proxy: ProxyArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl ContextsArgs {
    pub(super) async fn run(&self) -> Result<Exit, Failure> {
        let address = self.dashboard.clone().unwrap_or_else(|| self.local.address());
        let dashboard = self.login.dashboard(&address)?;
        let mut contexts = Vec::new();
        for page in 1.. {
            let text = self.text.as_deref().unwrap_or_default();
            let page = page.to_string();
            let query = [("q", text), ("page", &page), ("size", "100")];
            let answer = dashboard.get(&["contexts"], &query).await?;
            let got = answer["contexts"].as_array().cloned();
            let got = got.ok_or_else(|| Failure::failed("the dashboard listed no contexts"))?;
            let total = answer["total"].as_u64().unwrap_or(0);
            let ended = got.is_empty();
            contexts.extend(got);
            if ended || contexts.len() as u64 >= total {
                break;
            }
        }
        if self.json {
            say!("{:#}", Value::from(contexts));
            return Ok(Exit::Done);
        }
        if contexts.is_empty() && self.text.is_none() {
            eprintln!("The dashboard knows none yet: swaps through it (patchbay swap) are listed here.");
        }
        let rows: Vec<_> = contexts.iter().map(context_row).collect();
        table::print(["AGENT", "CONTEXT", "MODEL", "LAST SWAP", "BY", "AT"], &rows);
        Ok(Exit::Done)
    }
}

fn context_row(context: &Value) -> [String; 6] {
    let text = |name: &str| cell(context[name].as_str().unwrap_or("-"));
    let config = &context["config"];
    let model = match (config["provider"].as_str(), config["model"].as_str()) {
        (Some(provider), Some(model)) => cell(&format!("{provider}/{model}")),
        (None, Some(model)) => cell(model),
        _ => "-".to_owned(),
    };
    [text("agent"), text("context"), model, text("last_outcome"), text("last_actor"), text("last_swap_at")]
}

fn proxy(args: &ProxyArgs) -> Result<LiteLlm, Failure> {
    let (url, key) = (args.address().map_err(Failure::usage)?, args.master_key().map_err(Failure::usage)?);
    let http = patchbay::clients::build_http()?;
    Ok(LiteLlm::new(http, url, key, Timeouts::default()))
}

fn matches(wanted: Option<&str>, texts: &[&str]) -> bool {
    let wanted = wanted.unwrap_or_default().to_lowercase();
    texts.iter().any(|text| text.to_lowercase().contains(&wanted))
}

impl ModelsArgs {
    pub(super) async fn run(&self) -> Result<Exit, Failure> {
        let mut all =
            proxy(&self.proxy)?.deployments().await.map_err(|error| proxy_failed(&self.proxy, &error))?;
        all.retain(|model| matches(self.text.as_deref(), &[&model.name, &model.upstream_model]));
        all.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        if self.json {
            say!("{:#}", json!(all));
            return Ok(Exit::Done);
        }
        let rows: Vec<_> = all.iter().map(model_row).collect();
        table::print(["NAME", "PROVIDER", "UPSTREAM", "SOURCE", "STATE", "ID"], &rows);
        Ok(Exit::Done)
    }
}

fn model_row(model: &Deployment) -> [String; 6] {
    [
        cell(&model.name),
        cell(model.provider.as_deref().unwrap_or("-")),
        cell(&model.upstream_model),
        model.source.as_str().to_owned(),
        if model.blocked { "blocked" } else { "active" }.to_owned(),
        cell(&model.id),
    ]
}

impl KeysArgs {
    pub(super) async fn run(&self) -> Result<Exit, Failure> {
        let (proxy, now) = (proxy(&self.proxy)?, Clock::system().now());
        let mut keys = Vec::new();
        for page in 1..=KEY_PAGES {
            let got = proxy.keys(page).await.map_err(|error| proxy_failed(&self.proxy, &error))?;
            keys.extend(got.keys);
            if page >= got.pages {
                break;
            }
        }
        let text = self.text.as_deref();
        keys.retain(|key| {
            matches(text, &[key.alias.as_deref().unwrap_or_default(), &key.masked, key.hash.as_str()])
        });
        if self.json {
            say!("{:#}", json!(keys));
            return Ok(Exit::Done);
        }
        let rows: Vec<_> = keys.iter().map(|key| key_row(key, now)).collect();
        table::print(["ALIAS", "KEY", "STATE", "MODELS", "SPEND", "BUDGET", "HASH"], &rows);
        Ok(Exit::Done)
    }
}

fn key_row(key: &VirtualKey, now: jiff::Timestamp) -> [String; 7] {
    let models = match &key.access {
        Access::All => "all".to_owned(),
        Access::None => "none".to_owned(),
        Access::List(names) => cell(&names.join(",")),
    };
    [
        cell(key.alias.as_deref().unwrap_or("-")),
        cell(&key.masked),
        key.state(now).label().to_owned(),
        models,
        format!("${:.4}", key.spend),
        key.max_budget.map_or_else(|| "-".to_owned(), |budget| format!("${budget:.2}")),
        key.hash.as_str()[..12].to_owned(),
    ]
}
