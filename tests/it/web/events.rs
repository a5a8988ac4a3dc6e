//! What one does, the others see: the stream of events.

use std::time::Duration;

use patchbay::services::live::Message;
use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::database;
use crate::support::{Browser, PASSWORD, Setup, TestApp, USER};

/// What an event may take on a loaded machine; most come in milliseconds.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Stream {
    answer: Response,
    rest: String,
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    id: Option<i64>,
    pub(crate) data: Value,
}

impl Stream {
    async fn of(request: RequestBuilder) -> Self {
        let answer = request.header(header::ACCEPT, "text/event-stream").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        Self { answer, rest: String::new() }
    }

    pub(crate) async fn open(browser: &Browser) -> Self {
        let mut stream = Self::of(browser.http.get(browser.url("/events"))).await;
        assert_eq!(stream.next().await.unwrap().name, "hello");
        stream
    }

    /// The next event; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.rest.clone().split_once("\n\n") {
                rest.clone_into(&mut self.rest);
                let field =
                    |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                // A comment is no event.
                let Some(name) = field("event:") else { continue };
                let id = field("id:").map(|id| id.parse().unwrap());
                let data = serde_json::from_str(field("data:").unwrap()).unwrap();
                return Some(Event { name: name.to_owned(), id, data });
            }
            let chunk = tokio::time::timeout(PATIENCE, self.answer.chunk()).await.expect("something comes");
            self.rest.push_str(std::str::from_utf8(&chunk.ok()??).unwrap());
        }
    }

    /// The next event of this name.
    pub(crate) async fn find(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.name == name {
                return event;
            }
        }
    }
}

async fn block(app: &TestApp, who: &Browser, verb: &str) {
    let page = who.post(&format!("/keys/{}/{verb}", app.agent_key_hash), &[]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
}

#[tokio::test]
async fn what_one_does_others_are_told_and_who_comes_back_misses_nothing() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.user().await, app.user().await);
    let mut stream = Stream::open(&bob).await;
    block(&app, &ada, "block").await;
    let mut told = stream.find("change").await;
    while told.data["topic"] == "login" {
        told = stream.find("change").await;
    }
    let expected = json!({"topic": "key", "action": "key.block", "object": app.agent_key_hash, "who": USER, "outcome": "ok"});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(told.data[name], *value, "{name}");
    }
    assert_eq!(told.id, told.data["id"].as_i64());
    drop(stream);

    // Away for a while.
    let mut witness = Stream::open(&bob).await;
    block(&app, &ada, "unblock").await;
    let form = [("agent", "task-agent"), ("context", "live"), ("model", "openai/gpt-5-mini")];
    ada.post("/switch", &form).await;
    while witness.find("change").await.data["action"] != "swap" {}
    let last = told.id.unwrap().to_string();
    let mut again =
        Stream::of(bob.http.get(bob.url("/events")).header("last-event-id", &last).query(&[("last", "0")]))
            .await;
    let hello = again.next().await.unwrap();
    assert_eq!(hello.name, "hello");
    let missed = [again.next().await.unwrap(), again.next().await.unwrap()];
    let actions: Vec<_> = missed.iter().map(|event| event.data["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["key.unblock", "swap"]);
    assert_eq!(missed[1].data["object"], "task-agent/live");
    assert_eq!(hello.id, missed[1].id, "the greeting says how far it is");

    // The page says from where its stream begins; a number of another database is none.
    let seen = bob.get("/keys").await.attributes("body", "data-seen");
    assert_eq!(seen, [missed[1].id.unwrap().to_string()]);
    let mut odd = Stream::of(bob.http.get(bob.url("/events?last=999999"))).await;
    odd.find("reset").await;
}

#[tokio::test]
async fn who_was_away_for_too_long_is_told_to_load_the_page_anew() {
    let (_dir, url) = database::lasting().await;
    let mut app = TestApp::with(Setup { database_url: Some(url), ..Setup::default() }).await;
    let ada = app.user().await;
    for _ in 0..150 {
        block(&app, &ada, "block").await;
        block(&app, &ada, "unblock").await;
    }
    for _ in 0..2 {
        let ada = ada.moved(&app);
        Stream::of(ada.http.get(ada.url("/events?last=1"))).await.find("reset").await;
        // What was kept comes from the database after a restart.
        let newest = ada.get("/keys").await.attributes("body", "data-seen").remove(0).parse::<i64>().unwrap();
        let mut stream = Stream::of(ada.http.get(ada.url(&format!("/events?last={}", newest - 200)))).await;
        assert_eq!(stream.find("change").await.data["id"], newest - 199);
        app.restart(|_| {}).await;
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_nobody_else_listens() {
    let app = TestApp::start().await;
    let ada = app.user().await;
    let mut stream = Stream::open(&ada).await;
    ada.post("/logout", &[]).await;
    while stream.next().await.is_some() {}

    // Neither led to the login nor asked for a password, which a browser would do in a window of its own.
    for browser in [&ada, &app.anonymous()] {
        let request = browser.http.get(browser.url("/events")).header(header::ACCEPT, "text/event-stream");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(!answer.headers().contains_key(header::WWW_AUTHENTICATE));
    }
    let script = app.anonymous();
    Stream::of(script.http.get(script.url("/events")).basic_auth(USER, Some(PASSWORD)))
        .await
        .find("hello")
        .await;
}

#[tokio::test]
async fn a_session_listens_with_a_few_windows_and_a_slow_one_is_told_to_load_anew() {
    let app = TestApp::start().await;
    let ada = app.user().await;
    let mut slow = Stream::open(&ada).await;
    let mut others = Vec::new();
    for _ in 1..16 {
        others.push(Stream::open(&ada).await);
    }
    let one_more = ada.http.get(ada.url("/events")).header(header::ACCEPT, "text/event-stream");
    assert_eq!(one_more.send().await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ada.get("/events").await.status, StatusCode::NOT_ACCEPTABLE, "it is no page");
    // More than the connection's buffers and the backlog hold.
    for done in 0..10_000 {
        let (job, agent, who) = ("x".repeat(4000), String::new(), String::new());
        app.live().tell(Message::Progress { job, agent, who, runs: true, done, failed: 0, total: 10_000 });
        tokio::task::yield_now().await;
    }
    slow.find("reset").await;
    drop(others);
    app.live().close();
    while slow.next().await.is_some() {}
}

#[tokio::test]
async fn a_swap_is_told_when_it_begins_and_when_it_ends() {
    let app = TestApp::start().await;
    let (ada, bob) = (app.user().await, app.user().await);
    let mut stream = Stream::open(&bob).await;
    let form = [("agent", "task-agent"), ("context", "live"), ("model", "openai/gpt-5-mini")];
    ada.post("/switch", &form).await;
    let begun = stream.find("begun").await.data;
    assert_eq!((&begun["object"], &begun["who"]), (&json!("task-agent/live"), &json!(USER)));
    // Bob's own login may be told only now.
    let mut ended = stream.find("change").await.data;
    while ended["action"] == "login" {
        ended = stream.find("change").await.data;
    }
    assert_eq!(ended["action"], "swap", "it ends after it began");
}

/// How far it is, and its swaps some at a time: not each of hundreds.
#[tokio::test]
async fn a_job_is_told_as_it_goes_on() {
    const CONTEXTS: u64 = 100;
    let app = TestApp::start().await;
    let (ada, bob) = (app.user().await, app.user().await);
    app.script().post(&format!("/keys/{}/relax", app.agent_key_hash), &[]).await;
    let mut stream = Stream::open(&bob).await;
    let ids = (0..CONTEXTS).map(|n| format!("c{n}")).collect::<Vec<_>>().join(" ");
    let form = [("agent", "task-agent"), ("ids", ids.as_str()), ("model", "openai/gpt-5")];
    assert_eq!(ada.post("/bulk", &form).await.status, StatusCode::OK);
    let (mut swaps, mut changes, mut steps, mut outcomes) = (0, 0, Vec::new(), Vec::new());
    while outcomes.last() != Some(&json!("ok"))
        || steps.last() != Some(&(false, CONTEXTS))
        || swaps < CONTEXTS
    {
        let Event { name, data, .. } = stream.next().await.unwrap();
        match (name.as_str(), data["topic"].as_str()) {
            ("progress", _) => {
                let expected = json!({ "agent": "task-agent", "who": USER, "failed": 0, "total": CONTEXTS });
                for (name, value) in expected.as_object().unwrap() {
                    assert_eq!(data[name], *value, "{name}");
                }
                steps.push((data["runs"].as_bool().unwrap(), data["done"].as_u64().unwrap()));
            }
            ("change", Some("bulk")) => outcomes.push(data["outcome"].clone()),
            ("change", Some("swap")) => {
                let count = data["count"].as_u64().unwrap();
                (swaps, changes) = (swaps + count, changes + 1);
                assert_eq!(data["object"] == "", count > 1, "{data}");
            }
            ("begun", _) => panic!("one of many is told alone: {data}"),
            _ => {}
        }
    }
    assert_eq!(outcomes, ["begun", "ok"]);
    assert!(steps[0].0 && steps.is_sorted_by_key(|(_, done)| *done), "{steps:?}");
    assert!(swaps == CONTEXTS && changes < CONTEXTS, "{swaps} swaps in {changes} events");
}
