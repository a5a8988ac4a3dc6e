//! The steps of a swap, as they are done.

use reqwest::StatusCode;

use super::{events, relax};
use crate::support::TestApp;

#[tokio::test]
async fn with_javascript_the_receipt_grows_step_by_step() {
    let app = TestApp::start().await;
    relax(&app).await;
    let (browser, other) = (app.user().await, app.user().await);
    let form = [
        ("agent", "task-agent"),
        ("context", "grows"),
        ("model", "openai/gpt-5"),
        ("probe", "1"),
        ("message", "Which model? SLEEP=0.4"),
    ];
    let request = browser.http.post(format!("{}/switch", app.base)).form(&form).header("HX-Request", "true");
    let page = browser.send(request).await;
    assert_eq!((page.status, page.outcome().as_str()), (StatusCode::OK, "running"), "{}", page.text());
    assert!(!page.body.contains("<html"));
    let address = page.headers["hx-push-url"].to_str().unwrap().to_owned();
    let stream = page.attributes("[data-stream]", "data-stream").remove(0);

    // Whoever opens the address meanwhile sees the same.
    let seen = other.get(address.split('#').next().unwrap()).await;
    assert_eq!(seen.outcome(), "running");

    let events = events(&browser, &app.base, &stream).await;
    let (last, steps) = events.split_last().unwrap();
    assert_eq!(last.0, "end");
    assert!(steps.iter().all(|(name, _)| name == "html"));
    assert!(steps.first().unwrap().1.contains("data-outcome=\"running\""), "{steps:?}");
    assert!(steps.iter().any(|(_, html)| html.contains("under way")), "{steps:?}");
    let receipt = &steps.last().unwrap().1;
    assert!(receipt.contains("data-outcome=\"proven\""), "{receipt}");
    assert!(receipt.contains("I am gpt-5"), "{receipt}");

    // It has ended: the address shows the receipt, and there is nothing to follow.
    let page = browser.get(address.split('#').next().unwrap()).await;
    assert_eq!(page.outcome(), "proven");
    assert!(!page.has("[data-stream]"));
    // A page that was made while it ran, and listens only now, gets the end as well.
    let late = self::events(&browser, &app.base, &stream).await;
    assert_eq!(late.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["html", "end"]);
    assert!(late[0].1.contains("data-outcome=\"proven\""), "{late:?}");
    assert_eq!(browser.get("/switch/no-such-swap/events").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_form_that_is_wrong_begins_nothing() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    let form = [("agent", "task-agent"), ("context", "no"), ("model", "openai/")];
    let request = browser.http.post(format!("{}/switch", app.base)).form(&form).header("HX-Request", "true");
    let page = browser.send(request).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!page.has("#receipt"));
    assert!(!page.headers.contains_key("hx-push-url"));
}

#[tokio::test]
async fn a_closed_browser_does_not_stop_a_swap() {
    let app = TestApp::start().await;
    relax(&app).await;
    let browser = app.user().await;
    let form = [
        ("agent", "task-agent"),
        ("context", "left"),
        ("model", "openai/gpt-5"),
        ("message", "Which model? SLEEP=0.3"),
    ];
    let request = browser.http.post(format!("{}/switch", app.base)).form(&form);
    let gone = request.timeout(std::time::Duration::from_millis(150)).send().await;
    assert!(gone.unwrap_err().is_timeout());
    let script = app.script();
    for _ in 0..100 {
        let (status, context) = script.get("/contexts/task-agent/left").await;
        if status == StatusCode::OK && context["swaps"][0]["outcome"] == "proven" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the swap did not go on");
}
