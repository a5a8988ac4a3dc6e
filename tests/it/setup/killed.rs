//! A bootstrap that is killed at each of its requests, and run again: nothing is doubled, nothing is lost.

use std::process::Stdio;

use super::stage::{BOTH, Stage};

/// Killed at a request that the proxy has carried out and not answered yet: so it is cut short between any two.
async fn killed_at(stage: &Stage, args: &[&str], at: usize) {
    let mut command = stage.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = {
        // The relay waits for the number of the process.
        let mut plan = stage.relay.plan.lock().unwrap();
        let child = command.spawn().unwrap();
        (plan.seen, plan.at, plan.pid) = (0, Some(at), child.id());
        child
    };
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), None, "request {at} was made");
    stage.relay.plan.lock().unwrap().at = None;
}

/// Killed at each request of a bootstrap of an empty proxy.
pub(crate) async fn killed_everywhere(stage: &Stage) {
    stage.relay.plan.lock().unwrap().seen = 0;
    stage.run(&["bootstrap"]).await.good();
    let all = stage.relay.plan.lock().unwrap().seen;
    assert!(all > 10, "{all} requests");
    for at in 1..=all {
        stage.empty_by_hand().await;
        killed_at(stage, &["bootstrap"], at).await;
        stage.bootstrap_until_good().await;
        stage.is_whole().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_request_on_1_80() {
    killed_everywhere(&Stage::start(BOTH[0]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_request_on_1_109() {
    killed_everywhere(&Stage::start(BOTH[1]).await).await;
}

/// The same where another key has the alias, which makes place in several steps.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_key_takes_the_place_of_another() {
    let lost =
        serde_json::json!({ "key_alias": "task-agent", "models": ["openai/gpt-5"], "max_budget": 7.5 });
    let stage = Stage::start(BOTH[1]).await;
    stage.admin("/key/generate", &lost).await;
    let refused = stage.run(&["bootstrap"]).await;
    assert_eq!(refused.code, Some(4), "{}", refused.out);
    assert!(refused.out.contains("--replace"), "{}", refused.out);
    assert_eq!(stage.keys().await.len(), 1, "a key was ended without being asked");
    stage.relay.plan.lock().unwrap().seen = 0;
    stage.run(&["bootstrap", "--replace"]).await.good();
    let all = stage.relay.plan.lock().unwrap().seen;
    // The models come first.
    for at in (all - 16)..=all {
        stage.empty_by_hand().await;
        stage.admin("/key/generate", &lost).await;
        killed_at(&stage, &["bootstrap", "--replace"], at).await;
        // What was begun is finished without being asked again.
        if stage.run(&["bootstrap"]).await.code != Some(0) {
            stage.run(&["bootstrap", "--replace"]).await.good();
        }
        let key = stage.is_whole().await;
        assert_eq!(key["max_budget"], 7.5, "killed at {at}");
    }
}

/// New secrets are asked for, cut short, and asked for again: the key that waited is not forgotten with its secret.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_secrets_are_renewed_and_renewed_again() {
    let stage = Stage::start(BOTH[1]).await;
    let renew = ["bootstrap", "--new-secrets"];
    stage.run(&["bootstrap"]).await.good();
    stage.relay.plan.lock().unwrap().seen = 0;
    stage.run(&renew).await.good();
    let all = stage.relay.plan.lock().unwrap().seen;
    for at in 1..=all {
        let before = stage.variable("OPENAI_API_KEY");
        killed_at(&stage, &renew, at).await;
        stage.run(&renew).await.good();
        stage.is_whole().await;
        assert_ne!(stage.variable("OPENAI_API_KEY"), before, "killed at {at}");
    }
}
