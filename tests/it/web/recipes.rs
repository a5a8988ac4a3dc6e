//! What is wrong leads to the recipe that mends it, and the recipe is there.

use axum::http::StatusCode;
use patchbay_sandbox::Database;
use serde_json::json;

use crate::support::{Browser, Page, Setup, TestApp, closed_port};
use crate::web::fakes::{FakeAgent, Manner};
use crate::web::roles::team;

const FORM: [(&str, &str); 3] = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5-mini")];

/// The page points at this recipe, and whatever it points at is on the help page.
async fn check(browser: &Browser, page: &Page, anchor: &str) {
    let links: Vec<_> = page
        .attributes("a", "href")
        .into_iter()
        .filter_map(|href| Some(href.strip_prefix("/help#")?.to_owned()))
        .collect();
    assert!(links.iter().any(|link| link == anchor), "{} leads to {links:?}: {}", page.url, page.text());
    let help = browser.get("/help").await;
    for link in links {
        assert!(help.has(&format!("h3#{link}")), "{link}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_well() {
    let down = Some(format!("http://{}", closed_port().await));
    for (setup, anchor) in [
        (Setup { proxy: down, ..Setup::default() }, "proxy"),
        (Setup { master_key: "sk-not-the-master", ..Setup::default() }, "master-key"),
        (Setup { database: Database::None, is_furnished: false, ..Setup::default() }, "proxy-database"),
    ] {
        let agent = FakeAgent::start(Manner::Good).await;
        let app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..setup }).await;
        let browser = app.user().await;
        for path in ["/", "/keys"] {
            check(&browser, &browser.get(path).await, anchor).await;
        }
    }
}

#[tokio::test]
async fn an_agent_that_is_down_or_takes_no_messages() {
    let agent = FakeAgent::start(Manner::Missing).await;
    for url in [agent.url.clone(), format!("http://{}/a2a", closed_port().await)] {
        let app = TestApp::with(Setup { agent: Some(url), ..Setup::default() }).await;
        let browser = app.user().await;
        for path in ["/", "/agents/task-agent"] {
            check(&browser, &browser.get(path).await, "agent").await;
        }
    }
}

#[tokio::test]
async fn a_swap_that_is_refused_or_fails() {
    let agent = FakeAgent::start(Manner::Good).await;
    let app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..Setup::default() }).await;
    let browser = app.user().await;
    check(&browser, &browser.get("/switch").await, "prompt").await;
    let page = browser
        .post("/switch", &[("agent", "task-agent"), ("context", "c1"), ("model", "openai/none")])
        .await;
    assert_eq!(page.outcome(), "refused");
    check(&browser, &page, "refused").await;
    let page = browser.post("/switch", &[FORM[0], FORM[1], ("prompt", "One\nTwo")]).await;
    assert_eq!(page.outcome(), "refused");
    check(&browser, &page, "refused").await;
    agent.set(Manner::Liar);
    let page = browser.post("/switch", &FORM).await;
    assert!(["failed", "rolled-back"].contains(&page.outcome().as_str()), "{}", page.text());
    check(&browser, &page, "failed").await;
}

#[tokio::test]
async fn a_key_that_is_blocked_and_a_role_that_does_not_do() {
    let (_dir, access) = team();
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    app.admin("/key/block", &json!({ "key": app.agent_key_hash })).await;
    let browser = app.user_named("viewer").await;
    check(&browser, &browser.get("/").await, "agent-key").await;
    let page = browser.post("/switch", &FORM).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    check(&browser, &page, "role").await;
    let (status, refused) = app.script().get("/agents/nope").await;
    assert_eq!((status, refused["error"]["help"].is_null()), (StatusCode::NOT_FOUND, true), "{refused}");
}
