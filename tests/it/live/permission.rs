//! "May key K call model M?" as Patchbay answers it and as a genuine proxy does, for each pair.

use std::time::Duration;

use patchbay::app::{ProxyAccess, Tools};
use patchbay::clients::{build_http, litellm};
use patchbay::domain::key::KeyHash;
use patchbay::domain::permission::Verdict;
use patchbay::store::Store;
use patchbay_clock::Clock;
use reqwest::redirect::Policy;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::setting;
use crate::support::client;

const NAMES: [&str; 16] = [
    "openai/gpt-5",
    "openai/gpt-5-mini",
    "openai/gpt-99",
    "gpt-4o",
    "gpt-5",
    "anthropic/claude-sonnet-4-5",
    "anthropic/other",
    "acme/smart",
    "acme/smart-dead",
    "acme/dead",
    "acme/half",
    "acme/unknown",
    "mistral/unknown",
    "openai/text-embedding-3-small",
    "openai/gpt-4x1",
    "frontier",
];

/// What the proxy answered, where it takes the request.
async fn admin(path: &str, body: &Value) -> Option<Value> {
    let request = client(Policy::none()).post(format!("{}/{path}", setting("LIVE_PROXY")));
    let answer = request.bearer_auth(setting("LIVE_MASTER_KEY")).json(body).send().await.unwrap();
    if answer.status().is_success() { answer.json().await.ok() } else { None }
}

async fn team(models: &[&str], more: &Value) -> String {
    let mut body = json!({ "team_alias": format!("t-{}", uuid::Uuid::new_v4()), "models": models });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    admin("team/new", &body).await.unwrap()["team_id"].as_str().unwrap().to_owned()
}

/// Keys of each kind by name. A kind that the release refuses is left out.
async fn kinds() -> Vec<(&'static str, SecretString)> {
    let everything = json!({});
    let wide = team(&["openai/*"], &everything).await;
    let named = team(&["openai/gpt-5", "acme/smart"], &everything).await;
    let open = team(&[], &everything).await;
    let grouped = team(&["frontier"], &everything).await;
    let blocked = team(&["openai/*"], &everything).await;
    admin("team/block", &json!({ "team_id": blocked })).await.unwrap();
    let spent = team(&["openai/*"], &json!({ "max_budget": 0.0 })).await;
    let group = admin(
        "v1/access_group",
        &json!({ "access_group_name": format!("g-{}", uuid::Uuid::new_v4()),
        "access_model_names": ["anthropic/*", "openai/gpt-5"] }),
    )
    .await;
    let group = group.and_then(|group| group["access_group_id"].as_str().map(str::to_owned));
    let group = group.map_or_else(|| json!([]), |id| json!([id]));
    let mut all = Vec::new();
    for (kind, body) in [
        ("all", json!({ "models": [] })),
        ("all-proxy-models", json!({ "models": ["all-proxy-models"] })),
        ("none", json!({ "models": ["no-default-models"] })),
        ("none and one", json!({ "models": ["no-default-models", "openai/gpt-5"] })),
        ("list", json!({ "models": ["openai/gpt-5", "gpt-4o", "anthropic/other"] })),
        ("alias", json!({ "models": ["acme/smart"] })),
        ("target of an alias", json!({ "models": ["acme/dead"] })),
        ("star", json!({ "models": ["*"] })),
        ("wildcard", json!({ "models": ["openai/*"] })),
        ("two stars", json!({ "models": ["*/gpt-*-mini", "acme/*a*"] })),
        ("dot", json!({ "models": ["openai/gpt-4.*"] })),
        ("access group", json!({ "models": ["frontier"] })),
        ("access_group_ids", json!({ "models": ["no-default-models"], "access_group_ids": group })),
        ("all in team", json!({ "models": [], "team_id": wide })),
        ("all-team-models", json!({ "models": ["all-team-models"], "team_id": wide })),
        ("all-team-models, no team", json!({ "models": ["all-team-models"] })),
        ("list in team", json!({ "models": ["openai/gpt-5", "acme/smart"], "team_id": wide })),
        ("in a team with a list", json!({ "models": [], "team_id": named })),
        ("wildcard in a team with a list", json!({ "models": ["openai/*", "acme/*"], "team_id": named })),
        ("in an open team", json!({ "models": ["openai/gpt-5"], "team_id": open })),
        ("in a team with a group", json!({ "models": [], "team_id": grouped })),
        ("in a blocked team", json!({ "models": [], "team_id": blocked })),
        ("in a spent team", json!({ "models": [], "team_id": spent })),
        ("aliases", json!({ "models": ["openai/gpt-5"], "aliases": { "gpt-5": "openai/gpt-5" } })),
        ("owner", json!({ "models": [], "user_id": "live-owner" })),
        (
            "windows",
            json!({ "models": [], "budget_limits": [{ "budget_duration": "1d", "max_budget": 1.0 }] }),
        ),
        ("spent", json!({ "models": [], "max_budget": 0.0 })),
        ("expired", json!({ "models": [], "duration": "1s" })),
        ("blocked", json!({ "models": [] })),
    ] {
        let Some(made) = admin("key/generate", &body).await else {
            println!("{kind}: refused by this release");
            continue;
        };
        let secret = made["key"].as_str().unwrap();
        if kind == "blocked" {
            admin("key/update", &json!({ "key": made["token"], "blocked": true })).await.unwrap();
        }
        all.push((kind, SecretString::from(secret)));
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    all
}

/// Whether the proxy lets a key call a model, even if the call then fails; with its words.
async fn asked(secret: &SecretString, name: &str) -> (bool, String) {
    use secrecy::ExposeSecret as _;
    let body = json!({ "model": name, "max_tokens": 16, "messages": [{ "role": "user", "content": "hi" }] });
    let request = client(Policy::none()).post(format!("{}/v1/chat/completions", setting("LIVE_PROXY")));
    let answer = request.bearer_auth(secret.expose_secret()).json(&body).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let error: Value = serde_json::from_str(&text).unwrap_or_default();
    let kind = error["error"]["type"].as_str().unwrap_or_default();
    let is_refusal = kind.ends_with("_model_access_denied")
        || ["budget_exceeded", "expired_key"].contains(&kind)
        || text.contains("is blocked")
        || text.contains("not allowed to access model");
    (!is_refusal, format!("{status} {kind} {}", text.chars().take(160).collect::<String>()))
}

#[tokio::test]
async fn answers_equal_the_proxys() {
    let clock = Clock::system();
    let access = ProxyAccess {
        url: setting("LIVE_PROXY").parse().unwrap(),
        master_key: SecretString::from(setting("LIVE_MASTER_KEY")),
        agents: None,
        timeouts: litellm::Timeouts::default(),
    };
    let store = Store::open("sqlite::memory:", clock.clone()).await.unwrap();
    let tools = Tools::new(&build_http().unwrap(), access, store, &clock);
    let kinds = kinds().await;
    let registry = tools.registry.refresh().await.value.unwrap();
    let (mut wrong, mut doubts, mut pairs) = (Vec::new(), Vec::new(), 0);
    for (kind, secret) in &kinds {
        let key = tools.keys.key(&KeyHash::of(secret)).await.unwrap().unwrap();
        let rules = tools.keys.rules_for(&key).await;
        let answers = futures_util::future::join_all(NAMES.map(|name| asked(secret, name))).await;
        for (name, (is_allowed, words)) in NAMES.into_iter().zip(answers) {
            let verdict = rules.may_call(&key, &registry.target(name), clock.now());
            pairs += 1;
            match verdict {
                Verdict::NotKnown(why) => doubts.push(format!("{kind} | {name} | {why} | {words}")),
                verdict if verdict.is_allowed() != is_allowed => {
                    wrong.push(format!("{kind} | {name} | {verdict} | {words}"));
                }
                _ => {}
            }
        }
    }
    println!("{pairs} pairs, {} not known:\n{}", doubts.len(), doubts.join("\n"));
    assert!(
        kinds.len() >= 12 && wrong.is_empty(),
        "{} of {pairs} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
