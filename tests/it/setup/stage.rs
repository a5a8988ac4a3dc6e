//! An empty proxy with one model in its configuration file, an env file, and the binary.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use patchbay::domain::key::KeyHash;
use patchbay_agent::{Extras, open};
use patchbay_clock::Clock;
use patchbay_sandbox::{self as sandbox, Database, Generation, Options, World};
use reqwest::redirect::Policy;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use crate::cli::{Ended, patchbay, run};
use crate::support::{MASTER_KEY, client, spawn};

pub(crate) const BOTH: [Generation; 2] = [Generation::V1_80, Generation::V1_109];

/// As people write it.
pub(crate) const ENV: &str = "# the guide's\nexport LITELLM_OPENAI_API_KEY=sk-openai-1\n\n\
    LITELLM_ANTHROPIC_API_KEY='sk ant # 2' # two words\nOTHER=kept\nOPENAI_API_KEY=sk-proxy-default # by bootstrap\nLAST=x";

/// The models of the guide.
const MODELS: &str = "openai/gpt-5,openai/gpt-5-mini, anthropic/claude-sonnet-4-5";

/// Passes requests on, and may act on the one that it is told to.
#[derive(Clone, Default)]
pub(crate) struct Relay {
    to: Arc<Mutex<String>>,
    pub(crate) plan: Arc<Mutex<Plan>>,
}

/// Kills a process at a request.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) seen: usize,
    /// The request's number, from 1.
    pub(crate) at: Option<usize>,
    pub(crate) pid: u32,
}

pub(crate) struct Stage {
    pub(crate) proxy: String,
    pub(crate) relay: Relay,
    pub(crate) dir: tempfile::TempDir,
    guards: Vec<DropGuard>,
    master_key: String,
    /// Which models are bootstrapped.
    models: (&'static str, String),
    kind: Kind,
    /// Another database than a file of its own.
    pub(crate) database: Option<String>,
}

/// What the proxy is.
enum Kind {
    Sandbox(Generation),
    /// A genuine one, and the command that empties its database.
    Genuine(String),
}

pub(crate) struct Agent {
    pub(crate) url: String,
    _guard: DropGuard,
}

impl Stage {
    pub(crate) async fn start(generation: Generation) -> Self {
        let (sandbox, guard) = empty(generation).await;
        let models = ("LITELLM_DEFAULT_MODELS", MODELS.to_owned());
        let mut stage = Self::on(&sandbox, MASTER_KEY, models, Kind::Sandbox(generation)).await;
        stage.guards.push(guard);
        stage
    }

    /// On a genuine proxy, whose models are answered by `upstream`; it is emptied by the command `wipe`.
    pub(crate) async fn genuine(proxy: &str, master_key: &str, upstream: &str, wipe: String) -> Self {
        let entry = |name: &str| {
            let (provider, model) = name.trim().split_once('/').unwrap();
            format!(
                "- model_name: {provider}/{model}\n  litellm_params: {{model: {model}, custom_llm_provider: openai, \
                 api_base: '{upstream}', api_key: os.environ/BED_OPENAI_API_KEY}}\n"
            )
        };
        let list: String = MODELS.split(',').map(entry).collect();
        let stage = Self::on(proxy, master_key, ("", String::new()), Kind::Genuine(wipe)).await;
        std::fs::write(stage.path("list.yaml"), list).unwrap();
        let list = stage.path("list.yaml").display().to_string();
        Self { models: ("PATCHBAY_MODELS_FILE", list), ..stage }
    }

    async fn on(proxy: &str, master_key: &str, models: (&'static str, String), kind: Kind) -> Self {
        let relay = Relay::default();
        proxy.clone_into(&mut relay.to.lock().unwrap());
        let (address, guard) = spawn(Router::new().fallback(pass_on).with_state(relay.clone())).await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".env"), ENV).unwrap();
        let (proxy, master_key) = (format!("http://{address}"), master_key.to_owned());
        Self { proxy, relay, dir, guards: vec![guard], master_key, models, kind, database: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// A variable of the env file, as the guide's `awk` reads it.
    pub(crate) fn variable(&self, name: &str) -> String {
        let start = format!("{name}=");
        let file = self.read(".env");
        let line = file.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
        line.split(" #").next().unwrap().to_owned()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = patchbay(args);
        let own = || format!("sqlite://{}", self.path("patchbay.db").display());
        command
            .current_dir(self.dir.path())
            .env("PATCHBAY_ENV_FILE", self.path(".env"))
            .env("LITELLM_PROXY_URL", &self.proxy)
            .env("LITELLM_MASTER_KEY", &self.master_key)
            .env(self.models.0, &self.models.1)
            .env("PATCHBAY_DATABASE_URL", self.database.clone().unwrap_or_else(own));
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        run(self.command(args)).await
    }

    /// Runs a bootstrap that ends well. A genuine 1.80 that reads its database just then, as it does every 30 s, may
    /// drop for that long what was added meanwhile, above all under an id that it has just deleted: then the
    /// bootstrap says so, and a later one finds all as it should be.
    pub(crate) async fn bootstrap_until_good(&self) {
        for _ in 0..3 {
            let ended = self.run(&["bootstrap"]).await;
            if ended.code == Some(0) || matches!(self.kind, Kind::Sandbox(_)) {
                ended.good();
                return;
            }
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
        self.run(&["bootstrap"]).await.good();
    }

    /// Runs a command, with something typed.
    pub(crate) async fn run_with(&self, args: &[&str], typed: &str) -> Ended {
        use std::io::Write as _;
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap();
        Ended::of(output.unwrap())
    }

    pub(crate) async fn admin(&self, path: &str, body: &Value) -> Value {
        let request = client(Policy::none()).post(format!("{}{path}", self.proxy));
        let answer = request.bearer_auth(&self.master_key).json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let request = client(Policy::none()).get(format!("{}{path}", self.proxy));
        request.bearer_auth(&self.master_key).send().await.unwrap().json().await.unwrap()
    }

    /// The names of all deployments, sorted.
    pub(crate) async fn names(&self) -> Vec<String> {
        let all = self.get("/model/info").await;
        let all = all["data"].as_array().unwrap();
        let mut names: Vec<_> =
            all.iter().map(|model| model["model_name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    pub(crate) async fn keys(&self) -> Vec<Value> {
        let all = self.get("/key/list?return_full_object=true&size=100").await;
        all["keys"].as_array().unwrap().clone()
    }

    /// The agent's key, if all is there as it should be and nothing twice.
    pub(crate) async fn is_whole(&self) -> Value {
        let names = self.names().await;
        let ours: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !name.starts_with("config")).collect();
        let guides = ["anthropic/claude-sonnet-4-5", "openai/gpt-5", "openai/gpt-5-mini"];
        for guides in guides {
            assert_eq!(ours.iter().filter(|name| **name == guides).count(), 1, "{names:?}");
        }
        let secret = self.variable("OPENAI_API_KEY");
        let keys = self.keys().await;
        assert_eq!(keys.len(), 1, "{keys:?}");
        assert_eq!(keys[0]["key_alias"], "task-agent");
        assert_eq!(keys[0]["token"], KeyHash::of(&SecretString::from(secret.clone())).as_str());
        assert_eq!(self.read(".env"), ENV.replace("sk-proxy-default", &secret));
        assert!(!self.path("..env.partial").exists(), "nothing is left behind");
        keys[0].clone()
    }

    /// Bootstraps, and again; the second time nothing is done.
    pub(crate) async fn bootstrapped_twice(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        let told = self.run(&["bootstrap"]).await.good();
        assert!(told.contains("+ key      task-agent"), "{told}");
        self.is_whole().await;
        let mode = std::fs::metadata(self.path(".env.litellm")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (env, names, keys) = (self.read(".env"), self.names().await, self.keys().await);
        let told: Value = serde_json::from_str(&self.run(&["bootstrap", "--json"]).await.good()).unwrap();
        assert_eq!((&told["changed"], &told["failed"]), (&json!(0), &json!(0)), "{told}");
        assert_eq!((self.read(".env"), self.names().await, self.keys().await), (env, names, keys));
    }

    /// The proxy loses all that was in its database.
    pub(crate) async fn wipe(&mut self) {
        match &self.kind {
            Kind::Sandbox(generation) => {
                let (sandbox, guard) = empty(*generation).await;
                *self.relay.to.lock().unwrap() = sandbox;
                self.guards.push(guard);
            }
            Kind::Genuine(wipe) => {
                let mut command = Command::new("bash");
                command.args(["-c", wipe]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                let status = tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap();
                assert!(status.success());
            }
        }
    }

    /// The same, by deleting one thing after the other, which a genuine proxy does faster. All files are as in
    /// the beginning.
    pub(crate) async fn empty_by_hand(&self) {
        let models = self.get("/model/info").await;
        for model in models["data"].as_array().unwrap() {
            if model["model_info"]["db_model"] == true {
                self.admin("/model/delete", &json!({ "id": model["model_info"]["id"] })).await;
            }
        }
        for key in self.keys().await {
            self.admin("/key/delete", &json!({ "keys": [key["token"]] })).await;
        }
        std::fs::write(self.path(".env"), ENV).unwrap();
        for file in [".env.litellm", "patchbay.db"] {
            let _ = std::fs::remove_file(self.path(file));
        }
    }

    /// The built-in agent, which finds its key in the env file.
    pub(crate) async fn agent(&self) -> Agent {
        let mut options = crate::support::agent_options(&self.proxy, &SecretString::from(""));
        options.api_key = None;
        let env = self.path(".env");
        let key = move || {
            let file = patchbay::config::dotenv::read(&env).ok()?;
            Some(SecretString::from(file.get("OPENAI_API_KEY")?.as_str()))
        };
        let extras = Extras { key_source: Some(Arc::new(key)), ..Extras::default() };
        let (address, guard) = spawn(open(options, extras).await.unwrap()).await;
        Agent { url: format!("http://{address}/a2a/litellm_agent"), _guard: guard }
    }
}

impl Agent {
    /// The answer, or why there is none.
    pub(crate) async fn ask(&self, text: &str) -> String {
        let ended = run(patchbay(&["ask", "--url", &self.url, text])).await;
        if ended.code == Some(0) { ended.out.trim().to_owned() } else { ended.err }
    }
}

async fn empty(generation: Generation) -> (String, DropGuard) {
    let world = World::new(Options {
        master_key: SecretString::from(MASTER_KEY),
        generation,
        database: Database::Up,
        clock: Clock::system(),
        config_models: vec![("config/mock".to_owned(), "openai/config-mock".to_owned())],
    });
    let (address, guard) = spawn(sandbox::router(world)).await;
    (format!("http://{address}"), guard)
}

async fn pass_on(State(relay): State<Relay>, request: Request) -> Response {
    let to = relay.to.lock().unwrap().clone();
    let deed = {
        let mut plan = relay.plan.lock().unwrap();
        plan.seen += 1;
        plan.at.filter(|at| *at == plan.seen).map(|_| plan.pid)
    };
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let url = format!("{to}{}", parts.uri.path_and_query().unwrap());
    let mut headers = parts.headers;
    headers.remove("host");
    let sent = client(Policy::none()).request(parts.method, url).headers(headers).body(body).send().await;
    let Ok(answer) = sent else { return axum::http::StatusCode::BAD_GATEWAY.into_response() };
    let (status, kind) = (answer.status(), answer.headers().get("content-type").cloned());
    let bytes = answer.bytes().await.unwrap();
    if let Some(pid) = deed {
        return killed(pid).await;
    }
    let mut response = Response::builder().status(status);
    if let Some(kind) = kind {
        response = response.header("content-type", kind);
    }
    response.body(Body::from(bytes)).unwrap()
}

/// Kills the process that waits for this answer, which is never given.
async fn killed(pid: u32) -> Response {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
    tokio::time::sleep(Duration::from_mins(1)).await;
    axum::http::StatusCode::BAD_GATEWAY.into_response()
}
