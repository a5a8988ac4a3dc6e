//! Several replicas on one Postgres: run by `tests/postgres/run`; without one there is nothing to run them on.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::database;
use crate::support::{Browser, Setup, TestApp, USER};
use crate::swaps::{Ahead, from_elsewhere};
use crate::web::events::{Event, Stream};
use crate::web::fakes::{FakeAgent, Manner};
use crate::web::roles::team;

/// Nothing but a notification is as fast: what is looked for now and then takes up to twenty seconds.
const SOON: Duration = Duration::from_secs(5);

/// Two replicas, where there is a Postgres.
async fn two(setup: Setup) -> Option<[TestApp; 2]> {
    let url = database::postgres().await?;
    let first = TestApp::with(Setup { database_url: Some(url), ..setup }).await;
    let path = format!("/keys/{}/relax", first.agent_key_hash);
    assert!(first.script().post(&path, &[]).await.0.is_success());
    let second = first.replica().await;
    Some([first, second])
}

async fn soon(stream: &mut Stream, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let Event { name: found, data, .. } = stream.next().await.unwrap();
        assert!(begun.elapsed() < SOON, "{name} takes {:?}", begun.elapsed());
        if found == name && is_it(&data) {
            return data;
        }
    }
}

#[tokio::test]
async fn what_one_does_those_at_another_replica_see() {
    let ahead = Ahead::default();
    let Some([here, there]) = two(Setup { clock: ahead.clock(), ..Setup::default() }).await else { return };
    let (ada, bob) = (here.user().await, there.user().await);
    let mut stream = Stream::open(&bob).await;

    // A key, a model, a swap from its beginning.
    ada.post(&format!("/keys/{}/block", here.agent_key_hash), &[]).await;
    soon(&mut stream, "change", |data| data["action"] == "key.block").await;
    ada.post(&format!("/keys/{}/unblock", here.agent_key_hash), &[]).await;
    let model = here.first_model().await;
    let page = ada.post(&format!("/models/{model}/block"), &[]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    soon(&mut stream, "change", |data| data["action"] == "model.block").await;
    ada.post(&format!("/models/{model}/unblock"), &[]).await;
    let form = [("agent", "task-agent"), ("context", "one"), ("model", "openai/gpt-5")];
    assert_eq!(ada.post("/switch", &form).await.outcome(), "verified");
    let begun = soon(&mut stream, "begun", |_| true).await;
    assert_eq!((&begun["object"], &begun["who"]), (&json!("task-agent/one"), &json!(USER)));
    soon(&mut stream, "change", |data| data["object"] == "task-agent/one").await;

    // A drift.
    from_elsewhere(&here, "one", "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
    ahead.by(61);
    here.switcher().look_for_drift().await;
    soon(&mut stream, "change", |data| data["topic"] == "drift").await;

    // A job, whichever replica works on it.
    let ids = (0..30).map(|n| format!("c{n}")).collect::<Vec<_>>().join(" ");
    let form = [("agent", "task-agent"), ("ids", ids.as_str()), ("model", "openai/gpt-5")];
    assert_eq!(ada.post("/bulk", &form).await.status, StatusCode::OK);
    soon(&mut stream, "progress", |data| data["runs"] == true).await;
    soon(&mut stream, "progress", |data| data["runs"] == false && data["done"] == 30).await;
}

async fn swaps(browser: &Browser) -> Vec<Value> {
    let request = browser.http.get(browser.url("/contexts/task-agent/one"));
    let answer = request.header("accept", "application/json").send().await.unwrap();
    if answer.status() == StatusCode::NOT_FOUND {
        return Vec::new();
    }
    let text = answer.text().await.unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["swaps"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_swap_waits_for_one_at_another_replica_and_is_told_in_whose_name_that_runs() {
    let (_dir, access) = team();
    let agent = FakeAgent::per_context(Manner::Good).await;
    let mut setup = Setup { access, agent: Some(agent.url.clone()), ..Setup::default() };
    setup.timeouts.agents.control = Duration::from_secs(40);
    let Some([here, there]) = two(setup).await else { return };
    let (operator, admin) = (here.user_named("operator").await, there.user().await);
    let form = |model| [("agent", "task-agent"), ("context", "one"), ("model", model)];
    // The second one begins while the first is at the agent, which obeys it after so long at least.
    let race = async |least: Duration| {
        agent.take();
        let held = agent.hold("[HOTSWAP:MODEL");
        let big = form("openai/gpt-5");
        let first = operator.post("/switch", &big);
        let second = async {
            while !agent.seen("[HOTSWAP:MODEL") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let begun = Instant::now();
            let mini = form("openai/gpt-5-mini");
            let wait = async {
                tokio::time::sleep(least).await;
                drop(held);
            };
            let (page, ()) =
                tokio::join!(async { (admin.post("/switch", &mini).await, begun.elapsed()) }, wait);
            page
        };
        tokio::join!(first, second)
    };

    let (first, (second, waited)) = race(Duration::from_secs(2)).await;
    assert_eq!((first.outcome().as_str(), second.outcome().as_str()), ("verified", "verified"));
    assert!(waited >= Duration::from_secs(2), "it did not wait");
    let told = swaps(&admin).await;
    assert_eq!(told.len(), 2);
    assert!(told[0]["started_at"].as_str() >= told[1]["finished_at"].as_str(), "{told:?}");

    let (first, (second, waited)) = race(Duration::from_secs(12)).await;
    assert_eq!((first.outcome().as_str(), second.status), ("verified", StatusCode::CONFLICT));
    assert!(second.text().contains("operator"), "{}", second.text());
    assert!(waited >= Duration::from_secs(10), "{waited:?}");
    assert_eq!(swaps(&admin).await.len(), 3);
}

#[tokio::test]
async fn a_receipt_is_followed_from_another_replica() {
    let Some([here, there]) = two(Setup::default()).await else { return };
    let (ada, bob) = (here.user().await, there.user().await);
    let message = "Which model? SLEEP=3";
    let form = [("agent", "task-agent"), ("context", "one"), ("model", "openai/gpt-5"), ("message", message)];
    let run = ada.post("/switch", &form);
    let follow = async {
        let id = loop {
            match swaps(&bob).await.first() {
                Some(swap) => break swap["id"].as_str().unwrap().to_owned(),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let page = bob.get(&format!("/switch?agent=task-agent&context=one&swap={id}")).await;
        assert_eq!(page.outcome(), "running", "{}", page.text());
        let stream = page.attributes("[data-stream]", "data-stream").remove(0);
        bob.http.get(bob.url(&stream)).send().await.unwrap().text().await.unwrap()
    };
    let (page, followed) = tokio::join!(run, follow);
    assert_eq!(page.outcome(), "proven");
    let last = followed.rfind("event: html").unwrap();
    assert!(followed[last..].contains("data-outcome=\"proven\""), "{followed}");
    assert!(followed[last..].contains("event: end"), "{followed}");
}

/// What a replica does in the background: it ends a timed swap, and finds a drift.
async fn is_done_once(app: &TestApp, ahead: &Ahead, round: &str) {
    let browser = app.user().await;
    let (timed, drifted) = (format!("timed-{round}"), format!("drifted-{round}"));
    for (context, minutes) in [(&timed, "1"), (&drifted, "")] {
        let form =
            [("agent", "task-agent"), ("context", context), ("model", "openai/gpt-5"), ("minutes", minutes)];
        assert_eq!(browser.post("/switch", &form).await.outcome(), "verified");
    }
    from_elsewhere(app, &drifted, "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
    ahead.by(61);
    let found = async |what: &str, object: &str| {
        let path = format!("/audit?what={what}&object=task-agent/{object}");
        app.script().get(&path).await.1["entries"].as_array().unwrap().clone()
    };
    let begun = Instant::now();
    while found("swap", &timed).await.len() < 2 || found("drift", &drifted).await.is_empty() {
        assert!(begun.elapsed() < Duration::from_mins(1), "nobody does it in round {round}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Another replica looks every five seconds, and would find nothing of it done if it could not see this one.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let swaps = found("swap", &timed).await;
    assert_eq!((swaps.len(), &swaps[0]["actor"]), (2, &json!("patchbay (time is up)")), "{swaps:?}");
    assert_eq!(found("drift", &drifted).await.len(), 1);
}

/// What is done in the background is done by one replica, and by another where that one is killed.
#[tokio::test]
async fn one_replica_works_in_the_background_and_another_goes_on_when_it_is_killed() {
    let ahead = Ahead::default();
    let Some([stays, other]) = two(Setup { clock: ahead.clock(), ..Setup::default() }).await else { return };
    let mut database = PgConnection::connect(stays.database_url()).await.unwrap();
    let mut leader = async || {
        let query =
            sqlx::query_scalar::<_, String>("select replica from locks where name = 'background/swaps'");
        query.fetch_optional(&mut database).await.unwrap()
    };
    // One that can be killed, with everything that it has begun.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.spawn(async move { other.replica().await.switcher().watch(CancellationToken::new()).await });
    let first = loop {
        match leader().await {
            Some(leader) => break leader,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let switcher = stays.switcher().clone();
    tokio::spawn(async move { switcher.watch(stop).await });

    is_done_once(&stays, &ahead, "one").await;
    assert_eq!(leader().await.as_ref(), Some(&first));
    runtime.shutdown_background();
    is_done_once(&stays, &ahead, "two").await;
    assert_ne!(leader().await.as_ref(), Some(&first));
}
