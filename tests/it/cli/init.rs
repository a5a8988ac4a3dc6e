//! `patchbay init`, and that the other commands work with the file that it writes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use patchbay::domain::env_file;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::{Ended, patchbay, run};
use crate::support::{MASTER_KEY, TestApp, closed_port};

const FILE: &str = "volumes/env/.env";

/// A server as a process of its own.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    async fn start(mut command: Command, health: &str) -> Self {
        let server = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        for _ in 0..200 {
            if run(patchbay(&["healthcheck", "--url", health])).await.code == Some(0) {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{health} does not answer");
    }
}

fn init(dir: &Path, args: &[&str]) -> Command {
    let mut command = patchbay(&[&["init"], args].concat());
    command.current_dir(dir);
    command
}

fn values(dir: &Path) -> std::collections::HashMap<String, String> {
    env_file::parse(&std::fs::read(dir.join(FILE)).unwrap())
}

#[tokio::test]
async fn writes_private_file_with_which_a_dashboard_starts_and_swaps() {
    let app = TestApp::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agents = format!("task-agent={}", app.agent);
    let mut command = init(dir.path(), &["--proxy-url", &app.sandbox, "--agents", &agents]);
    command.env("LITELLM_MASTER_KEY", MASTER_KEY);
    let out = run(command).await.good();
    assert_eq!(out.lines().last(), Some("Next: patchbay serve"), "{out}");
    let values = values(dir.path());
    let password = &values["UI_PASSWORD"];
    assert!(password.len() >= 32 && !out.contains(password) && !out.contains(MASTER_KEY), "{out}");
    let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!((&*values["LITELLM_MASTER_KEY"], &*values["UI_USERNAME"]), (MASTER_KEY, "admin"));

    let bind = closed_port().await.to_string();
    let here = |args: &[&str]| {
        let mut command = patchbay(args);
        command.current_dir(dir.path()).env("PATCHBAY_BIND", &bind).env("PATCHBAY_STATE_DIR", dir.path());
        command
    };
    let swap = ["swap", "--model", "openai/gpt-5-mini", "--context", "c", "--json"];
    {
        let _serve = Server::start(here(&["serve"]), &format!("http://{bind}/readyz")).await;
        let report: Value = serde_json::from_str(&run(here(&swap)).await.good()).unwrap();
        assert_eq!((&report["via"]["kind"], &report["outcome"]), (&"dashboard".into(), &"verified".into()));
        let ask = ["swap", "--message", "Which model?", "--context", "c"];
        let asked = run(here(&ask)).await;
        assert_eq!(asked.out, "Message response: I am gpt-5-mini\nContext ID: c\n", "{}", asked.err);
        assert!(asked.err.contains(&format!("done through the dashboard at http://{bind}")), "{}", asked.err);
        let checked = run(here(&[&swap[..], &["--dry-run"]].concat())).await;
        assert_eq!(checked.code, Some(0), "{}", checked.err);
        let direct = run(here(&[&swap[..], &["--url", &app.agent]].concat())).await;
        let report: Value = serde_json::from_str(&direct.out).unwrap();
        assert_eq!(report["via"]["kind"], "agent");
        assert!(
            direct.err.contains(&format!("sent directly to the agent at {}", app.agent)),
            "{}",
            direct.err
        );
        let stranger = run(here(&[&swap[..], &["--password", "wrong"]].concat())).await;
        assert_eq!(stranger.code, Some(1));
        assert!(stranger.err.contains("refuses the login"), "{}", stranger.err);
    }
    let alone = run(here(&[&swap[..], &["--dry-run"]].concat())).await;
    assert_eq!(alone.code, Some(2));
    assert!(alone.err.contains("--dry-run: this needs a dashboard"), "{}", alone.err);
}

#[tokio::test]
async fn overwrites_only_with_force_and_keeps_values() {
    let dir = tempfile::tempdir().unwrap();
    let given = ["--proxy-url", "http://127.0.0.1:9", "--agents", "a=http://127.0.0.1:9"];
    let out = run(init(dir.path(), &[&given[..], &["--new-master-key"]].concat())).await.good();
    assert!(out.contains("run `patchbay bootstrap` and `patchbay serve`"), "{out}");
    let first = values(dir.path());
    assert!(first["LITELLM_MASTER_KEY"].starts_with("sk-") && first["LITELLM_SALT_KEY"].starts_with("sk-"));
    assert_ne!(first["LITELLM_MASTER_KEY"], first["LITELLM_SALT_KEY"]);

    let again = run(init(dir.path(), &given)).await;
    assert_eq!(again.code, Some(4), "{}", again.out);
    assert!(again.err.contains(FILE) && again.err.contains("--force"), "{}", again.err);
    assert_eq!(values(dir.path()), first);

    let path = dir.path().join(FILE);
    let text = std::fs::read_to_string(&path).unwrap() + "MINE=kept\n";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let out = run(init(dir.path(), &["--force", "--agents", "b=http://127.0.0.1:9", "--json"])).await.good();
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["has_master_key"], &report["next"]), (&true.into(), &"patchbay serve".into()));
    let second = values(dir.path());
    for name in ["LITELLM_MASTER_KEY", "LITELLM_SALT_KEY", "LITELLM_PROXY_URL", "UI_PASSWORD"] {
        assert_eq!(second[name], first[name], "{name}");
        assert!(name == "LITELLM_PROXY_URL" || !out.contains(&first[name]), "{name}");
    }
    assert_eq!((&*second["PATCHBAY_AGENTS"], &*second["MINE"]), ("b=http://127.0.0.1:9", "kept"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn refuses_wrong_values_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (args, part) in [
        (&["--agents", "nonsense"][..], "PATCHBAY_AGENTS"),
        (&["--proxy-url", "ftp://x"], "LITELLM_PROXY_URL"),
        (&["--username", "a:b"], "UI_USERNAME"),
        (&["--new-master-key", "--master-key", "sk-1"], "--new-master-key"),
        (&["--master-key-file", "/nonexistent"], "LITELLM_MASTER_KEY_FILE"),
    ] {
        let ended: Ended = run(init(dir.path(), &[args, &["--host", "127.77.0.1"]].concat())).await;
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.err);
        assert!(ended.err.contains(part), "{args:?}: {}", ended.err);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{args:?}");
    }
}

/// On a loopback address of their own, where nothing else takes the usual ports.
#[tokio::test]
async fn finds_proxy_and_agents_on_the_usual_ports() {
    let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
    let host = format!("127.{}.{b}.{}", 1 + a % 250, 1 + c % 250);
    let dir = tempfile::tempdir().unwrap();
    let server = async |name: &str, port: u16, path: &str| {
        let address = format!("{host}:{port}");
        let mut command = patchbay(&[name, "--bind", &address]);
        command.current_dir(dir.path()).env("PATCHBAY_AGENT_DATABASE_URL", "sqlite::memory:");
        command
            .env("LITELLM_PROXY_URL", "http://127.0.0.1:9")
            .env("TASK_AGENT_API_KEY", "sk-0123456789abcdef");
        Server::start(command, &format!("http://{address}{path}")).await
    };
    let _proxy = server("sandbox", 4000, "/health/liveliness").await;
    let _agent = server("agent", 10900, "/health").await;
    let _other = server("agent", 9999, "/health").await;
    // Any program may listen there: none gets the key.
    let thief = tokio::net::TcpListener::bind((host.as_str(), 10999)).await.unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = thief.accept().await.unwrap();
        let mut request = vec![0; 2000];
        let length = stream.read(&mut request).await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let mut command = init(dir.path(), &["--host", &host, "--yes", "--env-file", "other.env"]);
    command.env("LITELLM_MASTER_KEY", MASTER_KEY);
    run(command).await.good();
    let heard = heard.await.unwrap();
    assert!(heard.starts_with("GET /health") && !heard.contains(MASTER_KEY), "{heard}");
    let out = run(init(dir.path(), &["--host", &host])).await.good();
    assert!(out.contains("Next: write the proxy's admin key into LITELLM_MASTER_KEY in"), "{out}");
    let values = values(dir.path());
    assert_eq!(values["LITELLM_PROXY_URL"], format!("http://{host}:4000"), "{out}");
    let agents: Vec<&str> = values["PATCHBAY_AGENTS"].split(',').collect();
    assert_eq!(agents[0], format!("task-agent=http://{host}:10900/a2a/litellm_agent"), "{out}");
    assert!(agents[1].ends_with(&format!("=http://{host}:9999/a2a/litellm_agent")), "{agents:?}");
    assert!(values["LITELLM_MASTER_KEY"].is_empty() && values["LITELLM_SALT_KEY"].is_empty());
}
