//! `apply` and `export`.

use serde_json::json;

use super::stage::{BOTH, Stage};

const LIST: &str = "
model_list:
  - model_name: openai/gpt-5
    litellm_params: {model: gpt-5, custom_llm_provider: openai, api_key: os.environ/LITELLM_OPENAI_API_KEY, rpm: 5}
  - model_name: two/alike
    litellm_params: {model: openai/x, api_key: os.environ/A}
  - model_name: two/alike
    litellm_params: {model: openai/x, api_key: os.environ/A}
keys:
  - {key_alias: task-agent, env: OPENAI_API_KEY, models: [openai/gpt-5], max_budget: 5}
  - {key_alias: nowhere}
";

/// Keys of every kind, unchanged: nothing to do, and no complaint.
#[tokio::test]
async fn exported_keys_applied_again_change_nothing() {
    for generation in BOTH {
        let stage = Stage::start(generation).await;
        let word = if generation == BOTH[1] { "daily" } else { "7d" };
        for key in [
            json!({ "key_alias": "plain", "models": [] }),
            json!({ "key_alias": "none", "models": ["no-default-models"], "user_id": "010" }),
            json!({ "key_alias": "yes", "models": ["openai/*"], "max_budget": 0.1, "budget_duration": word }),
            json!({ "key_alias": "gone", "duration": "1s", "rpm_limit": 3 }),
            json!({ "models": ["openai/gpt-5"] }),
        ] {
            stage.admin("/key/generate", &key).await;
        }
        let blocked = stage.admin("/key/generate", &json!({ "key_alias": "blocked" })).await;
        stage.admin("/key/block", &json!({ "key": blocked["key"] })).await;
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        let before = stage.keys().await;
        let list = stage.run(&["export", "--keys"]).await.good();
        std::fs::write(stage.path("keys.yaml"), &list).unwrap();
        for args in [&["--dry-run"][..], &[], &["--prune"]] {
            let ended = stage.run(&[&["apply", "-f", "keys.yaml"], args].concat()).await;
            assert_eq!(ended.code, Some(0), "{}{}{list}", ended.out, ended.err);
            assert!(
                ended.out.starts_with("= ") && ended.out.contains("\n0 done")
                    || ended.out.contains("\n0 to do"),
                "{}",
                ended.out
            );
        }
        assert_eq!(stage.keys().await, before);
        // What is stated is brought about.
        std::fs::write(stage.path("keys.yaml"), list.replace("blocked: true", "blocked: false")).unwrap();
        assert_eq!(stage.run(&["apply", "-f", "keys.yaml"]).await.code, Some(0));
        assert!(stage.keys().await.iter().all(|key| key["blocked"] != true));
    }
}

#[tokio::test]
async fn keys_beside_an_empty_list_of_models_are_no_error() {
    let stage = Stage::start(BOTH[1]).await;
    stage.admin("/key/generate", &json!({ "key_alias": "a", "rpm_limit": 1 })).await;
    for list in ["model_list: []\nkeys: [{key_alias: a, rpm_limit: 2}]\n", "model_list:\nkeys: []\n"] {
        std::fs::write(stage.path("keys.yaml"), list).unwrap();
        for args in [&[][..], &["--prune"]] {
            let ended = stage.run(&[&["apply", "-f", "keys.yaml"], args].concat()).await;
            assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
        }
    }
    assert_eq!(stage.names().await, ["config/mock"], "a model was pruned");
}

#[tokio::test]
async fn a_list_is_planned_applied_and_then_the_same() {
    for generation in BOTH {
        let stage = Stage::start(generation).await;
        std::fs::write(stage.path("list.yaml"), LIST).unwrap();
        let body = json!({ "model_name": "by/hand", "litellm_params": { "model": "openai/x" } });
        stage.admin("/model/new", &body).await;
        let apply = async |more: &[&str]| stage.run(&[&["apply", "-f", "list.yaml"], more].concat()).await;

        let plan = apply(&["--prune", "--dry-run"]).await;
        assert_eq!(plan.code, Some(4), "{}", plan.err);
        for line in
            ["+ model    openai/gpt-5 ", "- model    by/hand", "+ key      task-agent", "! key      nowhere"]
        {
            assert!(plan.out.contains(line), "{line}: {}", plan.out);
        }
        assert!(plan.out.contains("= model    config/mock"), "{}", plan.out);
        assert_eq!(stage.names().await, ["by/hand", "config/mock"]);

        assert_eq!(apply(&[]).await.code, Some(4));
        assert_eq!(stage.names().await, ["by/hand", "config/mock", "openai/gpt-5", "two/alike", "two/alike"]);
        let keys = stage.keys().await;
        assert_eq!(
            (keys.len(), &keys[0]["max_budget"], &keys[0]["models"]),
            (1, &json!(5.0), &json!(["openai/gpt-5"]))
        );

        let changed = LIST.replace("rpm: 5", "rpm: 9").replace("max_budget: 5", "max_budget: 6");
        std::fs::write(stage.path("list.yaml"), changed.replace("  - {key_alias: nowhere}\n", "")).unwrap();
        let told = apply(&["--prune"]).await.good();
        for line in [
            "      - litellm_params.rpm: 5\n      + litellm_params.rpm: 9",
            "      - budget: $5\n      + budget: $6",
            "- model    by/hand",
            "= model    two/alike",
        ] {
            assert!(told.contains(line), "{line}: {told}");
        }
        assert_eq!(stage.names().await, ["config/mock", "openai/gpt-5", "two/alike", "two/alike"]);
        let told: serde_json::Value =
            serde_json::from_str(&apply(&["--prune", "--json"]).await.good()).unwrap();
        assert_eq!(told["changed"], 0, "{told}");
    }
}

#[tokio::test]
async fn what_is_exported_can_be_applied_to_a_proxy_that_was_wiped() {
    for generation in BOTH {
        let mut stage = Stage::start(generation).await;
        stage.run(&["bootstrap", "--key-budget", "12.5"]).await.good();
        let list = stage.run(&["export", "--keys"]).await.good();
        assert!(list.contains("api_key: os.environ/LITELLM_OPENAI_API_KEY"), "{list}");
        assert!(list.contains("key_alias: task-agent") && list.contains("max_budget: 12.5"), "{list}");
        assert!(!list.contains("config/mock") && !list.contains(&stage.variable("OPENAI_API_KEY")), "{list}");
        assert!(stage.run(&["export", "--all"]).await.good().contains("config/mock"));
        // At whatever depth the export writes.
        let list = list.replace("key_alias: task-agent", "env: OPENAI_API_KEY\n@key_alias: task-agent");
        let depth = list.lines().find_map(|line| line.find("env: OPENAI_API_KEY")).unwrap();
        let list = list.replace('@', &" ".repeat(depth));
        std::fs::write(stage.path("list.yaml"), list).unwrap();
        stage.wipe().await;
        stage.run(&["apply", "--file", "list.yaml"]).await.good();
        assert_eq!(stage.is_whole().await["max_budget"], 12.5);
    }
}

#[tokio::test]
async fn a_list_that_is_none_is_refused_with_its_line() {
    let stage = Stage::start(BOTH[0]).await;
    let ended = stage.run_with(&["apply", "-f", "-"], "model_list:\n - a: [1\n").await;
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(ended.out.contains("line"), "{} {}", ended.out, ended.err);
}
