//! What is known before a switch: the size of the conversation, whether it fits, what it costs, how the agent calls.

use std::time::Duration;

use patchbay::domain::calls::CallProfile;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{relax, switch};
use crate::support::{Setup, TestApp};
use crate::web::fakes::{FakeAgent, Manner};

const QUESTION: &str =
    "Tell me in all detail, with examples for each, how a conversation grows with every turn.";

/// Registers a model at the stand-in with what the registry says of it.
async fn register(app: &TestApp, name: &str, params: Value, info: Value) {
    let model = name.rsplit('/').next().unwrap();
    let mut all = json!({
        "model": model, "custom_llm_provider": "openai", "api_key": "os.environ/LITELLM_OPENAI_API_KEY",
    });
    all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
    let body = json!({ "model_name": name, "litellm_params": all, "model_info": info });
    app.admin("/model/new", &body).await;
}

/// A dashboard with a small and a dear model, and a context in which an answer was given.
async fn talked() -> TestApp {
    let app = TestApp::start().await;
    relax(&app).await;
    register(&app, "openai/gpt-4o-mini", json!({}), json!({ "max_input_tokens": 20 })).await;
    register(&app, "openai/gpt-4o", json!({ "input_cost_per_token": 0.02 }), json!({})).await;
    let browser = app.user().await;
    assert_eq!(switch(&browser, "c1", "openai/gpt-5", &[]).await.outcome(), "verified");
    let asked = browser.post("/contexts/task-agent/c1/message", &[("message", QUESTION)]).await;
    assert!(asked.status.is_success(), "{}", asked.text());
    app
}

fn form<'a>(model: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![("agent", "task-agent"), ("context", "c1"), ("model", model), ("probe", "1")];
    form.extend_from_slice(more);
    form
}

async fn config(app: &TestApp) -> String {
    let (_, context) = app.script().get("/contexts/task-agent/c1").await;
    context["context"]["config"]["model"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn refuses_conversation_that_does_not_fit_until_it_is_accepted() {
    let app = talked().await;
    let browser = app.user().await;
    let refused = switch(&browser, "c1", "openai/gpt-4o-mini", &[("probe", "1")]).await;
    assert_eq!((refused.status.as_u16(), refused.outcome().as_str()), (422, "refused"), "{}", refused.text());
    assert!(refused.text().contains("does not fit"), "{}", refused.text());
    assert_eq!(refused.all("input[name=accept_size]").len(), 1, "the form offers to go on");
    assert_eq!(config(&app).await, "gpt-5", "nothing was sent");
    let id =
        app.script().get("/contexts/task-agent/c1").await.1["swaps"][0]["id"].as_str().unwrap().to_owned();
    let receipt = browser.get(&format!("/switch?agent=task-agent&context=c1&swap={id}")).await;
    assert!(receipt.has("#model[value='openai/gpt-4o-mini']"), "the model is kept");
    // A new conversation has no size, so nothing holds it back.
    assert_eq!(switch(&browser, "c2", "openai/gpt-4o-mini", &[]).await.outcome(), "verified");
    let accepted = switch(&browser, "c1", "openai/gpt-4o-mini", &[("accept_size", "1")]).await;
    assert_eq!(accepted.outcome(), "verified", "{}", accepted.text());
}

#[tokio::test]
async fn high_cost_has_to_be_accepted_and_the_receipt_shows_it() {
    let app = talked().await;
    let (status, refused) = app.script().post("/switch", &form("openai/gpt-4o", &[])).await;
    assert_eq!(status.as_u16(), 422, "{refused}");
    assert_eq!(
        (&refused["outcome"], &refused["assessment"]["held_back"]),
        (&json!("refused"), &json!("cost"))
    );
    let estimate = &refused["assessment"]["estimate"];
    let tokens = estimate["size"]["input"].as_u64().unwrap() + estimate["size"]["output"].as_u64().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "some tokens")]
    let cost = tokens as f64 * 0.02;
    assert!((estimate["reread"].as_f64().unwrap() - cost).abs() < 1e-6, "{estimate}");
    assert_eq!(config(&app).await, "gpt-5", "nothing was sent");
    let (_, swap) = app.script().post("/switch", &form("openai/gpt-4o", &[("accept_cost", "1")])).await;
    assert_eq!(swap["outcome"], "verified", "{swap}");
    assert!(swap["assessment"]["estimate"]["per_turn"].as_f64().unwrap() > 0.0, "{swap}");
    let receipt = app.user().await.get(&format!("/switch?swap={}", swap["id"].as_str().unwrap())).await;
    assert!(receipt.one("#receipt .assessment").contains("re-read $"), "{}", receipt.text());
    // The way back is not held back.
    let undo = format!("/contexts/task-agent/c1/undo?swap={}", swap["id"].as_str().unwrap());
    let (_, undone) = app.script().post(&undo, &[("swap", swap["id"].as_str().unwrap())]).await;
    assert_eq!(undone["outcome"], "verified", "{undone}");
}

#[tokio::test]
async fn check_says_what_a_switch_would_cost_and_sends_nothing() {
    let app = talked().await;
    let check = app.script().post("/switch", &form("openai/gpt-5-mini", &[("check", "1")])).await;
    let (status, check) = check;
    assert_eq!((status.as_u16(), &check["refused"]), (200, &Value::Null), "{check}");
    let line = check["line"].as_str().unwrap();
    assert!(line.contains("tokens") && line.contains("re-read $") && line.contains("per turn"), "{line}");
    let (_, long) = app.script().post("/switch", &form("openai/gpt-4o-mini", &[("check", "1")])).await;
    assert!(long["refused"].as_str().unwrap().contains("does not fit"), "{long}");
    let browser = app.user().await;
    let page =
        browser.post("/switch", &form("openai/gpt-4o-mini", &[("check", "1"), ("prompt", "Kept.")])).await;
    assert_eq!(page.status.as_u16(), 200);
    assert!(page.one("#check").contains("Would be refused"), "{}", page.text());
    assert!(page.one("#prompt").contains("Kept."), "the form is kept");
    assert_eq!(config(&app).await, "gpt-5", "nothing was sent");
    let (_, audit) = app.script().get("/audit?what=swap").await;
    assert_eq!(audit["entries"].as_array().unwrap().len(), 1, "the swap before: {audit}");
}

#[tokio::test]
async fn tests_the_call_that_the_agent_makes() {
    let agent = FakeAgent::per_context(Manner::Good).await;
    let mut app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..Setup::default() }).await;
    relax(&app).await;
    register(&app, "gpt-4o", json!({}), json!({})).await;
    app.restart(|config| config.agents[0].calls = CallProfile::Mixed).await;
    let swap = async |model| app.script().post("/switch", &form(model, &[])).await.1;
    // By its bare name, which alone is registered.
    let bare = swap("openai/gpt-4o").await;
    assert_eq!(
        (&bare["outcome"], &bare["assessment"]["answers"]["state"]),
        (&json!("verified"), &json!("yes"))
    );
    assert!(bare["steps"][1]["detail"].as_str().unwrap().contains("gpt-4o on chat completions"), "{bare}");
    let newer = swap("openai/gpt-5").await;
    assert_eq!(newer["assessment"]["answers"]["state"], "yes", "{newer}");
    assert!(newer["steps"][1]["detail"].as_str().unwrap().contains("on the responses route"), "{newer}");
    // Registered under its whole name, which this agent does not ask for; the stand-in has no pass-through.
    let past = swap("anthropic/claude-sonnet-4-5").await;
    assert_eq!(
        (&past["outcome"], &past["assessment"]["answers"]["state"]),
        (&json!("refused"), &json!("no"))
    );
    assert!(past["steps"][0]["detail"].as_str().unwrap().contains("pass-through"), "{past}");
    let missing = swap("openai/gpt-4.1").await;
    assert!(missing["steps"][0]["detail"].as_str().unwrap().contains("no model called gpt-4.1"), "{missing}");
}

#[tokio::test]
async fn learns_from_an_answered_message_how_the_agent_calls() {
    let agent = FakeAgent::per_context(Manner::Good).await;
    let app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..Setup::default() }).await;
    relax(&app).await;
    for name in ["gpt-4o", "openai/gpt-4o", "gpt-4o-mini"] {
        register(&app, name, json!({}), json!({})).await;
    }
    let refused = app.script().post("/switch", &form("openai/gpt-4o-mini", &[])).await.1;
    assert_eq!(refused["outcome"], "refused", "{refused}");
    let held = agent.hold("Which");
    let message = form("openai/gpt-4o", &[("message", "Which model?")]);
    let script = app.script();
    let asking = script.post("/switch", &message);
    let answering = async {
        while !agent.seen("Which") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let body = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "Which model?" }] });
        let chat = app.sandbox.clone() + "/v1/chat/completions";
        let call = reqwest::Client::new().post(chat).bearer_auth(app.agent_key.expose_secret()).json(&body);
        assert!(call.send().await.unwrap().status().is_success());
        drop(held);
    };
    let ((_, asked), ()) = tokio::join!(asking, answering);
    assert!(asked["outcome"] == "verified" || asked["outcome"] == "proven", "{asked}");
    let calls = async || app.script().get("/agents/task-agent").await.1["agent"]["calls"].clone();
    while calls().await["observed"][0]["name"] != "gpt-4o" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What was refused before is now known to be asked for by its bare name.
    let now = app.script().post("/switch", &form("openai/gpt-4o-mini", &[])).await.1;
    assert_eq!(
        (&now["outcome"], &now["assessment"]["answers"]["state"]),
        (&json!("verified"), &json!("yes")),
        "{now}"
    );
    let page = app.user().await.get("/agents/task-agent").await;
    assert!(page.one("#calls").contains("bare name"), "{}", page.text());
}
