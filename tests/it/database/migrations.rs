//! A database of every former schema, with rows that its release wrote, is brought up to date.
//!
//! A new migration adds the rows that it makes possible to [`FORMER`], and what must be left of them to [`FACTS`].

use std::path::Path;

use patchbay::domain::audit::Filter;
use patchbay::domain::control::AgentConfig;
use patchbay::store::{KeyRequest, Store};
use patchbay_clock::Clock;
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, Connection as _};

/// By the version of a schema: rows that only it and later ones can hold, in the SQL of both databases.
const FORMER: [(i64, &str); 12] = [
    (
        1,
        r#"insert into sessions (id_hash, data, expires_at) values ('abc', '{}', 4102444800000);
        insert into swaps (id, agent, context, actor, model, prompt, config_before, config_after, steps, proof,
            outcome, started_at, finished_at) values ('01900000-0000-7000-8000-000000000001', 'task-agent', 'c1',
            'ada', 'openai/gpt-5', '{"change":"set","text":"Be brief."}',
            '{"provider":null,"model":"gpt-5-mini","prompt":null}',
            '{"provider":"openai","model":"gpt-5","prompt":"Be brief."}', '[]', null, 'verified', 1000, 2000);
        insert into contexts (agent, context, config, read_at, last_swap) values ('task-agent', 'c1',
            '{"provider":"openai","model":"gpt-5","prompt":"Be brief."}', 2000,
            '01900000-0000-7000-8000-000000000001');
        insert into agents (name, scope, seen_at) values ('task-agent', 'context', 1000);
        insert into audit (at, actor, action, object, outcome) values (1000, 'ada', 'swap', 'task-agent/c1', 'verified')"#,
    ),
    (
        2,
        "insert into key_retirements (hash, action, due_at, actor, replaced_by, asked_at) values
            ('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'block', 5000, 'ada',
            'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 1000)",
    ),
    (
        3,
        r#"update contexts set label = 'Nightly', pinned = 1, keep = 0, selected = config;
        insert into asks (id, agent, context, actor, proof, at) values ('01900000-0000-7000-8000-000000000002',
            'task-agent', 'c1', 'ada', '{"message":"Hi","answer":"Hello","elapsed_ms":5}', 3000);
        insert into reverts (agent, context, swap, due_at) values ('task-agent', 'c1',
            '01900000-0000-7000-8000-000000000001', 6000)"#,
    ),
    (
        4,
        r#"insert into deployments (id, name, refs, ghost, ghost_why, tested_at, tested_by, test_ok, test_ms,
            test_model, test_text) values ('d1', 'gpt-5', '{"api_key":"os.environ/KEY"}',
            '{"params":{"model":"openai/gpt-5"},"info":{}}', 'not live', 1000, 'ada', 1, 2.5, 'gpt-5', 'OK')"#,
    ),
    (5, "update contexts set served = 'openai/gpt-5', served_at = 3000"),
    (
        7,
        "insert into replicas (id, seen_at) values ('gone', 0);
        insert into locks (name, replica, holder) values ('task-agent/c2', 'gone', 'ada');
        insert into swaps (id, agent, context, actor, prompt, steps, outcome, started_at, replica) values
            ('01900000-0000-7000-8000-000000000003', 'task-agent', 'c2', 'ada', '{\"change\":\"keep\"}', '[]',
            'unknown', 4000, 'gone')",
    ),
    (
        8,
        "insert into bulk_jobs (id, agent, model, prompt, actor, state, upto, at_once, pace_ms, stop_after,
            started_at, ended_at) values ('01900000-0000-7000-8000-000000000004', 'task-agent', 'openai/gpt-5',
            '{\"change\":\"keep\"}', 'ada', 'done', 2, 1, 0, 0, 1000, 2000);
        insert into bulk_items (job, n, context, state, swap, why) values
            ('01900000-0000-7000-8000-000000000004', 1, 'c1', 'done', '01900000-0000-7000-8000-000000000001', null),
            ('01900000-0000-7000-8000-000000000004', 2, 'c2', 'failed', null, 'busy')",
    ),
    (
        9,
        "insert into writes (id, replica, begun_at, actor, action, object, detail) values
            ('01900000-0000-7000-8000-000000000005', 'gone', 1000, 'ada', 'key.block', 'k', 'key mine')",
    ),
    (
        12,
        "insert into key_requests (token, hash, at) values ('0123456789abcdef0123456789abcdef',
            'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 4102444800000)",
    ),
    (
        14,
        "insert into people (name, source, email, role, login_at, seen_at) values
            ('grace', 'header', 'grace@example.org', 'operator', 1000, 2000);
        insert into access_tokens (id, hash, label, owner, source, role, created_at, expires_at) values
            ('01900000-0000-7000-8000-000000000006', 'abc', 'nightly', 'grace', 'header', 'viewer', 1000,
            4102444800000)",
    ),
    (
        15,
        r#"insert into alerts (id, kind, payload, created_at, next_at, attempts, problem) values
            ('01900000-0000-7000-8000-000000000007', 'down', '{"id":"01900000-0000-7000-8000-000000000007",
            "kind":"down","at":"2026-01-01T00:00:00Z","object":"proxy","actor":"patchbay","outcome":"failed",
            "text":"down"}', 1000, 1000, 3, 'it answered 500');
        insert into alert_progress (only_row, audit_id, kinds) values (1, 1, 'down,drift');
        insert into health (name, is_up, since) values ('proxy', 0, 1000)"#,
    ),
    (
        17,
        "insert into adopted_agents (name, gateway_id, key_variable, adopted_at) values
            ('helper', 'g1', 'HELPER_KEY', 1000)",
    ),
];

async fn all(database: &str) -> Migrator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations").join(database);
    Migrator::new(folder).await.unwrap()
}

/// Brings an empty database to the schema `version`, with the rows of each release up to it.
async fn former(url: &str, version: i64) {
    sqlx::any::install_default_drivers();
    let (folder, options) =
        if url.starts_with("sqlite") { ("sqlite", "?mode=rwc") } else { ("postgres", "") };
    let mut connection = AnyConnection::connect(&format!("{url}{options}")).await.unwrap();
    let all = all(folder).await;
    for at in 1..=version {
        let upto = all.iter().filter(|migration| migration.version <= at).cloned().collect::<Vec<_>>();
        Migrator::with_migrations(upto).run(&mut connection).await.unwrap();
        for (_, rows) in FORMER.iter().filter(|(version, _)| *version == at) {
            sqlx::raw_sql(*rows).execute(&mut connection).await.unwrap();
        }
    }
    connection.close().await.unwrap();
}

/// By the version of a schema: what today's release reads of its rows.
const FACTS: [(i64, &str); 17] = [
    (1, "verified, from gpt-5-mini to openai/gpt-5"),
    (1, "scope context"),
    (1, "audited task-agent/c1"),
    (2, "to block"),
    (3, "labelled Nightly"),
    (3, "answered Hello"),
    (3, "reverts 01900000-0000-7000-8000-000000000001"),
    (4, "not live, tested in 2.5 ms"),
    (5, "served openai/gpt-5"),
    (7, "unfinished swaps: 1"),
    (9, "unfinished changes: 1"),
    (12, "form made a key: true"),
    (14, "grace by header as operator"),
    (14, "token of grace (token nightly)"),
    (15, "due after 3 attempts: down"),
    (15, "alerts on 2 kinds"),
    (17, "adopted helper as g1, by HELPER_KEY"),
];

async fn facts(store: &Store) -> Vec<String> {
    let (agent, context) = ("task-agent".parse().unwrap(), "c1".parse().unwrap());
    let swap = store.swap("01900000-0000-7000-8000-000000000001").await.unwrap().unwrap();
    let [before, after] =
        [swap.before, swap.after].map(|config: Option<AgentConfig>| config.unwrap().spec_text());
    let known = store.context(&agent, &context).await.unwrap().unwrap();
    let (scope, _) = store.noted(&agent).await.unwrap().scope.unwrap();
    let audited = store.audit_entries(&Filter::default(), None, 9).await.unwrap().remove(0);
    let mut facts = vec![
        format!("{}, from {before} to {after}", swap.outcome.as_str()),
        format!("scope {}", scope.as_str()),
        format!("audited {}", audited.object),
    ];
    facts.extend(store.due_retirements().await.unwrap().iter().map(|due| format!("to {}", due.action)));
    facts.extend(known.label.map(|label| format!("labelled {label}")));
    facts.extend(
        store
            .asks_of(&agent, &context)
            .await
            .unwrap()
            .iter()
            .map(|ask| format!("answered {}", ask.proof.answer)),
    );
    facts.extend(store.due_reverts().await.unwrap().iter().map(|due| format!("reverts {}", due.swap)));
    facts.extend(
        store
            .deployment_note("d1")
            .await
            .unwrap()
            .map(|note| format!("{}, tested in {} ms", note.ghost.unwrap().why, note.test.unwrap().ms)),
    );
    facts.extend(known.served.map(|served| format!("served {}", served.model)));
    let swaps = store.close_unfinished_swaps().await.unwrap();
    let changes = store.close_unfinished_writes().await.unwrap();
    facts.extend((swaps > 0).then(|| format!("unfinished swaps: {swaps}")));
    facts.extend((changes > 0).then(|| format!("unfinished changes: {changes}")));
    let request = store.begin_key_request("0123456789abcdef0123456789abcdef").await.unwrap();
    facts.extend(matches!(request, KeyRequest::Sent(Some(_))).then(|| "form made a key: true".to_owned()));
    facts.extend(store.person("grace").await.unwrap().map(|person| {
        format!("{} by {} as {}", person.name, person.source.as_str(), person.role.unwrap().as_str())
    }));
    facts
        .extend(store.token_of_hash("abc").await.unwrap().map(|token| format!("token of {}", token.actor())));
    facts.extend(
        store
            .due_alerts(9)
            .await
            .unwrap()
            .iter()
            .map(|due| format!("due after {} attempts: {}", due.attempts, due.alert.text)),
    );
    facts.extend(store.alert_kinds().await.unwrap().map(|kinds| format!("alerts on {} kinds", kinds.len())));
    facts.extend(store.adopted_agents().await.unwrap().into_iter().map(|agent| {
        format!("adopted {} as {}, by {}", agent.name, agent.gateway_id, agent.key_variable.unwrap())
    }));
    facts
}

#[tokio::test]
async fn a_database_of_each_former_schema_is_brought_up_to_date_with_its_rows() {
    let latest = all("sqlite").await.iter().map(|migration| migration.version).max().unwrap();
    assert_eq!(all("postgres").await.iter().count(), all("sqlite").await.iter().count());
    for version in 1..=latest {
        let (_dir, url) = super::lasting().await;
        former(&url, version).await;
        let store = Store::open(&url, Clock::system()).await.unwrap();
        let expected: Vec<_> = FACTS.iter().filter(|(at, _)| *at <= version).map(|(_, fact)| *fact).collect();
        assert_eq!(facts(&store).await, expected, "from schema {version}");
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        let run: Vec<i64> = sqlx::query_scalar("select version from _sqlx_migrations order by version")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        assert_eq!(run, (1..=latest).collect::<Vec<_>>(), "a migration is not in src/store/database.rs");
        // Kept by the triggers of the first schema and of the sixth.
        for statement in ["update audit set actor = 'x'", "delete from audit"] {
            assert!(sqlx::query(statement).execute(&mut connection).await.is_err(), "{statement}");
        }
        store.close().await;
    }
}

/// Nothing in it is changed: the release that made it opens it again.
#[tokio::test]
async fn refuses_database_of_newer_release() {
    let (_dir, url) = super::lasting().await;
    Store::open(&url, Clock::system()).await.unwrap().close().await;
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    let change = "update _sqlx_migrations set version = 9999 where version = (select max(version) from _sqlx_migrations)";
    sqlx::query(change).execute(&mut connection).await.unwrap();
    let error = Store::open(&url, Clock::system()).await.err().unwrap().to_string();
    for part in ["PATCHBAY_DATABASE_URL", "newer release", "schema 9999"] {
        assert!(error.contains(part), "{error}");
    }
}

/// As docs/deployment.md has it, while a dashboard runs.
#[tokio::test]
async fn copy_of_sqlite_database_in_use_is_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite://{}", dir.path().join(name).display());
    // The last schema of release 0.1.0.
    former(&url("patchbay.db"), 9).await;
    let running = Store::open(&url("patchbay.db"), Clock::system()).await.unwrap();
    let mut connection = AnyConnection::connect(&url("patchbay.db")).await.unwrap();
    let statement = format!("vacuum into '{}'", dir.path().join("backup.db").display());
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    let expected = facts(&running).await;
    let restored = Store::open(&url("backup.db"), Clock::system()).await.unwrap();
    assert_eq!(facts(&restored).await, expected);
    assert!(expected.len() >= 10, "{expected:?}");
}
