//! Bootstrap and reset on a genuine proxy that is empty.

use super::setting;
use crate::setup::killed::killed_everywhere;
use crate::setup::stack;
use crate::setup::stage::Stage;

async fn stage() -> Stage {
    let upstream = std::env::var("LIVE_UPSTREAM").unwrap_or_else(|_| "http://127.0.0.1:18080/v1".to_owned());
    let (proxy, key) = (setting("LIVE_PROXY"), setting("LIVE_MASTER_KEY"));
    let stage = Stage::genuine(&proxy, &key, &upstream, setting("LIVE_RESET")).await;
    stage.empty_by_hand().await;
    stage
}

#[tokio::test]
async fn a_second_bootstrap_changes_nothing() {
    stage().await.bootstrapped_twice().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_that_is_killed_at_each_request_is_gone_on_with() {
    killed_everywhere(&stage().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_database_costs_the_agent_nothing() {
    let mut stage = stage().await;
    stage.run(&["bootstrap"]).await.good();
    let secret = stage.variable("OPENAI_API_KEY");
    let agent = stage.agent().await;
    assert_eq!(agent.ask("who?").await, "I am gpt-5-mini");
    stage.wipe().await;
    let refused = agent.ask("who?").await;
    assert!(refused.contains("refused the call with status 401"), "{refused}");
    let told = stage.run(&["bootstrap"]).await.good();
    assert!(told.contains("issued again, since the proxy does not know it"), "{told}");
    assert_eq!(stage.variable("OPENAI_API_KEY"), secret);
    assert_eq!(agent.ask("who?").await, "I am gpt-5-mini");
    stage.is_whole().await;

    let typed = format!("{}\n", stage.proxy);
    let told = stage.run_with(&["reset"], &typed).await.good();
    assert!(told.contains("= model    config-mock"), "{told}");
    assert_eq!(agent.ask("who?").await, "I am gpt-5-mini", "after a reset");
    stage.run(&["bootstrap", "--new-secrets"]).await.good();
    assert_ne!(stage.variable("OPENAI_API_KEY"), secret);
    assert_eq!(agent.ask("who?").await, "I am gpt-5-mini", "with a new secret");
    stage.is_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_stack_comes_up_with_one_env_file() {
    let stage = stage().await;
    stack::up(&stage.proxy, &setting("LIVE_MASTER_KEY"), stage.dir.path()).await;
}
