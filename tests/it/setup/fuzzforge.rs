//! `bootstrap --profile fuzzforge`: the keys that FuzzForge's own bootstrap issues.

use serde_json::{Value, json};

use super::stage::{BOTH, Stage};
use crate::cli::run;
use crate::support::MASTER_KEY;

/// As FuzzForge's template has them.
const ENV: &str = "LITELLM_OPENAI_API_KEY=sk-openai-1\nLITELLM_ANTHROPIC_API_KEY=your-anthropic-key-here\n\
                   CLI_BUDGET=80\nCOGNEE_DURATION=7d\nTASK_AGENT_API_KEY=\nOPENAI_API_KEY=sk-proxy-default\n\
                   COGNEE_API_KEY=your-cognee-key-here\n";

#[tokio::test]
async fn profile_issues_three_keys_with_their_limits_and_changes_nothing_twice() {
    for generation in BOTH {
        let stage = Stage::start(generation).await;
        std::fs::write(stage.path(".env"), ENV).unwrap();
        let out = stage.run(&["bootstrap", "--profile", "fuzzforge"]).await.good();
        assert!(!out.contains("anthropic"), "a provider without a secret: {out}");
        let mut secrets = std::collections::BTreeSet::from([MASTER_KEY.to_owned()]);
        let keys = stage.keys().await;
        for (alias, variable, budget) in [
            ("fuzzforge-task-agent", "TASK_AGENT_API_KEY", 25.0),
            ("fuzzforge-cli", "OPENAI_API_KEY", 80.0),
            ("fuzzforge-cognee", "COGNEE_API_KEY", 50.0),
        ] {
            let key = keys.iter().find(|key| key["key_alias"] == alias).unwrap_or_else(|| panic!("{keys:?}"));
            assert_eq!((&key["user_id"], &key["max_budget"]), (&json!(alias), &json!(budget)));
            let models = json!(["openai/gpt-5", "openai/gpt-5-mini"]);
            assert_eq!(key["models"], models, "{alias}");
            let metadata = json!({ "provisioned_by": "bootstrap", "default_models": models });
            assert_eq!(key["metadata"], metadata, "{alias}");
            assert!(key["expires"].is_string(), "{key}");
            assert!(secrets.insert(stage.variable(variable)), "{variable}");
        }
        assert_eq!(keys.len(), 3);
        assert!(!stage.read(".env.litellm").contains("your-"), "a placeholder is no secret");
        let again = stage.run(&["bootstrap", "--profile", "fuzzforge"]).await.good();
        assert!(again.lines().last().unwrap().starts_with("0 done"), "{again}");
    }
}

#[tokio::test]
async fn wrong_profiles_and_budgets_are_named() {
    let stage = Stage::start(BOTH[1]).await;
    let ended = stage.run(&["bootstrap", "--profile", "other"]).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("PATCHBAY_PROFILE"), "{}", ended.err);
    let mut command = stage.command(&["bootstrap", "--profile", "fuzzforge"]);
    command.env("CLI_BUDGET", "much");
    let ended = run(command).await;
    assert!(ended.err.contains("CLI_BUDGET is no amount"), "{}", ended.err);
    let keys: Vec<Value> = stage.keys().await;
    assert!(keys.is_empty(), "{keys:?}");
}
