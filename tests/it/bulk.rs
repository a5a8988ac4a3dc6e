//! One swap of many contexts.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod timed;

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::database;
use crate::support::{Setup, TestApp};
use crate::web::fakes::{FakeAgent, Manner};

const MODEL: &str = "openai/gpt-5";
const MINI: &str = "openai/gpt-5-mini";

/// The agent's key may call every model.
async fn relax(app: &TestApp) {
    let path = format!("/keys/{}/relax", app.agent_key_hash);
    assert!(app.script().post(&path, &[]).await.0.is_success());
}

async fn begin(app: &TestApp, ids: &str, more: &[(&str, &str)]) -> String {
    let mut form = vec![("agent", "task-agent"), ("ids", ids), ("model", MODEL)];
    form.extend_from_slice(more);
    let (status, body) = app.script().post("/bulk", &form).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

/// The job, once nothing of it runs.
async fn settled(app: &TestApp, id: &str) -> Value {
    for _ in 0..500 {
        let (status, job) = app.script().get(&format!("/bulk/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{job}");
        if job["state"] != "running" && job["counts"]["running"] == 0 {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the job does not end");
}

fn counts(job: &Value) -> [u64; 4] {
    ["done", "failed", "skipped", "waiting"].map(|state| job["counts"][state].as_u64().unwrap())
}

async fn model_of(app: &TestApp, context: &str) -> String {
    let (_, body) = app.script().post(&format!("/contexts/task-agent/{context}/refresh"), &[]).await;
    format!("{}/{}", body["provider"].as_str().unwrap(), body["model"].as_str().unwrap())
}

async fn swaps_of(app: &TestApp, context: &str) -> Vec<Value> {
    let (_, body) = app.script().get(&format!("/contexts/task-agent/{context}")).await;
    body["swaps"].as_array().unwrap().clone()
}

#[tokio::test]
async fn many_contexts_are_switched_and_put_back() {
    let app = TestApp::start().await;
    relax(&app).await;
    assert_eq!(model_of(&app, "pinned").await, MINI);
    app.script().post("/contexts/task-agent/pinned/pin", &[]).await;
    let ids: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    let id = begin(&app, &format!("{} pinned c3, c4", ids.join("\n")), &[]).await;
    let job = settled(&app, &id).await;
    assert_eq!((job["state"].as_str(), counts(&job)), (Some("done"), [20, 0, 1, 0]), "{job}");
    assert_eq!(model_of(&app, "pinned").await, MINI);
    for item in job["items"].as_array().unwrap().iter().filter(|item| item["state"] == "done") {
        let context = item["context"].as_str().unwrap();
        let swaps = swaps_of(&app, context).await;
        assert_eq!(
            (swaps.len(), &swaps[0]["id"], &swaps[0]["outcome"]),
            (1, &item["swap"], &json!("verified"))
        );
        assert_eq!(swaps[0]["actor"], "ada");
    }
    assert_eq!(model_of(&app, "c7").await, MODEL);

    // Someone switches one of them on; the others go back.
    let form = [("agent", "task-agent"), ("context", "c5"), ("model", "anthropic/claude-sonnet-4-5")];
    assert_eq!(app.script().post("/switch", &form).await.0, StatusCode::OK);
    let (status, undo) = app.script().post(&format!("/bulk/{id}/undo"), &[]).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let job = settled(&app, undo["id"].as_str().unwrap()).await;
    assert_eq!(counts(&job), [19, 1, 0, 0], "{job}");
    assert_eq!(model_of(&app, "c7").await, MINI);
    assert_eq!(model_of(&app, "c5").await, "anthropic/claude-sonnet-4-5");
    let refused = job["items"].as_array().unwrap().iter().find(|item| item["context"] == "c5").unwrap();
    assert!(refused["why"].as_str().unwrap().contains("was switched"), "{refused}");
    assert_eq!(refused["swap"], Value::Null, "it was refused before it began");
    // Each receipt that is linked is there.
    let browser = app.user().await;
    let page = browser.get(&format!("/bulk/{}", undo["id"].as_str().unwrap())).await;
    let receipts = page.attributes("tr[data-context] td a", "href");
    assert_eq!(receipts.len(), 19, "{receipts:?}");
    for receipt in receipts {
        assert!(browser.get(&receipt).await.has("#receipt[data-outcome]"), "{receipt}");
    }

    let (_, audit) = app.script().get("/audit").await;
    let entries = audit["entries"].as_array().unwrap();
    let of = |action: &str| entries.iter().filter(|entry| entry["action"] == action).count();
    assert_eq!(
        (of("bulk"), of("swap")),
        (4, 20 + 1 + 19 + 1),
        "each job begins and ends, each swap is written down, and so is the one that was refused"
    );
    let refused = entries.iter().filter(|entry| entry["outcome"] == "refused");
    assert_eq!(refused.map(|entry| &entry["object"]).collect::<Vec<_>>(), ["task-agent/c5"]);
}

#[tokio::test]
async fn the_first_ones_are_tried_before_the_rest() {
    let app = TestApp::start().await;
    relax(&app).await;
    let id = begin(&app, "a b c d e f", &[("canary", "2")]).await;
    let job = settled(&app, &id).await;
    assert_eq!((job["state"].as_str(), counts(&job)), (Some("asking"), [2, 0, 0, 4]), "{job}");
    assert!(swaps_of(&app, "b").await.len() == 1);
    let browser = app.user().await;
    let page = browser.get(&format!("/bulk/{id}")).await;
    assert!(page.text().contains("Go on with 4") && page.text().contains("Undo 2"), "{}", page.text());
    let page = browser.post(&format!("/bulk/{id}/go"), &[]).await;
    assert_eq!(page.url.path(), format!("/bulk/{id}"));
    let job = settled(&app, &id).await;
    assert_eq!((job["state"].as_str(), counts(&job)), (Some("done"), [6, 0, 0, 0]), "{job}");
}

#[tokio::test]
async fn a_job_stops_after_some_failures_and_tries_them_again() {
    let app = TestApp::start().await;
    // The agent's key may not call the model yet.
    let more = [("stop_after", "2"), ("at_once", "1")];
    let id = begin(&app, "a b c d e", &more).await;
    let job = settled(&app, &id).await;
    assert_eq!((job["state"].as_str(), counts(&job)), (Some("stopped"), [0, 2, 0, 3]), "{job}");
    assert!(job["items"][0]["why"].as_str().unwrap().contains("may not call"), "{job}");
    relax(&app).await;
    app.script().post(&format!("/bulk/{id}/retry"), &[]).await;
    let job = settled(&app, &id).await;
    assert_eq!((job["state"].as_str(), counts(&job)), (Some("done"), [5, 0, 0, 0]), "{job}");
}

#[tokio::test]
async fn a_job_is_stopped_by_hand() {
    let app = TestApp::start().await;
    relax(&app).await;
    let id = begin(&app, "a b c", &[("pace", "30"), ("at_once", "1")]).await;
    let (_, _) = app.script().post(&format!("/bulk/{id}/cancel"), &[]).await;
    let (_, job) = app.script().get(&format!("/bulk/{id}")).await;
    assert_eq!(job["state"], "cancelled", "{job}");
    assert!(job["counts"]["waiting"].as_u64().unwrap() >= 1, "{job}");
}

/// What a replica that is gone had begun is looked up, read back, and only then begun again.
#[tokio::test]
async fn what_was_cut_off_is_not_done_twice() {
    let (_dir, database_url) = database::lasting().await;
    let mut app = TestApp::with(Setup { database_url: Some(database_url.clone()), ..Setup::default() }).await;
    relax(&app).await;
    // The agent is on the model, and its swap has no end.
    let form = [("agent", "task-agent"), ("context", "sent"), ("model", MODEL)];
    assert_eq!(app.script().post("/switch", &form).await.0, StatusCode::OK);
    let sent = swaps_of(&app, "sent").await[0]["id"].as_str().unwrap().to_owned();
    let unsent = "01900000-0000-7000-8000-000000000002";
    let mut database = sqlx::AnyConnection::connect(&database_url).await.unwrap();
    for statement in [
        format!("update swaps set outcome = 'unknown', finished_at = null, replica = 'gone' where id = '{sent}'"),
        format!(
            "insert into swaps (id, agent, context, actor, model, prompt, steps, outcome, started_at, replica) \
             select '{unsent}', agent, 'unsent', actor, model, prompt, '[]', 'unknown', started_at, 'gone' \
             from swaps where id = '{sent}'"
        ),
        "insert into jobs (id, kind, parameters, actor, created_by, state, upto, concurrency, pace_ms, stop_after, \
         started_at) values ('job', 'swap', '{\"kind\":\"swap\",\"agent\":\"task-agent\",\"model\":\"openai/gpt-5\",\
         \"prompt\":{\"change\":\"keep\"},\"undoes\":null}', 'ada', 'ada', 'running', 99, 2, 0, 0, 0)"
            .to_owned(),
        "insert into locks (name, replica, holder, token) values ('job/job', 'gone', 'jobs', 1)".to_owned(),
        format!(
            "insert into job_items (job, n, subject, state, reference) values ('job', 1, 'sent', 'running', '{sent}'), \
             ('job', 2, 'unsent', 'running', '{unsent}'), ('job', 3, 'claimed', 'running', \
             '01900000-0000-7000-8000-000000000003'), ('job', 4, 'waiting', 'waiting', null)"
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut database).await.unwrap();
    }
    app.restart(|_| ()).await;
    let job = settled(&app, "job").await;
    assert_eq!((job["state"].as_str(), counts(&job)), (Some("done"), [4, 0, 0, 0]), "{job}");
    assert!(job["items"][0]["why"].as_str().unwrap().contains("Read back"), "{job}");
    assert_eq!(swaps_of(&app, "sent").await.len(), 1, "it was sent again");
    let outcomes =
        |swaps: Vec<Value>| -> Vec<Value> { swaps.iter().map(|swap| swap["outcome"].clone()).collect() };
    assert_eq!(outcomes(swaps_of(&app, "unsent").await), ["verified", "unknown"]);
    assert_eq!(outcomes(swaps_of(&app, "claimed").await), ["verified"]);
    let (_, audit) = app.script().get("/audit").await;
    let of_sent: Vec<&Value> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["object"] == "task-agent/sent")
        .map(|entry| &entry["outcome"])
        .collect();
    assert_eq!(of_sent, ["verified", "unknown", "verified"]);
}

/// The database fails once while a swap is under way: the job is taken up again, and that swap is not sent twice.
#[tokio::test]
async fn a_swap_that_still_runs_is_waited_for_when_a_job_is_taken_up_again() {
    let (_dir, database_url) = database::lasting().await;
    let agent = FakeAgent::per_context(Manner::Good).await;
    let mut setup = Setup {
        database_url: Some(database_url.clone()),
        agent: Some(agent.url.clone()),
        ..Setup::default()
    };
    setup.timeouts.agents.control = Duration::from_secs(30);
    let app = TestApp::with(setup).await;
    relax(&app).await;
    let mut database = sqlx::AnyConnection::connect(&database_url).await.unwrap();
    let (fail, mend) = if database_url.starts_with("sqlite") {
        (
            "create trigger fails before update on job_items when new.subject = 'c' and new.state = 'running' \
             begin select raise(abort, 'no'); end",
            "drop trigger fails",
        )
    } else {
        (
            "alter table job_items add constraint fails check (subject <> 'c' or state <> 'running')",
            "alter table job_items drop constraint fails",
        )
    };
    for statement in ["insert into agents (name, scope, seen_at) values ('task-agent', 'context', 0)", fail] {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    let held = agent.hold("[HOTSWAP:MODEL");
    let id = begin(&app, "a b c", &[("at_once", "2")]).await;
    let until = async |what: &str, is_so: &dyn Fn(&Value) -> bool| {
        for _ in 0..1000 {
            let (_, job) = app.script().get(&format!("/bulk/{id}")).await;
            if is_so(&job) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("in vain: {what}");
    };
    until("one of two is through", &|job| job["counts"]["done"] == 1).await;
    // What comes next has failed by now. A job that nobody works on is taken up a second later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    sqlx::query(mend).execute(&mut database).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    drop(held);
    let job = settled(&app, &id).await;
    assert_eq!((job["state"].as_str(), counts(&job)), (Some("done"), [3, 0, 0, 0]), "{job}");
    let sent = agent.take().into_iter().filter(|text| text.starts_with("[HOTSWAP:MODEL"));
    assert_eq!(sent.count(), 3, "one was sent again");
    for context in ["a", "b", "c"] {
        assert_eq!(swaps_of(&app, context).await.len(), 1, "{context}");
    }
}

/// What could not be written down is written down once that can be done, and nothing is done again for it.
#[tokio::test]
async fn the_end_of_a_swap_is_written_down_later_where_the_database_fails() {
    let (_dir, database_url) = database::lasting().await;
    let app = TestApp::with(Setup { database_url: Some(database_url.clone()), ..Setup::default() }).await;
    relax(&app).await;
    let mut database = sqlx::AnyConnection::connect(&database_url).await.unwrap();
    let (fail, mend) = if database_url.starts_with("sqlite") {
        (
            "create trigger fails before insert on audit when new.action = 'swap' \
             begin select raise(abort, 'no'); end",
            "drop trigger fails",
        )
    } else {
        (
            "alter table audit add constraint fails check (action <> 'swap') not valid",
            "alter table audit drop constraint fails",
        )
    };
    sqlx::query(fail).execute(&mut database).await.unwrap();
    let id = begin(&app, "first second", &[]).await;
    let form = [("agent", "task-agent"), ("context", "alone"), ("model", MODEL)];
    let (status, told) = app.script().post("/switch", &form).await;
    assert!(status.is_server_error(), "{status}: {told}");
    assert_eq!(app.script().get(&format!("/bulk/{id}")).await.1["counts"]["done"], 0);
    sqlx::query(mend).execute(&mut database).await.unwrap();
    assert_eq!(counts(&settled(&app, &id).await), [2, 0, 0, 0]);
    for context in ["first", "second", "alone"] {
        for _ in 0..500 {
            let swaps = swaps_of(&app, context).await;
            assert_eq!(swaps.len(), 1, "{context}");
            if swaps[0]["outcome"] == "verified" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (_, audit) = app.script().get(&format!("/audit?what=swap&object=task-agent/{context}")).await;
        let outcomes: Vec<_> =
            audit["entries"].as_array().unwrap().iter().map(|entry| &entry["outcome"]).collect();
        assert_eq!(outcomes, ["verified"], "{context}");
    }
}

#[tokio::test]
async fn contexts_are_ticked_counted_and_switched_without_javascript() {
    let app = TestApp::start().await;
    relax(&app).await;
    for context in ["one", "two", "three"] {
        model_of(&app, context).await;
    }
    app.script().post("/contexts/task-agent/two/pin", &[]).await;
    let browser = app.user().await;
    let page = browser.get("/contexts").await;
    assert_eq!(page.attributes("#contexts input[name=context]", "value").len(), 3);
    let ticked = [("context", "task-agent/one"), ("context", "task-agent/two"), ("context", "other/x")];
    let page = browser.post("/bulk/new", &ticked).await;
    assert_eq!(page.attributes("#count", "data-count"), ["1"], "{}", page.text());
    assert!(page.one("#count").contains("1 pinned is left alone"), "{}", page.text());
    assert!(page.one("#count").contains("1 of other agents is left out"), "{}", page.text());
    // Someone else's ids in the meantime: the count is another one.
    let ids = page.one("textarea#ids");
    let form = [("agent", "task-agent"), ("ids", "one three"), ("model", MODEL), ("count", "1")];
    let page = browser.post("/bulk", &form).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.text().contains("There are now 2 contexts, not 1"), "{}", page.text());
    let form = [("agent", "task-agent"), ("ids", ids.as_str()), ("model", MODEL), ("count", "1")];
    let page = browser.post("/bulk", &form).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let id = page.url.path().rsplit('/').next().unwrap().to_owned();
    assert_eq!(counts(&settled(&app, &id).await), [1, 0, 1, 0]);
    let page = browser.get(&format!("/bulk/{id}")).await;
    let receipt = page.attributes("#items tr[data-context=one] a.button", "href");
    assert_eq!(browser.get(&receipt[0]).await.outcome(), "verified");
    // All that a search finds.
    let page = browser.get("/bulk/new?filter=1&q=three").await;
    assert_eq!(page.attributes("#count", "data-count"), ["1"]);
}

#[tokio::test]
async fn what_makes_no_sense_begins_no_job() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    for (field, value) in [
        ("ids", ""),
        ("ids", "../x"),
        ("model", ""),
        ("model", "gpt-5/"),
        ("agent", "nobody"),
        ("canary", "-1"),
        ("at_once", "1000"),
        ("at_once", "0"),
        ("pace", "3600"),
        ("pace", "nan"),
        ("stop_after", "x"),
    ] {
        let mut form = vec![("agent", "task-agent"), ("ids", "one"), ("model", MODEL)];
        form.retain(|(name, _)| *name != field);
        form.push((field, value));
        let page = browser.post("/bulk", &form).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}={value}: {}", page.text());
        assert!(page.has(&format!("#{field}[aria-invalid]")), "{field}={value}");
    }
    assert!(browser.get("/bulk/new").await.text().contains("None yet"));
    assert_eq!(browser.get("/bulk/nope").await.status, StatusCode::NOT_FOUND);
}
