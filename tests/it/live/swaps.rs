//! Scope, served evidence, comparisons and adoption on genuine servers.

use super::{ready, setting, switch};
use crate::support::Browser;

const AGENT: &str = "/agents/task-agent";

/// A request with the session, for JSON.
async fn json(browser: &Browser, path: &str) -> serde_json::Value {
    let request = browser.http.get(browser.url(path)).header("accept", "application/json");
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn the_scope_is_checked_on_demand_and_changes_nothing() {
    let (browser, _guard) = ready().await;
    assert_eq!(switch(&browser, "scope-demo", "openai/gpt-5").await.outcome(), "verified");
    let page = browser.post(&format!("{AGENT}/scope"), &[]).await;
    let told = if setting("LIVE_SCOPE") == "context" { "per context" } else { "agent-wide" };
    assert!(page.one("#flash").contains(told), "{}", page.one("#flash"));
    assert_eq!(json(&browser, AGENT).await["agent"]["scope"], setting("LIVE_SCOPE").as_str());
    let page = browser.post("/contexts/task-agent/scope-demo/refresh", &[]).await;
    assert!(page.one("#flash").ends_with("is on openai/gpt-5."), "{}", page.one("#flash"));
}

/// The proxy books a call with a delay: up to a minute on 1.80.
#[tokio::test]
async fn the_proxys_log_tells_who_served() {
    let (browser, _guard) = ready().await;
    assert_eq!(switch(&browser, "served-demo", "openai/gpt-5").await.outcome(), "verified");
    // Past the time in which clocks may differ.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let message = [("message", "Which model am I using?")];
    let page = browser.post("/contexts/task-agent/served-demo/message", &message).await;
    assert_eq!(page.status.as_u16(), 200, "{}", page.text());
    let expected = if setting("LIVE_SCOPE") == "context" { "per-context" } else { "agrees" };
    let mut log = serde_json::Value::Null;
    for _ in 0..40 {
        let context = json(&browser, "/contexts/task-agent/served-demo").await;
        assert_eq!(context["context"]["served"]["model"], "openai/gpt-5", "{context}");
        log = context["log"].clone();
        if log["standing"] == expected && log["last"]["model"] == "openai/gpt-5" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
    panic!("the log never says so: {log}");
}

#[tokio::test]
async fn models_are_compared_where_contexts_have_their_own() {
    let (browser, _guard) = ready().await;
    assert_eq!(switch(&browser, "compare-demo", "openai/gpt-5-mini").await.outcome(), "verified");
    let form = [
        ("agent", "task-agent"),
        ("context", "compare-demo"),
        ("message", "Which model am I using?"),
        ("model", "openai/gpt-5"),
        ("model", "anthropic/claude-sonnet-4-5"),
    ];
    let page = browser.post("/compare", &form).await;
    if setting("LIVE_SCOPE") == "agent" {
        assert_eq!(page.status.as_u16(), 422, "{}", page.text());
        assert!(page.text().contains("would switch every conversation"), "{}", page.text());
    } else {
        assert_eq!(
            page.all("#comparison .answer"),
            ["I am gpt-5", "I am claude-sonnet-4-5"],
            "{}",
            page.text()
        );
    }
    let page = browser.post("/contexts/task-agent/compare-demo/refresh", &[]).await;
    assert!(page.one("#flash").ends_with("is on openai/gpt-5-mini."), "{}", page.one("#flash"));
}

/// An ADK 1 agent lists nothing; ADK 2 and the built-in one list their tasks.
#[tokio::test]
async fn contexts_are_adopted_from_a_list_or_by_id() {
    let (browser, _guard) = ready().await;
    assert_eq!(switch(&browser, "adopt-demo", "openai/gpt-5-mini").await.outcome(), "verified");
    let page = browser.post("/contexts/task-agent/adopt-demo/forget", &[]).await;
    assert_eq!(page.status.as_u16(), 200, "{}", page.text());
    let listed = json(&browser, AGENT).await["listed"].clone();
    match listed.as_array() {
        Some(listed) => assert!(listed.iter().any(|id| id == "adopt-demo"), "{listed:?}"),
        None => assert_eq!(setting("LIVE_SCOPE"), "agent", "the built-in agent lists its contexts"),
    }
    let page = browser.post(&format!("{AGENT}/adopt"), &[("context", "adopt-demo")]).await;
    assert_eq!(page.one("h1"), "adopt-demo", "{}", page.text());
    assert!(page.text().contains("openai/gpt-5-mini"), "{}", page.text());
}
