//! Killed at any moment, on a full disk, on one that cannot be written, with a clock that jumps: the database
//! opens, and audit and swaps tell the same story.

use std::time::Duration;

use patchbay::agent;
use patchbay::domain::clock::Clock;
use patchbay::sandbox::{self, Database, Generation, World};
use secrecy::SecretString;
use serde_json::json;
use sqlx::{Connection as _, Row as _};
use tokio::task::JoinSet;

use super::dashboard::{AGENT_KEY, Dashboard};
use super::is_long;
use crate::support::{MASTER_KEY, agent_options, client, spawn};

/// A sandbox and an agent that outlive the dashboards.
pub(super) struct Servers {
    pub(super) proxy: String,
    pub(super) agent: String,
    _world: World,
    _guards: [tokio_util::sync::DropGuard; 2],
}

pub(super) async fn servers() -> Servers {
    let world = World::new(sandbox::Options {
        master_key: SecretString::from(MASTER_KEY),
        generation: Generation::V1_109,
        database: Database::Up,
        clock: Clock::system(),
        config_models: Vec::new(),
    });
    let (address, sandbox_guard) = spawn(sandbox::router(world.clone())).await;
    let proxy = format!("http://{address}");
    let http = client(reqwest::redirect::Policy::none());
    let call = |path: &str, body: serde_json::Value| {
        let request = http.post(format!("{proxy}{path}")).bearer_auth(MASTER_KEY).json(&body);
        async move { assert!(request.send().await.unwrap().status().is_success()) }
    };
    for model in ["gpt-5", "gpt-5-mini"] {
        let params = json!({ "model": model, "custom_llm_provider": "openai", "api_key": "os.environ/X" });
        call("/model/new", json!({ "model_name": format!("openai/{model}"), "litellm_params": params }))
            .await;
    }
    call("/key/generate", json!({ "key": AGENT_KEY, "key_alias": "task-agent" })).await;
    let options = agent_options(&proxy, &SecretString::from(AGENT_KEY));
    let (address, agent_guard) = spawn(agent::router(options).unwrap()).await;
    let agent = format!("http://{address}/a2a/litellm_agent");
    Servers { proxy, agent, _world: world, _guards: [sandbox_guard, agent_guard] }
}

/// Swaps and edits, one after the other, until the dashboard is gone.
async fn work(script: crate::support::Script, worker: usize) {
    for n in 0.. {
        let context = format!("c{worker}");
        let model = ["openai/gpt-5", "openai/gpt-5-mini"][n % 2];
        let alias = format!("k{worker}-{n}-{}", uuid::Uuid::new_v4().simple());
        let form = [("agent", "task-agent"), ("context", &context), ("model", model)];
        let done = match n % 3 {
            0 => script.try_post("/keys", &[("alias", &alias), ("access", "all")]).await,
            1 => script.try_post("/contexts/task-agent/c1/describe", &[("label", &alias)]).await,
            _ => script.try_post("/switch", &form).await,
        };
        if done.is_none() {
            return;
        }
    }
}

/// What must hold of a database that was left in the middle of anything, after the next start.
pub(super) async fn check(file: &std::path::Path) -> (i64, i64) {
    let url = format!("sqlite://{}", file.display());
    let mut db = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let whole: String = sqlx::query("pragma integrity_check").fetch_one(&mut db).await.unwrap().get(0);
    assert_eq!(whole, "ok");
    let mut count = async |statement: &'static str| -> i64 {
        sqlx::query(statement).fetch_one(&mut db).await.unwrap().get(0)
    };
    assert_eq!(count("select count(*) from swaps where finished_at is null").await, 0, "swaps under way");
    let swaps = count("select count(*) from swaps").await;
    let audited = count("select count(*) from audit where action = 'swap'").await;
    assert_eq!(swaps, audited, "each swap has its audit entry, and each entry its swap");
    let unknown = count("select count(*) from swaps where outcome = 'unknown'").await;
    let told = count("select count(*) from audit where action = 'swap' and outcome = 'unknown'").await;
    assert_eq!(unknown, told);
    (swaps, unknown)
}

/// How often the audit tells of an action.
pub(super) async fn audited(file: &std::path::Path, action: &str) -> i64 {
    let mut db = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let count = sqlx::query("select count(*) from audit where action = $1").bind(action);
    count.fetch_one(&mut db).await.unwrap().get(0)
}

/// A number below `most`, from the system's random source by way of a UUID.
pub(super) fn below(most: u64) -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 % most
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_that_is_killed_anywhere_opens_its_database_and_tells_what_it_does_not_know() {
    let servers = servers().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("patchbay.db");
    let database = format!("sqlite://{}", file.display());
    let (mut swaps, mut unknown) = (0, 0);
    for _ in 0..if is_long() { 200 } else { 12 } {
        let dashboard = Dashboard::start(&servers.proxy, &servers.agent, &database, &[]).await.unwrap();
        (swaps, unknown) = check(&file).await;
        let mut workers = JoinSet::new();
        for worker in 0..6 {
            workers.spawn(work(dashboard.script(), worker));
        }
        tokio::time::sleep(Duration::from_millis(100 + below(900))).await;
        assert!(!dashboard.log().contains("panicked"), "{}", dashboard.log());
        drop(dashboard);
        workers.join_all().await;
    }
    eprintln!("{swaps} swaps, {unknown} of them cut short");
    assert!(swaps > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_finishes_the_swap_that_runs() {
    let servers = servers().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("patchbay.db");
    let database = format!("sqlite://{}", file.display());
    let mut dashboard = Dashboard::start(&servers.proxy, &servers.agent, &database, &[]).await.unwrap();
    let script = dashboard.script();
    let form = [
        ("agent", "task-agent"),
        ("context", "c1"),
        ("model", "openai/gpt-5"),
        ("message", "SLEEP=2 Who are you?"),
    ];
    let swap = tokio::spawn(async move { script.try_post("/switch", &form).await });
    // The question is under way once the swap is in the database.
    let url = format!("sqlite://{}", file.display());
    let mut db = sqlx::SqliteConnection::connect(&url).await.unwrap();
    for _ in 0..500 {
        let begun: i64 = sqlx::query("select count(*) from swaps").fetch_one(&mut db).await.unwrap().get(0);
        if begun > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    db.close().await.unwrap();
    let status = dashboard.stop(Duration::from_secs(40)).await.unwrap();
    assert!(status.success(), "{status}: {}", dashboard.log());
    assert_eq!(check(&file).await, (1, 0), "{}", dashboard.log());
    let (status, receipt) = swap.await.unwrap().expect("the receipt is still delivered");
    assert_eq!((status.as_u16(), receipt["outcome"].as_str()), (200, Some("proven")), "{receipt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_or_cannot_be_written_is_said() {
    let servers = servers().await;
    let dir = tempfile::tempdir().unwrap();
    let database = |name: &str| format!("sqlite://{}", dir.path().join(name).display());
    // Nothing to write to.
    let error = Dashboard::start(&servers.proxy, &servers.agent, "sqlite:///proc/nowhere/p.db", &[]).await;
    let said = error.err().expect("it does not start");
    assert!(said.contains("the database") && !said.contains("panicked"), "{said}");

    // A file that may not grow any more, as on a full disk.
    let dashboard =
        Dashboard::start(&servers.proxy, &servers.agent, &database("full.db"), &[]).await.unwrap();
    let browser = dashboard.user().await;
    let limit = std::process::Command::new("prlimit")
        .args([format!("--pid={}", dashboard.pid()), "--fsize=1".to_owned()])
        .status();
    if !limit.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no prlimit here");
        return;
    }
    let script = dashboard.script();
    let form = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5")];
    let (status, said) = script.post("/switch", &form).await;
    assert_eq!(status, 500, "{said}");
    assert!(said["error"]["title"].as_str().is_some_and(|title| title.contains("database")), "{said}");
    // What only reads goes on, and nothing was sent to the agent that could not be written down.
    assert_eq!(browser.get("/models").await.status, 200);
    let (_, contexts) = script.get("/contexts").await;
    assert!(contexts["contexts"].as_array().unwrap().is_empty(), "{contexts}");
    assert_eq!(crate::support::Browser::new(&dashboard.base).get("/healthz").await.status, 200);
    assert!(!dashboard.log().contains("panicked"), "{}", dashboard.log());
}
