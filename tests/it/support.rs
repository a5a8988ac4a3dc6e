//! A dashboard with a sandbox proxy and an agent beside it, all on loopback, and a browser-like client.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use patchbay::app::{App, Timeouts, serve};
use patchbay::clients::litellm;
use patchbay::config::{Access, Config, Login};
use patchbay::domain::agent::AgentSettings;
use patchbay::services::alerts::Alerts;
use patchbay::services::health::Health;
use patchbay::services::jobs::Jobs;
use patchbay::services::live::Live;
use patchbay::services::switcher::{self, Switcher};
use patchbay_agent as agent;
use patchbay_clock::Clock;
use patchbay_sandbox::{self as sandbox, Database, Generation, World};
use reqwest::{Client, RequestBuilder, Response, StatusCode, header, redirect};
use scraper::{Html, Selector};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::database;

pub(crate) const MASTER_KEY: &str = "sk-test-master-0001";
pub(crate) const PASSWORD: &str = "correct horse";
pub(crate) const USER: &str = "ada";

/// Serves a router on a free loopback port for as long as the guard lives.
pub(crate) async fn spawn(router: Router) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move { serve(listener, router, token).await.unwrap() });
    (address, stop.drop_guard())
}

/// An address where nothing listens.
pub(crate) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// What a test wants to differ from the usual.
pub(crate) struct Setup {
    pub(crate) generation: Generation,
    pub(crate) database: Database,
    pub(crate) master_key: &'static str,
    pub(crate) base_path: &'static str,
    /// Another proxy than the sandbox.
    pub(crate) proxy: Option<String>,
    /// Another agent than the built-in one.
    pub(crate) agent: Option<String>,
    /// Another database than one of its own.
    pub(crate) database_url: Option<String>,
    pub(crate) timeouts: Timeouts,
    pub(crate) is_default_password: bool,
    /// The dashboard's clock.
    pub(crate) clock: Clock,
    /// The clock of the sandbox and of the built-in agent.
    pub(crate) upstream_clock: Clock,
    /// Models from the sandbox's configuration file, as `sandbox::Options` takes them.
    pub(crate) config_models: Vec<(String, String)>,
    /// Named users, trusted proxies.
    pub(crate) access: Access,
    /// Register the guide's models and issue the agent's key.
    pub(crate) is_furnished: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            generation: Generation::V1_109,
            database: Database::Up,
            master_key: MASTER_KEY,
            base_path: "",
            proxy: None,
            agent: None,
            database_url: None,
            timeouts: Timeouts {
                proxy: litellm::Timeouts { admin: second, chat: 5 * second },
                agents: switcher::Timeouts {
                    control: second,
                    message: 5 * second,
                    look_again: [Duration::from_millis(200), Duration::from_millis(500)],
                    find_call: [Duration::from_millis(50); 4],
                },
            },
            is_default_password: false,
            clock: Clock::system(),
            upstream_clock: Clock::system(),
            config_models: Vec::new(),
            access: Access::default(),
            is_furnished: true,
        }
    }
}

/// A running dashboard.
pub(crate) struct TestApp {
    pub(crate) base: String,
    pub(crate) world: World,
    pub(crate) sandbox: String,
    /// The agent's address.
    pub(crate) agent: String,
    pub(crate) agent_key: SecretString,
    /// The agent's key as its hash.
    pub(crate) agent_key_hash: String,
    config: Config,
    clock: Clock,
    timeouts: Timeouts,
    guards: Vec<DropGuard>,
    /// The dashboard's switcher, whose background work tests do by hand.
    switcher: Option<Switcher>,
    alerts: Option<Alerts>,
    health: Option<Health>,
    /// The dashboard's stream of events.
    live: Option<Live>,
    jobs: Option<Jobs>,
    /// Its jobs run for as long as this lives.
    working: Option<DropGuard>,
}

impl TestApp {
    pub(crate) fn switcher(&self) -> &Switcher {
        self.switcher.as_ref().unwrap()
    }

    pub(crate) fn alerts(&self) -> &Alerts {
        self.alerts.as_ref().unwrap()
    }

    pub(crate) fn health(&self) -> &Health {
        self.health.as_ref().unwrap()
    }

    pub(crate) fn live(&self) -> &Live {
        self.live.as_ref().unwrap()
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.config.database_url
    }

    /// Where the agent is, for a control message from elsewhere.
    pub(crate) fn agent_url(&self) -> &Url {
        &self.config.agents[0].url
    }

    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let world = World::new(sandbox::Options {
            master_key: SecretString::from(MASTER_KEY),
            generation: setup.generation,
            database: Database::Up,
            clock: setup.upstream_clock.clone(),
            config_models: setup.config_models,
        });
        let (sandbox, guard) = spawn(sandbox::router(world.clone())).await;
        let sandbox = format!("http://{sandbox}");
        let mut guards = vec![guard];
        let key = if setup.is_furnished {
            furnish(&sandbox).await
        } else {
            json!({ "key": "sk-none", "token": "" })
        };
        let agent_key = SecretString::from(key["key"].as_str().unwrap());
        world.set_database(setup.database);
        let agent = if let Some(agent) = setup.agent {
            agent
        } else {
            let options =
                agent::Options { clock: setup.upstream_clock, ..agent_options(&sandbox, &agent_key) };
            let (address, guard) = spawn(agent::router(options).unwrap()).await;
            guards.push(guard);
            format!("http://{address}/a2a/litellm_agent")
        };
        let database_url = match setup.database_url {
            Some(url) => url,
            None => database::passing().await,
        };
        let config = Config {
            bind: "127.0.0.1:0".parse().unwrap(),
            base_path: setup.base_path.to_owned(),
            database_url,
            login: Login {
                username: USER.to_owned(),
                password: SecretString::from(PASSWORD),
                is_default: setup.is_default_password,
            },
            proxy_url: Url::parse(setup.proxy.as_deref().unwrap_or(&sandbox)).unwrap(),
            master_key: SecretString::from(setup.master_key),
            agents: vec![AgentSettings {
                key: Some(agent_key.clone()),
                ..AgentSettings::new("task-agent".parse().unwrap(), Url::parse(&agent).unwrap())
            }],
            agents_file: None,
            agent_key: Some(agent_key.clone()),
            setup: patchbay::domain::setup::Setup::default(),
            access: setup.access,
        };
        let agent_key_hash = key["token"].as_str().unwrap().to_owned();
        let (clock, timeouts) = (setup.clock, setup.timeouts);
        let mut app = Self {
            base: String::new(),
            world,
            sandbox,
            agent,
            agent_key,
            agent_key_hash,
            config,
            clock,
            timeouts,
            guards,
            switcher: None,
            alerts: None,
            health: None,
            live: None,
            jobs: None,
            working: None,
        };
        app.start_dashboard().await;
        app
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        self.jobs.as_ref().unwrap()
    }

    /// Works on jobs, as from the start.
    pub(crate) fn start_jobs(&mut self) {
        let (jobs, stop) = (self.jobs().clone(), CancellationToken::new());
        self.working = Some(stop.clone().drop_guard());
        tokio::spawn(async move { jobs.work(stop).await });
    }

    /// Takes jobs, and leaves them to another replica.
    pub(crate) fn stop_jobs(&mut self) {
        self.working = None;
    }

    async fn start_dashboard(&mut self) {
        self.start_dashboard_with(|_| ()).await;
    }

    /// Starts it, with something done to its jobs before they run.
    pub(crate) async fn start_dashboard_with(&mut self, prepare: impl FnOnce(&Jobs)) {
        let app = App::build(self.config.clone(), self.clock.clone(), self.timeouts).await.unwrap();
        let (address, guard) = spawn(app.router.clone()).await;
        self.guards.push(guard);
        self.switcher = Some(app.switcher().clone());
        self.alerts = Some(app.alerts().clone());
        self.health = Some(app.health().clone());
        self.live = Some(app.live().clone());
        self.jobs = Some(app.jobs().clone());
        prepare(app.jobs());
        self.start_jobs();
        self.base = format!("http://{address}{}", self.config.base_path);
    }

    /// Stops the dashboard alone and starts it again, on the same database, with other settings.
    pub(crate) async fn restart(&mut self, change: impl FnOnce(&mut Config)) {
        self.guards.pop();
        change(&mut self.config);
        self.start_dashboard().await;
    }

    /// Another dashboard with the same settings, at the same database, proxy and agent.
    pub(crate) async fn replica(&self) -> Self {
        let mut replica = self.unstarted_replica();
        replica.start_dashboard().await;
        replica
    }

    /// The same at another address of the proxy.
    pub(crate) async fn replica_on(&self, proxy: &str) -> Self {
        let mut replica = self.unstarted_replica();
        replica.config.proxy_url = proxy.parse().unwrap();
        replica.start_dashboard().await;
        replica
    }

    pub(crate) fn unstarted_replica(&self) -> Self {
        Self {
            base: String::new(),
            world: self.world.clone(),
            sandbox: self.sandbox.clone(),
            agent: self.agent.clone(),
            agent_key: self.agent_key.clone(),
            agent_key_hash: self.agent_key_hash.clone(),
            config: self.config.clone(),
            clock: self.clock.clone(),
            timeouts: self.timeouts,
            guards: Vec::new(),
            switcher: None,
            alerts: None,
            health: None,
            live: None,
            jobs: None,
            working: None,
        }
    }

    /// Stops the first `count` servers: the sandbox, then the built-in agent where there is one.
    pub(crate) fn stop_first(&mut self, count: usize) {
        drop(self.guards.drain(..count));
    }

    /// A client without a session.
    pub(crate) fn anonymous(&self) -> Browser {
        Browser::new(&self.base)
    }

    /// A client that has logged in.
    pub(crate) async fn user(&self) -> Browser {
        self.user_named(USER).await
    }

    /// A client that has logged in by another name.
    pub(crate) async fn user_named(&self, name: &str) -> Browser {
        let browser = self.anonymous();
        let page = browser.post("/login", &[("username", name), ("password", PASSWORD)]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        browser
    }

    /// A script, with HTTP Basic.
    pub(crate) fn script(&self) -> Script {
        Script::new(&self.base)
    }

    /// The id of one of the sandbox's models.
    pub(crate) async fn first_model(&self) -> String {
        let url = format!("{}/model/info", self.sandbox);
        let request = client(redirect::Policy::none()).get(url).bearer_auth(MASTER_KEY);
        let models: Value = request.send().await.unwrap().json().await.unwrap();
        models["data"][0]["model_info"]["id"].as_str().unwrap().to_owned()
    }

    /// A request to the sandbox with its master key.
    pub(crate) async fn admin(&self, path: &str, body: &Value) -> Value {
        admin(&self.sandbox, path, body).await
    }
}

pub(crate) fn agent_options(proxy: &str, key: &SecretString) -> agent::Options {
    agent::Options {
        proxy: proxy.to_owned(),
        api_key: Some(key.clone()),
        default_model: "openai/gpt-5-mini".to_owned(),
        public_url: None,
        clock: Clock::system(),
        timeout: Duration::from_secs(5),
    }
}

pub(crate) fn client(redirects: redirect::Policy) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().redirect(redirects).cookie_store(true).no_proxy().build().unwrap()
}

async fn admin(sandbox: &str, path: &str, body: &Value) -> Value {
    let request =
        client(redirect::Policy::none()).post(format!("{sandbox}{path}")).bearer_auth(MASTER_KEY).json(body);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

/// The guide's models, and a key for the agent that may call one of them.
async fn furnish(sandbox: &str) -> Value {
    for (name, provider) in [
        ("openai/gpt-5", "openai"),
        ("openai/gpt-5-mini", "openai"),
        ("anthropic/claude-sonnet-4-5", "anthropic"),
    ] {
        let model = name.split_once('/').unwrap().1;
        let secret = format!("os.environ/LITELLM_{}_API_KEY", provider.to_uppercase());
        let body = json!({
            "model_name": name,
            "litellm_params": { "model": model, "custom_llm_provider": provider, "api_key": secret },
            "model_info": { "provider": provider, "description": format!("{name} of the guide") },
        });
        admin(sandbox, "/model/new", &body).await;
    }
    let key = json!({ "key_alias": "task-agent", "models": ["openai/gpt-5-mini"], "max_budget": 10 });
    admin(sandbox, "/key/generate", &key).await
}

/// A client with cookies that follows redirects, as a browser without JavaScript.
pub(crate) struct Browser {
    pub(crate) http: Client,
    base: String,
}

impl Browser {
    pub(crate) fn new(base: &str) -> Self {
        Self { http: client(redirect::Policy::limited(5)), base: base.to_owned() }
    }

    /// The same cookies at a dashboard that was started again.
    pub(crate) fn moved(&self, app: &TestApp) -> Self {
        Self { http: self.http.clone(), base: app.base.clone() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        self.send(self.http.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Page {
        self.send(self.http.post(format!("{}{path}", self.base)).form(form)).await
    }

    /// Sends a request as a browser does that wants a page.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Page {
        Page::of(request.header(header::ACCEPT, "text/html").send().await.unwrap()).await
    }

    /// Asks htmx-style, for a fragment.
    pub(crate) async fn fragment(&self, path: &str) -> Page {
        self.send(self.http.get(format!("{}{path}", self.base)).header("HX-Request", "true")).await
    }
}

/// A client with HTTP Basic that wants JSON and follows no redirects.
pub(crate) struct Script {
    http: Client,
    base: String,
    user: String,
    password: String,
}

impl Script {
    pub(crate) fn new(base: &str) -> Self {
        Self::with(base, USER, PASSWORD)
    }

    pub(crate) fn with(base: &str, user: &str, password: &str) -> Self {
        let http = client(redirect::Policy::none());
        Self { http, base: base.to_owned(), user: user.to_owned(), password: password.to_owned() }
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        self.send(self.http.post(format!("{}{path}", self.base)).form(form)).await
    }

    /// None if the dashboard went away meanwhile.
    pub(crate) async fn try_post(&self, path: &str, form: &[(&str, &str)]) -> Option<(StatusCode, Value)> {
        let request = self.http.post(format!("{}{path}", self.base)).form(form);
        let request = request.basic_auth(USER, Some(PASSWORD)).header(header::ACCEPT, "application/json");
        let answer = request.send().await.ok()?;
        let status = answer.status();
        Some((status, serde_json::from_str(&answer.text().await.ok()?).unwrap_or_default()))
    }

    async fn send(&self, request: RequestBuilder) -> (StatusCode, Value) {
        let request =
            request.basic_auth(&self.user, Some(&self.password)).header(header::ACCEPT, "application/json");
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} is no JSON: {text}")))
    }
}

/// An answer, to be looked at with CSS selectors.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) url: Url,
    pub(crate) headers: header::HeaderMap,
    pub(crate) body: String,
}

impl Page {
    pub(crate) async fn of(answer: Response) -> Self {
        let (status, url, headers) = (answer.status(), answer.url().clone(), answer.headers().clone());
        Self { status, url, headers, body: answer.text().await.unwrap() }
    }

    /// The text of every element that the selector finds, blanks folded.
    pub(crate) fn all(&self, selector: &str) -> Vec<String> {
        let selector = Selector::parse(selector).unwrap();
        let fold = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        Html::parse_document(&self.body).select(&selector).map(|found| fold(found.text().collect())).collect()
    }

    /// The text of the only element that the selector finds.
    pub(crate) fn one(&self, selector: &str) -> String {
        let mut all = self.all(selector);
        assert_eq!(all.len(), 1, "{selector} finds {all:?} in {}", self.text());
        all.remove(0)
    }

    pub(crate) fn has(&self, selector: &str) -> bool {
        !self.all(selector).is_empty()
    }

    /// An attribute of every element that the selector finds.
    pub(crate) fn attributes(&self, selector: &str, name: &str) -> Vec<String> {
        let selector = Selector::parse(selector).unwrap();
        let document = Html::parse_document(&self.body);
        document.select(&selector).filter_map(|found| found.attr(name)).map(str::to_owned).collect()
    }

    /// The outcome on the receipt.
    pub(crate) fn outcome(&self) -> String {
        let mut outcomes = self.attributes("#receipt", "data-outcome");
        assert_eq!(outcomes.len(), 1, "no receipt in {}", self.text());
        outcomes.remove(0)
    }

    /// All text of the page's main part.
    pub(crate) fn text(&self) -> String {
        let main = self.all("main");
        if main.is_empty() { self.body.clone() } else { main.join(" ") }
    }
}
