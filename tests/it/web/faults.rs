//! Proxies and agents that are down, slow or mad: everything answers in time, says what is wrong, loses nothing,
//! and claims nothing that was not seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::join_all;
use jiff::SignedDuration;
use patchbay_clock::Clock;
use patchbay_sandbox::{Database, Generation};
use tokio::time::timeout;

use crate::support::{Browser, Page, Setup, TestApp, closed_port};
use crate::web::fakes::{FakeAgent, Front, Manner};

/// Far above the limits of the test's dashboard: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(15);

async fn in_time(what: &str, answer: impl Future<Output = Page>) -> Page {
    let page = timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{what} hangs"));
    assert_ne!(page.status, StatusCode::INTERNAL_SERVER_ERROR, "{what}: {}", page.text());
    assert!(!page.body.contains("<script>alert(1)"), "{what} shows what a server sent as it came");
    page
}

/// All of these at once, each in time.
async fn get_all(browser: &Browser, paths: &[String]) -> Vec<Page> {
    join_all(paths.iter().map(|path| in_time(path, browser.get(path)))).await
}

fn check_alert(page: &Page, title: &str) {
    let alerts = page.all("[role=alert]").join(" ");
    let head = page.all("h1").join(" ");
    assert!(format!("{head} {alerts}").contains(title), "no “{title}” in {}", page.text());
    assert!(!alerts.contains(".. "), "{alerts}");
}

const FORM: [(&str, &str); 5] = [
    ("agent", "task-agent"),
    ("context", "kept-context"),
    ("model", "openai/gpt-5-mini"),
    ("message", "Kept & asked?"),
    ("probe", "1"),
];

/// The form came back with what was typed into it.
fn check_kept(page: &Page) {
    assert_eq!(page.attributes("#context", "value"), ["kept-context"], "{}", page.text());
    assert_eq!(page.attributes("#model", "value"), ["openai/gpt-5-mini"]);
    assert_eq!(page.attributes("#message", "value"), ["Kept & asked?"]);
}

/// Goes through everything with a proxy that is not well from the start.
async fn with_sick_proxy(setup: Setup, status: StatusCode, title: &str) {
    let agent = FakeAgent::start(Manner::Good).await;
    let app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..setup }).await;
    let browser = app.user().await;
    let key = format!("/keys/{}", app.agent_key_hash);
    let broken = ["/models", "/models/x", "/keys", &key].map(str::to_owned);
    for page in get_all(&browser, &broken).await {
        assert_eq!(page.status, status, "{}: {}", page.url, page.text());
        check_alert(&page, title);
    }
    let whole = ["/", "/switch", "/contexts", "/agents", "/agents/task-agent", "/audit"].map(str::to_owned);
    for page in get_all(&browser, &whole).await {
        assert_eq!(page.status, StatusCode::OK, "{}: {}", page.url, page.text());
        if page.url.path() == "/switch" {
            check_alert(&page, title);
        }
        if page.url.path() == "/" {
            assert!(page.text().contains(title), "no “{title}” in {}", page.text());
        }
    }
    let page = in_time("relax", browser.post(&format!("{key}/relax"), &[])).await;
    assert_eq!(page.status, status, "{}", page.text());
    check_alert(&page, title);

    assert_eq!(agent.take(), Vec::<String>::new());
    let page = in_time("switch", browser.post("/switch", &FORM)).await;
    assert_eq!((page.status, page.outcome().as_str()), (status, "refused"), "{}", page.text());
    check_kept(&page);
    assert_eq!(agent.take(), Vec::<String>::new(), "something reached the agent");

    // What does not need the proxy goes on.
    let form = [("agent", "task-agent"), ("context", "c1"), ("prompt", "Be brief.")];
    let page = in_time("prompt", browser.post("/switch", &form)).await;
    assert_eq!((page.status, page.outcome().as_str()), (StatusCode::OK, "verified"), "{}", page.text());
    let page = in_time("refresh", browser.post("/contexts/task-agent/c1/refresh", &[])).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let (_, audit) = app.script().get("/audit").await;
    let told: Vec<_> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["action"].as_str().unwrap(), e["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(told[..3], [("swap", "verified"), ("swap", "refused"), ("key.relax", "failed")]);
}

async fn before_a_front(manner: Manner, status: StatusCode, title: &str) {
    let front = Front::start(manner).await;
    with_sick_proxy(Setup { proxy: Some(front.url.clone()), ..Setup::default() }, status, title).await;
}

#[tokio::test]
async fn the_proxy_is_down() {
    let proxy = Some(format!("http://{}", closed_port().await));
    with_sick_proxy(Setup { proxy, ..Setup::default() }, StatusCode::BAD_GATEWAY, "The proxy is down").await;
}

#[tokio::test]
async fn the_proxy_hangs() {
    before_a_front(Manner::Hangs, StatusCode::GATEWAY_TIMEOUT, "The proxy is too slow").await;
}

#[tokio::test]
async fn the_proxy_is_something_else() {
    before_a_front(Manner::Html, StatusCode::BAD_GATEWAY, "The proxy's answer is not understood").await;
}

#[tokio::test]
async fn the_proxy_answers_garbage() {
    before_a_front(Manner::Garbage, StatusCode::BAD_GATEWAY, "The proxy's answer is not understood").await;
}

#[tokio::test]
async fn the_proxy_fails() {
    before_a_front(Manner::Fails500, StatusCode::BAD_GATEWAY, "The proxy failed").await;
}

#[tokio::test]
async fn the_master_key_is_wrong() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let setup = Setup { generation, master_key: "sk-not-the-master", ..Setup::default() };
        with_sick_proxy(setup, StatusCode::BAD_GATEWAY, "The proxy refuses the master key").await;
    }
}

#[tokio::test]
async fn the_proxys_database_is_down() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let agent = FakeAgent::start(Manner::Good).await;
        let setup = Setup {
            generation,
            database: Database::Down,
            agent: Some(agent.url.clone()),
            ..Setup::default()
        };
        let app = TestApp::with(setup).await;
        let browser = app.user().await;
        let (bad, title) = (StatusCode::BAD_GATEWAY, "The proxy's database is down");
        let key = format!("/keys/{}", app.agent_key_hash);
        let page = in_time("keys", browser.get("/keys")).await;
        assert_eq!(page.status, bad, "{generation}: {}", page.text());
        check_alert(&page, title);
        // 1.109 tells no reason where it is asked for one key.
        let title = if generation == Generation::V1_109 { "The proxy failed" } else { title };
        for page in [browser.get(&key).await, browser.post(&format!("{key}/relax"), &[]).await] {
            assert_eq!(page.status, bad, "{generation}: {}", page.text());
            check_alert(&page, title);
        }
        let page = in_time("switch", browser.post("/switch", &FORM)).await;
        assert_eq!((page.status, page.outcome().as_str()), (bad, "refused"), "{generation}: {}", page.text());
        check_kept(&page);
        assert_eq!(agent.take(), Vec::<String>::new());
        app.world.set_database(Database::Up);
        let page = browser.post("/switch", &FORM).await;
        assert_eq!(page.status, StatusCode::OK, "{generation}: {}", page.text());
    }
}

/// A clock that a test moves on.
pub(super) fn movable() -> (Clock, Arc<AtomicI64>) {
    let (system, ahead) = (Clock::system(), Arc::new(AtomicI64::new(0)));
    let seconds = Arc::clone(&ahead);
    (Clock::from_fn(move || system.now() + SignedDuration::from_secs(seconds.load(Ordering::SeqCst))), ahead)
}

#[tokio::test]
async fn a_proxy_that_was_seen_is_shown_as_it_was() {
    let (clock, ahead) = movable();
    let front = Front::start(Manner::Good).await;
    let app = TestApp::with(Setup { proxy: Some(front.url.clone()), clock, ..Setup::default() }).await;
    front.lead_to(&app.sandbox);
    let browser = app.user().await;
    let (_, models) = app.script().get("/models").await;
    let model = format!("/models/{}", models["deployments"][0]["id"].as_str().unwrap());
    let key = format!("/keys/{}", app.agent_key_hash);
    let paths = ["/models", "/keys", &model, &key].map(str::to_owned);
    for page in get_all(&browser, &paths).await {
        assert!(page.status == StatusCode::OK && !page.has("[role=alert]"), "{}", page.text());
    }
    for (manner, title) in [
        (Manner::Fails500, "The proxy failed"),
        (Manner::Hangs, "The proxy is too slow"),
        (Manner::Html, "The proxy's answer is not understood"),
    ] {
        front.set(manner);
        ahead.fetch_add(600, Ordering::SeqCst);
        for path in &paths {
            let page = warned(&browser, path).await;
            assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text());
            check_alert(&page, title);
            assert!(
                page.one("[role=alert]").contains("the last copy, of 10 min ago"),
                "{path}: {}",
                page.text()
            );
            assert!(page.has("tbody tr, dl.facts"), "{path}: {}", page.text());
        }
        // It comes back, and nothing has to be started again.
        front.set(Manner::Good);
        ahead.fetch_add(10, Ordering::SeqCst);
        for path in &paths {
            let page = in_time(path, browser.get(path)).await;
            assert!(page.status == StatusCode::OK && !page.has("[role=alert]"), "{path}: {}", page.text());
            assert!(
                page.all(".as-of").iter().all(|stamp| stamp == "as of just now"),
                "{path}: {}",
                page.text()
            );
        }
    }
}

/// A page is given out before a server that hangs has been waited for to the end; the next one warns.
async fn warned(browser: &Browser, path: &str) -> Page {
    for _ in 0..100 {
        let page = in_time(path, browser.get(path)).await;
        if page.has("[role=alert]") {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{path} never warns");
}

#[tokio::test]
async fn a_proxy_that_comes_late_is_found() {
    let (clock, ahead) = movable();
    let front = Front::start(Manner::Fails500).await;
    let app = TestApp::with(Setup { proxy: Some(front.url.clone()), clock, ..Setup::default() }).await;
    front.lead_to(&app.sandbox);
    let browser = app.user().await;
    for path in ["/models", "/keys"] {
        assert_eq!(browser.get(path).await.status, StatusCode::BAD_GATEWAY);
    }
    front.set(Manner::Good);
    ahead.fetch_add(2, Ordering::SeqCst);
    for path in ["/models", "/keys"] {
        let page = browser.get(path).await;
        assert!(page.status == StatusCode::OK && page.has("tbody tr"), "{path}: {}", page.text());
    }
}

/// Everything with an agent that is not well.
async fn with_sick_agent(agent: String, manner: &str, status: StatusCode, outcome: &str) {
    let app = TestApp::with(Setup { agent: Some(agent), ..Setup::default() }).await;
    let browser = app.user().await;
    let paths = [
        "/",
        "/models",
        "/keys",
        "/switch?agent=task-agent&context=c1",
        "/contexts",
        "/agents",
        "/agents/task-agent",
        "/audit",
    ];
    for page in get_all(&browser, &paths.map(str::to_owned)).await {
        assert_eq!(page.status, StatusCode::OK, "{manner} {}: {}", page.url, page.text());
    }
    let page = in_time(manner, browser.post("/switch", &FORM)).await;
    assert_eq!((page.status, page.outcome().as_str()), (status, outcome), "{manner}: {}", page.text());
    check_kept(&page);
    assert!(
        page.has("#receipt[role=alert]") && page.has("#receipt .steps li.failed"),
        "{manner}: {}",
        page.text()
    );
    assert!(!page.body.contains("sk-upstream-0001"), "{manner}: {}", page.text());

    let page = in_time(manner, browser.post("/contexts/task-agent/kept-context/refresh", &[])).await;
    if outcome != "rolled-back" {
        let expected = if status == StatusCode::GATEWAY_TIMEOUT { status } else { StatusCode::BAD_GATEWAY };
        assert_eq!(page.status, expected, "{manner}: {}", page.text());
        assert!(!page.one("[role=alert]").is_empty());
    }
    let (_, audit) = app.script().get("/audit").await;
    assert_eq!(
        (&audit["entries"][0]["action"], &audit["entries"][0]["outcome"]),
        (&"swap".into(), &outcome.into())
    );
}

#[tokio::test]
async fn the_agent_is_down() {
    let agent = format!("http://{}/a2a", closed_port().await);
    with_sick_agent(agent, "down", StatusCode::BAD_GATEWAY, "refused").await;
}

#[tokio::test]
async fn the_agent_is_mad() {
    for (manner, status, outcome) in [
        (Manner::Hangs, StatusCode::GATEWAY_TIMEOUT, "refused"),
        (Manner::Html, StatusCode::BAD_GATEWAY, "failed"),
        (Manner::Garbage, StatusCode::BAD_GATEWAY, "failed"),
        (Manner::Fails500, StatusCode::BAD_GATEWAY, "failed"),
        (Manner::Chat, StatusCode::BAD_GATEWAY, "failed"),
        (Manner::BareChat, StatusCode::BAD_GATEWAY, "failed"),
        (Manner::FailedTask, StatusCode::BAD_GATEWAY, "failed"),
        (Manner::RpcError, StatusCode::BAD_GATEWAY, "failed"),
        (Manner::Liar, StatusCode::BAD_GATEWAY, "rolled-back"),
    ] {
        let agent = FakeAgent::start(manner).await;
        with_sick_agent(agent.url.clone(), &format!("{manner:?}"), status, outcome).await;
    }
}

#[tokio::test]
async fn an_agent_that_is_well_at_first_is_not_believed_later() {
    let agent = FakeAgent::start(Manner::Good).await;
    let mut setup = Setup { agent: Some(agent.url.clone()), ..Setup::default() };
    // No look back may come between.
    setup.timeouts.agents.look_again = [Duration::from_mins(5); 2];
    let app = TestApp::with(setup).await;
    let browser = app.user().await;
    let form = [FORM[0], FORM[1], FORM[2], FORM[3]];
    for (only, manner, status, outcome) in [
        // What cannot be read before is not touched.
        ("[HOTSWAP:GET_CONFIG", Manner::Hangs, StatusCode::GATEWAY_TIMEOUT, "failed"),
        ("[HOTSWAP:GET_CONFIG", Manner::Chat, StatusCode::BAD_GATEWAY, "failed"),
        // The control message is lost, so the read-back decides.
        ("[HOTSWAP:MODEL", Manner::RpcError, StatusCode::BAD_GATEWAY, "failed"),
        ("[HOTSWAP:MODEL", Manner::BareChat, StatusCode::BAD_GATEWAY, "rolled-back"),
        ("[HOTSWAP:MODEL", Manner::Hangs, StatusCode::BAD_GATEWAY, "failed"),
        // The message after the swap fails: the former model comes back.
        ("Kept", Manner::FailedTask, StatusCode::BAD_GATEWAY, "rolled-back"),
        ("Kept", Manner::Fails500, StatusCode::BAD_GATEWAY, "rolled-back"),
    ] {
        agent.set(Manner::Good);
        let there = [FORM[0], FORM[1], ("model", "openai/gpt-5")];
        app.admin("/key/update", &serde_json::json!({ "key": app.agent_key_hash, "models": [] })).await;
        let page = browser.post("/switch", &there).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        agent.take();
        agent.set_for(only, manner);
        let page = in_time(only, browser.post("/switch", &form)).await;
        assert_eq!(
            (page.status, page.outcome().as_str()),
            (status, outcome),
            "{only} {manner:?}: {}",
            page.text()
        );
        assert_eq!(agent.model(), "openai/gpt-5", "{only} {manner:?}");
        let sent = agent.take();
        if only.contains("GET_CONFIG") {
            assert_eq!(sent, ["[HOTSWAP:GET_CONFIG]"]);
        }
        check_kept(&page);
    }
    // An answer from which nobody can tell the model proves nothing.
    agent.set_for("Kept", Manner::BareChat);
    let page = browser.post("/switch", &form).await;
    assert_eq!((page.status, page.outcome().as_str()), (StatusCode::OK, "verified"), "{}", page.text());
}

#[tokio::test]
async fn an_agent_that_goes_away_is_remembered_as_it_was() {
    let (clock, ahead) = movable();
    let mut app = TestApp::with(Setup { clock, ..Setup::default() }).await;
    let browser = app.user().await;
    let form = [FORM[0], ("context", "c1"), FORM[2]];
    assert_eq!(browser.post("/switch", &form).await.outcome(), "verified");
    app.stop_first(2);
    ahead.fetch_add(600, Ordering::SeqCst);
    let page = in_time("refresh", browser.post("/contexts/task-agent/c1/refresh", &[])).await;
    assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{}", page.text());
    check_alert(&page, "The agent is down");
    let page = browser.get("/contexts/task-agent/c1").await;
    assert!(
        page.text().contains("openai/gpt-5-mini") && page.text().contains("Read10 min ago"),
        "{}",
        page.text()
    );
    let page = browser.get("/agents/task-agent").await;
    assert!(page.one("[role=alert]").contains("the last copy, of 10 min ago"), "{}", page.text());
    assert!(page.text().contains("litellm_agent"), "{}", page.text());
    let page = browser.get("/").await;
    assert!(page.text().contains("task-agent: The agent is down"), "{}", page.text());
    let receipt = in_time("switch", browser.post("/switch", &FORM)).await;
    assert_eq!((receipt.status, receipt.outcome().as_str()), (StatusCode::BAD_GATEWAY, "refused"));
    check_kept(&receipt);
}
