//! What the pages show: nothing but one agent, or some of everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use patchbay_clock::Clock;
use patchbay_sandbox::PastCall;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{PASSWORD, Script, Setup, TestApp};
use crate::swaps::from_elsewhere;
use crate::web::roles::team;

/// Stands still unless it is put forward: what is shown of the time is the same on every run.
#[derive(Clone)]
pub(super) struct Still(Arc<AtomicI64>);

impl Still {
    fn new() -> Self {
        let start: Timestamp = "2026-01-15T09:30:00Z".parse().unwrap();
        Self(Arc::new(AtomicI64::new(start.as_second())))
    }

    fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Clock::from_fn(move || Timestamp::from_second(seconds.load(Ordering::SeqCst)).unwrap())
    }

    fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// What stands for the parameters of addresses.
pub(super) struct Data {
    pub(super) app: TestApp,
    pub(super) model: String,
    pub(super) key: String,
    pub(super) context: String,
    pub(super) swap: String,
    pub(super) bulk: String,
    pub(super) key_job: String,
    pub(super) import: String,
    pub(super) comparison: String,
    pub(super) call: String,
    _users: TempDir,
}

async fn start(config_models: Vec<(String, String)>) -> (TestApp, Still, TempDir) {
    let still = Still::new();
    let (users, access) = team();
    let setup = Setup {
        clock: still.clock(),
        upstream_clock: still.clock(),
        config_models,
        access,
        is_furnished: false,
        ..Setup::default()
    };
    (TestApp::with(setup).await, still, users)
}

/// An empty proxy and one agent.
pub(super) async fn light() -> Data {
    let (app, _, users) = start(Vec::new()).await;
    let nothing = || "none".to_owned();
    Data {
        app,
        model: nothing(),
        key: "0".repeat(64),
        context: nothing(),
        swap: nothing(),
        bulk: nothing(),
        key_job: nothing(),
        import: nothing(),
        comparison: nothing(),
        call: nothing(),
        _users: users,
    }
}

/// Name and upstream model of each deployment. Some share a name, one is a pattern, some cannot be called.
const MODELS: [(&str, &str); 34] = [
    ("openai/gpt-5", "openai/gpt-5"),
    ("openai/gpt-5", "azure/gpt-5"),
    ("openai/gpt-5-mini", "openai/gpt-5-mini"),
    ("openai/gpt-5-nano", "openai/gpt-5-nano"),
    ("openai/gpt-4o", "openai/gpt-4o"),
    ("openai/gpt-4o-mini", "openai/gpt-4o-mini"),
    ("anthropic/claude-opus-4-1", "anthropic/claude-opus-4-1"),
    ("anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
    ("anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
    ("groq/llama-3.3-70b", "groq/llama-3.3-70b-versatile"),
    ("groq/*", "groq/*"),
    ("gemini/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
    ("gemini/gemini-2.5-flash", "gemini/gemini-2.5-flash"),
    ("mistral/large", "mistral/mistral-large-latest"),
    ("mistral/small", "mistral/mistral-small-latest"),
    ("deepseek/chat", "deepseek/deepseek-chat"),
    ("ollama/llama3", "ollama/llama3"),
    ("ollama/qwen3", "ollama/qwen3"),
    ("team/fast", "openai/gpt-5-nano"),
    ("team/fast", "anthropic/claude-haiku-4-5"),
    ("team/smart", "openai/gpt-5"),
    ("team/blocked", "openai/gpt-4o"),
    ("team/limited", "openai/gpt-4o-mini"),
    ("team/embed", "openai/text-embedding-3-small"),
    ("team/image", "openai/gpt-image-1"),
    ("team/down", "openai/gpt-4o"),
    ("plain-name", "openai/gpt-4o-mini"),
    ("perplexity/sonar", "perplexity/sonar"),
    ("replicate/llama", "replicate/meta/llama-3"),
    ("sambanova/llama", "sambanova/llama-3"),
    ("cerebras/llama", "cerebras/llama-3"),
    ("huggingface/zephyr", "huggingface/zephyr-7b"),
    ("openrouter/auto", "openrouter/auto"),
    ("odd/<b>&\"name\"", "openai/gpt-4o"),
];

async fn register_models(app: &TestApp) {
    for (number, (name, upstream)) in MODELS.iter().enumerate() {
        let (provider, model) = upstream.split_once('/').unwrap();
        let secret = format!("os.environ/LITELLM_{}_API_KEY", provider.to_uppercase());
        let mut params = json!({ "model": model, "custom_llm_provider": provider, "api_key": secret });
        let mut info = json!({ "id": format!("model-{number:02}"), "provider": provider });
        match *name {
            "team/limited" => {
                (params["rpm"], params["tpm"]) = (json!(60), json!(90_000));
                info["access_groups"] = json!(["batch"]);
                info["description"] = json!("Shared by the nightly jobs");
            }
            "team/embed" => info["mode"] = json!("embedding"),
            "team/image" => info["mode"] = json!("image_generation"),
            "team/down" => params["api_key"] = json!("bad-key"),
            "ollama/llama3" | "ollama/qwen3" => params["api_base"] = json!("http://ollama.internal:11434"),
            _ => {}
        }
        let body = json!({ "model_name": name, "litellm_params": params, "model_info": info });
        app.admin("/model/new", &body).await;
    }
    app.admin("/model/block", &json!({ "model_id": "model-21" })).await;
}

/// Each key with a secret of its own, so that its hash is the same on every run.
async fn issue_keys(app: &TestApp, still: &Still) -> (String, String) {
    let few = json!(["openai/gpt-5", "openai/gpt-5-mini"]);
    let keys = [
        ("ci-all-models", json!({})),
        ("ci-blocked", json!({ "models": few, "blocked": true })),
        ("ci-expired", json!({ "models": few, "duration": "60s" })),
        ("ci-expires-soon", json!({ "models": few, "duration": "2d" })),
        ("ci-no-models", json!({ "models": ["no-default-models"] })),
        ("ci-over-budget", json!({ "models": few, "max_budget": 0.01, "budget_duration": "30d" })),
        ("ci-half-spent", json!({ "models": few, "max_budget": 0.5 })),
        (
            "ci-limited",
            json!({ "models": few, "rpm_limit": 10, "tpm_limit": 5000, "max_parallel_requests": 2 }),
        ),
        ("ci-group", json!({ "models": ["batch"] })),
        ("ci-unknown-model", json!({ "models": ["openai/gone", "groq/*"] })),
        ("ci-team", json!({ "team_id": "team-core", "user_id": "u-ada", "metadata": { "cost": "a1" } })),
        ("odd <b>&\"alias\"", json!({ "models": ["odd/<b>&\"name\""] })),
    ];
    let mut shown = String::new();
    for (number, (alias, mut body)) in keys.into_iter().enumerate() {
        body["key"] = json!(format!("sk-snapshot-key-{number:04}"));
        body["key_alias"] = json!(alias);
        let made = app.admin("/key/generate", &body).await;
        if alias == "ci-half-spent" {
            made["token"].as_str().unwrap().clone_into(&mut shown);
        }
    }
    // The secret that the dashboard and the agent of an unfurnished proxy have.
    let body = json!({ "key": "sk-none", "key_alias": "task-agent", "models": [], "max_budget": 25.0 });
    let agent = app.admin("/key/generate", &body).await;
    let now = still.clock().now();
    for (key, model, days, tokens) in [
        ("ci-over-budget", "openai/gpt-5", 1, (4_000, 1_000)),
        ("ci-half-spent", "anthropic/claude-sonnet-4-5", 2, (30_000, 12_000)),
        ("ci-half-spent", "openai/gpt-5", 9, (2_000, 400)),
        ("task-agent", "openai/gpt-5-mini", 3, (90_000, 7_000)),
        ("task-agent", "openai/gpt-5", 20, (50_000, 9_000)),
    ] {
        app.world.remember(&PastCall { key, model, at: now - SignedDuration::from_hours(24 * days), tokens });
    }
    (shown, agent["token"].as_str().unwrap().to_owned())
}

struct Work<'a> {
    app: &'a TestApp,
    script: Script,
    still: &'a Still,
}

impl Work<'_> {
    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        self.still.forward(20);
        let (status, body) = self.script.post(path, form).await;
        assert!(!status.is_server_error() || body.get("outcome").is_some(), "{path}: {status} {body}");
        body
    }

    async fn switch(&self, context: &str, model: &str, more: &[(&str, &str)]) -> Value {
        let mut form = vec![("agent", "task-agent"), ("context", context), ("model", model)];
        form.extend_from_slice(more);
        self.post("/switch", &form).await
    }

    /// Waits until a job is no more under way.
    async fn finished(&self, path: &str, is_over: impl Fn(&Value) -> bool) {
        for _ in 0..1500 {
            let (_, job) = self.script.get(path).await;
            if is_over(&job) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{path} does not end");
    }

    async fn switch_many(&self, ids: &str, model: &str, more: &[(&str, &str)]) -> String {
        let mut form = vec![("agent", "task-agent"), ("ids", ids), ("model", model), ("at_once", "1")];
        form.extend_from_slice(more);
        let begun = self.post("/bulk", &form).await;
        let id = begun["id"].as_str().unwrap_or_else(|| panic!("{begun}")).to_owned();
        self.finished(&format!("/bulk/{id}"), |job| {
            job["state"] != "running" && job["counts"]["running"] == 0
        })
        .await;
        id
    }

    /// Contexts with swaps of several outcomes. Returns the id of the proven one.
    async fn contexts(&self) -> String {
        self.switch("support-42", "openai/gpt-5", &[]).await;
        let more = [("message", "Who are you?"), ("prompt", "Answer in one line.")];
        let proven = self.switch("support-42", "anthropic/claude-sonnet-4-5", &more).await;
        assert_eq!(proven["outcome"], "proven", "{proven}");
        self.post("/contexts/task-agent/support-42/message", &[("message", "And what can you do?")]).await;
        let refused = self.switch("billing-7", "openai/nowhere", &[]).await;
        assert_eq!(refused["outcome"], "refused", "{refused}");
        let failed = self.switch("batch-9", "team/fast", &[("message", "FAIL=500")]).await;
        assert_eq!(failed["outcome"], "rolled-back", "{failed}");
        let probe = self.switch("batch-9", "team/down", &[("probe", "1")]).await;
        assert_eq!(probe["outcome"], "refused", "{probe}");
        self.switch("night-1", "openai/gpt-5-nano", &[("minutes", "600")]).await;
        self.switch("kept-1", "openai/gpt-5", &[]).await;
        let form = [("label", "Release notes <draft>"), ("pinned", "1"), ("keep", "1")];
        self.post("/contexts/task-agent/kept-1/describe", &form).await;
        self.switch("drifted-1", "openai/gpt-5", &[]).await;
        from_elsewhere(self.app, "drifted-1", "[HOTSWAP:MODEL:openai/gpt-4o]").await;
        self.still.forward(90);
        self.app.switcher().look_for_drift().await;
        proven["id"].as_str().unwrap().to_owned()
    }

    async fn key_job(&self) -> String {
        let (_, keys) = self.script.get("/keys?q=ci-&sort=alias&size=200").await;
        let hash = |alias: &str| {
            let rows = keys["keys"].as_array().unwrap();
            rows.iter().find(|row| row["alias"] == alias).unwrap()["hash"].as_str().unwrap().to_owned()
        };
        let (one, two) = (hash("ci-limited"), hash("ci-team"));
        let form =
            [("scope", "selected"), ("key", &*one), ("key", &*two), ("count", "2"), ("action", "block")];
        let job = self.post("/keys/bulk/run", &form).await;
        let href = job["href"].as_str().unwrap_or_else(|| panic!("{job}")).to_owned();
        self.finished(&href, |job| job["is_running"] == false).await;
        href.rsplit('/').next().unwrap().to_owned()
    }

    async fn import(&self) -> String {
        const LIST: &str = "model_list:\n\
            - model_name: openai/gpt-4o\n  litellm_params: {model: gpt-4o, custom_llm_provider: openai, \
              api_key: os.environ/LITELLM_OPENAI_API_KEY, rpm: 9}\n\
            - model_name: imported/one\n  litellm_params: {model: openai/gpt-5-mini, api_key: os.environ/B}\n\
            - model_name: imported/raw\n  litellm_params: {model: openai/gpt-5, api_key: raw-secret-in-yaml}\n\
            - 17\n";
        let plan = self.post("/models/import", &[("yaml", LIST)]).await;
        let id = plan["id"].as_str().unwrap_or_else(|| panic!("{plan}")).to_owned();
        self.post(&format!("/models/import/{id}/apply"), &[]).await;
        self.finished(&format!("/models/import/{id}"), |job| job["state"] == "done").await;
        id
    }
}

/// Dozens of models, keys in every state, contexts with swaps of several outcomes, jobs, users with roles.
pub(super) async fn rich() -> Data {
    let config = [("config/mini".to_owned(), "openai/gpt-5-mini".to_owned())];
    let (app, still, users) = start(config.to_vec()).await;
    register_models(&app).await;
    let (key, _) = issue_keys(&app, &still).await;
    still.forward(120);
    let work = Work { script: Script::with(&app.base, "admin", PASSWORD), app: &app, still: &still };
    let swap = work.contexts().await;
    let import = work.import().await;
    let key_job = work.key_job().await;
    let models = [("model", "openai/gpt-5"), ("model", "anthropic/claude-sonnet-4-5")];
    let form = [&[("agent", "task-agent"), ("message", "Which model?")][..], &models].concat();
    let comparison = work.post("/compare", &form).await["id"].as_str().unwrap().to_owned();
    // One job that ends well but for a pinned context, one that stops.
    work.switch_many("many-1 many-2 many-3 kept-1", "openai/gpt-5-mini", &[]).await;
    let bulk =
        work.switch_many("many-1 many-2 many-3 many-4", "openai/nowhere", &[("stop_after", "2")]).await;
    work.post("/models/model-05/test", &[]).await;
    let viewer = Script::with(&app.base, "viewer", PASSWORD);
    viewer.post("/models/model-05/delete", &[]).await;
    let wrong = [("username", "operator"), ("password", "not it")];
    app.anonymous().post("/login", &wrong).await;
    still.forward(300);
    let (_, calls) = work.script.get("/calls?range=30d&served=openai/gpt-5-mini&sort=cost").await;
    let call = calls["calls"][0]["id"].as_str().unwrap().to_owned();
    Data {
        model: "model-00".to_owned(),
        key,
        context: "support-42".to_owned(),
        swap,
        bulk,
        key_job,
        import,
        comparison,
        call,
        app,
        _users: users,
    }
}
