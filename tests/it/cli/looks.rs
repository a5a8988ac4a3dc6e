//! The quick looks.

use std::process::Stdio;

use patchbay_agent::{Extras, open};
use serde_json::Value;

use super::{patchbay, run};
use crate::support::{MASTER_KEY, PASSWORD, TestApp, USER, agent_options, spawn};

#[tokio::test]
async fn models_and_keys_come_from_the_proxy() {
    let app = TestApp::start().await;
    let look = async |args: &[&str]| {
        let mut command = patchbay(args);
        command.env("LITELLM_MASTER_KEY", MASTER_KEY).env("PROXY_BASE_URL", format!("{}/v1/", app.sandbox));
        run(command).await.good()
    };
    let table = look(&["models"]).await;
    let names: Vec<&str> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["NAME", "anthropic/claude-sonnet-4-5", "openai/gpt-5", "openai/gpt-5-mini"]);
    let found: Value = serde_json::from_str(&look(&["models", "claude", "--json"]).await).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["provider"], "anthropic");
    let table = look(&["keys", "task"]).await;
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("task-agent") && table.contains("openai/gpt-5-mini"), "{table}");
    let found: Value = serde_json::from_str(&look(&["keys", "--json"]).await).unwrap();
    assert_eq!(found[0]["hash"], app.agent_key_hash.as_str());
}

#[tokio::test]
async fn without_a_master_key_they_say_what_is_missing() {
    let ended = run(patchbay(&["models"])).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("LITELLM_MASTER_KEY is not set"), "{}", ended.err);
}

#[tokio::test]
async fn contexts_come_from_the_dashboard() {
    let app = TestApp::start().await;
    let form = [("agent", "task-agent"), ("context", "seen"), ("model", "openai/gpt-5-mini")];
    let (status, _) = app.script().post("/switch", &form).await;
    assert!(status.is_success());
    let args = ["contexts", "--dashboard", &app.base, "--username", USER, "--password", PASSWORD];
    let table = run(patchbay(&args)).await.good();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["task-agent", "seen", "openai/gpt-5-mini", "verified", USER], "{table}");
    let found = run(patchbay(&[&args[..], &["--json", "nothing"]].concat())).await.good();
    assert_eq!(found, "[]\n");
}

#[tokio::test]
async fn a_question_is_answered() {
    let app = TestApp::start().await;
    let args = ["ask", "--url", &app.agent, "--context", "c", "who", "are", "you?"];
    assert_eq!(run(patchbay(&args)).await.good(), "I am gpt-5-mini\n");
    let told = run(patchbay(&["ask", "--json", "--url", &app.agent, "--context", "c", "and", "now?"])).await;
    let told: Value = serde_json::from_str(&told.good()).unwrap();
    assert_eq!((&told["answer"], &told["context"]), (&"I am gpt-5-mini".into(), &"c".into()));
    assert!(told["tokens"]["input"].is_u64(), "{told}");
    assert_eq!(run(patchbay(&["ask", "--url", &app.agent, "FAIL=400"])).await.code, Some(1));
}

#[tokio::test]
async fn helps_have_examples_and_exit_codes_and_shells_are_completed() {
    for command in ["swap", "ask", "contexts", "models", "keys"] {
        let help = run(patchbay(&[command, "--help"])).await.good();
        assert!(help.contains("Examples:\n  patchbay ") && help.contains("Exit codes:\n  0  done"), "{help}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(patchbay(&["completions", shell])).await.good();
        assert!(script.contains("PATCHBAY_COMPLETE"), "{shell}: {script}");
    }
}

/// In a real shell, with a dashboard and a proxy to ask.
#[tokio::test]
async fn a_shell_offers_commands_models_contexts_and_agents() {
    let app = TestApp::start().await;
    let form = [
        ("agent", "task-agent"),
        ("context", "conversation-7"),
        ("model", "openai/gpt-5-mini"),
        ("probe", ""),
    ];
    let (status, body) = app.script().post("/switch", &form).await;
    assert_eq!(status, 200, "{body}");
    let (proxy, base) = (app.sandbox.clone(), app.base.clone());
    let offered = async |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let script = format!(
            "source <(patchbay completions bash); COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; \
             $(complete -p patchbay | grep -o '_clap_complete_[a-z_]*') patchbay '{}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
            words.last().unwrap_or(&""),
        );
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_patchbay"));
        let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", &script]).env("PATH", path);
        shell.env("LITELLM_PROXY_URL", &proxy).env("LITELLM_MASTER_KEY", MASTER_KEY);
        shell.env("PATCHBAY_DASHBOARD", &base).env("UI_USERNAME", USER).env("UI_PASSWORD", PASSWORD);
        run(shell).await.good()
    };
    assert!(offered("patchbay sw").await.contains("swap"));
    assert_eq!(
        offered("patchbay swap --model openai/gpt-5").await.lines().collect::<Vec<_>>(),
        ["openai/gpt-5", "openai/gpt-5-mini"]
    );
    assert_eq!(offered("patchbay swap --context conv").await.trim(), "conversation-7");
    assert_eq!(offered("patchbay ask --agent ta").await.trim(), "task-agent");
    assert_eq!(offered("patchbay swap --model nothing/").await.trim(), "");
}

#[tokio::test]
async fn an_agent_with_a_token_is_asked_with_it() {
    let app = TestApp::start().await;
    let extras = Extras { token: Some("a-token".into()), ..Extras::default() };
    let router = open(agent_options(&app.sandbox, &app.agent_key), extras).await.unwrap();
    let (address, _guard) = spawn(router).await;
    let url = format!("http://{address}/a2a/litellm_agent");
    let mut command = patchbay(&["ask", "--url", &url, "who?"]);
    command.env("PATCHBAY_AGENT_TOKEN", "a-token");
    assert_eq!(run(command).await.good(), "I am gpt-5-mini\n");
    let refused = run(patchbay(&["ask", "--url", &url, "who?"])).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("a bearer token is required"), "{}", refused.err);
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_fault() {
    let mut command = patchbay(&["completions", "bash"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
}
