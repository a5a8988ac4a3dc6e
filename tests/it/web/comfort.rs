//! Theme, search, usage, last pairs, help: what makes the dashboard quick to use, without JavaScript.

use axum::http::{StatusCode, header};
use serde_json::json;

use crate::support::{MASTER_KEY, Setup, TestApp, client};

#[tokio::test]
async fn the_theme_is_remembered_by_a_cookie_with_a_login_and_without() {
    let app = TestApp::start().await;
    for browser in [app.anonymous(), app.user().await] {
        assert_eq!(browser.get("/login").await.attributes("html", "data-theme"), ["system"]);
        let request = browser.http.post(browser.url("/theme")).form(&[("theme", "dark")]);
        let page = browser.send(request.header(header::REFERER, browser.url("/help"))).await;
        assert_eq!(page.attributes("html", "data-theme"), ["dark"], "{}", page.url);
        assert_eq!(page.attributes(".theme [aria-pressed=true]", "value"), ["dark"]);
        // An error's page as well.
        assert_eq!(browser.get("/nowhere").await.attributes("html", "data-theme"), ["dark"]);
        browser.post("/theme", &[("theme", "system")]).await;
        assert_eq!(browser.get("/login").await.attributes("html", "data-theme"), ["system"]);
        let page = browser.post("/theme", &[("theme", "blue")]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let user = app.user().await;
    let request = user.http.post(user.url("/theme")).form(&[("theme", "light")]);
    let page = user.send(request.header(header::REFERER, user.url("/models?q=gpt"))).await;
    assert_eq!((page.url.path(), page.url.query()), ("/models", Some("q=gpt")));
    let request = user.http.post(user.url("/theme")).form(&[("theme", "light")]);
    let page = user.send(request.header(header::REFERER, "http://evil.example/away")).await;
    assert_eq!((page.url.path(), page.status), ("/away", StatusCode::NOT_FOUND), "never to another site");
}

#[tokio::test]
async fn search_finds_pages_models_keys_contexts_and_agents() {
    let app = TestApp::start().await;
    let form = [("agent", "task-agent"), ("context", "switch-demo"), ("model", "openai/gpt-5-mini")];
    assert_eq!(app.script().post("/switch", &form).await.0, StatusCode::OK);
    let browser = app.user().await;
    for (text, selector) in [
        ("hot-swap", "a.found[href='/switch']"),
        ("claude", "a.found[href^='/models/']"),
        ("switch-demo", "a.found[href='/contexts/task-agent/switch-demo']"),
        ("TASK-AGENT", "a.found[href='/agents/task-agent']"),
    ] {
        let page = browser.get(&format!("/search?q={text}")).await;
        assert!(page.has(selector), "{text}: {}", page.text());
        for href in page.attributes("a.found", "href") {
            assert_eq!(browser.get(&href).await.status, StatusCode::OK, "{href}");
        }
    }
    let page = browser.get("/search?q=task-agent").await;
    assert!(page.has(&format!("a.found[href='/keys/{}']", app.agent_key_hash)), "{}", page.text());
    let nothing = browser.get("/search?q=zzzz").await;
    assert!(nothing.one(".empty").contains("No results"), "{}", nothing.text());
    // The palette takes the list alone; scripts take JSON.
    let fragment = browser.fragment("/search?q=gpt-5").await;
    assert!(fragment.has("a.found") && !fragment.has("form"), "{}", fragment.body);
    let (status, found) = app.script().get("/search?q=gpt-5-mini").await;
    assert_eq!((status, found["found"][0]["kind"].as_str()), (StatusCode::OK, Some("Models")), "{found}");
    assert_eq!(found["found"][0]["items"][0]["label"], "openai/gpt-5-mini");
}

#[tokio::test]
async fn usage_counts_contexts_by_model() {
    let app = TestApp::start().await;
    let form = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5-mini")];
    assert_eq!(app.script().post("/switch", &form).await.0, StatusCode::OK);
    assert_eq!(app.user().await.get("/usage").await.one("#contexts-by-model tbody"), "openai/gpt-5-mini 1");
    let (_, data) = app.script().get("/usage").await;
    assert_eq!(data["contexts"], json!([{ "model": "openai/gpt-5-mini", "contexts": 1 }]));
}

#[tokio::test]
async fn the_last_pairs_are_offered_and_done_with_one_form() {
    let app = TestApp::start().await;
    let relaxed = json!({ "key": app.agent_key_hash, "models": [] });
    app.admin("/key/update", &relaxed).await;
    let browser = app.user().await;
    assert!(!browser.get("/switch").await.has(".pairs"), "nothing was done yet");
    let form = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5")];
    assert_eq!(browser.post("/switch", &form).await.outcome(), "verified");
    // It is on gpt-5 now: what it was on before is offered, and not what it is on.
    let page = browser.get("/switch").await;
    assert_eq!(page.all(".pairs .to"), ["openai/gpt-5-mini"]);
    assert!(!browser.get("/switch?agent=task-agent&context=other").await.has(".pairs"));
    let field = |name: &str| page.attributes(&format!(".pairs input[name={name}]"), "value").remove(0);
    let fields: Vec<(String, String)> = ["agent", "context", "model", "seen", "seen_for", "probe"]
        .iter()
        .map(|name| ((*name).to_owned(), field(name)))
        .collect();
    let form: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let receipt = browser.post("/switch", &form).await;
    assert_eq!(receipt.outcome(), "verified");
    assert!(receipt.one(".before-after").ends_with("openai/gpt-5-minidefault prompt"), "{}", receipt.text());
    // A second press of the same button comes too late.
    assert_eq!(browser.post("/switch", &form).await.status, StatusCode::CONFLICT);
    // What is used most is offered first.
    assert_eq!(browser.get("/switch").await.all("[data-fills=model] .chip").len(), 3);
}

#[tokio::test]
async fn help_leads_to_pages_that_are_there() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    let page = browser.get("/help").await;
    assert_eq!(page.one("h1"), "How do I …?");
    for href in page.attributes("main a", "href") {
        assert_eq!(browser.get(&href).await.status, StatusCode::OK, "{href}");
    }
    // The demo alone shows its components.
    assert_eq!(browser.get("/styleguide").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_overview_says_which_models_an_agent_is_on_and_who_changed_what() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    for context in ["c1", "c2"] {
        let form = [("agent", "task-agent"), ("context", context), ("model", "openai/gpt-5-mini")];
        assert_eq!(browser.post("/switch", &form).await.outcome(), "verified");
    }
    browser.post(&format!("/keys/{}/relax", app.agent_key_hash), &[]).await;
    let page = browser.get("/").await;
    assert!(page.one("[aria-labelledby=agents]").contains("openai/gpt-5-mini 2 contexts"), "{}", page.text());
    let changes = page.one("[aria-labelledby=changes]");
    assert!(changes.contains("ada allowed all models for task-agent"), "{changes}");
    assert!(page.has(&format!("[aria-labelledby=changes] a[href='/keys/{}']", app.agent_key_hash)));
    assert_eq!(page.all(".timeline li").len(), 2);
}

/// The sandbox answers as the genuine proxy was recorded to.
#[tokio::test]
async fn the_stand_in_adds_up_as_the_proxy_does() {
    let app = TestApp::with(Setup::default()).await;
    let get = |path: &str| {
        let request = client(reqwest::redirect::Policy::none()).get(format!("{}{path}", app.sandbox));
        async move {
            request.bearer_auth(MASTER_KEY).send().await.unwrap().json::<serde_json::Value>().await.unwrap()
        }
    };
    assert_eq!(get("/global/spend/keys?limit=5").await, json!([]));
    let form = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5-mini"), ("probe", "1")];
    assert_eq!(app.script().post("/switch", &form).await.0, StatusCode::OK);
    let keys = get("/global/spend/keys?limit=5").await;
    let mut names: Vec<_> = keys[0].as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["api_key", "key_alias", "key_name", "total_spend"]);
    assert_eq!(keys[0]["api_key"], app.agent_key_hash.as_str());
    assert_eq!(get("/global/spend/models?limit=5").await[0]["model"], "openai/gpt-5-mini");
}

#[tokio::test]
async fn the_overview_tells_of_jobs_and_looks_at_agents_in_words() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    browser.post("/agents/task-agent/scope", &[]).await;
    let key = app.agent_key_hash.as_str();
    let form =
        [("scope", "selected"), ("key", key), ("count", "1"), ("action", "budget"), ("max_budget", "7")];
    let page = browser.post("/keys/bulk/run", &form).await;
    assert!(page.url.path().starts_with("/keys/bulk/"), "{}", page.text());
    assert!(page.one(".page-head p").starts_with("1 key, asked for by"), "{}", page.text());
    let job = page.url.path().to_owned();
    while browser.get(&job).await.attributes("#progress", "data-running") == ["true"] {
        tokio::task::yield_now().await;
    }
    let told = browser.get("/").await;
    let changes = told.one("section[aria-labelledby=changes]");
    assert!(changes.contains("checked the scope of task-agent"), "{changes}");
    assert!(changes.contains("changed many keys: Set the budget to $7"), "{changes}");
    assert!(told.has(&format!("section[aria-labelledby=changes] a[href='{job}']")), "{}", told.body);
    let (_, audit) = app.script().get("/audit?what=key.bulk").await;
    assert!(audit["entries"][0]["detail"].as_str().unwrap().starts_with("1 done, 0 failed"), "{audit}");
}
