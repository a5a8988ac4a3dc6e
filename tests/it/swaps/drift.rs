//! Contexts that someone else changes, and swaps for a time.

use reqwest::StatusCode;

use super::{Ahead, audited, from_elsewhere, relax, switch};
use crate::database;
use crate::support::{Setup, TestApp};
use crate::web::fakes::{FakeAgent, Manner};

const HERE: &str = "/contexts/task-agent/one";

async fn ready(ahead: &Ahead) -> TestApp {
    let app = TestApp::with(Setup { clock: ahead.clock(), ..Setup::default() }).await;
    relax(&app).await;
    app
}

async fn model(app: &TestApp) -> String {
    let (_, config) = app.script().post(&format!("{HERE}/refresh"), &[]).await;
    config["model"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_change_from_elsewhere_is_found_and_put_back_with_a_click() {
    let ahead = Ahead::default();
    let app = ready(&ahead).await;
    let browser = app.user().await;
    switch(&browser, "one", "openai/gpt-5", &[]).await;
    from_elsewhere(&app, "one", "[HOTSWAP:MODEL:anthropic/claude-sonnet-4-5]").await;
    app.switcher().look_for_drift().await;
    assert!(!browser.get(HERE).await.text().contains("Drift"), "read a moment ago, so not again yet");
    ahead.by(61);
    app.switcher().look_for_drift().await;
    let page = browser.get(HERE).await;
    let notice = page.one(".notice.warn[role=alert]");
    assert!(notice.contains("Drift") && notice.contains("openai/gpt-5"), "{notice}");
    assert!(notice.contains("anthropic/claude-sonnet-4-5"), "{notice}");
    for path in [HERE, "/"] {
        assert!(browser.get(path).await.has("[role=alert] a[href='/help#drift']"), "{path}");
    }
    assert!(browser.get("/contexts").await.one("tr[data-context=one]").contains("drift"));
    // Once for each drift, however often it is looked at.
    ahead.by(61);
    app.switcher().look_for_drift().await;
    assert_eq!(audited(&app, "drift").await.len(), 1);

    let fields: Vec<_> = ["swap", "to"]
        .into_iter()
        .map(|name| (name, page.attributes(&format!(".notice.warn input[name={name}]"), "value").remove(0)))
        .collect();
    let form: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(browser.post(&format!("{HERE}/undo"), &form).await.outcome(), "verified");
    assert_eq!(model(&app).await, "gpt-5");
    assert!(!browser.get(HERE).await.has(".notice.warn[role=alert]"));
}

#[tokio::test]
async fn a_kept_context_is_put_back_by_itself() {
    let ahead = Ahead::default();
    let app = ready(&ahead).await;
    let browser = app.user().await;
    switch(&browser, "one", "openai/gpt-5", &[("prompt", "Be brief.")]).await;
    browser.post(&format!("{HERE}/describe"), &[("keep", "1")]).await;
    from_elsewhere(&app, "one", "[HOTSWAP:PROMPT:Be long.]").await;
    ahead.by(61);
    app.switcher().look_for_drift().await;
    let (_, config) = app.script().post(&format!("{HERE}/refresh"), &[]).await;
    assert_eq!((config["model"].as_str(), config["prompt"].as_str()), (Some("gpt-5"), Some("Be brief.")));
    let entries = audited(&app, "swap").await;
    assert_eq!(
        (entries[0]["actor"].as_str(), entries[0]["outcome"].as_str()),
        (Some("patchbay (kept)"), Some("verified"))
    );
}

#[tokio::test]
async fn a_timed_swap_ends_even_over_a_restart() {
    let ahead = Ahead::default();
    let (_dir, database_url) = database::lasting().await;
    let mut app =
        TestApp::with(Setup { clock: ahead.clock(), database_url: Some(database_url), ..Setup::default() })
            .await;
    relax(&app).await;
    let browser = app.user().await;
    let page = switch(&browser, "one", "openai/gpt-5", &[("minutes", "30")]).await;
    assert_eq!(page.outcome(), "verified");
    assert!(browser.get(HERE).await.one(".page-head").contains("goes back in 29 min"));
    ahead.by(29 * 60);
    app.switcher().end_timed_swaps().await;
    assert_eq!(model(&app).await, "gpt-5");
    app.restart(|_| {}).await;
    ahead.by(61);
    app.switcher().end_timed_swaps().await;
    assert_eq!(model(&app).await, "gpt-5-mini");
    let (_, context) = app.script().get(HERE).await;
    assert_eq!(context["context"]["reverts_at"], serde_json::Value::Null);
    assert_eq!(context["swaps"][0]["actor"], "patchbay (time is up)");
    // It is over: nothing more happens.
    ahead.by(3600);
    app.switcher().end_timed_swaps().await;
    let (_, context) = app.script().get(HERE).await;
    assert_eq!(context["swaps"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_later_swap_takes_the_place_of_a_timed_one() {
    let ahead = Ahead::default();
    let app = ready(&ahead).await;
    let browser = app.user().await;
    switch(&browser, "one", "openai/gpt-5", &[("minutes", "5")]).await;
    switch(&browser, "one", "anthropic/claude-sonnet-4-5", &[]).await;
    ahead.by(3600);
    app.switcher().end_timed_swaps().await;
    assert_eq!(model(&app).await, "claude-sonnet-4-5");
    for (minutes, status) in [("0", 200), ("-1", 422), ("10081", 422), ("soon", 422)] {
        let page = switch(&browser, "one", "openai/gpt-5", &[("minutes", minutes)]).await;
        assert_eq!(page.status.as_u16(), status, "{minutes}");
        assert_eq!(page.has("#minutes-error"), status == 422);
    }
}

/// Both swaps changed the one model that the agent has for all its contexts.
#[tokio::test]
async fn a_later_swap_in_another_context_replaces_the_timer_of_an_agent_wide_agent() {
    let ahead = Ahead::default();
    let agent = FakeAgent::start(Manner::Good).await;
    let setup = Setup { clock: ahead.clock(), agent: Some(agent.url.clone()), ..Setup::default() };
    let app = TestApp::with(setup).await;
    relax(&app).await;
    let browser = app.user().await;
    switch(&browser, "one", "openai/gpt-5", &[("minutes", "5")]).await;
    switch(&browser, "two", "anthropic/claude-sonnet-4-5", &[]).await;
    ahead.by(3600);
    app.switcher().end_timed_swaps().await;
    assert_eq!(agent.model(), "anthropic/claude-sonnet-4-5");
}

#[tokio::test]
async fn a_timed_swap_that_cannot_end_is_tried_again() {
    let ahead = Ahead::default();
    let app = ready(&ahead).await;
    let browser = app.user().await;
    switch(&browser, "one", "openai/gpt-5", &[("minutes", "5")]).await;
    // The model to go back to is gone.
    let (_, models) = app.script().get("/models?q=gpt-5-mini").await;
    let id = models["deployments"][0]["id"].as_str().unwrap();
    app.admin("/model/delete", &serde_json::json!({ "id": id })).await;
    ahead.by(301);
    app.switcher().end_timed_swaps().await;
    assert_eq!(model(&app).await, "gpt-5");
    let (_, context) = app.script().get(HERE).await;
    assert!(context["context"]["reverts_at"].is_string(), "put off, not forgotten");
    assert_eq!(context["swaps"][0]["outcome"], "refused");
    let body = serde_json::json!({ "model_name": "openai/gpt-5-mini",
        "litellm_params": { "model": "gpt-5-mini", "custom_llm_provider": "openai", "api_key": "os.environ/X" } });
    app.admin("/model/new", &body).await;
    ahead.by(61);
    app.switcher().end_timed_swaps().await;
    assert_eq!(model(&app).await, "gpt-5-mini");
    assert_eq!(app.script().get(HERE).await.0, StatusCode::OK);
}
