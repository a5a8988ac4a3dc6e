//! `patchbay agent` as a process of its own, killed in the middle of its work.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use patchbay_clock::Clock;
use patchbay_sandbox::{self as sandbox, Database, Generation, World};
use reqwest::{Client, redirect};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::patchbay;
use crate::support::{MASTER_KEY, client, spawn};

const CONTEXTS: usize = 1_000;
const AT_ONCE: usize = 32;

/// A running agent; dropped, it is killed as `kill -9` does.
struct Process {
    child: Child,
    url: String,
    http: Client,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    async fn start(proxy: &str, database: &str, more: &[(&'static str, String)]) -> Self {
        let mut command = patchbay(&["agent"]);
        command.env("PATCHBAY_BIND", "127.0.0.1:0").env("FF_LLM_PROXY_BASE_URL", proxy);
        command.env("PATCHBAY_DATABASE_URL", database).env("LITELLM_MODEL", "bulk/m0");
        command.envs(more.iter().map(|(name, value)| (name, value))).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (found, address) = tokio::sync::oneshot::channel();
        // Reads on, so that the agent can log on.
        std::thread::spawn(move || {
            let mut found = Some(found);
            for line in stderr.lines().map_while(Result::ok) {
                let logged: Value = serde_json::from_str(&line).unwrap_or_default();
                if let (Some(address), true) = (logged["address"].as_str(), found.is_some()) {
                    let _ = found.take().unwrap().send(address.to_owned());
                }
            }
        });
        let url = format!("http://{}/a2a/litellm_agent", address.await.expect("the agent starts"));
        Self { child, url, http: client(redirect::Policy::none()) }
    }

    async fn rpc(&self, method: &str, params: Value) -> Result<Value, reqwest::Error> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let version = if method.contains('/') { "0.3" } else { "1.0" };
        let answer = self.http.post(&self.url).header("A2A-Version", version).json(&body).send().await?;
        answer.json().await
    }

    async fn say(&self, context: &str, text: &str) -> Result<Value, reqwest::Error> {
        let message =
            json!({"messageId": "m", "role": "user", "contextId": context, "parts": [{"text": text}]});
        Ok(self.rpc("message/send", json!({"message": message})).await?["result"].clone())
    }

    async fn reply(&self, context: &str, text: &str) -> String {
        let task = self.say(context, text).await.unwrap();
        assert_eq!(task["status"]["state"], "completed", "{task}");
        task["artifacts"][0]["parts"][0]["text"].as_str().unwrap().to_owned()
    }
}

async fn world_of(models: usize) -> (World, String, tokio_util::sync::DropGuard) {
    let world = World::new(sandbox::Options {
        master_key: SecretString::from(MASTER_KEY),
        generation: Generation::V1_109,
        database: Database::Up,
        clock: Clock::system(),
        config_models: Vec::new(),
    });
    let (address, guard) = spawn(sandbox::router(world.clone())).await;
    let http = client(redirect::Policy::none());
    for n in 0..models {
        let params =
            json!({"model": format!("m{n}"), "custom_llm_provider": "openai", "api_key": "os.environ/X"});
        let body = json!({"model_name": format!("bulk/m{n}"), "litellm_params": params});
        let request = http.post(format!("http://{address}/model/new")).bearer_auth(MASTER_KEY).json(&body);
        assert!(request.send().await.unwrap().status().is_success());
    }
    (world, format!("http://{address}"), guard)
}

#[tokio::test]
async fn a_killed_agent_goes_on_where_it_was() {
    let (_world, proxy, _guard) = world_of(3).await;
    let dir = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", dir.path().join("agent.db").display());
    let env_file = dir.path().join("env");
    std::fs::write(&env_file, format!("OPENAI_API_KEY={MASTER_KEY}\n")).unwrap();
    let settings = [("PATCHBAY_ENV_FILE", env_file.display().to_string())];
    let agent = Process::start(&proxy, &database, &settings).await;
    assert_eq!(agent.reply("c", "[HOTSWAP:MODEL:bulk/m1]").await, "✅ Model switched to: bulk/m1");
    assert_eq!(agent.reply("c", "who?").await, "I am m1");
    let slow = json!({"message": {"messageId": "m", "role": "user", "contextId": "c", "parts": [{"text": "SLEEP=60"}]},
        "configuration": {"blocking": false}});
    let running = agent.rpc("message/send", slow).await.unwrap()["result"]["id"].clone();
    drop(agent);
    let agent = Process::start(&proxy, &database, &settings).await;
    let task = agent.rpc("tasks/get", json!({"id": running})).await.unwrap()["result"].clone();
    assert_eq!(task["status"]["state"], "failed");
    let why = task["status"]["message"]["parts"][0]["text"].as_str().unwrap();
    assert!(why.starts_with("The agent was stopped while it worked on this message"), "{why}");
    assert_eq!(agent.reply("c", "who?").await, "I am m1");
}

/// How a turn looked to who asked.
enum Turn {
    Answered(String),
    Broken,
}

/// 1,000 contexts on models of their own, 32 turns at once, killed in the middle: each context is on its model
/// again, each answer that was given was the right one, and each turn without one is known as failed.
#[tokio::test]
async fn a_thousand_contexts_keep_their_models_over_a_kill() {
    let (_world, proxy, _guard) = world_of(50).await;
    let dir = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", dir.path().join("agent.db").display());
    let key = [("TASK_AGENT_API_KEY", MASTER_KEY.to_owned())];
    let agent = Arc::new(Process::start(&proxy, &database, &key).await);
    let model = |n: usize| n % 49 + 1;
    stream::iter(0..CONTEXTS)
        .for_each_concurrent(AT_ONCE, |n| {
            let agent = Arc::clone(&agent);
            async move {
                let told =
                    agent.reply(&format!("c{n}"), &format!("[HOTSWAP:MODEL:bulk/m{}]", model(n))).await;
                assert!(told.starts_with('✅'), "{told}");
            }
        })
        .await;
    let pid = agent.child.id().to_string();
    let answered = std::sync::atomic::AtomicUsize::new(0);
    let turns: Vec<Turn> = stream::iter(0..200)
        .map(|n| {
            let (agent, answered, pid) = (Arc::clone(&agent), &answered, &pid);
            async move {
                let Ok(task) = agent.say(&format!("c{n}"), "SLEEP=0.05 who?").await else {
                    return Turn::Broken;
                };
                if answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 80 {
                    let killed = std::process::Command::new("kill").args(["-9", pid]).status().unwrap();
                    assert!(killed.success());
                }
                Turn::Answered(
                    task["artifacts"][0]["parts"][0]["text"].as_str().unwrap_or_default().to_owned(),
                )
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let broken = turns.iter().filter(|turn| matches!(turn, Turn::Broken)).count();
    assert!((80..200).contains(&(200 - broken)), "killed in the middle: {broken} broke off");
    for (n, turn) in turns.iter().enumerate() {
        if let Turn::Answered(text) = turn {
            assert_eq!(*text, format!("I am m{}", model(n)));
        }
    }
    drop(agent);
    let agent = Process::start(&proxy, &database, &key).await;
    let failed = agent.rpc("ListTasks", json!({"status": "TASK_STATE_FAILED"})).await.unwrap();
    let count = failed["result"]["totalSize"].as_u64().unwrap();
    assert!((1..=AT_ONCE as u64).contains(&count), "those at work have failed: {count}");
    for state in ["SUBMITTED", "WORKING"] {
        let left = agent.rpc("ListTasks", json!({"status": format!("TASK_STATE_{state}")})).await.unwrap();
        assert_eq!(left["result"]["totalSize"], 0, "{state}");
    }
    let agent = &agent;
    stream::iter(0..CONTEXTS)
        .for_each_concurrent(AT_ONCE, |n| async move {
            let told = agent.reply(&format!("c{n}"), "[HOTSWAP:GET_CONFIG]").await;
            assert!(told.contains(&format!("Model: m{}\nProvider: bulk\n", model(n))), "c{n}: {told}");
        })
        .await;
}
