//! `patchbay swap`, with the guide's commands and the helper's words.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ended, patchbay, run};
use crate::support::{PASSWORD, TestApp, USER};

const RULE: &str = "━━━━━━━━━━━━━━━━━━━━━━";

/// A dashboard, an agent, a proxy, and a place for what `--undo` remembers.
struct Bench {
    app: TestApp,
    state: TempDir,
}

impl Bench {
    async fn start() -> Self {
        let app = TestApp::start().await;
        app.admin("/key/update", &json!({ "key": app.agent_key_hash, "models": [] })).await;
        Self { app, state: tempfile::tempdir().unwrap() }
    }

    async fn swap(&self, args: &[&str]) -> Ended {
        let mut command = patchbay(&["swap", "--url", &self.app.agent]);
        command.args(args).env("PATCHBAY_STATE_DIR", self.state.path());
        run(command).await
    }

    async fn routed(&self, args: &[&str]) -> Ended {
        let mut command = patchbay(&["swap", "--dashboard", &self.app.base, "--username", USER]);
        command.args(args).env("UI_PASSWORD", PASSWORD);
        run(command).await
    }
}

fn config(model: &str, provider: &str, prompt: &str) -> String {
    format!(
        "Config:\n📊 Current Configuration\n{RULE}\nModel: {model}\nProvider: {provider}\n\
         System Prompt: {prompt}\n{RULE}\n"
    )
}

#[tokio::test]
async fn the_guides_commands_give_the_guides_results() {
    let bench = Bench::start().await;
    let demo = ["--context", "switch-demo"];
    let swap = async |args: &[&str]| bench.swap(&[args, &demo].concat()).await.good();
    let ask = ["--message", "Which model am I using?"];
    for (provider, model) in
        [("openai", "gpt-5"), ("openai", "gpt-5-mini"), ("anthropic", "claude-sonnet-4-5")]
    {
        let told = swap(&["--model", provider, model]).await;
        let expected =
            format!("Model response: ✅ Model switched to: {provider}/{model}\nContext ID: switch-demo\n");
        assert_eq!(told, expected);
        let told = swap(&ask).await;
        assert_eq!(told, format!("Message response: I am {model}\nContext ID: switch-demo\n"));
    }
    let told = swap(&["--prompt", "You are concise.", "--config"]).await;
    let done = "✅ System prompt updated. This change takes effect immediately.";
    let shown = config("claude-sonnet-4-5", "anthropic", "You are concise.");
    assert_eq!(told, format!("Prompt response: {done}\n{shown}Context ID: switch-demo\n"));
    let told = swap(&["--prompt", "", "--config"]).await;
    assert!(told.starts_with("Prompt response: ✅ System prompt cleared."), "{told}");
    assert!(told.contains(&config("claude-sonnet-4-5", "anthropic", "(default prompt)")), "{told}");
}

#[tokio::test]
async fn all_at_once_goes_in_the_helpers_order_and_a_context_is_made_up() {
    let bench = Bench::start().await;
    let told = bench
        .swap(&[
            "--model",
            "openai/gpt-5",
            "--prompt",
            "be\nbrief",
            "--message",
            "hello",
            "--config",
            "--verify",
        ])
        .await
        .good();
    let starts: Vec<&str> = told.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    let expected = [
        "Model response",
        "Prompt response",
        "Config",
        "Model",
        "Provider",
        "System Prompt",
        "Read back",
        "Message response",
        "Context ID",
    ];
    assert_eq!(starts, expected, "{told}");
    let id = told.lines().last().unwrap().strip_prefix("Context ID: ").unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
}

#[tokio::test]
async fn what_the_agent_refuses_is_told_and_stops_the_rest() {
    let bench = Bench::start().await;
    let ended = bench.swap(&["--model", "nosuch/foo", "--message", "hi", "--context", "c"]).await;
    let expected = "Model response: ❌ Model not available at the proxy: nosuch/foo\nContext ID: c\n";
    assert_eq!((ended.code, ended.out.as_str()), (Some(4), expected));
    assert!(bench.app.world.chat_calls().is_empty(), "a refused swap asks no model");
    let ended = bench.swap(&["--message", "FAIL=500", "--context", "c"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.starts_with("Message response: The proxy refused the call"), "{}", ended.out);
    assert!(ended.out.ends_with("Context ID: c\n"), "{}", ended.out);
}

#[tokio::test]
async fn json_tells_what_was_said_and_seen() {
    let bench = Bench::start().await;
    let args = ["--model", "openai/gpt-5", "--verify", "--message", "hi", "--context", "c", "--json"];
    let told: Value = serde_json::from_str(&bench.swap(&args).await.good()).unwrap();
    assert_eq!(told["model"]["response"], "✅ Model switched to: openai/gpt-5");
    assert_eq!(told["message"]["served"], "openai/gpt-5");
    assert_eq!((&told["verified"], &told["on"]), (&json!(true), &json!("openai/gpt-5")));
    assert_eq!((&told["context"], &told["exit"]), (&json!("c"), &json!(0)));
    assert_eq!(told["before"]["model"], "gpt-5-mini");
    let ended = bench.swap(&["--model", "no/such", "--context", "c", "--json"]).await;
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, &told["exit"], &told["model"]["done"]), (Some(4), &json!(4), &json!(false)));
}

#[tokio::test]
async fn undo_puts_back_model_and_prompt_and_can_be_undone() {
    let bench = Bench::start().await;
    let demo = ["--context", "c"];
    let swap = async |args: &[&str]| bench.swap(&[args, &demo].concat()).await;
    let ended = swap(&["--undo"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("no swap of this context is known"), "{}", ended.err);
    swap(&["--model", "openai/gpt-5", "--prompt", "One"]).await.good();
    swap(&["--model", "anthropic/claude-sonnet-4-5", "--prompt", "Two"]).await.good();
    let told = swap(&["--undo", "--verify", "--config"]).await.good();
    assert!(told.contains(&config("gpt-5", "openai", "One")), "{told}");
    let told = swap(&["--undo", "--verify", "--config"]).await.good();
    assert!(told.contains(&config("claude-sonnet-4-5", "anthropic", "Two")), "{told}");
}

#[tokio::test]
async fn a_swap_that_is_undone_meanwhile_is_not_verified() {
    // An agent that says yes and stays where it is.
    let router = axum::Router::new().fallback(async |body: String| {
        let text = if body.contains("GET_CONFIG") {
            format!("📊 Current Configuration\n{RULE}\nModel: x\nProvider: y\nSystem Prompt: z\n{RULE}")
        } else {
            "✅ Model switched to: openai/gpt-5".to_owned()
        };
        axum::Json(json!({ "jsonrpc": "2.0", "id": "1", "result": {
            "kind": "task", "id": "t", "contextId": "c", "status": { "state": "completed" },
            "artifacts": [{ "artifactId": "a", "parts": [{ "kind": "text", "text": text }] }],
        }}))
    });
    let (address, _guard) = crate::support::spawn(router).await;
    let state = tempfile::tempdir().unwrap();
    let args = ["swap", "--url", &format!("http://{address}"), "--model", "openai/gpt-5", "--verify"];
    let mut command = patchbay(&args);
    command.env("PATCHBAY_STATE_DIR", state.path());
    let ended = run(command).await;
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    assert!(ended.out.contains("Read back: y/x\n"), "{}", ended.out);
}

#[tokio::test]
async fn wrong_command_lines_are_called_that() {
    for args in [
        &["swap"][..],
        &["swap", "--model", "openai", "openai/gpt-5"],
        &["swap", "--model", "gpt-5/"],
        &["swap", "--verify", "--config"],
        &["swap", "--undo"],
        &["swap", "--message", "[HOTSWAP:GET_CONFIG]"],
        &["swap", "--config", "--context", "a b"],
        &["swap", "--config", "--url", "nonsense"],
        &["swap", "--config", "--timeout", "0"],
    ] {
        let ended = run(patchbay(args)).await;
        assert_eq!(ended.code, Some(2), "{args:?}: {} {}", ended.out, ended.err);
    }
    let ended = run(patchbay(&["swap", "--config", "--url", "http://127.0.0.1:9", "--context", "c"])).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), "Context ID: c\n"));
    assert!(ended.err.contains("the agent cannot be reached"), "{}", ended.err);
}

#[tokio::test]
async fn through_a_dashboard_a_swap_is_checked_audited_and_undone() {
    let bench = Bench::start().await;
    let ended = bench
        .routed(&["--model", "openai", "gpt-5", "--context", "c", "--message", "hi", "--verify"])
        .await
        .good();
    assert!(ended.contains("Message response: I am gpt-5\nOutcome: proven\nContext ID: c\n"), "{ended}");
    let told = bench.routed(&["--undo", "--context", "c", "--config"]).await.good();
    assert!(told.contains("Model: gpt-5-mini\nProvider: openai\n"), "{told}");
    let (_, audit) = bench.app.script().get("/audit").await;
    assert!(audit.to_string().matches("swap").count() >= 2, "{audit}");
    let refused = bench.routed(&["--model", "no/such", "--context", "c", "--json"]).await;
    assert_eq!(refused.code, Some(4), "{} {}", refused.out, refused.err);
    let told: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(told["outcome"], "refused", "{told}");
    let stranger = bench.routed(&["--config", "--context", "c", "--password", "wrong"]).await;
    assert_eq!(stranger.code, Some(1));
    assert!(stranger.err.contains("refuses the login"), "{}", stranger.err);
    let unknown = bench.routed(&["--model", "openai/gpt-5", "--context", "c", "--agent", "nobody"]).await;
    assert_eq!(unknown.code, Some(4), "{}", unknown.err);
    assert!(unknown.err.contains("agent: Choose an agent."), "{}", unknown.err);
}
