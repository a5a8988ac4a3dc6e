//! What people say about contexts, and going back to where one was.

use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{audited, relax, switch};
use crate::support::{Setup, TestApp, spawn};

const HERE: &str = "/contexts/task-agent/one";

#[tokio::test]
async fn a_context_is_labelled_pinned_and_forgotten() {
    let app = TestApp::start().await;
    relax(&app).await;
    let browser = app.user().await;
    switch(&browser, "one", "openai/gpt-5", &[]).await;
    let form = [("label", "  Nightly   review <b> "), ("pinned", "1"), ("keep", "1")];
    let page = browser.post(&format!("{HERE}/describe"), &form).await;
    assert_eq!(page.one("h1"), "Nightly review <b>");
    assert!(page.one(".page-head").contains("pinned") && page.one(".page-head").contains("kept"));
    let page = browser.get("/contexts?q=nightly").await;
    assert!(page.one("table#contexts tbody tr[data-context=one] th").contains("pinned"));
    let (_, context) = app.script().post(&format!("{HERE}/unpin"), &[]).await;
    assert_eq!(context["context"], "one");
    let (_, context) = app.script().get(HERE).await;
    assert_eq!(
        (context["context"]["is_pinned"].as_bool(), context["context"]["is_kept"].as_bool()),
        (Some(false), Some(true))
    );
    let long = "x".repeat(81);
    let (status, _) = app.script().post(&format!("{HERE}/describe"), &[("label", &long)]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);

    let page = browser.post(&format!("{HERE}/forget"), &[]).await;
    assert!(page.one("#flash[role=status]").contains("forgotten"));
    assert!(!page.has("table#contexts tbody tr"));
    // The swaps stay in the history, to which receipts lead.
    let (status, context) = app.script().get(HERE).await;
    assert_eq!((status, context["swaps"].as_array().unwrap().len()), (StatusCode::OK, 1));
    for action in ["pin", "unpin", "forget", "describe"] {
        let (status, _) = app.script().post(&format!("/contexts/task-agent/never/{action}"), &[]).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{action}");
    }
    let described = audited(&app, "context.describe").await;
    let refused = described.iter().filter(|entry| entry["outcome"] == "refused").count();
    assert_eq!((described.len(), refused), (5, 3));
}

#[tokio::test]
async fn settings_of_a_context_do_not_overwrite_what_others_changed() {
    let app = TestApp::start().await;
    relax(&app).await;
    let (one, other) = (app.user().await, app.user().await);
    switch(&one, "one", "openai/gpt-5", &[]).await;
    // What the form holds when both load the page.
    let page = one.get(HERE).await;
    let seen = ["seen_label", "seen_pinned", "seen_keep"]
        .map(|name| (name, page.attributes(&format!("input[name={name}]"), "value").remove(0)));
    assert_eq!(seen.each_ref().map(|(_, value)| value.as_str()), ["", "false", "false"]);
    let form = |fields: &[(&'static str, &'static str)]| {
        let seen = seen.iter().map(|(name, value)| (*name, value.as_str()));
        fields.iter().copied().chain(seen).map(|(name, value)| (name, value.to_owned())).collect::<Vec<_>>()
    };
    let describe = async |browser: &crate::support::Browser, fields: &[(&'static str, &'static str)]| {
        let form = form(fields);
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        browser.post(&format!("{HERE}/describe"), &form).await
    };
    assert_eq!(describe(&other, &[("pinned", "1"), ("label", "")]).await.status, StatusCode::OK);
    // Another field: both changes stand.
    let page = describe(&one, &[("label", "Mine")]).await;
    assert_eq!((page.status, page.one("h1")), (StatusCode::OK, "Mine".to_owned()));
    assert!(page.one(".page-head").contains("pinned"), "{}", page.text());
    // The same field: the second is told, and nothing of its form is saved.
    let page = describe(&other, &[("label", "Theirs"), ("keep", "1")]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    let (_, context) = app.script().get(HERE).await;
    let context = &context["context"];
    assert_eq!(
        (&context["label"], &context["is_pinned"], &context["is_kept"]),
        (&json!("Mine"), &json!(true), &json!(false))
    );
    let outcomes: Vec<_> = audited(&app, "context.describe").await;
    let outcomes: Vec<_> = outcomes.iter().map(|entry| (&entry["outcome"], &entry["after"])).collect();
    assert_eq!(outcomes[0].0, "refused");
    assert_eq!(outcomes[1..], [(&json!("ok"), &json!("Mine, pinned")), (&json!("ok"), &json!("pinned"))]);
}

#[tokio::test]
async fn a_context_goes_back_to_where_any_swap_left_it() {
    let app = TestApp::start().await;
    relax(&app).await;
    let browser = app.user().await;
    switch(&browser, "one", "openai/gpt-5", &[("prompt", "Be brief.")]).await;
    switch(&browser, "one", "anthropic/claude-sonnet-4-5", &[("clear_prompt", "1")]).await;
    switch(&browser, "one", "openai/gpt-5-mini", &[]).await;
    let page = browser.get(HERE).await;
    // Not to where it is already.
    assert_eq!(page.all("#history ~ .timeline button, .timeline button").len(), 2, "{}", page.text());
    let (_, context) = app.script().get(HERE).await;
    let first = context["swaps"][2]["id"].as_str().unwrap();
    let page = browser.post(&format!("{HERE}/undo"), &[("swap", first), ("to", "after")]).await;
    assert_eq!(page.outcome(), "verified", "{}", page.text());
    let (_, context) = app.script().get(HERE).await;
    let config = &context["context"]["config"];
    assert_eq!((config["model"].as_str(), config["prompt"].as_str()), (Some("gpt-5"), Some("Be brief.")));
    assert_eq!(context["swaps"].as_array().unwrap().len(), 4, "going back is a swap forward");
}

#[tokio::test]
async fn a_new_context_has_an_id_of_its_own() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    let id = |page: crate::support::Page| page.attributes("#context", "value").remove(0);
    let (one, other) = (id(browser.get("/switch?new=1").await), id(browser.get("/switch?new=1").await));
    assert!(one.starts_with("ctx-") && one.len() > 10, "{one}");
    assert_ne!(one, other);
}

/// An agent that speaks 1.0 and lists its tasks, on two pages.
fn listing() -> Router {
    async fn rpc(Json(request): Json<Value>) -> Json<Value> {
        let result = match (request["method"].as_str(), request["params"]["pageToken"].as_str()) {
            (Some("ListTasks"), Some("")) => json!({ "tasks": [
                { "id": "1", "contextId": "alpha" }, { "id": "2", "contextId": "alpha" }, { "id": "3", "contextId": "bad id" },
            ], "nextPageToken": "more" }),
            (Some("ListTasks"), Some("more")) => {
                json!({ "tasks": [{ "id": "4", "contextId": "beta" }, null], "nextPageToken": "" })
            }
            (Some("SendMessage"), _) => json!({ "task": {
                "id": "5", "contextId": "alpha", "status": { "state": "TASK_STATE_COMPLETED" },
                "artifacts": [{ "parts": [{ "text": format!(
                    "📊 Current Configuration\n{rule}\nModel: gpt-5\nProvider: openai\nSystem Prompt: (default prompt)\n{rule}",
                    rule = "━".repeat(22)) }] }],
            } }),
            other => panic!("{other:?}"),
        };
        Json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
    }
    let card = json!({ "name": "lister", "supportedInterfaces": [
        { "url": "http://elsewhere", "protocolBinding": "JSONRPC", "protocolVersion": "1.0" }] });
    Router::new()
        .route("/a/.well-known/agent-card.json", get(move || async move { Json(card) }))
        .route("/a", post(rpc))
}

#[tokio::test]
async fn contexts_that_the_agent_lists_can_be_adopted() {
    let (address, _guard) = spawn(listing()).await;
    let app = TestApp::with(Setup { agent: Some(format!("http://{address}/a")), ..Setup::default() }).await;
    let browser = app.user().await;
    let page = browser.get("/agents/task-agent").await;
    assert_eq!(page.all("section[aria-labelledby=listed] code"), ["alpha", "beta"]);
    let page = browser.post("/contexts/task-agent/alpha/refresh", &[]).await;
    assert!(page.one("#flash").contains("openai/gpt-5"), "{}", page.text());
    let page = browser.get("/agents/task-agent").await;
    assert_eq!(page.all("section[aria-labelledby=listed] code"), ["beta"]);
    assert!(browser.get("/contexts").await.has("table#contexts tr[data-context=alpha]"));
}
