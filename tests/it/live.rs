//! The main job, and the command line, against a genuine LiteLLM proxy and a genuine agent, which `tests/live/run` starts.

use patchbay::app::{App, Timeouts};
use patchbay::config::{Config, Login};
use patchbay::domain::clock::Clock;
use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::DropGuard;

use crate::cli::{patchbay, run};
use crate::scenario::{self, Stage};
use crate::support::{Browser, PASSWORD, USER, client, spawn};

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
        agents: vec![("task-agent".parse().unwrap(), setting("LIVE_AGENT").parse().unwrap())],
        agent_key: Some(SecretString::from(setting("LIVE_AGENT_KEY"))),
    };
    let app = App::build(config, Clock::system(), Timeouts::default()).await.unwrap();
    let (address, guard) = spawn(app.router).await;
    (format!("http://{address}"), guard)
}

#[tokio::test]
async fn main_job() {
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

/// The guide's four commands, with `patchbay swap` in place of the script. Runs after the main job: the agent's
/// key may then call every model.
#[tokio::test]
async fn the_command_line_does_what_the_guide_says() {
    let relax = json!({ "key": setting("LIVE_AGENT_KEY"), "models": [] });
    let request =
        client(reqwest::redirect::Policy::none()).post(format!("{}/key/update", setting("LIVE_PROXY")));
    let relaxed = request.bearer_auth(setting("LIVE_MASTER_KEY")).json(&relax).send().await.unwrap();
    assert!(relaxed.status().is_success(), "{}", relaxed.text().await.unwrap());
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
