//! What people come for: a leaked key is found by its value, a table is filtered, a key is deleted on purpose.

use patchbay::domain::agent::AgentSettings;
use reqwest::{StatusCode, redirect};
use serde_json::{Value, json};

use crate::support::{Page, Setup, TestApp, client};
use crate::swaps::Ahead;
use crate::web::fakes::{FakeAgent, Manner};

const GPT: &str = "openai/gpt-5";
const MINI: &str = "openai/gpt-5-mini";

async fn make_key(app: &TestApp, alias: &str, models: &[&str]) -> (String, String) {
    let made = app.admin("/key/generate", &json!({ "key_alias": alias, "models": models })).await;
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("key"), text("token"))
}

async fn switch(app: &TestApp, context: &str, model: &str, more: &[(&str, &str)]) -> Value {
    let mut form = vec![("agent", "task-agent"), ("context", context), ("model", model)];
    form.extend_from_slice(more);
    app.script().post("/switch", &form).await.1
}

async fn relax(app: &TestApp) {
    app.script().post(&format!("/keys/{}/relax", app.agent_key_hash), &[]).await;
}

#[tokio::test]
async fn key_is_found_by_its_value_which_stays_in_no_address() {
    let app = TestApp::start().await;
    let (secret, hash) = make_key(&app, "leaked", &[]).await;
    let browser = app.user().await;
    let page = browser.post("/keys/find", &[("value", &format!("  {secret}\n"))]).await;
    assert_eq!(page.url.path(), format!("/keys/{hash}"));
    for (value, status) in [("sk-no-such-key-at-all", 404), ("", 422), (" ", 422), (&"x".repeat(2000), 422)] {
        let page = browser.post("/keys/find", &[("value", value)]).await;
        assert_eq!((page.status.as_u16(), page.has("#value-error")), (status, true), "{value}");
        assert!(value.trim().is_empty() || !page.text().contains(value), "it is shown again");
        assert_eq!(page.attributes("#value", "value"), Vec::<String>::new());
    }
    for path in [
        "/keys?state=active&q=",
        "/search?q=",
        "/audit?object=",
        "/contexts?q=",
        "/models?q=",
        "/keys/matrix?q=",
    ] {
        let page = browser.get(&format!("{path}{secret}")).await;
        let address = page.url.to_string();
        assert_eq!((page.status, address.contains("sk-")), (StatusCode::OK, false), "{address}");
        assert!(page.one("#flash").contains("key's value"), "{path}");
        assert!(!page.text().contains(&secret), "{path}");
        assert_eq!(address.contains("state=active"), path.contains("state="), "the rest stays: {address}");
    }
    // A masked one and a name that begins alike are searched for.
    for text in ["sk-...abcd", "sk-team"] {
        assert!(browser.get(&format!("/keys?q={text}")).await.url.query().unwrap().contains("sk-"));
    }
}

#[tokio::test]
async fn deletion_of_a_key_is_confirmed_and_by_name_where_it_is_in_use() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    let (_, unused) = make_key(&app, "unused", &[]).await;
    let delete = |hash: &str| format!("/keys/{hash}/delete");
    let page = browser.post(&delete(&unused), &[]).await;
    assert_eq!((page.status.as_u16(), page.has("#confirm-error")), (422, true));
    assert!(page.has("details[open] #confirm[type=checkbox]"));
    assert!(page.all("section.danger form").iter().any(|form| form.contains("Block it first")));
    let page = browser.post(&delete(&unused), &[("confirm", "yes")]).await;
    assert!(page.one("#flash").contains("unused was deleted"), "{}", page.text());

    let (secret, used) = make_key(&app, "used", &[]).await;
    let body = json!({ "model": MINI, "messages": [{ "role": "user", "content": "hi" }] });
    let chat = client(redirect::Policy::none()).post(format!("{}/v1/chat/completions", app.sandbox));
    assert!(chat.bearer_auth(&secret).json(&body).send().await.unwrap().status().is_success());
    for confirm in ["yes", "Used", ""] {
        let page = browser.post(&delete(&used), &[("confirm", confirm)]).await;
        assert_eq!(page.status.as_u16(), 422, "{confirm}");
    }
    assert!(browser.get(&format!("/keys/{used}")).await.text().contains("used in the last 7 days"));
    assert!(browser.post(&delete(&used), &[("confirm", "used")]).await.one("#flash").contains("was deleted"));
}

#[tokio::test]
async fn access_matrix_grants_and_revokes() {
    let app = TestApp::start().await;
    let (_, hash) = make_key(&app, "limited", &[MINI]).await;
    let browser = app.user().await;
    let cell = |page: &Page, model: &str, verb: &str| {
        page.has(&format!("tr[data-hash='{hash}'] td[data-model='{model}'] form[action$='/{verb}']"))
    };
    let page = browser.get("/keys/matrix?q=limited").await;
    assert!(cell(&page, MINI, "disallow") && cell(&page, GPT, "allow"));
    let form = |model| [("model", model), ("back", "q=limited")];
    let page = browser.post(&format!("/keys/{hash}/allow"), &form(GPT)).await;
    assert!(cell(&page, GPT, "disallow") && page.url.query() == Some("q=limited"), "{}", page.url);
    browser.post(&format!("/keys/{hash}/disallow"), &form(GPT)).await;
    // Without its last model it may call none, and not all.
    let page = browser.post(&format!("/keys/{hash}/disallow"), &form(MINI)).await;
    assert!(cell(&page, MINI, "allow") && cell(&page, GPT, "allow"), "{}", page.text());
    let (_, key) = app.script().get(&format!("/keys/{hash}")).await;
    assert!(key["reachable"].as_array().unwrap().is_empty(), "{key}");
}

#[tokio::test]
async fn contexts_are_filtered_by_state_agent_and_model_and_sorted() {
    let ahead = Ahead::default();
    let app = TestApp::with(Setup { clock: ahead.clock(), ..Setup::default() }).await;
    relax(&app).await;
    switch(&app, "b-timed", GPT, &[("minutes", "30")]).await;
    ahead.by(60);
    switch(&app, "a-plain", "anthropic/claude-sonnet-4-5", &[]).await;
    ahead.by(60);
    switch(&app, "c-pinned", GPT, &[]).await;
    app.script().post("/contexts/task-agent/c-pinned/pin", &[]).await;
    let browser = app.user().await;
    let rows = async |query: &str| {
        browser.get(&format!("/contexts{query}")).await.attributes("tr[data-context]", "data-context")
    };
    assert_eq!(rows("").await, ["c-pinned", "a-plain", "b-timed"], "those switched last first");
    assert_eq!(rows("?sort=context").await, ["a-plain", "b-timed", "c-pinned"]);
    assert_eq!(rows("?sort=model&dir=desc").await, ["b-timed", "c-pinned", "a-plain"]);
    assert_eq!(rows("?state=timed").await, ["b-timed"]);
    assert_eq!(rows("?state=pinned").await, ["c-pinned"]);
    assert_eq!(rows("?state=drifted").await, Vec::<String>::new());
    assert_eq!(rows(&format!("?model={GPT}&sort=context")).await, ["b-timed", "c-pinned"]);
    assert_eq!(rows("?agent=other").await, Vec::<String>::new());
    let page = browser.get(&format!("/contexts?model={GPT}")).await;
    assert_eq!(page.all(".chips .chip"), ["All 2", "Drifted 0", "Timed 1", "Pinned 1"]);
    // The switch of all that are found has the same filter.
    let all = page.attributes(".selection a", "href").remove(0);
    let mut ids: Vec<_> = browser.get(&all).await.one("#ids").split_whitespace().map(str::to_owned).collect();
    ids.sort();
    assert_eq!(ids, ["b-timed", "c-pinned"]);
}

#[tokio::test]
async fn switcher_begins_with_an_agent_that_is_up() {
    let (first, second) =
        (FakeAgent::per_context(Manner::Good).await, FakeAgent::per_context(Manner::Good).await);
    let address = |name: &str, agent: &FakeAgent| (name.parse().unwrap(), agent.url.parse().unwrap());
    let mut app = TestApp::start().await;
    let agents = [address("a-down", &first), address("b-up", &second)];
    app.restart(|config| config.agents = agents.map(|(name, url)| AgentSettings::new(name, url)).into())
        .await;
    first.stop();
    let browser = app.user().await;
    for path in ["/switch", "/bulk/new", "/compare"] {
        let page = browser.get(path).await;
        assert_eq!(page.attributes("#agent option[selected]", "value"), ["b-up"], "{path}");
    }
}

#[tokio::test]
async fn receipt_has_an_address_and_that_of_an_undo_offers_to_redo() {
    let app = TestApp::start().await;
    relax(&app).await;
    let browser = app.user().await;
    switch(&app, "c1", MINI, &[]).await;
    let form = [
        ("agent", "task-agent"),
        ("context", "c1"),
        ("model", GPT),
        ("minutes", "custom"),
        ("custom_minutes", "45"),
    ];
    let page = browser.post("/switch", &form).await;
    let id = page.attributes("#receipt", "data-swap").remove(0);
    assert_eq!(page.url.path(), format!("/swaps/{id}"));
    assert!(page.one("#receipt form").contains("Undo") && !page.has("details.again[open]"));
    assert!(browser.get("/contexts?state=timed").await.has("tr[data-context=c1]"), "for 45 minutes");
    let page = browser.post("/contexts/task-agent/c1/undo", &[("swap", &id)]).await;
    assert!(page.one("#receipt form").contains("Redo"), "{}", page.text());
    assert_eq!(browser.get("/swaps/none").await.status.as_u16(), 404);
    let (_, swap) = app.script().get(&format!("/swaps/{id}")).await;
    assert_eq!(swap["receipt"]["id"], id);
}

#[tokio::test]
async fn models_of_the_switcher_have_price_window_and_access() {
    let app = TestApp::start().await;
    let params = json!({ "model": "gpt-9", "custom_llm_provider": "openai", "api_key": "os.environ/X",
        "input_cost_per_token": 0.000_002 });
    let body = json!({ "model_name": "openai/gpt-9", "litellm_params": params, "model_info": { "max_input_tokens": 123_000 } });
    app.admin("/model/new", &body).await;
    app.admin("/key/update", &json!({ "key": app.agent_key_hash, "models": [MINI] })).await;
    let page = app.user().await.get("/switch").await;
    let option = page.one("#models option[value='openai/gpt-9']");
    for fact in ["$2", "in", "123k window", "may not call it"] {
        assert!(option.contains(fact), "{option}");
    }
    assert!(!page.one(&format!("#models option[value='{MINI}']")).contains("may not"));
}

#[tokio::test]
async fn rows_are_as_high_as_was_chosen_and_an_error_keeps_the_navigation() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    assert!(browser.get("/models").await.has("html[data-rows=normal]"));
    browser.post("/theme", &[("rows", "compact")]).await;
    assert!(browser.get("/models").await.has("html[data-rows=compact]"));
    for path in ["/no/such/page", "/models/none", "/swaps/none"] {
        let page = browser.get(path).await;
        assert_eq!((page.status.as_u16(), page.has("nav[aria-label=Main] a")), (404, true), "{path}");
        assert_eq!((page.all("h1").len(), page.all("main").len()), (1, 1), "{path}");
    }
    let stranger = app.anonymous().get("/no/such/page").await;
    assert_eq!((stranger.status.as_u16(), stranger.has("nav[aria-label=Main]")), (404, false));
}

#[tokio::test]
async fn audit_names_keys_by_alias_says_verbs_and_hides_logins() {
    let app = TestApp::start().await;
    let (_, hash) = make_key(&app, "ci-bot", &[MINI]).await;
    let browser = app.user().await;
    browser.get("/keys").await;
    browser.post(&format!("/keys/{hash}/relax"), &[]).await;
    let page = browser.get("/audit").await;
    let row = page.one("#audit tbody tr");
    assert!(row.contains("allowed all models for") && row.contains("ci-bot"), "{row}");
    assert!(page.attributes("#audit tbody td a", "href").contains(&format!("/keys/{hash}")));
    assert!(!page.text().contains("logged in"));
    assert!(browser.get("/audit?logins=1").await.text().contains("logged in"));
    assert!(browser.get("/audit?what=login").await.text().contains("logged in"));
}

#[tokio::test]
async fn search_finds_models_before_contexts_and_fills_the_form() {
    let app = TestApp::start().await;
    relax(&app).await;
    switch(&app, "switch-demo", GPT, &[]).await;
    let browser = app.user().await;
    let page = browser.get("/search?q=gpt-5-mini").await;
    assert_eq!(page.all(".found-kind").first().map(String::as_str), Some("Models"));
    let page = browser.get("/search?q=switch-demo%20gpt-5-mini").await;
    let href = page.attributes("[aria-label=Switch] a", "href").remove(0);
    let form = browser.get(&href).await;
    assert_eq!(form.attributes("#context, #model", "value"), ["switch-demo", MINI]);
}
