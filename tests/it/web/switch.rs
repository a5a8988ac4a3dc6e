//! Swaps that are done: with prompt, with proof, undone, rolled back, one after the other.

use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Browser, Page, Setup, TestApp};
use crate::web::fakes::{FakeAgent, Manner};

const MINI: &str = "openai/gpt-5-mini";
const BIG: &str = "openai/gpt-5";

/// A dashboard whose agent may call every model.
async fn relaxed(setup: Setup) -> TestApp {
    let app = TestApp::with(setup).await;
    app.admin("/key/update", &json!({ "key": app.agent_key_hash, "models": [] })).await;
    app
}

async fn swap(browser: &Browser, context: &str, more: &[(&str, &str)]) -> Page {
    let mut form = vec![("agent", "task-agent"), ("context", context)];
    form.extend(more);
    browser.post("/switch", &form).await
}

#[track_caller]
fn check(page: &Page, status: u16, outcome: &str) {
    assert_eq!((page.status.as_u16(), page.outcome().as_str()), (status, outcome), "{}", page.text());
}

/// What the agent itself says that the context is on.
async fn config(app: &TestApp, context: &str) -> (String, Option<String>) {
    let (status, config) = app.script().post(&format!("/contexts/task-agent/{context}/refresh"), &[]).await;
    assert_eq!(status, StatusCode::OK, "{config}");
    let text = |name: &str| config[name].as_str().map(str::to_owned);
    (format!("{}/{}", text("provider").unwrap(), text("model").unwrap()), text("prompt"))
}

#[tokio::test]
async fn prompts_are_set_and_cleared() {
    let app = relaxed(Setup::default()).await;
    let browser = app.user().await;
    check(&swap(&browser, "c1", &[("prompt", "You are <b>terse</b>.")]).await, 200, "verified");
    assert_eq!(config(&app, "c1").await, (MINI.to_owned(), Some("You are <b>terse</b>.".to_owned())));
    // The built-in agent says that it takes line breaks; browsers send them as CR LF.
    let page = swap(&browser, "c1", &[("model", BIG), ("prompt", "One.\r\n\r\n  Two ] [.\r\n")]).await;
    check(&page, 200, "verified");
    assert_eq!(config(&app, "c1").await, (BIG.to_owned(), Some("One.\n\n  Two ] [.".to_owned())));
    assert!(page.one(".before-after").contains("You are <b>terse</b>."), "{}", page.text());
    let page = swap(&browser, "c1", &[("clear_prompt", "1")]).await;
    check(&page, 200, "verified");
    assert_eq!(config(&app, "c1").await, (BIG.to_owned(), None));
    assert!(page.one(".before-after div:last-child").contains("default prompt"), "{}", page.text());
    // The other context has nothing of it.
    assert_eq!(config(&app, "c2").await, (MINI.to_owned(), None));
}

#[tokio::test]
async fn a_prompt_with_line_breaks_is_refused_for_an_agent_that_does_not_announce_them() {
    let agent = FakeAgent::start(Manner::Good).await;
    let app = relaxed(Setup { agent: Some(agent.url.clone()), ..Setup::default() }).await;
    let browser = app.user().await;
    let page = swap(&browser, "c1", &[("model", BIG), ("prompt", "One.\nTwo.")]).await;
    check(&page, 422, "refused");
    assert!(page.one("#receipt").contains("line breaks"), "{}", page.text());
    assert!(page.body.contains("One.\nTwo."), "the prompt is lost");
    assert_eq!(agent.take(), Vec::<String>::new());
    check(&swap(&browser, "c1", &[("prompt", "One. Two.")]).await, 200, "verified");
}

#[tokio::test]
async fn a_swap_is_proven_by_an_answer_and_a_reload_does_not_repeat_it() {
    let app = relaxed(Setup::default()).await;
    let browser = app.user().await;
    let page = swap(&browser, "c1", &[("model", BIG), ("probe", "1"), ("message", "Which <model>?")]).await;
    check(&page, 200, "proven");
    assert_eq!(page.one("#receipt .answer"), "I am gpt-5");
    assert_eq!(page.one("#receipt .asked"), "Which <model>?");
    assert_eq!(
        page.all(".step-name"),
        ["Check", "Try the model", "Read before", "Switch the model", "Read back", "Ask"]
    );
    assert!(page.all(".step-time").iter().all(|time| time.ends_with("ms") || time.ends_with(" s")));
    let (calls, (_, before)) = (app.world.chat_calls().len(), app.script().get("/audit").await);
    assert_eq!(calls, 2, "one for the probe, one for the answer");
    // The address is the receipt's own.
    assert!(page.url.path().starts_with("/swaps/"), "{}", page.url);
    let path = page.url.path().to_owned();
    for _ in 0..3 {
        check(&browser.get(&path).await, 200, "proven");
    }
    assert_eq!(app.world.chat_calls().len(), calls);
    assert_eq!(app.script().get("/audit").await.1, before);
}

#[tokio::test]
async fn undo_puts_back_model_and_prompt_and_can_itself_be_undone() {
    let app = relaxed(Setup::default()).await;
    let browser = app.user().await;
    check(&swap(&browser, "c1", &[("model", MINI), ("prompt", "First.")]).await, 200, "verified");
    let page = swap(&browser, "c1", &[("model", BIG), ("prompt", "Second.")]).await;
    assert_eq!(config(&app, "c1").await, (BIG.to_owned(), Some("Second.".to_owned())));
    let page = undo(&browser, &page).await;
    check(&page, 200, "verified");
    assert_eq!(config(&app, "c1").await, (MINI.to_owned(), Some("First.".to_owned())));
    let page = undo(&browser, &page).await;
    check(&page, 200, "verified");
    assert_eq!(config(&app, "c1").await, (BIG.to_owned(), Some("Second.".to_owned())));
    let page = browser.get("/contexts/task-agent/c1").await;
    assert_eq!(page.all(".timeline li").len(), 4, "{}", page.text());
    // What is no swap of this context is not found, and a refused one has nothing to undo.
    for (path, swap) in [("c1", "nope"), ("c1", ""), ("c2", "nope")] {
        let page = browser.post(&format!("/contexts/task-agent/{path}/undo"), &[("swap", swap)]).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{}", page.text());
    }
    let (_, refused) =
        app.script().post("/switch", &[("agent", "task-agent"), ("context", "c1"), ("model", "a/b")]).await;
    let form = [("swap", refused["id"].as_str().unwrap())];
    let page = browser.post("/contexts/task-agent/c1/undo", &form).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", page.text());
}

/// Presses the receipt's button.
async fn undo(browser: &Browser, receipt: &Page) -> Page {
    let action = receipt.attributes("#receipt form", "action").remove(0);
    let names = receipt.attributes("#receipt form input", "name");
    let values = receipt.attributes("#receipt form input", "value");
    let form: Vec<_> = names.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
    browser.post(&action, &form).await
}

#[tokio::test]
async fn undo_does_not_take_back_what_someone_did_in_between() {
    let app = relaxed(Setup::default()).await;
    let (ada, other) = (app.user().await, app.user().await);
    let receipt = swap(&ada, "c1", &[("model", BIG)]).await;
    check(&swap(&other, "c1", &[("model", "anthropic/claude-sonnet-4-5")]).await, 200, "verified");
    let page = undo(&ada, &receipt).await;
    assert_eq!(page.status, StatusCode::CONFLICT, "{}", page.text());
    assert!(
        page.one("[role=alert]").contains("asked for anthropic/claude-sonnet-4-5 in c1"),
        "{}",
        page.text()
    );
    assert_eq!(config(&app, "c1").await.0, "anthropic/claude-sonnet-4-5");
    // A script that names no `seen` is not guarded.
    let id = receipt.attributes("#receipt", "data-swap").remove(0);
    let (status, swap) = app.script().post("/contexts/task-agent/c1/undo", &[("swap", &id)]).await;
    assert_eq!((status, &swap["outcome"]), (StatusCode::OK, &json!("verified")), "{swap}");
}

#[tokio::test]
async fn a_swap_whose_message_fails_is_rolled_back() {
    let app = relaxed(Setup::default()).await;
    let browser = app.user().await;
    check(&swap(&browser, "c1", &[("model", MINI), ("prompt", "Before.")]).await, 200, "verified");
    let page =
        swap(&browser, "c1", &[("model", BIG), ("prompt", "After."), ("message", "FAIL=500 please")]).await;
    check(&page, 502, "rolled-back");
    assert!(page.one("#receipt").contains("the former model and prompt are back"), "{}", page.text());
    assert!(page.one(".before-after div:last-child").contains("gpt-5-mini"), "{}", page.text());
    assert_eq!(page.attributes("#message", "value"), ["FAIL=500 please"]);
    assert_eq!(config(&app, "c1").await, (MINI.to_owned(), Some("Before.".to_owned())));
    assert!(!page.has("#receipt form"), "there is nothing to undo");
    let (_, audit) = app.script().get("/audit").await;
    assert_eq!(audit["entries"][0]["outcome"], "rolled-back", "{audit}");
}

/// The hidden fields of the form.
fn hidden(page: &Page) -> (String, String) {
    let value = |name: &str| {
        page.attributes(&format!("form[action='/switch'] input[name={name}]"), "value").remove(0)
    };
    (value("seen"), value("seen_for"))
}

#[tokio::test]
async fn a_form_that_is_out_of_date_says_who_came_between() {
    let app = relaxed(Setup::default()).await;
    let browser = app.user().await;
    for first_is_new in [true, false] {
        let context = if first_is_new { "new" } else { "old" };
        if !first_is_new {
            check(&swap(&browser, context, &[("model", MINI)]).await, 200, "verified");
        }
        let form = browser.get(&format!("/switch?agent=task-agent&context={context}")).await;
        let (seen, seen_for) = hidden(&form);
        let (status, _) = app
            .script()
            .post("/switch", &[("agent", "task-agent"), ("context", context), ("model", BIG)])
            .await;
        assert_eq!(status, StatusCode::OK, "a script without `seen` is not guarded");
        let model = "anthropic/claude-sonnet-4-5";
        let form = [("model", model), ("message", "Still here?"), ("seen", &*seen), ("seen_for", &*seen_for)];
        let page = swap(&browser, context, &form).await;
        if first_is_new {
            // Nothing had been seen, and now there is something.
            assert_eq!(seen, "none");
        }
        assert_eq!(page.status, StatusCode::CONFLICT, "{}", page.text());
        let alert = page.one("[role=alert]");
        assert!(alert.contains("ada asked for openai/gpt-5 in") && alert.contains("just now"), "{alert}");
        assert_eq!(page.attributes("#model", "value"), [model]);
        assert_eq!(page.attributes("#message", "value"), ["Still here?"]);
        assert_eq!(config(&app, context).await.0, BIG, "it was sent all the same");
        // Pressing the button again on this page is a decision.
        let (seen, seen_for) = hidden(&page);
        let page =
            swap(&browser, context, &[("model", model), ("seen", &seen), ("seen_for", &seen_for)]).await;
        check(&page, 200, "verified");
    }
    // As JSON it is an error with the same status.
    let form = [("agent", "task-agent"), ("context", "old"), ("model", BIG), ("seen", "none")];
    let (status, json) = app.script().post("/switch", &form).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(json["error"]["detail"].as_str().unwrap().contains("ada asked for anthropic/claude"), "{json}");
    // Another context than the one that was shown has nothing to do with it.
    let form = [("model", BIG), ("seen", "none"), ("seen_for", "task-agent/old")];
    check(&swap(&browser, "third", &form).await, 200, "verified");
}

#[tokio::test]
async fn swaps_at_once_in_one_context_go_one_after_the_other() {
    let agent = FakeAgent::start(Manner::Good).await;
    let mut setup = Setup { agent: Some(agent.url.clone()), ..Setup::default() };
    // No look back may come between.
    setup.timeouts.agents.look_again = [Duration::from_mins(5); 2];
    let app = relaxed(setup).await;
    let browser = app.user().await;
    // The first swap finds out the scope, which takes two messages more.
    check(&swap(&browser, "c1", &[("model", BIG)]).await, 200, "verified");
    agent.take();
    let models = [MINI, BIG, "anthropic/claude-sonnet-4-5", MINI, BIG, "anthropic/claude-sonnet-4-5"];
    let fields: Vec<_> = models.iter().map(|model| [("model", *model)]).collect();
    let pages = join_all(fields.iter().map(|fields| swap(&browser, "c1", fields))).await;
    for page in pages {
        check(&page, 200, "verified");
    }
    let texts = agent.take();
    assert_eq!(texts.len(), 18);
    for one in texts.chunks(3) {
        assert!(
            one[0].contains("GET_CONFIG") && one[1].contains(":MODEL:") && one[2].contains("GET_CONFIG"),
            "{texts:?}"
        );
    }
    // Each began where the one before had ended.
    let (_, json) = app.script().get("/contexts/task-agent/c1").await;
    let swaps = json["swaps"].as_array().unwrap();
    for pair in swaps.windows(2) {
        assert_eq!(pair[0]["before"], pair[1]["after"], "{json}");
    }
}

#[tokio::test]
async fn who_waits_too_long_for_a_running_swap_keeps_the_form() {
    let agent = FakeAgent::start(Manner::Good).await;
    agent.set_for("Take", Manner::Hangs);
    let mut setup = Setup { agent: Some(agent.url.clone()), ..Setup::default() };
    setup.timeouts.agents.message = Duration::from_secs(30);
    let app = relaxed(setup).await;
    let (browser, other) = (app.user().await, app.user().await);
    let running =
        tokio::spawn(
            async move { swap(&other, "c1", &[("model", MINI), ("message", "Take your time")]).await },
        );
    for _ in 0..500 {
        if agent.seen("Take") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let page = swap(&browser, "c1", &[("model", BIG), ("message", "Me too")]).await;
    assert_eq!(page.status, StatusCode::CONFLICT, "{}", page.text());
    assert!(
        page.one("[role=alert]").contains("This context is being switched by ada right now"),
        "{}",
        page.text()
    );
    assert_eq!(page.attributes("#message", "value"), ["Me too"]);
    assert!(!agent.take().iter().any(|text| text.contains("gpt-5]")), "it was sent all the same");
    running.abort();
}
