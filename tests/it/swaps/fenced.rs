//! A replica that was paused while another one took over: it sends nothing more, and claims no outcome.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::switch;
use crate::database;
use crate::support::{Browser, Page, Setup, TestApp};
use crate::web::fakes::{FakeAgent, Manner};

/// How a swap is disturbed while the agent holds back the answer to a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pause {
    /// Long enough for another replica to take the lock.
    Taken,
    /// Long enough, but not taken.
    Long,
    /// Too short for that.
    Short,
}

impl Pause {
    async fn happen(self, database: &mut PgConnection) {
        let now = "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)";
        let statements = match self {
            Self::Taken => vec![
                format!("insert into replicas (id, seen_at) values ('other', {now} + 60000)"),
                "update locks set replica = 'other', holder = 'bob', token = token + 1 where name like 'task-agent%'".to_owned(),
            ],
            Self::Long => vec![format!("update replicas set seen_at = {now} - 9000")],
            Self::Short => vec![format!("update replicas set seen_at = {now} - 6000")],
        };
        for statement in statements {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *database).await.unwrap();
        }
        if self == Self::Long {
            // Its next heartbeat finds that it was silent for too long.
            let held = "select count(*) from locks where name like 'task-agent%' and replica <> ''";
            while sqlx::query_scalar::<_, i64>(held).fetch_one(&mut *database).await.unwrap() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// What reached the agent after a pause, with the receipt and what the audit has of the swap.
struct Seen {
    receipt: Page,
    later: Vec<String>,
    audit: Value,
}

/// A dashboard on a database, an admin's browser, and a connection to the database.
async fn dashboard(url: String, agent: &FakeAgent) -> (TestApp, Browser, PgConnection) {
    let setup = Setup { agent: Some(agent.url.clone()), database_url: Some(url.clone()), ..Setup::default() };
    let app = TestApp::with(setup).await;
    super::relax(&app).await;
    let browser = app.user().await;
    (app, browser, PgConnection::connect(&url).await.unwrap())
}

/// A swap that is disturbed while the agent has the message that begins with `at`; the first of them after one that begins
/// with `behind`.
async fn swap(pause: Pause, behind: &'static str, at: &'static str, manner: Manner) -> Option<Seen> {
    let url = database::postgres().await?;
    let agent = FakeAgent::per_context(Manner::Good).await;
    let (app, browser, mut database) = dashboard(url, &agent).await;
    // Shows the scope, so that no fresh context is read along with the next one.
    assert_eq!(switch(&browser, "two", "openai/gpt-5", &[]).await.outcome(), "verified");
    agent.take();
    agent.set_for("Which", manner);

    let form = [("prompt", "Be brief."), ("message", "Which model?"), ("probe", "")];
    let run = switch(&browser, "one", "openai/gpt-5", &form);
    let disturb = async {
        let mut held = agent.hold(behind);
        while !agent.seen(behind) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        agent.take();
        if at != behind {
            held = agent.hold(at);
            while !agent.seen(at) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            agent.take();
        }
        pause.happen(&mut database).await;
        // Any check from before the pause is too old by then.
        tokio::time::sleep(Duration::from_millis(60)).await;
        drop(held);
    };
    let (receipt, ()) = tokio::join!(run, disturb);
    let later = agent.take();
    let audit = app.script().get("/audit?what=swap&object=task-agent/one").await.1["entries"].clone();
    Some(Seen { receipt, later, audit })
}

const STEPS: [(&str, &str); 5] = [
    ("[HOTSWAP:GET_CONFIG", "[HOTSWAP:GET_CONFIG"),
    ("[HOTSWAP:MODEL", "[HOTSWAP:MODEL"),
    ("[HOTSWAP:PROMPT", "[HOTSWAP:PROMPT"),
    ("[HOTSWAP:PROMPT", "[HOTSWAP:GET_CONFIG"),
    ("Which", "Which"),
];

#[tokio::test]
async fn sends_nothing_once_another_replica_has_the_lock() {
    for (behind, at) in STEPS {
        let Some(seen) = swap(Pause::Taken, behind, at, Manner::Good).await else { return };
        assert_eq!(seen.receipt.outcome(), "unknown", "{at}: {}", seen.receipt.text());
        assert!(seen.receipt.text().contains("bob"), "{at}: {}", seen.receipt.text());
        assert_eq!(seen.later, [""; 0], "{at}");
        let entries = seen.audit.as_array().unwrap();
        assert_eq!((entries.len(), &entries[0]["outcome"]), (1, &json!("unknown")), "{at}: {entries:?}");
    }
}

#[tokio::test]
async fn rolls_back_nothing_once_another_replica_has_the_lock() {
    let Some(seen) = swap(Pause::Taken, "Which", "Which", Manner::Impostor).await else { return };
    assert_eq!(seen.receipt.outcome(), "unknown", "{}", seen.receipt.text());
    assert_eq!(seen.later, [""; 0]);
}

#[tokio::test]
async fn a_replica_that_was_silent_for_too_long_has_lost_its_locks() {
    for (behind, at) in STEPS {
        let Some(seen) = swap(Pause::Long, behind, at, Manner::Good).await else { return };
        assert_eq!(seen.receipt.outcome(), "unknown", "{at}: {}", seen.receipt.text());
        // The lock is free, so the context is read again to learn where it is.
        assert!(
            seen.later.iter().all(|text| text.starts_with("[HOTSWAP:GET_CONFIG")),
            "{at}: {:?}",
            seen.later
        );
    }
}

#[tokio::test]
async fn a_replica_that_was_silent_for_some_seconds_goes_on_after_its_next_heartbeat() {
    for (behind, at) in STEPS {
        let Some(seen) = swap(Pause::Short, behind, at, Manner::Good).await else { return };
        assert_eq!(seen.receipt.outcome(), "verified", "{at}: {}", seen.receipt.text());
    }
}

/// Between two items of a bulk swap another replica takes the job over.
#[tokio::test]
async fn begins_no_item_of_a_job_that_another_replica_has() {
    let Some(url) = database::postgres().await else { return };
    let agent = FakeAgent::per_context(Manner::Good).await;
    let (_app, browser, mut database) = dashboard(url, &agent).await;
    let form = [
        ("agent", "task-agent"),
        ("ids", "one two three"),
        ("model", "openai/gpt-5"),
        ("at_once", "1"),
        ("pace", "3"),
    ];
    assert!(browser.post("/bulk", &form).await.status.is_success());
    while agent.model_of("one") != "openai/gpt-5" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for statement in [
        "insert into replicas (id, seen_at) values ('other', cast(extract(epoch from now()) * 1000 as bigint) + 60000)",
        "update locks set replica = 'other', holder = 'jobs', token = token + 1 where name like 'job/%'",
    ] {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    // Longer than the pause before the next one.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(agent.model_of("two"), "openai/gpt-5-mini");
}
