//! The log of calls and what they add up to.

use axum::http::{StatusCode, header};
use jiff::SignedDuration;
use patchbay_clock::Clock;
use patchbay_sandbox::{Generation, PastCall};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::roles::team;
use crate::support::{Browser, PASSWORD, Setup, TestApp, USER, client};
use crate::swaps::fallback::furnish;
use crate::swaps::served::on_older_release;

const BOTH: [Generation; 2] = [Generation::V1_80, Generation::V1_109];

async fn on(generation: Generation) -> TestApp {
    let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
    app.admin("/key/update", &json!({ "key": app.agent_key_hash, "models": [] })).await;
    app
}

/// A call with the agent's key, in context `c1`.
async fn call(app: &TestApp, model: &str, text: &str) -> StatusCode {
    let body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": text }],
        "litellm_session_id": "c1",
    });
    let request = client(reqwest::redirect::Policy::none())
        .post(format!("{}/v1/chat/completions", app.sandbox))
        .bearer_auth(app.agent_key.expose_secret());
    request.json(&body).send().await.unwrap().status()
}

fn remember(app: &TestApp, count: i64, ago: SignedDuration) {
    for number in 0..count {
        app.world.remember(&PastCall {
            key: "task-agent",
            model: "openai/gpt-5-mini",
            at: Clock::system().now() - ago - SignedDuration::from_millis(count - number),
            tokens: (1_000 + number, 100),
        });
    }
}

#[tokio::test]
async fn why_the_last_call_of_an_agent_failed_is_three_clicks_away() {
    for generation in BOTH {
        let app = on(generation).await;
        call(&app, "openai/gpt-5", "hello").await;
        call(&app, "openai/gpt-5", "FAIL=500").await;
        let browser = app.user().await;
        // The agent's page leads to its calls, whose newest is the failed one.
        let agent = browser.get("/agents/task-agent").await;
        let calls = agent.attributes(".page-head .actions a[href^='/calls']", "href").remove(0);
        let page = browser.get(&calls).await;
        assert_eq!(page.all("#calls tbody tr").len(), 2, "{generation}: {}", page.text());
        assert!(page.all("#calls tbody tr")[0].contains("failed 500"), "{}", page.text());
        let failed = browser.get(&format!("{calls}&status=failed")).await;
        assert_eq!(failed.all("#calls tbody tr").len(), 1, "{generation}");
        let detail = browser.get(&failed.attributes("#calls tbody th a", "href").remove(0)).await;
        assert!(detail.one("[role=alert]").contains("Failed: 500"), "{}", detail.text());
        assert!(detail.one("#request + pre").contains("FAIL=500"), "{}", detail.text());
        assert!(detail.text().contains("task-agent"), "{}", detail.text());
    }
}

#[tokio::test]
async fn request_and_answer_are_for_admins_and_without_secrets() {
    for generation in BOTH {
        let (_users, access) = team();
        let app = TestApp::with(Setup { generation, access, ..Setup::default() }).await;
        let secret = "sk-abcdefghijklmnop1234567890";
        call(&app, "openai/gpt-5-mini", &format!("the key is {secret} {}", "long ".repeat(2_000))).await;
        let (_, calls) = app.script().get("/calls").await;
        let id = calls["calls"][0]["id"].as_str().unwrap().to_owned();
        for (role, sees) in [("viewer", false), ("operator", false), ("admin", true)] {
            let page = app.user_named(role).await.get(&format!("/calls/{id}")).await;
            assert_eq!(page.status, StatusCode::OK);
            assert_eq!(page.body.contains("the key is"), sees, "{generation} {role}");
            assert_eq!(page.has("#answer + pre"), sees, "{role}");
            assert!(!page.body.contains("abcdefghijklmnop"), "{generation} {role}");
        }
        let (_, detail) = app.script().get(&format!("/calls/{id}")).await;
        assert!(detail["bodies"]["answer"]["text"].as_str().unwrap().contains("I am gpt-5-mini"), "{detail}");
        let missing = app.user_named("admin").await.get("/calls/no-such-call").await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn usage_is_split_by_model_and_key_and_every_part_leads_to_its_calls() {
    for generation in BOTH {
        let app = on(generation).await;
        call(&app, "openai/gpt-5", "TOKENS=9000").await;
        call(&app, "openai/gpt-5-mini", "TOKENS=10").await;
        call(&app, "openai/gpt-5-mini", "FAIL=500").await;
        let browser = app.user().await;
        let page = browser.get("/usage?range=1h").await;
        let rows = page.all("#series tbody tr");
        assert!(rows[0].starts_with("openai/gpt-5 ") && rows.len() == 2, "{rows:?}");
        let expected = [("openai/gpt-5", 1), ("openai/gpt-5-mini", 2)];
        for (href, (model, count)) in page.attributes("#series th a", "href").iter().zip(expected) {
            let calls = browser.get(href).await;
            assert_eq!(calls.all("#calls tbody tr").len(), count, "{generation} {model} {href}");
        }
        let bars = page.attributes(".chart a", "href");
        assert_eq!(bars.len(), 2, "{bars:?}");
        for href in &bars {
            assert!(browser.get(href).await.has("#calls tbody tr"), "{href}");
        }
        // The dearest call is on the same page.
        let dearest = browser.get(&page.attributes("#dearest-calls a", "href").remove(0)).await;
        assert!(dearest.one("h1").contains("openai/gpt-5"), "{}", dearest.text());
        let errors = browser.get("/usage?range=1h&measure=errors&by=key").await;
        assert!(errors.one("#series tbody tr").contains("task-agent"), "{}", errors.text());
        let failed = browser.get(&errors.attributes(".chart a", "href").remove(0)).await;
        assert_eq!(failed.all("#calls tbody tr").len(), 1, "{}", failed.text());
        let (_, data) = app.script().get("/usage?range=1h&measure=calls").await;
        assert_eq!(
            (&data["report"]["total"]["calls"], &data["report"]["total"]["failed"]),
            (&json!(3), &json!(1))
        );
    }
}

#[tokio::test]
async fn calls_are_sorted_by_cost_on_every_release_which_says_how_far_it_goes() {
    for generation in BOTH {
        let app = on(generation).await;
        for tokens in [20, 5_000, 300] {
            call(&app, "openai/gpt-5", &format!("TOKENS={tokens}")).await;
        }
        let (_, data) = app.script().get("/calls?sort=cost").await;
        let tokens: Vec<_> =
            data["calls"].as_array().unwrap().iter().map(|call| call["completion_tokens"].clone()).collect();
        assert_eq!(tokens, [json!(5_000), json!(300), json!(20)], "{generation}");
        let page = app.user().await.get("/calls?sort=cost").await;
        assert_eq!(page.attributes("#calls th[aria-sort=descending]", "aria-sort").len(), 1);
        let says = page.text().contains("cannot sort its log of calls by cost");
        assert_eq!(says, generation == Generation::V1_80, "{}", page.text());
        let (_, dear) = app.script().get("/calls?min_cost=0.002").await;
        assert_eq!(dear["total"], 2, "{dear}");
    }
}

#[tokio::test]
async fn what_was_not_read_is_said() {
    let app = on(Generation::V1_80).await;
    remember(&app, 1_040, SignedDuration::from_mins(2));
    let browser = app.user().await;
    let page = browser.get("/calls?sort=cost").await;
    assert!(page.text().contains("Only the newest 1,000 of 1,040 calls"), "{}", page.text());
    // Not of what the proxy filters itself.
    let page = browser.get("/calls?status=ok").await;
    assert!(page.all(".pager")[0].contains("1–50 of 1,040"), "{}", page.text());
    assert!(!page.text().contains("Only the newest"), "{}", page.text());
    let page = browser.get("/usage?range=24h").await;
    assert!(page.one("[role=alert]").contains("the newest 1,000 of 1,040"), "{}", page.text());
    let (_, week) = app.script().get("/usage?range=7d").await;
    assert_eq!((&week["is_by_utc_day"], &week["zone"]), (&json!(true), &json!("UTC")), "{week}");
    assert_eq!(week["report"]["total"]["calls"], 1_040);
    let page = browser.get("/usage?range=7d&by=key").await;
    assert!(page.text().contains("the proxy's daily sums"), "{}", page.text());
    assert!(page.one("#series tbody tr").contains("task-agent"), "{}", page.text());
}

#[tokio::test]
async fn a_fallback_is_found_by_the_model_that_was_asked_for() {
    for generation in BOTH {
        let app = on(generation).await;
        furnish(&app).await;
        assert_eq!(call(&app, "openai/dead", "hello").await, StatusCode::OK);
        assert!(call(&app, "openai/gone", "hello").await.is_server_error());
        let page = app.user().await.get("/calls?asked=openai/dead").await;
        let rows = page.all("#calls tbody tr");
        assert_eq!(rows.len(), 1, "{generation}: {}", page.text());
        assert!(rows[0].contains("openai/dead") && rows[0].contains("fallback: openai/gpt-5"), "{rows:?}");
        let (_, gone) = app.script().get("/calls?asked=openai/gone&status=failed").await;
        assert_eq!(gone["total"], 1, "{generation}: {gone}");
    }
}

#[tokio::test]
async fn a_context_leads_to_its_calls() {
    for generation in BOTH {
        let app = on(generation).await;
        call(&app, "openai/gpt-5", "one").await;
        call(&app, "openai/gpt-5-mini", "two").await;
        let (_, calls) = app.script().get("/calls?context=c1").await;
        let models: Vec<_> =
            calls["calls"].as_array().unwrap().iter().map(|call| call["asked"].clone()).collect();
        assert_eq!(models, ["openai/gpt-5-mini", "openai/gpt-5"], "{generation}: the newest first");
        let (_, other) = app.script().get("/calls?context=other").await;
        assert_eq!(other["total"], 0);
    }
}

#[tokio::test]
async fn bars_begin_in_the_zone_of_the_viewer() {
    let app = on(Generation::V1_109).await;
    call(&app, "openai/gpt-5", "hello").await;
    let get = |cookie: &'static str| {
        let request = client(reqwest::redirect::Policy::none()).get(format!("{}/usage?range=7d", app.base));
        let request = request.basic_auth(USER, Some(PASSWORD)).header(header::ACCEPT, "application/json");
        async move { request.header(header::COOKIE, cookie).send().await.unwrap().json::<Value>().await.unwrap() }
    };
    for (cookie, zone, begins) in [
        ("patchbay_utc_offset=330", "UTC+05:30", "T18:30:00Z"),
        ("patchbay_utc_offset=x", "UTC", "T00:00:00Z"),
    ] {
        let data = get(cookie).await;
        assert_eq!(data["zone"], zone);
        let from = data["report"]["bars"][0]["from"].as_str().unwrap();
        assert!(from.ends_with(begins), "{from}");
        assert_eq!(data["report"]["total"]["calls"], 1, "{zone}");
    }
}

#[tokio::test]
async fn what_is_no_filter_is_refused_with_the_input_kept() {
    let app = on(Generation::V1_109).await;
    let browser: Browser = app.user().await;
    for (query, name) in [("min_cost=much&served=a", "min_cost"), ("from=yesterday", "from")] {
        let page = browser.get(&format!("/calls?{query}")).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(page.attributes("[aria-invalid]", "name"), [name]);
    }
    let page = browser.get("/calls?key=not-a-hash").await;
    assert!(page.one("[role=alert]").contains("Filter by a key's hash"), "{}", page.text());
    let page = browser.get("/calls?agent=nobody").await;
    assert!(page.one("[role=alert]").contains("No key is known"), "{}", page.text());
}

#[tokio::test]
async fn a_release_without_a_log_is_named_and_daily_sums_stay() {
    let mut app = on(Generation::V1_80).await;
    call(&app, "openai/gpt-5", "hello").await;
    let _guard = on_older_release(&mut app, false).await;
    let browser = app.user().await;
    let page = browser.get("/calls").await;
    assert!(page.text().contains("Not available on this release"), "{}", page.text());
    assert!(browser.get("/usage?range=1h").await.text().contains("no log of single calls"));
    let week = browser.get("/usage?range=7d").await;
    assert!(week.one("#series tbody tr").contains("openai/gpt-5"), "{}", week.text());
}
