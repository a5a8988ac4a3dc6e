//! The main job, and the command line, against a genuine LiteLLM proxy and a genuine agent, which `tests/live/run` starts.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod gateway;
mod keys;
mod models;
mod names;
mod permission;
mod proven;
mod setup;
mod swaps;
mod verdicts;

use patchbay::app::{App, Timeouts};
use patchbay::config::{Config, Login};
use patchbay::domain::agent::AgentSettings;
use patchbay_clock::Clock;
use reqwest::redirect::Policy;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cli::{patchbay, run};
use crate::scenario::{self, Stage};
use crate::support::{Browser, PASSWORD, Page, USER, client, spawn};

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: start this test by tests/live/run"))
}

/// A dashboard for the servers that are named in the environment.
async fn dashboard(master_key: &str) -> (String, DropGuard) {
    let config = Config {
        bind: "127.0.0.1:0".parse().unwrap(),
        base_path: String::new(),
        database_url: "sqlite::memory:".to_owned(),
        login: Login { username: USER.to_owned(), password: SecretString::from(PASSWORD), is_default: false },
        proxy_url: setting("LIVE_PROXY").parse().unwrap(),
        master_key: SecretString::from(master_key),
        agents: vec![AgentSettings {
            key: Some(SecretString::from(setting("LIVE_AGENT_KEY"))),
            ..AgentSettings::new("task-agent".parse().unwrap(), setting("LIVE_AGENT").parse().unwrap())
        }],
        agents_file: None,
        agent_key: Some(SecretString::from(setting("LIVE_AGENT_KEY"))),
        setup: patchbay::domain::setup::Setup::default(),
        access: patchbay::config::Access::default(),
    };
    let app = App::build(config, Clock::system(), Timeouts::default()).await.unwrap();
    // Works on jobs until the test's runtime ends.
    let jobs = app.jobs().clone();
    tokio::spawn(async move { jobs.work(CancellationToken::new()).await });
    let (address, guard) = spawn(app.router).await;
    (format!("http://{address}"), guard)
}

/// Lets the agent's key call these models alone; all with none.
async fn let_key_call(models: &[&str]) {
    admin("key/update", &json!({ "key": setting("LIVE_AGENT_KEY"), "models": models })).await;
}

/// A request to the proxy with its master key.
async fn admin(path: &str, body: &Value) -> Value {
    let request = client(Policy::none()).post(format!("{}/{path}", setting("LIVE_PROXY")));
    let answer = request.bearer_auth(setting("LIVE_MASTER_KEY")).json(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

#[tokio::test]
async fn main_job() {
    let_key_call(&["openai/gpt-5-mini"]).await;
    let (base, _guard) = dashboard(&setting("LIVE_MASTER_KEY")).await;
    scenario::run(&Stage {
        browser: Browser::new(&base),
        username: USER.to_owned(),
        password: PASSWORD.to_owned(),
        key_alias: setting("LIVE_KEY_ALIAS"),
        is_per_context: setting("LIVE_SCOPE") == "context",
    })
    .await;
}

#[tokio::test]
async fn a_wrong_master_key_is_called_that() {
    let (base, _guard) = dashboard("sk-not-the-master-key").await;
    let browser = Browser::new(&base);
    browser.post("/login", &[("username", USER), ("password", PASSWORD)]).await;
    for path in ["/models", "/keys"] {
        let page = browser.get(path).await;
        assert_eq!(page.status.as_u16(), 502, "{path}: {}", page.text());
        assert!(
            page.one("[role=alert] strong").contains("refuses the master key"),
            "{path}: {}",
            page.text()
        );
    }
}

#[tokio::test]
async fn the_overview_knows_the_proxys_release() {
    let (base, _guard) = dashboard(&setting("LIVE_MASTER_KEY")).await;
    let browser = Browser::new(&base);
    browser.post("/login", &[("username", USER), ("password", PASSWORD)]).await;
    let page = browser.get("/").await;
    assert_eq!(page.status.as_u16(), 200);
    assert!(page.text().contains(&format!("LiteLLM {}", setting("LIVE_VERSION"))), "{}", page.text());
    assert!(page.text().contains("healthy"), "{}", page.text());
}

/// A dashboard with a user who has logged in, and the agent's key relaxed.
async fn ready() -> (Browser, DropGuard) {
    let (base, guard) = dashboard(&setting("LIVE_MASTER_KEY")).await;
    let browser = Browser::new(&base);
    browser.post("/login", &[("username", USER), ("password", PASSWORD)]).await;
    let page = browser.get(&format!("/keys?q={}", setting("LIVE_KEY_ALIAS"))).await;
    let row = format!("table#keys tbody tr[data-alias='{}']", setting("LIVE_KEY_ALIAS"));
    let hash = page.attributes(&row, "data-hash").remove(0);
    browser.post(&format!("/keys/{hash}/relax"), &[]).await;
    (browser, guard)
}

async fn switch(browser: &Browser, context: &str, model: &str) -> Page {
    browser.post("/switch", &[("agent", "task-agent"), ("context", context), ("model", model)]).await
}

#[tokio::test]
async fn a_question_is_answered_and_a_swap_undone() {
    let (browser, _guard) = ready().await;
    assert_eq!(switch(&browser, "undo-demo", "openai/gpt-5-mini").await.outcome(), "verified");
    assert_eq!(switch(&browser, "undo-demo", "openai/gpt-5").await.outcome(), "verified");
    let message = [("message", "Which model am I using?")];
    let page = browser.post("/contexts/task-agent/undo-demo/message", &message).await;
    assert_eq!(page.status.as_u16(), 200, "{}", page.text());
    assert!(page.one("#asks .answer").starts_with("I am gpt-5"), "{}", page.text());
    assert!(page.one("#asks figcaption").contains("openai/gpt-5"), "{}", page.text());
    let receipt = browser.get("/contexts/task-agent/undo-demo").await;
    let back = receipt.attributes(".timeline form input[name=swap]", "value").remove(0);
    let form = [("swap", back.as_str()), ("to", "after")];
    let page = browser.post("/contexts/task-agent/undo-demo/undo", &form).await;
    assert_eq!(page.outcome(), "verified", "{}", page.text());
    assert!(page.one("#receipt .before-after").contains("openai/gpt-5-mini"), "{}", page.text());
}

#[tokio::test]
async fn a_prompt_is_set_and_cleared_and_line_breaks_are_sent_where_they_are_understood() {
    let (browser, _guard) = ready().await;
    let form = |prompt| [("agent", "task-agent"), ("context", "prompt-demo"), ("prompt", prompt)];
    let page = browser.post("/switch", &form("Be brief.")).await;
    assert_eq!(page.outcome(), "verified", "{}", page.text());
    let page = browser.post("/switch", &form("Be brief.\nBe kind.")).await;
    let expected = if setting("LIVE_SCOPE") == "context" { (200, "verified") } else { (422, "refused") };
    assert_eq!((page.status.as_u16(), page.outcome().as_str()), expected, "{}", page.text());
    let form = [("agent", "task-agent"), ("context", "prompt-demo"), ("clear_prompt", "1")];
    assert_eq!(browser.post("/switch", &form).await.outcome(), "verified");
}

#[tokio::test]
async fn an_answer_that_fails_puts_the_former_model_back() {
    // A model of its own: the proxy lets one that fails cool down, and other tests would meet that.
    let upstream = std::env::var("LIVE_UPSTREAM").unwrap_or_else(|_| "http://127.0.0.1:18080/v1".to_owned());
    let body = json!({ "model_name": "openai/fails", "litellm_params": {
        "model": "fails", "custom_llm_provider": "openai", "api_base": upstream, "api_key": "x" } });
    let made = admin("model/new", &body).await;
    let (browser, _guard) = ready().await;
    assert_eq!(switch(&browser, "back-demo", "openai/gpt-5-mini").await.outcome(), "verified");
    let form = [
        ("agent", "task-agent"),
        ("context", "back-demo"),
        ("model", "openai/fails"),
        ("message", "FAIL=401"),
    ];
    let page = browser.post("/switch", &form).await;
    assert_eq!((page.status.as_u16(), page.outcome().as_str()), (502, "rolled-back"), "{}", page.text());
    let page = browser.post("/contexts/task-agent/back-demo/refresh", &[]).await;
    assert!(page.one("#flash").contains("openai/gpt-5-mini"), "{}", page.text());
    admin("model/delete", &json!({ "id": made["model_id"] })).await;
}

/// On ADK agents a turn that runs during a swap undoes it when it ends (measured). It is caught; on the
/// built-in agent it does not happen.
#[tokio::test]
async fn a_swap_that_a_running_turn_undoes_is_caught() {
    let (browser, _guard) = ready().await;
    assert_eq!(switch(&browser, "turn-a", "openai/gpt-5-mini").await.outcome(), "verified");
    let slow = [("message", "SLEEP=3 Which model?")];
    let asking = browser.post("/contexts/task-agent/turn-a/message", &slow);
    let switching = async {
        tokio::time::sleep(std::time::Duration::from_millis(800)).await;
        switch(&browser, "turn-b", "openai/gpt-5").await
    };
    let (asked, swapped) = tokio::join!(asking, switching);
    assert_eq!((asked.status.as_u16(), swapped.outcome().as_str()), (200, "verified"), "{}", swapped.text());
    let is_wide = setting("LIVE_SCOPE") == "agent";
    let mut is_caught = false;
    for _ in 0..60 {
        let page = browser.get("/contexts/task-agent/turn-b").await;
        is_caught = page.all(".notice.warn[role=alert]").iter().any(|text| text.contains("running turn"));
        if is_caught || !is_wide {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    assert_eq!(is_caught, is_wide);
    let page = browser.post("/contexts/task-agent/turn-b/refresh", &[]).await;
    let on = if is_wide { "openai/gpt-5-mini" } else { "openai/gpt-5" };
    assert!(page.one("#flash").ends_with(&format!("is on {on}.")), "{}", page.one("#flash"));
}

/// The guide's four commands, with `patchbay swap` in place of the script.
#[tokio::test]
async fn the_command_line_does_what_the_guide_says() {
    let_key_call(&[]).await;
    let state = tempfile::tempdir().unwrap();
    let swap = async |args: &[&str]| {
        let mut command = patchbay(&["swap", "--url", &setting("LIVE_AGENT"), "--context", "cli-demo"]);
        command.args(args).env("PATCHBAY_STATE_DIR", state.path());
        run(command).await.good()
    };
    let ask = ["--message", "Which model am I using?"];
    for (provider, model) in
        [("openai", "gpt-5"), ("openai", "gpt-5-mini"), ("anthropic", "claude-sonnet-4-5")]
    {
        let told = swap(&["--model", provider, model]).await;
        let said = format!("Model response: ✅ Model switched to: {provider}/{model}");
        assert_eq!(told, format!("{said}\nContext ID: cli-demo\n"));
        assert_eq!(swap(&ask).await, format!("Message response: I am {model}\nContext ID: cli-demo\n"));
    }
    let told = swap(&["--undo", "--verify"]).await;
    assert!(told.contains("Read back: openai/gpt-5-mini\n"), "{told}");
    let told = swap(&["--prompt", "Be brief.", "--config", "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["config"]["model"], &told["config"]["prompt"]),
        (&json!("gpt-5-mini"), &json!("Be brief."))
    );
    swap(&["--prompt", "", "--verify"]).await;
}
