//! The main job against a genuine LiteLLM proxy and a genuine agent, which `tests/live/run` starts.

mod models;

use patchbay::app::{App, Timeouts};
use patchbay::config::{Config, Login};
use patchbay::domain::clock::Clock;
use secrecy::SecretString;
use tokio_util::sync::DropGuard;

use crate::scenario::{self, Stage};
use crate::support::{Browser, PASSWORD, USER, spawn};

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
