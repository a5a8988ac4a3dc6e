//! What is remembered: contexts, swaps and the audit, also after a restart.

use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::database;
use crate::support::{Setup, TestApp};

const MINI: &str = "openai/gpt-5-mini";

async fn swap(app: &TestApp, context: &str, model: &str) -> Value {
    let form = [("agent", "task-agent"), ("context", context), ("model", model)];
    app.script().post("/switch", &form).await.1
}

#[tokio::test]
async fn contexts_are_listed_found_and_read() {
    let app = TestApp::start().await;
    for context in ["one", "two", "Three.3_x:y-z"] {
        assert_eq!(swap(&app, context, MINI).await["outcome"], "verified");
    }
    let browser = app.user().await;
    let page = browser.get("/contexts").await;
    let ids = page.attributes("table#contexts tbody tr", "data-context");
    assert_eq!(ids, ["Three.3_x:y-z", "two", "one"], "the last swapped comes first");
    assert!(page.one("tr[data-context=one]").contains("openai/gpt-5-mini"), "{}", page.text());
    assert!(page.one("tr[data-context=one]").contains("verified just now by ada"), "{}", page.text());
    for (query, wanted) in [("q=thr", 1), ("q=gpt-5-mini", 3), ("q=task-agent", 3), ("q=%3Ab", 0)] {
        let found = browser.get(&format!("/contexts?{query}")).await;
        assert_eq!(found.all("table#contexts tbody tr").len(), wanted, "{query}");
    }
    for link in page.attributes("table#contexts tbody a", "href") {
        assert_eq!(browser.get(&link).await.status, StatusCode::OK, "{link}");
    }
    // Reading makes a context known that was never switched.
    let page = browser.post("/contexts/task-agent/only-read/refresh", &[]).await;
    assert_eq!(page.url.path(), "/contexts/task-agent/only-read");
    assert!(
        page.one("#flash[role=status]").contains("only-read is on openai/gpt-5-mini."),
        "{}",
        page.text()
    );
    assert!(browser.get("/contexts").await.one("tr[data-context=only-read]").contains("never switched here"));
    let (_, agent) = app.script().get("/agents/task-agent").await;
    assert_eq!(agent["contexts"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn many_contexts_are_paged() {
    let (_dir, database_url) = database::lasting().await;
    let app = TestApp::with(Setup { database_url: Some(database_url.clone()), ..Setup::default() }).await;
    let mut database = sqlx::AnyConnection::connect(&database_url).await.unwrap();
    for number in 0..120 {
        sqlx::query("insert into contexts (agent, context) values ('task-agent', $1)")
            .bind(format!("c{number:03}"))
            .execute(&mut database)
            .await
            .unwrap();
    }
    let browser = app.user().await;
    let mut seen = Vec::new();
    let mut next = Some("/contexts".to_owned());
    while let Some(path) = next {
        let page = browser.get(&path).await;
        seen.extend(page.attributes("table#contexts tbody tr", "data-context"));
        next = page.attributes("a[rel=next]", "href").into_iter().next();
    }
    assert_eq!(
        (seen.len(), seen.first().unwrap().as_str(), seen.last().unwrap().as_str()),
        (120, "c000", "c119")
    );
}

#[tokio::test]
async fn success_and_refusal_are_both_in_the_audit() {
    let app = TestApp::start().await;
    swap(&app, "c1", MINI).await;
    swap(&app, "c1", "openai/nowhere").await;
    let browser = app.user().await;
    browser.post(&format!("/keys/{}/relax", app.agent_key_hash), &[]).await;
    browser.post("/logout", &[]).await;
    let (_, json) = app.script().get("/audit").await;
    let entries = json["entries"].as_array().unwrap();
    let told: Vec<_> = entries
        .iter()
        .rev()
        .map(|e| (e["action"].as_str().unwrap(), e["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("swap", "verified"), ("swap", "refused"), ("login", "ok"), ("key.relax", "ok"), ("logout", "ok")]
    );
    for entry in entries {
        assert_eq!((&entry["actor"], &entry["address"]), (&json!("ada"), &json!("127.0.0.1")), "{entry}");
        assert!(entry["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{entry}");
    }
    let verified = &entries[4];
    assert_eq!(verified["object"], "task-agent/c1");
    assert_eq!((&verified["before"], &verified["after"]), (&json!(MINI), &json!(MINI)));
    assert!(entries[3]["detail"].as_str().unwrap().contains("no model called openai/nowhere"), "{json}");
    let relax = &entries[1];
    assert_eq!((&relax["before"], &relax["after"]), (&json!(MINI), &json!("all models")));
    let page = app.user().await.get("/audit?logins=1").await;
    assert_eq!(page.all("table#audit tbody tr").len(), 6, "{}", page.text());
}

#[tokio::test]
async fn the_audit_goes_back_page_by_page() {
    let (_dir, database_url) = database::lasting().await;
    let app = TestApp::with(Setup { database_url: Some(database_url.clone()), ..Setup::default() }).await;
    let mut database = sqlx::AnyConnection::connect(&database_url).await.unwrap();
    for number in 0..250 {
        let insert =
            "insert into audit (at, actor, action, object, outcome) values (0, 'x', 'swap', $1, 'ok')";
        sqlx::query(insert).bind(format!("o<{number}>")).execute(&mut database).await.unwrap();
    }
    // Nobody changes what was written.
    for statement in ["update audit set actor = 'y'", "delete from audit"] {
        assert!(sqlx::query(statement).execute(&mut database).await.is_err(), "{statement}");
    }
    let browser = app.user().await;
    let (mut next, mut seen) = (Some("/audit?logins=1".to_owned()), 0);
    while let Some(path) = next {
        let page = browser.get(&path).await;
        seen += page.all("table#audit tbody tr").len();
        assert!(!page.body.contains("o<1"), "an entry is not escaped");
        next = page.attributes("main a.button", "href").into_iter().find(|href| href.contains("before="));
    }
    assert_eq!(seen, 251, "250 and the login");
}

#[tokio::test]
async fn a_restart_keeps_what_was_done() {
    let (_dir, database_url) = database::lasting().await;
    let mut app = TestApp::with(Setup { database_url: Some(database_url.clone()), ..Setup::default() }).await;
    let done = swap(&app, "c1", MINI).await;
    swap(&app, "c1", "openai/nowhere").await;
    let old = app.user().await;
    let before = app.script().get("/audit").await.1;
    app.restart(|_| ()).await;
    let browser = old.moved(&app);
    assert_eq!(app.script().get("/audit").await.1, before);
    let page = browser.get("/contexts").await;
    assert!(page.one("table#contexts tr[data-context=c1]").contains("verified"), "{}", page.text());
    let receipt = format!("/switch?agent=task-agent&context=c1&swap={}", done["id"].as_str().unwrap());
    assert_eq!(browser.get(&receipt).await.outcome(), "verified");
    let page = browser.get("/contexts/task-agent/c1").await;
    assert_eq!(page.all(".timeline li").len(), 2, "{}", page.text());
}

#[tokio::test]
async fn a_swap_that_was_cut_off_is_told_as_unknown() {
    let (_dir, database_url) = database::lasting().await;
    let mut app = TestApp::with(Setup { database_url: Some(database_url.clone()), ..Setup::default() }).await;
    let mut database = sqlx::AnyConnection::connect(&database_url).await.unwrap();
    let insert = "insert into swaps (id, agent, context, actor, model, prompt, steps, outcome, started_at) \
                  values ('01900000-0000-7000-8000-000000000001', 'task-agent', 'cut-off', 'ada', 'openai/gpt-5', \
                  '{\"change\":\"keep\"}', '[]', 'unknown', 1767225600000)";
    sqlx::query(insert).execute(&mut database).await.unwrap();
    app.restart(|_| ()).await;
    let browser = app.user().await;
    let page = browser.get("/").await;
    assert!(page.text().contains("How 1 of the last swaps ended is unknown"), "{}", page.text());
    for link in page.attributes(".timeline a", "href") {
        assert_eq!(browser.get(&link).await.status, StatusCode::OK, "{link}");
    }
    let row = browser.get("/contexts").await.one("table#contexts tr[data-context=cut-off]");
    assert!(row.contains("unknown") && row.contains("by ada"), "{row}");
    let page = browser.get("/contexts/task-agent/cut-off").await;
    assert!(page.text().contains("unknown"), "{}", page.text());
    let path = "/switch?agent=task-agent&context=cut-off&swap=01900000-0000-7000-8000-000000000001";
    let page = browser.get(path).await;
    assert_eq!(page.outcome(), "unknown");
    assert!(page.one("#receipt").contains("Read the context's configuration"), "{}", page.text());
    assert!(!page.has("#receipt form"), "what is not known is not undone with a click");
    // It is told until someone looks.
    assert_eq!(swap(&app, "cut-off", MINI).await["outcome"], "verified");
}
