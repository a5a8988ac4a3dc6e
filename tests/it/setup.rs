//! `bootstrap`, `apply`, `export`, `reset` and `doctor`: the real binary on a proxy of each generation.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod danger;
mod fuzzforge;
pub(crate) mod killed;
mod lists;
pub(crate) mod stack;
pub(crate) mod stage;

use serde_json::Value;

use crate::cli::run;
use crate::support::MASTER_KEY;
use stage::{BOTH, Stage};

#[tokio::test]
async fn a_bootstrap_brings_all_and_a_second_changes_nothing() {
    for generation in BOTH {
        let stage = Stage::start(generation).await;
        stage.bootstrapped_twice().await;
        let mirror = stage.read(".env.litellm");
        assert_eq!(mirror, "LITELLM_OPENAI_API_KEY=sk-openai-1\nLITELLM_ANTHROPIC_API_KEY='sk ant # 2'\n");
    }
}

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    let stage = Stage::start(BOTH[1]).await;
    let told = stage.run(&["bootstrap", "--dry-run"]).await.good();
    assert!(told.contains("+ model    openai/gpt-5 ") && told.contains("+ key      task-agent"), "{told}");
    assert_eq!(stage.read(".env"), stage::ENV);
    assert_eq!(stage.names().await, ["config/mock"]);
    assert!(stage.keys().await.is_empty() && !stage.path(".env.litellm").exists());
}

#[tokio::test]
async fn a_proxy_that_lost_its_database_gets_the_same_key_back() {
    for generation in BOTH {
        let mut stage = Stage::start(generation).await;
        stage.run(&["bootstrap"]).await.good();
        let secret = stage.variable("OPENAI_API_KEY");
        let agent = stage.agent().await;
        assert_eq!(agent.ask("who?").await, "I am gpt-5-mini");
        stage.wipe().await;
        assert!(agent.ask("who?").await.contains("refused the call with status 401"));
        let told = stage.run(&["bootstrap"]).await.good();
        assert!(told.contains("issued again, since the proxy does not know it"), "{told}");
        assert_eq!(stage.variable("OPENAI_API_KEY"), secret);
        assert_eq!(agent.ask("who?").await, "I am gpt-5-mini");
        stage.is_whole().await;

        let told = stage.run(&["bootstrap", "--new-secrets"]).await.good();
        assert!(told.contains("+ key      task-agent"), "{told}");
        assert_ne!(stage.variable("OPENAI_API_KEY"), secret);
        assert_eq!(agent.ask("who?").await, "I am gpt-5-mini", "the agent reads the new one");
        stage.is_whole().await;
    }
}

#[tokio::test]
async fn another_key_of_the_name_makes_place_and_hands_its_settings_on() {
    for generation in BOTH {
        let stage = Stage::start(generation).await;
        let lost =
            serde_json::json!({ "key_alias": "task-agent", "models": ["openai/gpt-5"], "max_budget": 7.5 });
        stage.admin("/key/generate", &lost).await;
        assert_eq!(stage.run(&["bootstrap"]).await.code, Some(4), "a key is not ended without being asked");
        stage.run(&["bootstrap", "--replace"]).await.good();
        let key = stage.is_whole().await;
        assert_eq!((&key["max_budget"], &key["models"]), (&7.5.into(), &serde_json::json!(["openai/gpt-5"])));
    }
}

#[tokio::test]
async fn what_is_no_virtual_key_is_left_alone() {
    let stage = Stage::start(BOTH[0]).await;
    for value in ["sk-proj-my-own-openai-key", MASTER_KEY, "AIza-something-else"] {
        let env = format!("# mine\nOPENAI_API_KEY={value}\n");
        std::fs::write(stage.path(".env"), &env).unwrap();
        let ended = stage.run(&["bootstrap"]).await;
        assert_eq!(ended.code, Some(4), "{} {}", ended.out, ended.err);
        assert!(ended.out.contains("! key      task-agent"), "{}", ended.out);
        assert!(!ended.out.contains(value) && stage.read(".env") == env);
        assert!(stage.keys().await.is_empty());
    }
}

#[tokio::test]
async fn keys_are_kept_in_step_unless_they_may_call_everything() {
    let stage = Stage::start(BOTH[1]).await;
    stage.run(&["bootstrap", "--sync-keys"]).await.good();
    let all = ["anthropic/claude-sonnet-4-5", "config/mock", "openai/gpt-5", "openai/gpt-5-mini"];
    assert_eq!(stage.is_whole().await["models"], serde_json::json!(all));
    let list =
        "model_list: [{model_name: new/one, litellm_params: {model: openai/x, api_key: os.environ/A}}]";
    std::fs::write(stage.path("more.yaml"), list).unwrap();
    let more = stage.path("more.yaml");
    let told = stage.run(&["bootstrap", "--sync-keys", "--models", more.to_str().unwrap()]).await.good();
    assert!(
        told.contains("+ models: anthropic/claude-sonnet-4-5, config/mock, new/one, openai/gpt-5"),
        "{told}"
    );
    let hash = stage.is_whole().await["token"].clone();
    stage.admin("/key/update", &serde_json::json!({ "key": hash, "models": [] })).await;
    let told = stage.run(&["bootstrap", "--sync-keys"]).await.good();
    assert!(told.contains("= key      task-agent") && told.contains("all models"), "{told}");
}

#[tokio::test]
async fn a_proxy_that_does_not_come_up_is_waited_for_and_no_longer() {
    let stage = Stage::start(BOTH[0]).await;
    let mut command = stage.command(&["bootstrap", "--wait", "1"]);
    command.env("LITELLM_PROXY_URL", format!("http://{}", crate::support::closed_port().await));
    let ended = run(command).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.contains("… proxy") && ended.err.contains("cannot be reached"), "{}", ended.err);
    assert!(stage.path(".env.litellm").exists(), "the secrets are mirrored all the same");
}

#[tokio::test]
async fn a_watch_keeps_on_until_it_is_told_to_stop() {
    use std::io::{BufRead as _, BufReader};
    let stage = Stage::start(BOTH[1]).await;
    let mut command = stage.command(&["bootstrap", "--sync-keys", "--watch", "0.1"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The lines come by a thread, since reading them waits.
    let (send, mut come) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
    let mut until = async |text: &str| while !come.recv().await.unwrap().contains(text) {};
    until("as it should be.").await;
    let body = serde_json::json!({ "model_name": "late/one", "litellm_params": { "model": "openai/late" } });
    stage.admin("/model/new", &body).await;
    until("+ models: anthropic/claude-sonnet-4-5, config/mock, late/one").await;
    let stopped = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(stopped.success());
    assert_eq!(tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_reset_wants_the_address_typed_and_brings_the_key_back() {
    for generation in BOTH {
        let stage = Stage::start(generation).await;
        stage.run(&["bootstrap"]).await.good();
        stage.admin("/key/generate", &serde_json::json!({ "key_alias": "somebody" })).await;
        let body = serde_json::json!({ "model_name": "by/hand", "litellm_params": { "model": "openai/x" } });
        stage.admin("/model/new", &body).await;
        let secret = stage.variable("OPENAI_API_KEY");

        let refused = stage.run_with(&["reset"], "yes\n").await;
        assert_eq!(refused.code, Some(4), "{} {}", refused.out, refused.err);
        assert!(refused.err.contains("by/hand") && refused.err.contains("somebody"), "{}", refused.err);
        assert_eq!(stage.keys().await.len(), 2);

        let told = stage.run_with(&["reset"], &format!("{}\n", stage.proxy)).await.good();
        assert!(told.contains("= model    config/mock") && told.contains("- model    by/hand"), "{told}");
        assert!(told.contains("- key      somebody"), "{told}");
        assert_eq!(stage.variable("OPENAI_API_KEY"), secret);
        stage.is_whole().await;
    }
}

#[tokio::test]
async fn the_doctor_says_what_is_wrong_and_shows_no_secret() {
    let stage = Stage::start(BOTH[1]).await;
    let mut command = stage.command(&["doctor"]);
    command.env("PATCHBAY_AGENTS", format!("task-agent=http://{}", crate::support::closed_port().await));
    let ended = run(command).await;
    assert_eq!(ended.code, Some(1), "{} {}", ended.out, ended.err);
    for line in [
        "BAD  key of task-agent",
        "it is not in the settings",
        "BAD  agent task-agent",
        "ok   proxy's database",
    ] {
        assert!(ended.out.contains(line), "{line}: {}", ended.out);
    }
    stage.run(&["bootstrap"]).await.good();
    let agent = stage.agent().await;
    let without = stage.read(".env").replace("LITELLM_OPENAI_API_KEY=sk-openai-1", "");
    std::fs::write(stage.path(".env"), without).unwrap();
    let mut command = stage.command(&["doctor", "--json"]);
    command.env("PATCHBAY_AGENTS", format!("task-agent={}", agent.url));
    command.env("PATCHBAY_TRUSTED_PROXIES", "10.0.0.0/8,10.1.2.3").env("PATCHBAY_SSO_USER_HEADER", "X-User");
    command.env("PATCHBAY_SSO_ROLES", "*=viewer").env("PATCHBAY_WEBHOOK_URL", "http://h.example/path-secret");
    let ended = run(command).await;
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    let check = |what: &str| {
        let checks = told["checks"].as_array().unwrap();
        checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("{what}: {told}")).clone()
    };
    for what in ["proxy", "master key", "key of task-agent", "agent task-agent", "dashboard's database"] {
        assert_eq!(check(what)["verdict"], "good", "{what}: {told}");
    }
    let secrets = check("secrets of models");
    assert_eq!(secrets["verdict"], "bad");
    assert!(secrets["found"].as_str().unwrap().starts_with("LITELLM_OPENAI_API_KEY is not in the env file"));
    assert!(check("single sign-on")["found"].as_str().unwrap().contains("x-user"), "{told}");
    assert!(
        ended.out.contains("everything in 10.0.0.0/8 can log in as anyone")
            && !ended.out.contains("in 10.1.2.3")
    );
    assert!(
        check("alerts")["found"].as_str().unwrap().contains("http://h.example, as JSON, not signed"),
        "{told}"
    );
    for secret in [MASTER_KEY, &stage.variable("OPENAI_API_KEY"), "sk ant # 2", "path-secret"] {
        assert!(!ended.out.contains(secret), "{}", ended.out);
    }
}

#[tokio::test]
async fn doctor_names_tested_releases_and_what_the_proxys_cannot_do() {
    for (generation, lacks) in [(BOTH[0], true), (BOTH[1], false)] {
        let told = Stage::start(generation).await.run(&["doctor"]).await.out;
        assert!(told.contains("tested: 1.74, 1.80, 1.109"), "{generation} {told}");
        assert_eq!(
            told.contains("cannot set a deployment aside; 1.106 and later can"),
            lacks,
            "{generation} {told}"
        );
    }
}

#[tokio::test]
async fn the_manual_names_every_command() {
    let page = run(crate::cli::patchbay(&["man"])).await.good();
    for command in ["bootstrap", "apply", "reset", "doctor"] {
        assert!(page.contains(command), "{command}");
    }
}
