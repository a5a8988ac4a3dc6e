//! The danger zone.

use std::time::Duration;

use reqwest::StatusCode;

use crate::support::TestApp;

#[tokio::test]
async fn a_reset_wants_the_address_and_is_followed_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let env = dir.path().join(".env");
    let mut app = TestApp::start().await;
    let key = secrecy::ExposeSecret::expose_secret(&app.agent_key).to_owned();
    std::fs::write(&env, format!("OPENAI_API_KEY={key}\n")).unwrap();
    app.restart(|config| {
        config.setup.env_file = env.clone();
        config.setup.mirror_file = dir.path().join(".env.litellm");
        config.setup.default_models = vec!["openai/gpt-5".to_owned()];
    })
    .await;
    let browser = app.user().await;
    let page = browser.get("/danger").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.attributes("#stock [data-models]", "data-models"), ["3"]);
    assert!(page.one("#stock").contains("anthropic/claude-sonnet-4-5"), "{}", page.text());

    let page = browser.post("/danger/reset", &[("confirm", "http://elsewhere")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.one("[role=alert]").contains("Nothing was deleted"), "{}", page.text());
    assert_eq!(page.attributes("#stock [data-models]", "data-models"), ["3"]);

    let mut page = browser.post("/danger/reset", &[("confirm", &app.sandbox)]).await;
    for _ in 0..200 {
        if page.attributes("#reset", "data-state") != ["running"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        page = browser.get("/danger").await;
    }
    assert_eq!(page.attributes("#reset", "data-state"), ["done"], "{}", page.text());
    assert!(page.one("#steps").contains("issued again"), "{}", page.text());
    assert!(!page.text().contains(&key));
    let (_, models) = app.script().get("/models").await;
    assert_eq!(models["deployments"].as_array().map(Vec::len), Some(1), "{models}");
    let (_, keys) = app.script().get("/keys").await;
    assert_eq!(keys["keys"][0]["hash"], app.agent_key_hash.as_str(), "the agent's key is back: {keys}");
    let audit = browser.get("/audit").await;
    assert!(audit.text().contains("reset the proxy"), "{}", audit.text());
}
