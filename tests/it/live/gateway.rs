//! An agent that is registered at the proxy's own A2A gateway.

use reqwest::redirect::Policy;
use serde_json::{Value, json};

use super::{admin, ready, setting, switch};
use crate::support::{Browser, client};

async fn json_of(browser: &Browser, path: &str) -> Value {
    let request = browser.http.get(browser.url(path)).header("accept", "application/json");
    request.send().await.unwrap().json().await.unwrap()
}

/// The gateway calls the agent at another name of the same address, so that it is not taken for the one of the settings.
async fn register(name: &str) -> String {
    let agent = setting("LIVE_AGENT");
    let card = client(Policy::none()).get(format!("{agent}/.well-known/agent-card.json")).send().await;
    let mut card: Value = card.unwrap().json().await.unwrap();
    card["url"] = agent.replace("127.0.0.1", "localhost").into();
    let body = json!({ "agent_name": name, "agent_card_params": card, "litellm_params": {} });
    admin("v1/agents", &body).await["agent_id"].as_str().unwrap().to_owned()
}

async fn unregister(id: &str) {
    let request = client(Policy::none()).delete(format!("{}/v1/agents/{id}", setting("LIVE_PROXY")));
    let answer = request.bearer_auth(setting("LIVE_MASTER_KEY")).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

/// Whether the release has a gateway that works in the test's proxy: 1.80 has one too, whose package is not installed there.
fn has_gateway() -> bool {
    setting("LIVE_VERSION").starts_with("1.109")
}

#[tokio::test]
async fn releases_without_a_gateway_show_nothing() {
    if has_gateway() {
        return;
    }
    let (browser, _guard) = ready().await;
    let page = browser.get("/agents").await;
    assert!(!page.has("#found-agents") && !page.has("#found-trouble"), "{}", page.text());
}

#[tokio::test]
async fn an_agent_of_the_proxys_gateway_is_adopted_and_switched() {
    if !has_gateway() {
        return;
    }
    let id = register("gateway helper").await;
    let (browser, _guard) = ready().await;
    let page = browser.get("/agents").await;
    let row = format!("#found-agents tr[data-gateway='{id}']");
    assert!(page.has(&row), "{}", page.text());
    let key = page.attributes(&format!("{row} input[name=key]"), "value").remove(0);
    let page = browser.post(&format!("/gateway/{id}/adopt"), &[("key", &key)]).await;
    assert_eq!(page.one("h1"), "gateway-helper", "{}", page.text());
    assert!(!page.has("[role=alert]"), "{}", page.text());

    let form = |context, model| {
        [
            ("agent", "gateway-helper"),
            ("context", context),
            ("model", model),
            ("message", "Which model am I using?"),
        ]
    };
    let is_per_context = setting("LIVE_SCOPE") == "context";
    for (context, model) in [("gateway-a", "openai/gpt-5"), ("gateway-b", "openai/gpt-5-mini")] {
        let page = browser.post("/switch", &form(context, model)).await;
        assert!(["proven", "verified"].contains(&page.outcome().as_str()), "{}", page.text());
        assert!(!is_per_context || page.outcome() == "proven", "{}", page.text());
    }
    for (context, model) in [("gateway-a", "openai/gpt-5"), ("gateway-b", "openai/gpt-5-mini")] {
        let page = browser.post(&format!("/contexts/gateway-helper/{context}/refresh"), &[]).await;
        let on = if is_per_context { model } else { "openai/gpt-5-mini" };
        assert!(page.one("#flash").ends_with(&format!("is on {on}.")), "{}", page.one("#flash"));
    }
    // Its own address still reaches it, with the same state.
    assert_eq!(switch(&browser, "gateway-c", "openai/gpt-5").await.outcome(), "verified");

    unregister(&id).await;
    let mut trouble = Value::Null;
    for _ in 0..20 {
        trouble = json_of(&browser, "/agents/gateway-helper").await["agent"]["trouble"].clone();
        if !trouble.is_null() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    assert!(trouble.to_string().contains("has this agent no more"), "{trouble}");
    let page = browser.post("/agents/gateway-helper/remove", &[]).await;
    assert!(!page.text().contains("gateway-helper is"), "{}", page.text());
    assert_eq!(browser.get("/agents/gateway-helper").await.status.as_u16(), 404);
}
