//! One message to several models, side by side.

use reqwest::StatusCode;
use serde_json::json;

use super::{audited, events, relax, switch};
use crate::support::{Setup, TestApp};
use crate::web::fakes::{FakeAgent, Manner};

const TWO: [(&str, &str); 4] = [
    ("agent", "task-agent"),
    ("message", "Which <model>?"),
    ("model", "openai/gpt-5"),
    ("model", "anthropic/claude-sonnet-4-5"),
];

#[tokio::test]
async fn without_javascript_the_page_waits_and_leads_to_the_switch_form() {
    let app = TestApp::start().await;
    relax(&app).await;
    let browser = app.user().await;
    let page = browser.get("/compare?agent=task-agent&context=one").await;
    assert_eq!(page.attributes("#context", "value"), ["one"]);
    let mut form = TWO.to_vec();
    form.extend([("model", ""), ("context", "one")]);
    let page = browser.post("/compare", &form).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    assert!(page.url.path().starts_with("/compare/"), "a reload asks nothing again: {}", page.url);
    assert_eq!(
        page.attributes("#comparison section", "data-model"),
        ["openai/gpt-5", "anthropic/claude-sonnet-4-5"]
    );
    assert_eq!(page.all("#comparison .answer"), ["I am gpt-5", "I am claude-sonnet-4-5"]);
    assert!(page.all("#comparison dl").iter().all(|facts| facts.contains("ms") && facts.contains("out")));
    let winner = page.attributes("#comparison a.button", "href").remove(1);
    let form = browser.get(&winner).await;
    assert_eq!(
        (form.attributes("#model", "value").remove(0), form.attributes("#context", "value").remove(0)),
        ("anthropic/claude-sonnet-4-5".to_owned(), "one".to_owned())
    );
    // No conversation is known for it, or was switched.
    assert!(!browser.get("/contexts").await.has("table#contexts tbody tr"));
    assert!(audited(&app, "swap").await.is_empty());
    let entry = audited(&app, "compare").await.remove(0);
    assert_eq!(
        (&entry["outcome"], &entry["after"], &entry["detail"]),
        (&json!("ok"), &json!("openai/gpt-5, anthropic/claude-sonnet-4-5"), &json!("2 of 2 answered"))
    );
    assert!(!entry.to_string().contains("Which"), "what was said is not in the audit");
    let listed = browser.get("/agents/task-agent").await;
    assert!(!listed.text().contains("patchbay."), "{}", listed.text());
}

#[tokio::test]
async fn a_failure_spoils_its_own_column_alone() {
    let app = TestApp::start().await;
    let params = json!({ "model": "gpt-5", "api_key": "bad-key" });
    app.admin("/model/new", &json!({ "model_name": "openai/dead", "litellm_params": params })).await;
    app.admin(
        "/key/update",
        &json!({ "key": app.agent_key_hash, "models": ["openai/gpt-5", "openai/dead"] }),
    )
    .await;
    let form = [TWO[0], TWO[1], TWO[2], ("model", "openai/dead"), ("model", "openai/gpt-5-mini")];
    let (status, told) = app.script().post("/compare", &form).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    let columns = told["columns"].as_array().unwrap();
    assert_eq!(
        (&columns[0]["proof"]["answer"], &columns[0]["problem"]),
        (&json!("I am gpt-5"), &json!(null))
    );
    assert!(columns[1]["problem"].as_str().unwrap().contains("AuthenticationError"), "{told:#}");
    assert!(columns[2]["problem"].as_str().unwrap().contains("may not call openai/gpt-5-mini"), "{told:#}");
    assert_eq!(audited(&app, "compare").await[0]["outcome"], "failed");
    // One that did not answer is no winner.
    let page = app.user().await.get(&format!("/compare/{}", told["id"].as_str().unwrap())).await;
    assert_eq!(page.all("#comparison a.button").len(), 1, "{}", page.text());
}

#[tokio::test]
async fn with_javascript_the_answers_come_in() {
    let app = TestApp::start().await;
    relax(&app).await;
    let browser = app.user().await;
    let form = [TWO[0], ("message", "Which model? SLEEP=0.3"), TWO[2], TWO[3]];
    let request = browser.http.post(format!("{}/compare", app.base)).form(&form).header("HX-Request", "true");
    let page = browser.send(request).await;
    assert_eq!(page.attributes("#comparison", "data-done"), ["false"], "{}", page.text());
    let address = page.headers["hx-push-url"].to_str().unwrap().to_owned();
    let stream = page.attributes("[data-stream]", "data-stream").remove(0);
    let events = events(&browser, &app.base, &stream).await;
    let (last, pieces) = events.split_last().unwrap();
    assert_eq!(last.0, "end");
    let whole = &pieces.last().unwrap().1;
    assert!(whole.contains("I am gpt-5") && whole.contains("I am claude-sonnet-4-5"), "{whole}");
    assert_eq!(browser.get(&address).await.attributes("#comparison", "data-done"), ["true"]);
    assert_eq!(browser.get("/compare/nope").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn on_an_agent_wide_agent_the_page_says_why_not_and_nothing_is_sent() {
    let agent = FakeAgent::start(Manner::Good).await;
    let app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..Setup::default() }).await;
    relax(&app).await;
    let browser = app.user().await;
    for known in [false, true] {
        if known {
            switch(&browser, "one", "openai/gpt-5", &[]).await;
        }
        let page = browser.get("/compare").await;
        let why = if known { "would switch every conversation" } else { "It is not known yet" };
        assert!(page.one(".notice.warn").contains(why), "{}", page.text());
        assert!(page.has("button[disabled]"));
        agent.take();
        let (status, refused) = app.script().post("/compare", &TWO).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(refused["error"]["detail"].as_str().unwrap().contains(why), "{refused}");
        assert!(!agent.seen("[HOTSWAP:MODEL") && !agent.seen("Which"));
    }
}

#[tokio::test]
async fn a_form_that_is_not_right_comes_back_as_it_was() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    for (more, field) in [
        (vec![TWO[1], TWO[2]], "model"),
        (vec![TWO[1], TWO[2], TWO[2]], "model"),
        (vec![TWO[1], TWO[2], TWO[3], ("model", "a/b"), ("model", "c/d")], "model"),
        (vec![TWO[1], TWO[2], ("model", "openai/")], "model"),
        (vec![TWO[2], TWO[3]], "message"),
        (vec![("message", "[HOTSWAP:MODEL:a/b]"), TWO[2], TWO[3]], "message"),
        (vec![TWO[1], TWO[2], TWO[3], ("context", "a b")], "context"),
    ] {
        let mut form = vec![TWO[0]];
        form.extend(more);
        let page = browser.post("/compare", &form).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{form:?}");
        assert!(page.has(&format!("#{field}-error")), "{form:?}: {}", page.text());
        assert_eq!(page.attributes("#model-0", "value"), ["openai/gpt-5"]);
    }
    assert!(app.world.chat_calls().is_empty());
}
