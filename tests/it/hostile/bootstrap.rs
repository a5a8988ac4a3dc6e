//! A bootstrap that is killed at any moment, also while it goes on with what an earlier one left: the env file and
//! the proxy agree in the end, no key is lost or there twice, and neither is a model.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::crash::{KILLS, audited, below, check};
use super::dashboard::Dashboard;
use crate::setup::stage::{BOTH, ENV, Stage};

/// What a bootstrap finds before it is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Finds {
    Nothing,
    /// All as it should be, and it is told to issue new secrets.
    All,
    /// Another key of that name, whose secret nobody has.
    AnothersKey,
}

/// Begins a bootstrap and kills it some time within `most`. Whether it had not ended before.
async fn killed(stage: &Stage, args: &[&str], most: Duration) -> bool {
    let mut command = stage.command(args);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let most = u64::try_from(most.as_micros()).unwrap();
    tokio::time::sleep(Duration::from_micros(below(most))).await;
    child.kill().unwrap();
    let ended = child.wait().unwrap();
    assert!(ended.success() || ended.code().is_none(), "{ended}");
    ended.code().is_none()
}

/// One round. How often it was cut short.
async fn round(stage: &Stage, finds: Finds, most: Duration, seen: &mut HashSet<(String, String)>) -> usize {
    if finds != Finds::All {
        stage.empty_by_hand().await;
    }
    if finds == Finds::AnothersKey {
        let key = json!({ "key_alias": "task-agent", "models": ["openai/gpt-5"], "max_budget": 7.5 });
        stage.admin("/key/generate", &key).await;
    }
    let args: &[&str] = match finds {
        Finds::Nothing => &["bootstrap"],
        Finds::All => &["bootstrap", "--new-secrets"],
        Finds::AnothersKey => &["bootstrap", "--replace"],
    };
    let mut cut = 0;
    for _ in 0..=below(3) {
        cut += usize::from(killed(stage, args, most).await);
        // The env file is the old one or a new one, and never a part of either.
        let secret = stage.variable("OPENAI_API_KEY");
        assert_eq!(stage.read(".env"), ENV.replace("sk-proxy-default", &secret));
        let text = |key: &serde_json::Value, field: &str| key[field].as_str().unwrap_or_default().to_owned();
        seen.extend(stage.keys().await.iter().map(|key| (text(key, "token"), text(key, "key_alias"))));
    }
    let before = stage.variable("OPENAI_API_KEY");
    if finds == Finds::AnothersKey {
        stage.run(args).await.good();
    }
    stage.bootstrap_until_good().await;
    let key = stage.is_whole().await;
    if before != "sk-proxy-default" {
        assert_eq!(stage.variable("OPENAI_API_KEY"), before, "a secret that was written down is lost");
    }
    if finds == Finds::AnothersKey {
        assert_eq!(key["max_budget"], 7.5, "what another had set is lost");
    }
    cut
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/nightly"]
async fn a_bootstrap_that_is_killed_anywhere_loses_nothing_and_makes_nothing_twice() {
    let (_dir, database) = crate::database::lasting().await;
    let (mut kills, mut seen) = (0, HashSet::new());
    for generation in BOTH {
        let mut stage = Stage::start(generation).await;
        stage.database = Some(database.clone());
        let begun = Instant::now();
        stage.run(&["bootstrap"]).await.good();
        let usual = begun.elapsed();
        for n in 0..KILLS / 2 {
            let finds = [Finds::Nothing, Finds::All, Finds::AnothersKey][n % 3];
            kills += round(&stage, finds, usual, &mut seen).await;
        }
        // What was cut short is told by whoever works on the database next.
        let dashboard = Dashboard::start(&stage.proxy, &stage.proxy, &database, &[]).await.unwrap();
        check(&database).await;
        drop(dashboard);
    }
    assert!(kills > KILLS / 4, "of {KILLS} rounds {kills} were cut short");
    let told: HashSet<String> = audited(&database).await.into_iter().collect();
    for (hash, alias) in seen.iter().filter(|(_, alias)| alias != "task-agent") {
        assert!(told.contains(hash) || told.contains(alias), "the key {alias} is missing in the audit");
    }
    eprintln!("{KILLS} rounds, {kills} times cut short; {} keys were seen", seen.len());
}
