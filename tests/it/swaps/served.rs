//! Which model really answered: by the agent's word, and by the proxy's log of the agent's key.

use axum::extract::Request;
use axum::response::IntoResponse as _;
use axum::{Json, Router};
use reqwest::StatusCode;
use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;
use tower::ServiceExt as _;

use super::{Ahead, relax, switch};
use crate::support::{Setup, TestApp, client, spawn};
use crate::web::fakes::{FakeAgent, Manner};

/// A call with the agent's key, as an agent makes it.
async fn call(app: &TestApp, model: &str) {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hi." }] });
    let request = client(Policy::none()).post(format!("{}/v1/chat/completions", app.sandbox)).json(&body);
    let answer = request.bearer_auth(app.agent_key.expose_secret()).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// What the agent's page tells of the log, once it stands so.
async fn log(app: &TestApp, ahead: &Ahead, standing: &str) -> Value {
    // The copy is renewed when it is older than ten seconds, and a page does not wait long for it.
    ahead.by(11);
    for _ in 0..100 {
        let (_, page) = app.script().get("/agents/task-agent").await;
        if page["log"]["standing"] == standing {
            return page["log"].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the log never stands as {standing}");
}

#[tokio::test]
async fn on_an_agent_wide_agent_a_later_call_of_another_model_is_flagged() {
    let (agent, ahead) = (FakeAgent::start(Manner::Good).await, Ahead::default());
    // The swap was four minutes ago, for the dashboard.
    ahead.by(-240);
    let setup = Setup { agent: Some(agent.url.clone()), clock: ahead.clock(), ..Setup::default() };
    let app = TestApp::with(setup).await;
    relax(&app).await;
    log(&app, &ahead, "nothing").await;
    let browser = app.user().await;
    assert_eq!(switch(&browser, "one", "openai/gpt-5", &[]).await.outcome(), "verified");

    call(&app, "openai/gpt-5-mini").await;
    let told = log(&app, &ahead, "differs").await;
    assert_eq!(
        (&told["last"]["model"], &told["selected"]),
        (&json!("openai/gpt-5-mini"), &json!("openai/gpt-5"))
    );
    for path in ["/agents/task-agent", "/contexts/task-agent/one"] {
        let page = browser.get(path).await;
        assert!(
            page.one(".notice.warn[role=alert]").contains("Served is not what is selected"),
            "{}",
            page.text()
        );
    }

    call(&app, "openai/gpt-5").await;
    log(&app, &ahead, "agrees").await;
    let page = browser.get("/contexts/task-agent/one").await;
    assert!(!page.has(".notice.warn"), "{}", page.text());
    // Put right on time: what was called before the next swap says nothing of it.
    ahead.by(1200);
    assert_eq!(switch(&browser, "one", "openai/gpt-5-mini", &[]).await.outcome(), "verified");
    log(&app, &ahead, "older").await;
}

#[tokio::test]
async fn on_a_per_context_agent_the_log_is_shown_and_not_held_against_anything() {
    let app = TestApp::start().await;
    relax(&app).await;
    let browser = app.user().await;
    switch(&browser, "one", "openai/gpt-5", &[]).await;
    switch(&browser, "two", "openai/gpt-5-mini", &[]).await;
    let page = browser.post("/contexts/task-agent/one/message", &[("message", "Which model?")]).await;
    let served = page.one("section[aria-labelledby=served]");
    assert!(served.contains("The last answer that was asked for here came from openai/gpt-5"), "{served}");
    assert!(served.contains("and the proxy's log has a call of it in that time"), "{served}");
    // The agent names its conversations to the proxy.
    assert!(page.one("table#calls").contains("openai/gpt-5"), "{}", page.text());
    let page = browser.get("/contexts/task-agent/two").await;
    assert!(!page.has("table#calls"), "{}", page.text());
    let served = page.one("section[aria-labelledby=served]");
    assert!(served.contains("The log is per key, not per context"), "{served}");
    assert!(served.contains("No answer was asked for here") && !page.has(".notice.warn"), "{served}");
    let page = browser.get("/contexts").await;
    assert!(page.has("tr[data-context=one] td[data-label='Last answer'] time"));
    assert!(page.one("tr[data-context=two] td[data-label='Last answer']").contains("no answer was asked"));
}

#[tokio::test]
async fn the_answer_that_proves_a_swap_is_evidence_too() {
    let app = TestApp::start().await;
    relax(&app).await;
    let browser = app.user().await;
    let page = switch(&browser, "one", "openai/gpt-5", &[("message", "Which model?")]).await;
    assert_eq!(page.outcome(), "proven");
    let (_, context) = app.script().get("/contexts/task-agent/one").await;
    assert_eq!(context["context"]["served"]["model"], "openai/gpt-5", "{context}");
    assert_eq!(context["is_served_otherwise"], false);
}

/// The app on a proxy without `/spend/logs/v2`, as releases before 1.80, and perhaps without `/spend/logs/ui` as well.
pub(crate) async fn on_older_release(app: &mut TestApp, has_other_log: bool) -> DropGuard {
    let sandbox = patchbay_sandbox::router(app.world.clone());
    let older = move |mut request: Request| {
        let sandbox = sandbox.clone();
        async move {
            match request.uri().path() {
                "/spend/logs/ui" if has_other_log => {
                    let query = request.uri().query().unwrap_or_default();
                    *request.uri_mut() = format!("/spend/logs/v2?{query}").parse().unwrap();
                }
                path if path.starts_with("/spend/logs") => {
                    return (StatusCode::NOT_FOUND, Json(json!({ "detail": "Not Found" }))).into_response();
                }
                _ => {}
            }
            sandbox.oneshot(request).await.unwrap()
        }
    };
    let (address, guard) = spawn(Router::new().fallback(older)).await;
    app.restart(|config| config.proxy_url = format!("http://{address}").parse().unwrap()).await;
    guard
}

#[tokio::test]
async fn log_of_an_older_release_is_read_where_it_is_or_called_unavailable() {
    const UNAVAILABLE: &str = "Not available on this release";
    for has_other_log in [true, false] {
        let ahead = Ahead::default();
        let mut app = TestApp::with(Setup { clock: ahead.clock(), ..Setup::default() }).await;
        relax(&app).await;
        call(&app, "openai/gpt-5").await;
        let _guard = on_older_release(&mut app, has_other_log).await;
        let browser = app.user().await;
        let page = browser.get(&format!("/keys/{}", app.agent_key_hash)).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        assert!(!page.has("[role=alert]"), "{}", page.text());
        if has_other_log {
            assert!(page.one("#last-calls tbody").contains("openai/gpt-5"), "{}", page.text());
        } else {
            assert!(page.one("#no-calls").starts_with(UNAVAILABLE), "{}", page.text());
        }
        let standing = if has_other_log { "per-context" } else { "unavailable" };
        // The scope is known after a swap.
        assert_eq!(switch(&browser, "one", "openai/gpt-5", &[]).await.outcome(), "verified");
        let told = log(&app, &ahead, standing).await;
        assert_eq!(told["last"]["model"].as_str(), has_other_log.then_some("openai/gpt-5"), "{told}");
        let page = browser.get("/agents/task-agent").await;
        assert_eq!(page.text().contains(UNAVAILABLE), !has_other_log, "{}", page.text());
    }
}
