//! A secret that is put wherever a secret goes appears nowhere else: in no page, JSON, file, log or audit entry.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use patchbay_sandbox::Generation;
use reqwest::header;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::stage;
use crate::hostile::everything::{Places, patterns};
use crate::support::{MASTER_KEY, PASSWORD, USER};

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

const CANARY: &str = "canary0secret0value";
const PROVIDER: &str = "sk-canary1provider1key";

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one walk through everything")]
async fn a_secret_appears_nowhere() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    for generation in [Generation::V1_80, Generation::V1_109] {
        let (app, stage) = stage(generation).await;
        let model = json!({
            "model_name": "openai/canary",
            "litellm_params": {
                "model": "gpt-5", "custom_llm_provider": "openai", "api_key": PROVIDER,
                "api_base": format!("http://user:{CANARY}@127.0.0.1:9/v1?sig={CANARY}&plain={CANARY}#{CANARY}"),
                "auth": CANARY, "pat": CANARY, "passphrase": CANARY, "code": CANARY, "subscription-key": CANARY,
                "alert_webhook": CANARY, "azure_ad": { "sig": CANARY }, "base_url": format!("http://h/v1?x={CANARY}"),
                "mirrors": [format!("https://hooks.slack.com/services/T0/B0/{CANARY}")],
            },
        });
        let registered = app.admin("/model/new", &model).await;
        let metadata = json!({
            "team": "core", "langfuse_secret_key": CANARY, "logging": [{ "callback_vars": { "api_key": CANARY } }]
        });
        let (secret, hash) =
            stage.make("canary", &[("metadata", &metadata.to_string()), ("access", "all")]).await;
        // Shown to whoever made it in a browser, and used up by that.
        let page = stage.browser.post("/keys", &[("alias", "own-browser"), ("access", "none")]).await;
        let shown = page.attributes("input#secret", "value").remove(0);
        let new =
            page.attributes("nav.crumbs a", "href").pop().unwrap().rsplit('/').next().unwrap().to_owned();
        let (_, replaced) =
            stage.script.post(&format!("/keys/{new}/replace"), &[("old", "block"), ("grace", "2h")]).await;
        let replaced = replaced["key"].as_str().unwrap().to_owned();
        // Failures, whose texts may repeat what was sent.
        stage.script.post("/keys", &[("alias", "own-canary"), ("metadata", &metadata.to_string())]).await;
        stage.script.post(&format!("/keys/{hash}"), &[("rpm_limit", "3"), ("budget_duration", "30d")]).await;
        let form = [("scope", "selected"), ("key", hash.as_str()), ("count", "1"), ("action", "unblock")];
        let (_, job) = stage.script.post("/keys/bulk/run", &form).await;
        let change = [
            ("api_base", format!("http://127.0.0.1:9/v2?plain={CANARY}#{CANARY}")),
            ("raw_secret", "on".to_owned()),
            ("secret", "os.environ/OTHER".to_owned()),
        ];
        let change = change.each_ref().map(|(name, value)| (*name, value.as_str()));
        let id = registered["model_id"].as_str().unwrap();
        let (status, answer) = stage.script.post(&format!("/models/{id}"), &change).await;
        assert!(status.is_success(), "{status}: {answer}");
        assert!(!answer.to_string().contains(CANARY), "{answer}");
        let extra =
            format!("passphrase: {CANARY}\nproxy_url: http://h/?x={CANARY}\nlogin: {{sig: {CANARY}}}");
        let form = [("name", "own-canary"), ("model", "gpt-5"), ("provider", "openai"), ("extra", &extra)];
        let (status, answer) = stage.script.post("/models", &form).await;
        assert!(status.is_client_error() && !answer.to_string().contains(CANARY), "{answer}");
        let (status, answer) =
            stage.script.post("/models", &[&form[..], &[("raw_secret", "on")]].concat()).await;
        assert!(status.is_success() && !answer.to_string().contains(CANARY), "{answer}");
        let (status, answer) = stage.script.post("/models", &[("api_base", &format!("x?{CANARY}"))]).await;
        assert!(status.is_client_error() && !answer.to_string().contains(CANARY), "{answer}");
        let chat = json!({ "model": "openai/canary", "messages": [{ "role": "user", "content": "hi" }] });
        let http = crate::support::client(reqwest::redirect::Policy::none());
        http.post(format!("{}/v1/chat/completions", app.sandbox))
            .bearer_auth(&secret)
            .json(&chat)
            .send()
            .await
            .unwrap();
        stage.browser.get("/keys/not-a-hash").await;

        let mut pages = vec![
            "/".to_owned(),
            "/login".to_owned(),
            "/models".to_owned(),
            format!("/models/{id}"),
            "/keys".to_owned(),
            "/keys?q=canary".to_owned(),
            "/keys/new".to_owned(),
            "/keys.csv".to_owned(),
            "/keys/matrix".to_owned(),
            format!("/keys/{hash}"),
            format!("/keys/{hash}/edit"),
            format!("/keys/{hash}/replace"),
            format!("/keys/{new}"),
            job["href"].as_str().unwrap().to_owned(),
            "/switch".to_owned(),
            "/contexts".to_owned(),
            "/agents".to_owned(),
            "/agents/task-agent".to_owned(),
            "/audit".to_owned(),
            "/healthz".to_owned(),
            "/readyz".to_owned(),
            "/metrics".to_owned(),
            "/audit.csv".to_owned(),
            "/models/export".to_owned(),
            format!("/models/{id}/edit"),
            "/keys/bulk/unknown".to_owned(),
            "/nowhere".to_owned(),
        ];
        let places = Places { id: id.to_owned(), hash: hash.clone() };
        // Events have no end.
        let ending = patterns().into_iter().filter(|pattern| !pattern.ends_with("/events"));
        pages.extend(ending.map(|pattern| places.fill(&pattern)));
        let agent_key = secrecy::ExposeSecret::expose_secret(&app.agent_key).to_owned();
        let secrets =
            [CANARY, PROVIDER, MASTER_KEY, PASSWORD, secret.as_str(), &shown, &replaced, &agent_key];
        for path in &pages {
            for (name, value) in
                [("accept", "text/html"), ("accept", "application/json"), ("hx-request", "true")]
            {
                let request = stage.browser.http.get(format!("{}{path}", app.base)).header(name, value);
                let answer = request.send().await.unwrap();
                let headers = format!("{:?} {}", answer.headers(), answer.url());
                assert!(answer.headers().contains_key(header::CACHE_CONTROL), "{path}");
                let text = answer.text().await.unwrap();
                for hidden in secrets {
                    assert!(
                        !text.contains(hidden) && !headers.contains(hidden),
                        "{path} as {value} holds {hidden}"
                    );
                }
            }
        }
        let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(logged.contains("/keys"), "nothing was logged that could be looked at");
        for hidden in secrets {
            assert!(!logged.contains(hidden), "the log holds {hidden}");
        }
        assert!(!logged.contains(&format!("{USER}:{PASSWORD}")));
    }
}
