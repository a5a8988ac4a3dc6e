//! What holds for all background jobs: they outlive their process, panics, and the schema that they had before.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod former;
mod killed;
mod leases;
mod panics;

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::database;
use crate::support::{Setup, TestApp};

const MODEL: &str = "openai/gpt-5";

/// The four kinds of jobs, each begun on what this has laid out.
struct Stage {
    app: TestApp,
    dir: tempfile::TempDir,
    keys: Vec<String>,
}

impl Stage {
    /// A dashboard on a database that outlives it, with six keys, and an env file for a reset.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (file, url) = database::lasting().await;
        let mut app = TestApp::with(Setup { database_url: Some(url), ..Setup::default() }).await;
        // As long as the stage.
        std::mem::forget(file);
        let mut keys = Vec::new();
        for n in 0..6 {
            let key = app.admin("/key/generate", &json!({ "key_alias": format!("own-{n}") })).await;
            keys.push(key["token"].as_str().unwrap().to_owned());
        }
        let env = dir.path().join(".env");
        let secret = secrecy::ExposeSecret::expose_secret(&app.agent_key).to_owned();
        std::fs::write(&env, format!("OPENAI_API_KEY={secret}\n")).unwrap();
        app.restart(|config| {
            config.setup.mirror_file = env.with_file_name(".env.litellm");
            config.setup.env_file = env;
            config.setup.default_models = vec![MODEL.to_owned()];
        })
        .await;
        let path = format!("/keys/{}/relax", app.agent_key_hash);
        assert!(app.script().post(&path, &[]).await.0.is_success());
        Self { app, dir, keys }
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let (status, body) = self.app.script().post(path, form).await;
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    /// Each begins a job and returns its address.
    async fn begin_swaps(&self) -> String {
        let form = [("agent", "task-agent"), ("ids", "a b c d e f"), ("model", MODEL), ("at_once", "2")];
        self.post("/bulk", &form).await["href"].as_str().unwrap().to_owned()
    }

    async fn begin_key_changes(&self) -> String {
        let mut form = vec![("scope", "selected"), ("action", "block")];
        form.extend(self.keys.iter().map(|hash| ("key", hash.as_str())));
        self.post("/keys/bulk/run", &form).await["href"].as_str().unwrap().to_owned()
    }

    async fn begin_import(&self) -> String {
        let entry = |n| format!(" - {{model_name: new/{n}, litellm_params: {{model: openai/gpt-{n}}}}}\n");
        let list = format!("model_list:\n{}", (0..6).map(entry).collect::<String>());
        let id = self.post("/models/import", &[("yaml", &list)]).await["id"].as_str().unwrap().to_owned();
        let href = format!("/models/import/{id}");
        self.post(&format!("{href}/apply"), &[]).await;
        href
    }

    async fn begin_reset(&self) -> String {
        self.post("/danger/reset", &[("confirm", &self.app.sandbox)]).await;
        "/danger".to_owned()
    }

    /// The job once it has ended.
    async fn ended(&self, href: &str) -> Value {
        for _ in 0..1500 {
            let (status, job) = self.app.script().get(href).await;
            assert_eq!(status, StatusCode::OK, "{job}");
            let job = if href == "/danger" { job["last"].clone() } else { job };
            let runs = job["state"] == "running" || job["is_running"] == true;
            if !runs && job["counts"]["running"] != 1 {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the job does not end: {}", self.app.script().get(href).await.1);
    }

    /// All six keys are blocked. What another replica did is seen when the copy of the keys is renewed.
    async fn all_are_blocked(&self) {
        for _ in 0..500 {
            let (_, keys) = self.app.script().get("/keys?state=blocked&size=100").await;
            if keys["keys"].as_array().unwrap().len() == 6 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not all keys are blocked");
    }

    async fn model_names(&self) -> Vec<String> {
        let (_, models) = self.app.script().get("/models?size=100").await;
        let models = models["deployments"].as_array().unwrap();
        models.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The reset has left what the settings ask for.
    async fn is_reset(&self, job: &Value) {
        assert_eq!(job["error"], Value::Null, "{job}");
        let bad = |step: &&Value| step["outcome"] == "failed" || step["outcome"] == "refused";
        assert_eq!(job["steps"].as_array().unwrap().iter().find(bad), None, "{job}");
        assert_eq!(self.model_names().await, [MODEL]);
        let (_, keys) = self.app.script().get("/keys").await;
        assert_eq!(keys["keys"].as_array().unwrap().len(), 1, "{keys}");
        assert_eq!(keys["keys"][0]["hash"], self.app.agent_key_hash.as_str(), "{keys}");
        assert!(self.dir.path().join(".env").exists());
    }
}
