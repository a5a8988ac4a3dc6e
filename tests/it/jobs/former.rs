//! Bulk swaps of the schema before there was one engine for all jobs.

use std::path::Path;

use serde_json::{Value, json};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, AssertSqlSafe, SqlSafeStr as _};

use super::MODEL;
use crate::database;
use crate::support::{Setup, TestApp};

/// Brings an empty database to the schema that it had before migration `before`.
async fn migrate(url: &str, before: i64) -> AnyPool {
    sqlx::any::install_default_drivers();
    let kind = if url.starts_with("sqlite") { "sqlite" } else { "postgres" };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations").join(kind);
    let read = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        let (version, name) = name.strip_suffix(".sql").unwrap().split_once('_').unwrap();
        let statements = AssertSqlSafe(std::fs::read_to_string(file.path()).unwrap()).into_sql_str();
        let (version, name) = (version.parse().unwrap(), name.to_owned());
        Migration::new(version, name.into(), MigrationType::Simple, statements, false)
    };
    let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| read(file.unwrap())).collect();
    all.retain(|migration| migration.version < before);
    all.sort_by_key(|migration| migration.version);
    let url = if kind == "sqlite" { format!("{url}?mode=rwc") } else { url.to_owned() };
    let pool = AnyPool::connect(&url).await.unwrap();
    Migrator::with_migrations(all).run(&pool).await.unwrap();
    pool
}

#[tokio::test]
async fn bulk_swaps_of_the_former_schema_stay_and_go_on() {
    let (_dir, url) = database::lasting().await;
    let pool = migrate(&url, 10).await;
    let job = |id: &str, model: &str, undoes: &str, state: &str, upto: u32, ended: &str| {
        format!(
            "insert into bulk_jobs (id, agent, model, prompt, undoes, actor, address, request_id, state, why, upto, \
             at_once, pace_ms, stop_after, forgiven, started_at, ended_at) values ('{id}', 'task-agent', {model}, \
             '{{\"change\":\"set\",\"text\":\"It''s \\\"new\\\"\"}}', {undoes}, 'bob', '10.0.0.1', 'r1', '{state}', \
             null, {upto}, 3, 0, 5, 1, 1000, {ended})"
        )
    };
    let model = format!("'{MODEL}'");
    // It begins at once: the agent's key may call this one.
    let mini = "'openai/gpt-5-mini'";
    for statement in [
        job("01900000-0000-7000-8000-000000000001", &model, "null", "done", u32::MAX, "2000"),
        job(
            "01900000-0000-7000-8000-000000000002",
            "null",
            "'01900000-0000-7000-8000-000000000001'",
            "asking",
            1,
            "null",
        ),
        job("01900000-0000-7000-8000-000000000003", mini, "null", "running", u32::MAX, "null"),
        "insert into bulk_items (job, n, context, back_to, state, swap, why) values \
         ('01900000-0000-7000-8000-000000000001', 1, 'old', null, 'done', 's1', null), \
         ('01900000-0000-7000-8000-000000000001', 2, 'bad', null, 'failed', null, 'It said no.'), \
         ('01900000-0000-7000-8000-000000000002', 1, 'old', 's1', 'waiting', null, null), \
         ('01900000-0000-7000-8000-000000000003', 1, 'pinned', null, 'skipped', null, 'pinned'), \
         ('01900000-0000-7000-8000-000000000003', 2, 'new', null, 'waiting', null, null)"
            .to_owned(),
        "insert into locks (name, replica, holder) values \
         ('bulk/01900000-0000-7000-8000-000000000003', 'gone', 'bulk'), ('background', 'gone', 'patchbay')"
            .to_owned(),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&pool).await.unwrap();
    }
    pool.close().await;

    let app = TestApp::with(Setup { database_url: Some(url), ..Setup::default() }).await;
    let get =
        async |n: u32| app.script().get(&format!("/bulk/01900000-0000-7000-8000-00000000000{n}")).await.1;
    let done = get(1).await;
    for (field, value) in [
        ("agent", json!("task-agent")),
        ("model", json!(MODEL)),
        ("prompt", json!({ "change": "set", "text": "It's \"new\"" })),
        ("undoes", Value::Null),
        ("state", json!("done")),
        ("by", json!("bob")),
        ("at_once", json!(3)),
        ("stop_after", json!(5)),
        ("started_at", json!("1970-01-01T00:00:01Z")),
        ("ended_at", json!("1970-01-01T00:00:02Z")),
    ] {
        assert_eq!(done[field], value, "{field}: {done}");
    }
    assert_eq!(done["items"][1]["why"], "It said no.");
    let asking = get(2).await;
    assert_eq!((&asking["state"], &asking["undoes"]), (&json!("asking"), &done["id"]), "{asking}");
    let mut running = get(3).await;
    for _ in 0..500 {
        if running["state"] != "running" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        running = get(3).await;
    }
    assert_eq!(running["state"], "done", "{running}");
    assert_eq!(
        (&running["counts"]["done"], &running["counts"]["skipped"]),
        (&json!(1), &json!(1)),
        "{running}"
    );
    let page = app.user().await.get("/bulk/new").await;
    assert!(page.text().contains("task-agent back to what they were on"), "{}", page.text());
}
