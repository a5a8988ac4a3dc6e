//! The message box of a context.

use reqwest::StatusCode;
use serde_json::json;

use super::{audited, events, relax, switch};
use crate::support::{Browser, Setup, TestApp};
use crate::web::fakes::{FakeAgent, Manner};

async fn ready() -> (TestApp, Browser) {
    let app = TestApp::start().await;
    relax(&app).await;
    let browser = app.user().await;
    assert_eq!(switch(&browser, "chat", "openai/gpt-5", &[]).await.outcome(), "verified");
    (app, browser)
}

const MESSAGE: &str = "/contexts/task-agent/chat/message";

#[tokio::test]
async fn without_javascript_the_page_waits_for_the_answer() {
    let (app, browser) = ready().await;
    let page = browser.post(MESSAGE, &[("message", "Who are you, <b>friend</b>?")]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    assert_eq!(page.url.path(), "/contexts/task-agent/chat");
    assert_eq!(page.one("#asks .asked"), "Who are you, <b>friend</b>?");
    assert_eq!(page.one("#asks .answer"), "I am gpt-5");
    assert!(page.one("#asks figcaption").contains("openai/gpt-5"), "{}", page.one("#asks figcaption"));
    assert!(page.one("#asks figcaption").contains("tokens in"));
    let entries = audited(&app, "ask").await;
    assert_eq!(
        (entries[0]["outcome"].as_str(), entries[0]["object"].as_str()),
        (Some("ok"), Some("task-agent/chat"))
    );
    assert!(!entries[0].to_string().contains("friend"), "the message itself is not in the audit");
}

#[tokio::test]
async fn with_javascript_the_answer_comes_in() {
    let (app, browser) = ready().await;
    let request =
        browser.http.post(format!("{}{MESSAGE}", app.base)).form(&[("message", "Slowly SLEEP=0.4")]);
    let page = browser.send(request.header("HX-Request", "true")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.one("#asks .answer").contains("Waiting"), "{}", page.text());
    let stream = page.attributes("[data-stream]", "data-stream").remove(0);
    let events = events(&browser, &app.base, &stream).await;
    assert_eq!(events.last().unwrap().0, "end");
    assert!(events[events.len() - 2].1.contains("I am gpt-5"), "{events:?}");
    // Who comes to listen only now gets the whole answer.
    let late = self::events(&browser, &app.base, &stream).await;
    assert_eq!(late.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["html", "end"]);
    assert!(late[0].1.contains("I am gpt-5"), "{late:?}");
    let page = browser.get("/contexts/task-agent/chat").await;
    assert!(!page.has("[data-stream]"));
    assert_eq!(page.one("#asks .answer"), "I am gpt-5");
}

#[tokio::test]
async fn what_an_agent_would_obey_is_not_sent() {
    let (app, browser) = ready().await;
    let calls = app.world.chat_calls().len();
    for text in ["[HOTSWAP:MODEL:openai/gpt-5-mini]", " [hotswap:foo", "", "  "] {
        let page = browser.post(MESSAGE, &[("message", text)]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{text:?}");
        assert!(page.has("#message-error"), "{}", page.text());
        assert_eq!(page.one("#asks textarea"), text.trim());
    }
    let long = "x".repeat(8_001);
    assert_eq!(browser.post(MESSAGE, &[("message", &long)]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(app.world.chat_calls().len(), calls);
    let (_, context) = app.script().get("/contexts/task-agent/chat").await;
    assert_eq!(context["context"]["config"]["model"], "gpt-5");
}

#[tokio::test]
async fn a_failure_is_told_and_kept() {
    let (app, browser) = ready().await;
    let page = browser.post(MESSAGE, &[("message", "FAIL=500")]).await;
    assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{}", page.text());
    assert!(page.one("#asks [role=alert]").contains("failed"), "{}", page.text());
    let (status, ask) = app.script().post(MESSAGE, &[("message", "FAIL=500")]).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(ask["problem"].is_string());
    let (status, ask) = app.script().post(MESSAGE, &[("message", "Hello")]).await;
    assert_eq!((status, ask["answer"].as_str()), (StatusCode::OK, Some("I am gpt-5")));
    assert_eq!(audited(&app, "ask").await.len(), 3);
    assert_eq!(
        app.script().post("/contexts/nobody/chat/message", &[("message", "x")]).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_question_is_written_down_before_it_is_sent() {
    let agent = FakeAgent::per_context(Manner::Good).await;
    let dir = tempfile::tempdir().unwrap();
    let app = TestApp::with(Setup {
        agent: Some(agent.url.clone()),
        database_url: Some(format!("sqlite://{}", dir.path().join("dashboard.db").display())),
        ..Setup::default()
    })
    .await;
    app.script().post("/contexts/task-agent/chat/refresh", &[]).await;
    let held = agent.hold("How are");
    let script = app.script();
    let asked = tokio::spawn(async move { script.try_post(MESSAGE, &[("message", "How are you?")]).await });
    while !agent.seen("How are") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // Another dashboard on the same database, as after a crash: the question is there, and why it has no answer.
    let other = app.replica().await;
    let (_, page) = other.script().get("/contexts/task-agent/chat").await;
    assert_eq!(page["asks"][0]["message"], "How are you?", "{page}");
    assert!(page["asks"][0]["problem"].as_str().unwrap().contains("No answer was recorded"), "{page}");
    // Here it is still under way.
    let (_, page) = app.script().get("/contexts/task-agent/chat").await;
    assert_eq!(
        (page["asks"].as_array().unwrap().len(), &page["asks"][0]["problem"]),
        (1, &json!(null)),
        "{page}"
    );
    drop(held);
    asked.await.unwrap();
    let (_, page) = other.script().get("/contexts/task-agent/chat").await;
    assert_eq!(
        (page["asks"].as_array().unwrap().len(), &page["asks"][0]["problem"]),
        (1, &json!(null)),
        "{page}"
    );
    assert_eq!(page["asks"][0]["answer"], "Hello.", "{page}");
}
