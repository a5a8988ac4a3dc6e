//! The host names that `patchbay agent` and `patchbay sandbox` answer to, and what they log.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{patchbay, run};

/// A server as a process of its own.
struct Server {
    port: u16,
    log: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = patchbay(&[name]);
        command.current_dir(dir.path()).env("PATCHBAY_BIND", "127.0.0.1:0").envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let read = tokio::task::spawn_blocking(move || {
            let mut log = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                log.push_str(&line);
                let told: Value = serde_json::from_str(&line).unwrap_or_default();
                if told["message"].as_str().is_some_and(|text| text.ends_with(" listens")) {
                    let address = told["address"].as_str().unwrap();
                    return (log.clone(), address.rsplit(':').next().unwrap().parse().unwrap());
                }
            }
            panic!("it does not start: {log}");
        });
        let (log, port) = read.await.unwrap();
        Self { port, log, child, _dir: dir }
    }

    /// A change, as a page that was loaded by this name would send it.
    async fn change(&self, host: &str, origin: &str) -> StatusCode {
        let http = patchbay::clients::build_http().unwrap();
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": "none"}});
        for path in ["a2a/litellm_agent", "key/generate"] {
            let request = http.post(format!("http://127.0.0.1:{}/{path}", self.port)).json(&body);
            let request =
                request.bearer_auth("sk-sandbox-master").header("host", host).header("origin", origin);
            let status = request.send().await.unwrap().status();
            if status != StatusCode::NOT_FOUND {
                return status;
            }
        }
        panic!("no such path");
    }
}

#[tokio::test]
async fn agent_and_sandbox_refuse_other_names_on_loopback() {
    for (name, hosts, bind) in [
        ("agent", "PATCHBAY_AGENT_HOSTS", "PATCHBAY_AGENT_BIND"),
        ("sandbox", "PATCHBAY_SANDBOX_HOSTS", "PATCHBAY_SANDBOX_BIND"),
    ] {
        // The dashboard's names are not theirs.
        for (variables, evil, listed) in [
            (&[("PATCHBAY_HOSTS", "*")][..], false, false),
            (&[(hosts, "task-agent, fuzzforge-task-agent:8000")], false, true),
            (&[(hosts, "*")], true, true),
            // In a compose network.
            (&[(bind, "0.0.0.0:0")], true, true),
        ] {
            let server = Server::start(name, variables).await;
            let local = format!("localhost:{}", server.port);
            for (host, is_good) in [
                ("evil.example", evil),
                ("fuzzforge-task-agent:8000", listed),
                (&*local, true),
                ("127.0.0.1", true),
            ] {
                let status = server.change(host, &format!("http://{host}")).await;
                let refused = status == StatusCode::MISDIRECTED_REQUEST;
                assert_eq!(refused, !is_good, "{name} {variables:?} {host}: {status}");
                assert!(refused || status.is_success(), "{name} {host}: {status}");
            }
            assert_eq!(server.change(&local, "http://evil.example").await, StatusCode::FORBIDDEN, "{name}");
        }
    }
}

#[tokio::test]
async fn the_agent_logs_no_passwords() {
    let variables = [
        ("LITELLM_PROXY_URL", "http://127.0.0.1:9/x"),
        ("PATCHBAY_AGENT_DATABASE_URL", "sqlite::memory:"),
        ("PATCHBAY_AGENT_TOKEN", "s3cret-token"),
        ("TASK_AGENT_API_KEY", "sk-s3cret-000000000"),
        ("RUST_LOG", "trace"),
    ];
    let server = Server::start("agent", &variables).await;
    assert!(server.log.contains("127.0.0.1:9") && !server.log.contains("s3cret"), "{}", server.log);
    for proxy in [
        "http://u:s3cret@127.0.0.1:9",
        "http://u:s3cret#x@127.0.0.1:9",
        "http://u:123/s3cret@127.0.0.1:9",
        "http://u:123?s3cret@h",
    ] {
        let mut command = patchbay(&["agent"]);
        command.env("PATCHBAY_BIND", "127.0.0.1:0").env("LITELLM_PROXY_URL", proxy).env("RUST_LOG", "trace");
        command.env("PATCHBAY_AGENT_DATABASE_URL", "sqlite::memory:");
        let ended = run(command).await;
        assert!(
            ended.err.contains("LITELLM_PROXY_URL") && !ended.err.contains("s3cret"),
            "{proxy}: {}",
            ended.err
        );
    }
}
