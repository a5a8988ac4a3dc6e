//! The registry's pages against the sandbox, in both of its generations.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod change;
mod lived_in;
mod older;
mod register;
mod remove;
mod round_trip;
mod table;
mod transfer;
mod trial;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use patchbay_clock::Clock;
use patchbay_sandbox::{self as sandbox, Database, Generation, Options, World};
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use crate::support::{Browser, MASTER_KEY, Page, Script, Setup, TestApp, spawn};

const BOTH: [Generation; 2] = [Generation::V1_80, Generation::V1_109];

/// Names that break what is careless with them.
fn odd_names() -> Vec<String> {
    let odd = [
        "<script>alert(1)</script>",
        "\"quoted\"'names'&amp;",
        "a/b/c/d",
        "müßig/世界🔌",
        "../../etc/passwd?x=1#y%2f",
    ];
    odd.into_iter().map(str::to_owned).chain(["x".repeat(4096)]).collect()
}

/// A dashboard on a proxy that has one model in its configuration file and counts its requests.
struct Stand {
    app: TestApp,
    proxy: String,
    requests: Arc<AtomicUsize>,
    _guard: DropGuard,
}

impl Stand {
    async fn start(generation: Generation) -> Self {
        let world = World::new(Options {
            master_key: SecretString::from(MASTER_KEY),
            generation,
            database: Database::Up,
            clock: Clock::system(),
            config_models: vec![("config/mock".to_owned(), "openai/config-mock".to_owned())],
        });
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let count = move |request: Request, next: Next| {
            counter.fetch_add(1, Ordering::SeqCst);
            next.run(request)
        };
        let (address, guard) = spawn(sandbox::router(world).layer(from_fn(count))).await;
        let proxy = format!("http://{address}");
        let setup = Setup { generation, proxy: Some(proxy.clone()), is_furnished: false, ..Setup::default() };
        Self { app: TestApp::with(setup).await, proxy, requests, _guard: guard }
    }

    fn script(&self) -> Script {
        self.app.script()
    }

    async fn user(&self) -> Browser {
        self.app.user().await
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Asks the proxy itself.
    async fn admin(&self, path: &str, body: &Value) -> (u16, Value) {
        let http = crate::support::client(reqwest::redirect::Policy::none());
        let request = match body {
            Value::Null => http.get(format!("{}{path}", self.proxy)),
            body => http.post(format!("{}{path}", self.proxy)).json(body),
        };
        let answer = request.bearer_auth(MASTER_KEY).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Registers a deployment through the dashboard.
    async fn register(&self, form: &[(&str, &str)]) -> String {
        let (status, body) = self.script().post("/models", form).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    /// What the proxy says of a live deployment.
    async fn live(&self, id: &str) -> Value {
        let (status, body) = self.admin(&format!("/model/info?litellm_model_id={id}"), &json!(null)).await;
        assert_eq!(status, 200, "{id} is not live: {body}");
        body["data"][0].clone()
    }

    async fn is_live(&self, id: &str) -> bool {
        self.admin(&format!("/model/info?litellm_model_id={id}"), &json!(null)).await.0 == 200
    }

    /// The id of the configuration file's model.
    async fn config_id(&self) -> String {
        let (_, body) = self.script().get("/models?source=config").await;
        body["deployments"][0]["id"].as_str().unwrap().to_owned()
    }

    /// What the audit says of models, newest first.
    async fn audit(&self) -> Vec<String> {
        let (_, audit) = self.script().get("/audit").await;
        let entries = audit["entries"].as_array().unwrap().iter().map(Value::to_string);
        entries.filter(|entry| entry.contains("\"model.")).collect()
    }
}

/// The form of a good model.
const GOOD: [(&str, &str); 5] = [
    ("name", "openai/gpt-5"),
    ("provider", "openai"),
    ("model", "gpt-5"),
    ("secret", "os.environ/LITELLM_OPENAI_API_KEY"),
    ("mode", "chat"),
];

fn with<'a>(form: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let is_other = |(name, _): &&(&str, &str)| !more.iter().any(|(other, _)| other == name);
    form.iter().filter(is_other).chain(more).copied().collect()
}

/// The error beside a field.
fn error_at(page: &Page, field: &str) -> String {
    page.one(&format!("#{field}-error"))
}
