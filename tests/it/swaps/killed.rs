//! Patchbay itself, killed in the middle of a swap: afterwards the swap is neither forgotten nor called done.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use reqwest::redirect::Policy;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::relax;
use crate::cli::patchbay;
use crate::database;
use crate::support::{MASTER_KEY, PASSWORD, Script, Setup, TestApp, USER, client};
use crate::web::fakes::{FakeAgent, Manner};

/// The real binary; dropped, it is killed as `kill -9` does.
struct Process {
    child: Child,
    base: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    async fn start(app: &TestApp, agent: &FakeAgent, database: &str) -> Self {
        let mut command = patchbay(&["serve"]);
        command.env("PATCHBAY_BIND", "127.0.0.1:0").env("PATCHBAY_DATABASE_URL", database);
        command.env("LITELLM_PROXY_URL", &app.sandbox).env("LITELLM_MASTER_KEY", MASTER_KEY);
        command.env("PATCHBAY_AGENTS", format!("task-agent={}", agent.url));
        command.env("TASK_AGENT_API_KEY", app.agent_key.expose_secret());
        command.env("UI_USERNAME", USER).env("UI_PASSWORD", PASSWORD).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (found, address) = tokio::sync::oneshot::channel();
        // Reads on, so that it can log on.
        std::thread::spawn(move || {
            let mut found = Some(found);
            for line in stderr.lines().map_while(Result::ok) {
                let told = line.split_once("the dashboard is at ").map(|(_, rest)| rest);
                if let (Some(base), true) = (told, found.is_some()) {
                    let base: String = base.chars().take_while(|c| *c != '"' && !c.is_whitespace()).collect();
                    let _ = found.take().unwrap().send(base);
                }
            }
        });
        Self { child, base: address.await.expect("it starts") }
    }
}

#[tokio::test]
async fn killed_between_control_and_read_back_a_swap_is_unknown_and_shown_as_such() {
    let agent = FakeAgent::start(Manner::Good).await;
    let app = TestApp::with(Setup { agent: Some(agent.url.clone()), ..Setup::default() }).await;
    relax(&app).await;
    let (_dir, database) = database::lasting().await;
    let process = Process::start(&app, &agent, &database).await;
    let (reached, switched) = tokio::sync::oneshot::channel();
    let misbehaving = agent.clone();
    // The control message is obeyed; the read-back never comes.
    agent.when("[HOTSWAP:MODEL", move || {
        misbehaving.set_for("[HOTSWAP:GET_CONFIG", Manner::Hangs);
        let _ = reached.send(());
    });
    let switch = format!("{}/switch", process.base);
    let form = [("agent", "task-agent"), ("context", "one"), ("model", "openai/gpt-5")];
    let asking = tokio::spawn(async move {
        client(Policy::none()).post(switch).basic_auth(USER, Some(PASSWORD)).form(&form).send().await
    });
    switched.await.unwrap();
    // The answer to the control message may still be on its way.
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(process);
    assert!(asking.await.unwrap().is_err(), "nothing was told");
    assert_eq!(agent.model(), "openai/gpt-5");

    agent.set(Manner::Good);
    let process = Process::start(&app, &agent, &database).await;
    let script = Script::new(&process.base);
    // On Postgres another replica might run it: that one has to be unheard of for a while.
    let ended = async {
        loop {
            let (_, context) = script.get("/contexts/task-agent/one").await;
            if context["swaps"][0]["finished_at"].is_string() {
                return context;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let context = tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it is not under way");
    let swap = &context["swaps"][0];
    assert_eq!(
        (&swap["outcome"], &swap["model"]),
        (&json!("unknown"), &json!("openai/gpt-5")),
        "{context:#}"
    );
    // Reading tells where it is, and the next swap goes on from there.
    let (_, config) = script.post("/contexts/task-agent/one/refresh", &[]).await;
    assert_eq!(config["model"], "gpt-5");
    let (_, again) = script.post("/switch", &form).await;
    assert_eq!(
        (&again["outcome"], &again["before"]["model"]),
        (&json!("verified"), &json!("gpt-5")),
        "{again:#}"
    );
}
