//! Killed at any moment, on a full disk, on one that cannot be written, with a clock that jumps: the database
//! opens, and audit and swaps tell the same story.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use patchbay_agent as agent;
use patchbay_clock::Clock;
use patchbay_sandbox::{self as sandbox, Database, Generation, World};
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _, Row as _};
use tokio::task::JoinSet;

use super::dashboard::{AGENT_KEY, Dashboard};
use crate::support::{MASTER_KEY, agent_options, client, spawn};

/// Kills of one drill.
pub(super) const KILLS: usize = 200;

/// A sandbox and an agent that outlive the dashboards.
pub(super) struct Servers {
    pub(super) proxy: String,
    pub(super) agent: String,
    _world: World,
    _guards: [tokio_util::sync::DropGuard; 2],
}

impl Servers {
    /// Hash and alias of each key that the proxy has, without the agent's.
    async fn keys(&self) -> Vec<(String, String)> {
        let http = client(reqwest::redirect::Policy::none());
        let mut keys = Vec::new();
        for page in 1.. {
            let url = format!("{}/key/list?return_full_object=true&size=100&page={page}", self.proxy);
            let answer: Value =
                http.get(url).bearer_auth(MASTER_KEY).send().await.unwrap().json().await.unwrap();
            let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
            let rows = answer["keys"].as_array().unwrap();
            keys.extend(rows.iter().map(|key| (text(key, "token"), text(key, "key_alias"))));
            if rows.is_empty() || page >= answer["total_pages"].as_i64().unwrap() {
                break;
            }
        }
        keys.retain(|(_, alias)| alias != "task-agent");
        keys
    }
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

async fn open(url: &str) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url).await.unwrap()
}

async fn count(db: &mut AnyConnection, statement: &'static str) -> i64 {
    sqlx::query(statement).fetch_one(db).await.unwrap().get(0)
}

/// What must hold of a database that was left in the middle of anything, once a dashboard runs on it again: how
/// many swaps there are, and how many of them are unknown.
pub(super) async fn check(url: &str) -> (i64, i64) {
    let mut db = open(url).await;
    if url.starts_with("sqlite") {
        let whole: String = sqlx::query("pragma integrity_check").fetch_one(&mut db).await.unwrap().get(0);
        assert_eq!(whole, "ok");
    }
    let begun =
        "select (select count(*) from swaps where finished_at is null) + (select count(*) from writes)";
    let since = Instant::now();
    // With Postgres the killed one has to be unheard of for a while.
    while count(&mut db, begun).await > 0 {
        assert!(since.elapsed() < Duration::from_secs(40), "something counts as under way");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let swaps = count(&mut db, "select count(*) from swaps").await;
    let audited = count(&mut db, "select count(*) from audit where action = 'swap'").await;
    assert_eq!(swaps, audited, "each swap has its audit entry, and each entry its swap");
    let unknown = count(&mut db, "select count(*) from swaps where outcome = 'unknown'").await;
    let told =
        count(&mut db, "select count(*) from audit where action = 'swap' and outcome = 'unknown'").await;
    assert_eq!(unknown, told);
    (swaps, unknown)
}

/// Of each key that was made: its hash, or of one whose making was cut short its alias.
pub(super) async fn audited(url: &str) -> Vec<String> {
    let rows = sqlx::query("select object from audit where action = 'key.create'");
    rows.fetch_all(&mut open(url).await).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// A number below `most`, from the system's random source by way of a UUID.
pub(super) fn below(most: u64) -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 % most
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn a_dashboard_that_is_killed_anywhere_opens_its_database_and_tells_what_it_does_not_know() {
    let servers = servers().await;
    let (_dir, database) = crate::database::lasting().await;
    for _ in 0..KILLS {
        let dashboard = Dashboard::start(&servers.proxy, &servers.agent, &database, &[]).await.unwrap();
        let mut workers = JoinSet::new();
        for worker in 0..6 {
            workers.spawn(work(dashboard.script(), worker));
        }
        tokio::time::sleep(Duration::from_millis(100 + below(900))).await;
        assert!(!dashboard.log().contains("panicked"), "{}", dashboard.log());
        drop(dashboard);
        workers.join_all().await;
    }
    let dashboard = Dashboard::start(&servers.proxy, &servers.agent, &database, &[]).await.unwrap();
    let (swaps, unknown) = check(&database).await;
    assert!(swaps > 0);
    let told: HashSet<String> = audited(&database).await.into_iter().collect();
    let keys = servers.keys().await;
    for (hash, alias) in &keys {
        assert!(told.contains(hash) || told.contains(alias), "the key {alias} is missing in the audit");
    }
    let cut = keys.iter().filter(|(hash, _)| !told.contains(hash)).count();
    let made = keys.len();
    eprintln!("killed {KILLS} times: {swaps} swaps, {unknown} cut short; {made} keys, {cut} cut short");
    drop(dashboard);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_finishes_the_swap_that_runs() {
    let servers = servers().await;
    let (_dir, database) = crate::database::lasting().await;
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
    let mut db = open(&database).await;
    for _ in 0..500 {
        if count(&mut db, "select count(*) from swaps").await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    db.close().await.unwrap();
    let status = dashboard.stop(Duration::from_secs(40)).await.unwrap();
    assert!(status.success(), "{status}: {}", dashboard.log());
    assert_eq!(check(&database).await, (1, 0), "{}", dashboard.log());
    let (status, receipt) = swap.await.unwrap().expect("the receipt is still delivered");
    assert_eq!((status.as_u16(), receipt["outcome"].as_str()), (200, Some("proven")), "{receipt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_or_cannot_be_written_is_said() {
    let servers = servers().await;
    let dir = tempfile::tempdir().unwrap();
    // Nothing to write to.
    let error = Dashboard::start(&servers.proxy, &servers.agent, "sqlite:///proc/nowhere/p.db", &[]).await;
    let said = error.err().expect("it does not start");
    assert!(
        said.contains("PATCHBAY_DATABASE_URL")
            && said.contains("/proc/nowhere")
            && !said.contains("panicked"),
        "{said}"
    );

    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let Some(_mounted) = Mounted::small(&disk) else {
        eprintln!("skipped: no small disk can be mounted here");
        return;
    };
    let database = format!("sqlite://{}", disk.join("patchbay.db").display());
    let dashboard = Dashboard::start(&servers.proxy, &servers.agent, &database, &[]).await.unwrap();
    let (browser, script) = (dashboard.user().await, dashboard.script());
    let filler = disk.join("filler");
    // Ends with the room.
    let _ = std::fs::write(&filler, vec![0; 64 * 1024 * 1024]);
    let mut refused = None;
    for n in 0..200 {
        let context = format!("c{n}");
        let form = [("agent", "task-agent"), ("context", &*context), ("model", "openai/gpt-5")];
        let (status, said) = script.post("/switch", &form).await;
        if status == 500 || status == 503 {
            refused = Some((context, said));
            break;
        }
    }
    let (context, said) = refused.expect("the disk is full");
    assert!(said["error"]["title"].as_str().is_some_and(|title| title.contains("database")), "{said}");
    assert!(said["error"]["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{said}");
    // What only reads goes on.
    for path in ["/models", "/contexts", "/audit", "/healthz"] {
        assert_eq!(browser.get(path).await.status, 200, "{path}");
    }
    // With room again all goes on, without a new start.
    std::fs::remove_file(&filler).unwrap();
    let form = [("agent", "task-agent"), ("context", &*context), ("model", "openai/gpt-5-mini")];
    assert_eq!(script.post("/switch", &form).await.0, 200);
    assert!(!dashboard.log().contains("panicked"), "{}", dashboard.log());
    let log = dashboard.log();
    drop(dashboard);
    drop(Dashboard::start(&servers.proxy, &servers.agent, &database, &[]).await.unwrap());
    check(&database).await;
    assert!(log.contains("full"), "the cause is in the log: {log}");
}

/// A disk of 2 MiB in memory.
struct Mounted(std::path::PathBuf);

impl Mounted {
    /// None where the system does not let us.
    fn small(at: &std::path::Path) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(at).stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Timestamps must not decide what was first: a clock that is put back and forth loses and hides nothing.
#[tokio::test]
async fn a_clock_that_jumps_loses_nothing() {
    let ahead = crate::swaps::Ahead::default();
    let setup = crate::support::Setup { clock: ahead.clock(), ..crate::support::Setup::default() };
    let app = crate::support::TestApp::with(setup).await;
    let script = app.script();
    let models = ["openai/gpt-5-mini", "openai/gpt-5-mini"];
    for (n, jump) in [0, -86_400, 2 * 86_400, -10 * 365 * 86_400, 11 * 365 * 86_400].into_iter().enumerate() {
        ahead.by(jump);
        let form = [("agent", "task-agent"), ("context", "c1"), ("model", models[n % 2])];
        let (status, receipt) = script.post("/switch", &form).await;
        assert_eq!(
            (status.as_u16(), receipt["outcome"].as_str()),
            (200, Some("verified")),
            "{jump}: {receipt}"
        );
        let browser = app.user().await;
        for path in
            ["/", "/models", "/keys", "/contexts", "/contexts/task-agent/c1", "/agents/task-agent", "/audit"]
        {
            assert_eq!(browser.get(path).await.status, 200, "{path} after a jump of {jump} s");
        }
    }
    let (_, audit) = script.get("/audit").await;
    let swaps = audit["entries"].as_array().unwrap().iter().filter(|entry| entry["action"] == "swap").count();
    assert_eq!(swaps, 5, "{audit}");
}
