//! "May key K call model M?" on the pages, for keys of teams, and what a replacement keeps.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use patchbay_sandbox::Generation;
use serde_json::{Value, json};

use super::{GENERATIONS, stage, stage_of};
use crate::support::{Setup, TestApp};

async fn team(app: &TestApp, body: Value) -> String {
    app.admin("/team/new", &body).await["team_id"].as_str().unwrap().to_owned()
}

async fn key(app: &TestApp, alias: &str, mut body: Value) -> String {
    body["key_alias"] = json!(alias);
    app.admin("/key/generate", &body).await["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_team_decides_beside_its_keys() {
    for generation in GENERATIONS {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        let wide = team(&app, json!({ "models": ["openai/*"] })).await;
        let blocked = team(&app, json!({ "models": [], "blocked": true })).await;
        let spent = team(&app, json!({ "models": [], "max_budget": 2.0, "spend": 2.5 })).await;
        key(&app, "own-wide", json!({ "models": [], "team_id": wide })).await;
        key(&app, "own-same", json!({ "models": ["all-team-models"], "team_id": wide })).await;
        key(&app, "own-blocked", json!({ "models": [], "team_id": blocked })).await;
        key(&app, "own-spent", json!({ "models": [], "team_id": spent })).await;
        let lost = key(&app, "own-lost", json!({ "models": [], "team_id": "gone" })).await;
        let stage = stage_of(&app).await;
        let (_, matrix) = stage.script.get("/keys/matrix?q=own-&size=50").await;
        let models: Vec<&str> = matrix["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["name"].as_str().unwrap())
            .collect();
        let row = |alias: &str| {
            let rows = matrix["rows"].as_array().unwrap();
            let row = rows.iter().find(|row| row["key"]["alias"] == alias).unwrap();
            row["cells"].as_array().unwrap().clone()
        };
        for (at, model) in models.iter().enumerate() {
            let of_team = if model.starts_with("openai/") { "covered" } else { "refused" };
            for (alias, expected) in [
                ("own-wide", of_team),
                ("own-same", of_team),
                ("own-blocked", "refused"),
                ("own-spent", "refused"),
                ("own-lost", "not-known"),
            ] {
                assert_eq!(row(alias)[at], expected, "{generation}: {alias}, {model}");
            }
        }
        let (_, found) = stage.script.get("/keys?model=openai/gpt-5&q=own-").await;
        let mut found: Vec<&str> =
            found["keys"].as_array().unwrap().iter().map(|key| key["alias"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, ["own-same", "own-wide"], "{generation}");
        let page = stage.browser.get(&format!("/keys/{lost}")).await;
        assert!(page.text().contains("team could not be read"), "{}", page.text());
    }
}

#[tokio::test]
async fn a_swap_is_refused_when_the_team_of_the_agents_key_does_not_allow_the_model() {
    let (app, stage) = stage(Generation::V1_109).await;
    let team = team(&app, json!({ "models": ["anthropic/*"] })).await;
    app.admin("/key/update", &json!({ "key": app.agent_key_hash, "team_id": team, "models": [] })).await;
    let form = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5")];
    let page = stage.browser.post("/switch", &form).await;
    assert_eq!(page.outcome(), "refused", "{}", page.text());
    assert!(page.text().contains("not among those of the key's team"), "{}", page.text());
}

/// A replacement keeps every setting that the proxy has, also those unknown to Patchbay.
#[tokio::test]
async fn a_replacement_keeps_every_setting() {
    let (app, stage) = stage(Generation::V1_109).await;
    let settings = json!({
        "models": ["openai/gpt-5"], "max_budget": 9, "budget_duration": "daily", "rpm_limit": 4, "user_id": "u",
        "metadata": { "team": "core" }, "aliases": { "a": "openai/gpt-5" }, "allowed_routes": ["/v1/chat/completions"],
        "budget_limits": [
            { "budget_duration": "1d", "max_budget": 1.5 }, { "budget_duration": "30d", "max_budget": 20.0 },
        ],
        "object_permission": { "vector_stores": ["v1"], "mcp_servers": [] },
        "router_settings": { "num_retries": 2 }, "key_type": "llm_api", "tpd_limit": 7,
        "access_group_ids": ["g1"], "permissions": { "get_spend_routes": true },
    });
    let old = key(&app, "own-rich", settings).await;
    let page = stage.browser.get(&format!("/keys/{old}")).await;
    assert!(
        page.text().contains("Budget per 1d") && page.text().contains("Budget per 30d"),
        "{}",
        page.text()
    );
    assert!(!page.text().contains("no budget"), "{}", page.text());
    let (status, answer) = stage.script.post(&format!("/keys/{old}/replace"), &[("old", "block")]).await;
    assert_eq!((status.as_u16(), &answer["problem"]), (201, &Value::Null), "{answer}");
    let (before, after) =
        (stage.info(&old).await, stage.info(answer["info"]["hash"].as_str().unwrap()).await);
    for (name, value) in before.as_object().unwrap() {
        let is_own =
            ["key_name", "key_alias", "object_permission"].contains(&name.as_str()) || name.ends_with("_at");
        assert!(is_own || *value == after[name], "{name}: {value} became {}", after[name]);
    }
    assert_eq!(after["object_permission"]["vector_stores"], json!(["v1"]));
    assert_eq!(after["key_alias"], "own-rich");
}

#[tokio::test]
async fn a_period_that_the_proxy_took_may_stay() {
    let (app, stage) = stage(Generation::V1_109).await;
    for period in ["daily", "weekly", "sometimes"] {
        let hash =
            key(&app, &format!("own-{period}"), json!({ "max_budget": 1, "budget_duration": period })).await;
        let page = stage.browser.get(&format!("/keys/{hash}/edit")).await;
        let seen = page.attributes("input[name=seen]", "value").remove(0);
        let form =
            [("seen", seen.as_str()), ("alias", &format!("own-{period}-2")), ("budget_duration", period)];
        let page = stage.browser.post(&format!("/keys/{hash}"), &form).await;
        assert!(page.one("#flash").contains("One setting"), "{}", page.text());
        assert_eq!(stage.info(&hash).await["budget_duration"], period);
    }
    let (status, _) =
        stage.script.post("/keys", &[("budget_duration", "monthly"), ("max_budget", "1")]).await;
    assert_eq!(status.as_u16(), 201);
    let (status, answer) = stage.script.post("/keys", &[("duration", "monthly")]).await;
    assert_eq!(status.as_u16(), 422, "{answer}");
}
