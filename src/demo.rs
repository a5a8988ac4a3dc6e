//! `patchbay demo`: sandbox, agent and dashboard in one process, connected by HTTP only.

use std::fmt;
use std::net::SocketAddr;

use anyhow::Context as _;
use jiff::SignedDuration;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use patchbay::app::{App, Timeouts, guard, serve};
use patchbay::clients;
use patchbay::config::users::{Hash, NamedUser};
use patchbay::config::{Access, Config, Hosts, Login, UsersFile};
use patchbay::domain::agent::AgentSettings;
use patchbay::domain::role::Role;
use patchbay_agent as agent;
use patchbay_clock::Clock;
use patchbay_sandbox::{self as sandbox, PastCall, World};

/// The guide's models: name, upstream model, provider, secret, description.
const MODELS: [(&str, &str, &str, &str, &str); 3] = [
    ("openai/gpt-5", "gpt-5", "openai", "os.environ/LITELLM_OPENAI_API_KEY", "OpenAI GPT-5"),
    ("openai/gpt-5-mini", "gpt-5-mini", "openai", "os.environ/LITELLM_OPENAI_API_KEY", "OpenAI GPT-5 mini"),
    (
        "anthropic/claude-sonnet-4-5",
        "claude-sonnet-4-5",
        "anthropic",
        "os.environ/LITELLM_ANTHROPIC_API_KEY",
        "Anthropic Claude Sonnet 4.5",
    ),
];

const ROLES: [Role; 2] = [Role::Viewer, Role::Operator];

/// The dashboard is not served yet.
pub(crate) struct Demo {
    pub(crate) app: App,
    dashboard: SocketAddr,
    sandbox: SocketAddr,
    agent: String,
    login: Login,
    master_key: SecretString,
}

/// Starts sandbox and agent on free loopback ports. The dashboard's database is in memory.
pub(crate) async fn start(
    dashboard: SocketAddr,
    login: Login,
    hosts: Hosts,
    stop: CancellationToken,
) -> anyhow::Result<Demo> {
    let master_key = SecretString::from(format!("sk-demo-{}", Uuid::new_v4().simple()));
    let world = World::new(sandbox::Options {
        master_key: master_key.clone(),
        generation: sandbox::Generation::default(),
        database: sandbox::Database::Up,
        clock: Clock::system(),
        config_models: Vec::new(),
    });
    let sandbox = run(sandbox::router(world.clone()), &stop).await?;
    let http = clients::build_http()?;
    let agent_key = seed_proxy(&http, sandbox, &master_key).await?;
    seed_spend(&world);
    let options = agent::Options {
        proxy: format!("http://{sandbox}"),
        api_key: Some(agent_key.clone()),
        default_model: MODELS[1].0.to_owned(),
        public_url: None,
        clock: Clock::system(),
        timeout: agent::Options::TIMEOUT,
    };
    let agent = format!("http://{}/a2a/litellm_agent", run(agent::router(options)?, &stop).await?);
    let config = Config {
        bind: dashboard,
        base_path: String::new(),
        database_url: "sqlite::memory:".to_owned(),
        login: login.clone(),
        proxy_url: Url::parse(&format!("http://{sandbox}"))?,
        master_key: master_key.clone(),
        agents: vec![AgentSettings {
            key: Some(agent_key),
            ..AgentSettings::new("task-agent".parse()?, Url::parse(&agent)?)
        }],
        agents_file: None,
        agent_key: None,
        setup: patchbay::domain::setup::Setup::default(),
        access: Access { hosts, users: Some(team(&login.password)?), ..Access::default() },
    };
    let app = App::build_demo(config, Clock::system(), Timeouts::default()).await?;
    Ok(Demo { app, dashboard, sandbox, agent, login, master_key })
}

async fn run(router: axum::Router, stop: &CancellationToken) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no free loopback port")?;
    let address = listener.local_addr()?;
    let (router, stop) = (guard(router, Hosts::default()), stop.clone());
    tokio::spawn(async move {
        if let Err(error) = serve(listener, router, stop).await {
            tracing::error!(%error, %address, "a server of the demo ended");
        }
    });
    Ok(address)
}

/// Registers the models and issues two keys; returns the agent's.
async fn seed_proxy(
    http: &Client,
    sandbox: SocketAddr,
    master_key: &SecretString,
) -> anyhow::Result<SecretString> {
    for (name, model, provider, secret, description) in MODELS {
        let body = json!({
            "model_name": name,
            "litellm_params": { "model": model, "custom_llm_provider": provider, "api_key": secret },
            "model_info": { "provider": provider, "description": description },
        });
        post(http, sandbox, master_key, "model/new", &body).await?;
    }
    let team = json!({
        "key_alias": "research-notebooks", "models": [MODELS[1].0], "max_budget": 25.0,
        "budget_duration": "30d", "duration": "90d", "rpm_limit": 60, "user_id": "maria",
    });
    post(http, sandbox, master_key, "key/generate", &team).await?;
    let own =
        json!({ "key_alias": "task-agent", "models": [], "max_budget": 100.0, "budget_duration": "30d" });
    let answer = post(http, sandbox, master_key, "key/generate", &own).await?;
    let key = answer.get("key").and_then(Value::as_str).context("the sandbox issued no key")?;
    Ok(SecretString::from(key))
}

/// A viewer and an operator with the password of the shared login, to try out roles.
fn team(password: &SecretString) -> anyhow::Result<UsersFile> {
    let hash = Hash::of(password)?;
    let user = |role: Role| NamedUser { name: role.as_str().to_owned(), hash: hash.clone(), role };
    Ok(UsersFile { path: None, users: ROLES.map(user).to_vec() })
}

/// Adds calls of the last month to the spend log.
fn seed_spend(world: &World) {
    let now = Clock::system().now();
    for minutes in (3..23 * 60).step_by(37) {
        let (key, model) = [("task-agent", 0), ("research-notebooks", 1), ("task-agent", 2)][minutes % 3];
        let minutes = i64::try_from(minutes).unwrap_or_default();
        world.remember(&PastCall {
            key,
            model: MODELS[model].0,
            at: now - SignedDuration::from_mins(minutes),
            tokens: (2_000 + minutes * 7 % 3_000, 300 + minutes * 3 % 800),
        });
    }
    for ago in (1..30_i64).rev() {
        for call in (0..(3 + ago * 5 % 7)).rev() {
            let (key, model) =
                if call % 3 == 0 { ("research-notebooks", 1) } else { ("task-agent", call % 2 * 2) };
            world.remember(&PastCall {
                key,
                model: MODELS[usize::try_from(model).unwrap_or_default()].0,
                at: now - SignedDuration::from_hours(24 * ago) - SignedDuration::from_mins(17 * call),
                tokens: (4_000 + ago * 310 % 2_000, 900 + call * 130),
            });
        }
    }
}

async fn post(
    http: &Client,
    sandbox: SocketAddr,
    master_key: &SecretString,
    path: &str,
    body: &Value,
) -> anyhow::Result<Value> {
    let request = http.post(format!("http://{sandbox}/{path}")).bearer_auth(master_key.expose_secret());
    Ok(request.json(body).send().await?.error_for_status()?.json().await?)
}

impl fmt::Display for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Patchbay demo")?;
        writeln!(f, "  dashboard   http://{}", self.dashboard)?;
        let shown =
            if self.login.is_default { self.login.password.expose_secret() } else { "(as you set it)" };
        writeln!(f, "  login       {} / {shown}", self.login.username)?;
        writeln!(
            f,
            "              {} (the same password, fewer rights)",
            ROLES.map(Role::as_str).join(", ")
        )?;
        writeln!(f, "  proxy       http://{} (sandbox)", self.sandbox)?;
        writeln!(f, "  master key  {}", self.master_key.expose_secret())?;
        writeln!(f, "  agent       {}", self.agent)?;
        write!(f, "Nothing is kept when it ends: Ctrl-C.")
    }
}
