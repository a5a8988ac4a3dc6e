//! Agents that tell nothing of their state: whether a swap is for one context or for all is found out.

use reqwest::StatusCode;
use serde_json::json;

use super::{audited, relax, switch};
use crate::support::{Setup, TestApp};
use crate::web::fakes::{FakeAgent, Manner};

async fn app_of(agent: &FakeAgent) -> TestApp {
    let app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..Setup::default() }).await;
    relax(&app).await;
    app
}

const CHECK: &str = "/agents/task-agent/scope";

#[tokio::test]
async fn the_first_swap_finds_it_out_and_the_form_says_so_then() {
    for (agent, scope, told) in [
        (FakeAgent::start(Manner::Good).await, "agent", "All contexts share one model"),
        (FakeAgent::per_context(Manner::Good).await, "context", "Each context has a model"),
    ] {
        let app = app_of(&agent).await;
        let browser = app.user().await;
        let form = browser.get("/switch?agent=task-agent&context=one").await;
        assert!(form.one(".scope").contains("Not known yet"), "{}", form.one(".scope"));
        // A swap to what it is on anyway shows nothing.
        let page = switch(&browser, "one", "openai/gpt-5-mini", &[]).await;
        assert!(page.outcome() == "verified" && !page.text().contains("Find the scope"), "{}", page.text());
        let page = switch(&browser, "one", "openai/gpt-5", &[]).await;
        assert!(page.outcome() == "verified" && page.text().contains("Find the scope"), "{}", page.text());
        let form = browser.get("/switch?agent=task-agent&context=one").await;
        assert!(form.one(".scope").contains(told), "{}", form.one(".scope"));
        let (_, shown) = app.script().get("/agents/task-agent").await;
        assert_eq!(shown["agent"]["scope"], scope);
        assert!(shown["agent"]["scope_seen"].is_string(), "{shown}");
        // It is known now, and costs nothing more; no conversation but the one was known for it.
        agent.take();
        switch(&browser, "one", "openai/gpt-5-mini", &[]).await;
        let sent = agent.take();
        assert_eq!(sent.iter().filter(|text| text.contains(":MODEL:")).count(), 1);
        let contexts = browser.get("/contexts").await;
        assert_eq!(contexts.attributes("table#contexts tbody tr", "data-context"), ["one"]);
    }
}

#[tokio::test]
async fn it_is_checked_on_demand_in_throw_away_contexts_and_everything_is_put_back() {
    for (agent, scope, prompt) in [
        (FakeAgent::start(Manner::Good).await, "agent", ""),
        (FakeAgent::start(Manner::Good).await, "agent", "Be brief."),
        (FakeAgent::per_context(Manner::Good).await, "context", ""),
    ] {
        let app = app_of(&agent).await;
        if !prompt.is_empty() {
            let form = [("agent", "task-agent"), ("context", "one"), ("prompt", prompt)];
            app.script().post("/switch", &form).await;
        }
        let (_, before) = app.script().post("/contexts/task-agent/one/refresh", &[]).await;
        let (status, found) = app.script().post(CHECK, &[]).await;
        assert_eq!((status, &found["scope"]), (StatusCode::OK, &json!(scope)), "{found}");
        let (_, after) = app.script().post("/contexts/task-agent/one/refresh", &[]).await;
        assert_eq!(before, after, "put back");
        let entry = audited(&app, "agent.scope").await.remove(0);
        assert_eq!(
            (&entry["outcome"], &entry["after"], &entry["object"]),
            (&json!("ok"), &json!(scope), &json!("task-agent"))
        );
        // Without JavaScript the button leads back to the page, which says it.
        let page = app.user().await.post(CHECK, &[]).await;
        assert!(page.one("#flash[role=status]").contains("It was taken back"), "{}", page.text());
        assert!(page.text().contains("Seen just now"), "{}", page.text());
    }
}

#[tokio::test]
async fn an_agent_that_tells_is_believed_and_nothing_is_tried() {
    let app = TestApp::start().await;
    let (status, found) = app.script().post(CHECK, &[]).await;
    assert_eq!((status, &found["scope"]), (StatusCode::OK, &json!("context")), "{found}");
    assert!(found["detail"].as_str().unwrap().starts_with("The agent's own state says so"), "{found}");
}

#[tokio::test]
async fn what_cannot_be_told_is_not_made_up() {
    let agent = FakeAgent::per_context(Manner::Good).await;
    let app = app_of(&agent).await;
    for (only, manner, outcome) in [
        ("[HOTSWAP:PROMPT", Manner::RpcError, "failed"),
        ("[HOTSWAP:PROMPT", Manner::BareChat, "ok"),
        ("[HOTSWAP:GET_CONFIG", Manner::Chat, "failed"),
        ("", Manner::Html, "failed"),
    ] {
        agent.set_for(only, manner);
        let (status, found) = app.script().post(CHECK, &[]).await;
        assert_eq!((status, &found["scope"]), (StatusCode::OK, &json!(null)), "{manner:?}: {found}");
        assert_eq!(audited(&app, "agent.scope").await[0]["outcome"], outcome, "{manner:?}");
    }
    let (_, shown) = app.script().get("/agents/task-agent").await;
    assert_eq!(shown["agent"]["scope"], json!(null));
    assert_eq!(app.script().post("/agents/none/scope", &[]).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_context_is_adopted_by_its_id() {
    let agent = FakeAgent::per_context(Manner::Good).await;
    let app = app_of(&agent).await;
    let browser = app.user().await;
    let page = browser.get("/agents/task-agent").await;
    assert!(page.text().contains("The agent does not list its contexts"), "{}", page.text());
    let page = browser.post("/agents/task-agent/adopt", &[("context", "theirs")]).await;
    assert_eq!((page.status, page.one("h1").as_str()), (StatusCode::OK, "theirs"), "{}", page.text());
    let page = browser.get("/contexts").await;
    assert_eq!(page.attributes("table#contexts tbody tr", "data-context"), ["theirs"]);
    let page = browser.post("/agents/task-agent/adopt", &[("context", "a b")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(agent.take(), ["[HOTSWAP:GET_CONFIG]"]);
}
