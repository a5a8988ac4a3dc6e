//! Chat, and what it costs.

use patchbay_sandbox::Generation;
use serde_json::{Value, json};

use super::{BOTH, MASTER, Stand, bearer, differences};

#[tokio::test]
async fn chat_answers_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "openai/gpt-5").await;
        let key = bearer(&stand.recording("chat_key_ok")).unwrap();
        stand.post("/key/generate", json!({ "key": key, "key_alias": "full", "models": ["gpt-5"] })).await;
        stand.replay("chat_key_ok").await;
        stand.replay("chat_unknown_key").await;
        stand.replay("chat_unknown_model_master").await;
        let params = json!({ "model": "openai/gpt-5", "api_key": "bad-key" });
        stand.post("/model/new", json!({ "model_name": "bad-key", "litellm_params": params })).await;
        stand.replay("chat_upstream_401").await;

        let calls = stand.world.chat_calls();
        assert_eq!(calls.len(), 2, "refused callers reach no upstream");
        assert_eq!((calls[0].model.as_str(), calls[0].key_alias.as_deref()), ("gpt-5", Some("full")));
        assert_eq!(calls[0].messages, [json!({ "role": "user", "content": "hi" })]);
        assert_eq!((calls[1].model.as_str(), calls[1].key_alias.as_deref()), ("bad-key", None));
    }
}

#[tokio::test]
async fn chat_refuses_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "openai/gpt-5").await;
        let keys = [
            ("chat_key_not_allowed_model", json!({ "models": ["gpt-5-mini"] })),
            ("chat_expired", json!({ "duration": "1s" })),
            ("chat_blocked", json!({ "blocked": true })),
            ("chat_rpm_exceeded", json!({ "rpm_limit": 1 })),
            ("chat_budget_exceeded", json!({ "key_alias": "small-budget", "max_budget": 1e-6 })),
        ];
        for (name, mut body) in keys {
            body["key"] = json!(bearer(&stand.recording(name)));
            stand.post("/key/generate", body).await;
        }
        stand.pass(2);
        let key = bearer(&stand.recording("chat_rpm_exceeded")).unwrap();
        assert_eq!(stand.chat(&key, "gpt-5", "hi").await.status, 200);
        let key = bearer(&stand.recording("chat_budget_exceeded")).unwrap();
        stand.post("/key/update", json!({ "key": key, "spend": 1000.018 })).await;
        for name in [
            "chat_key_not_allowed_model",
            "chat_expired",
            "chat_blocked",
            "chat_rpm_exceeded",
            "chat_budget_exceeded",
        ] {
            stand.replay(name).await;
        }
        stand.pass(60);
        let key = bearer(&stand.recording("chat_rpm_exceeded")).unwrap();
        assert_eq!(stand.chat(&key, "gpt-5", "hi").await.status, 200, "a minute later");
    }
}

#[tokio::test]
async fn chat_streams_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "openai/gpt-5").await;
        let answered = events(&stand.replay("chat_stream").await);
        let recorded = events(&stand.recording("chat_stream")["response"]["body"]);
        let mut found = Vec::new();
        differences("", &Value::Array(recorded), &Value::Array(answered), &mut found);
        assert!(found.is_empty(), "{generation}: {found:#?}");

        let mut body = stand.recording("chat_stream")["request"]["body"].clone();
        body["stream_options"] = json!({ "include_usage": true });
        let answer = stand.send("POST", "/chat/completions", Some(MASTER), Some(&body)).await;
        let events = events(&answer.body);
        assert_eq!(events[events.len() - 2]["usage"]["completion_tokens"], 5);
    }
}

/// The data of server-sent events, the end marker as a string.
fn events(body: &Value) -> Vec<Value> {
    let lines = body.as_str().unwrap().lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data))).collect()
}

#[tokio::test]
async fn chat_obeys_the_magic_words() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        // The names of the guide: an alias with a provider in it, the model without.
        stand.model("openai/gpt-5", "gpt-5").await;
        let answer = stand.chat(MASTER, "openai/gpt-5", "TOKENS=9").await.body;
        assert_eq!(answer["choices"][0]["message"]["content"], "I am gpt-5");
        let model = if generation == Generation::V1_80 { "gpt-5" } else { "openai/gpt-5" };
        assert_eq!((&answer["model"], &answer["usage"]["completion_tokens"]), (&json!(model), &json!(9)));
        assert_eq!(stand.chat(MASTER, "openai/gpt-5", "FAIL=429").await.status, 429);
        assert_eq!(stand.chat(MASTER, "openai/gpt-5", "FAIL=503").await.status, 503);
        let big = stand.chat(MASTER, "openai/gpt-5", "BIG=1000").await.body;
        assert_eq!(big["choices"][0]["message"]["content"].as_str().unwrap().len(), 1011);
        let params = json!({ "timeout": 0.05 });
        let id = stand.get("/v1/model/info").await["data"][1]["model_info"]["id"].clone();
        let path = format!("/model/{}/update", id.as_str().unwrap());
        let body = json!({ "litellm_params": params });
        assert_eq!(stand.send("PATCH", &path, Some(MASTER), Some(&body)).await.status, 200);
        assert_eq!(stand.chat(MASTER, "openai/gpt-5", "SLEEP=5").await.status, 408);
        let began = std::time::Instant::now();
        assert_eq!(stand.chat(MASTER, "openai/gpt-5", "SLEEP=0.02").await.status, 200);
        assert!(began.elapsed().as_millis() >= 20);
    }
}

#[tokio::test]
async fn calls_are_paid_for() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        assert_eq!(stand.get("/global/spend").await["spend"], Value::Null);
        stand.model("gpt-5", "gpt-5").await;
        let made = stand.post("/key/generate", json!({ "key_alias": "payer", "max_budget": 0.5 })).await;
        let key = made["key"].as_str().unwrap();
        assert_eq!(stand.chat(key, "gpt-5", "TOKENS=100000").await.status, 200);
        let refused = stand.chat(key, "gpt-5", "hi").await;
        assert_eq!(refused.body["error"]["type"], "budget_exceeded");
        stand.chat(MASTER, "gpt-5", "FAIL=500").await;

        // 18 tokens in at 1.25e-6, 100,000 out at 1e-5.
        let cost = 18.0 * 1.25e-6 + 1.0;
        let close = |value: &Value| (value.as_f64().unwrap() - cost).abs() < 1e-9;
        let info = stand.get(&format!("/key/info?key={key}")).await;
        assert!(close(&info["info"]["spend"]), "{info}");
        assert!(close(&stand.get("/global/spend").await["spend"]));
        let dates = "start_date=2026-11-22%2000:00:00&end_date=2026-11-23%2000:00:00";
        let logs = stand.get(&format!("/spend/logs/v2?{dates}&page=1&page_size=1")).await;
        assert_eq!((&logs["total"], &logs["total_pages"]), (&json!(2), &json!(2)));
        assert_eq!(logs["data"][0]["status"], "failure", "the newest comes first");
        let token = made["token"].as_str().unwrap();
        let logs = stand.get(&format!("/spend/logs/v2?{dates}&api_key={token}")).await;
        let row = &logs["data"][0];
        assert!(close(&row["spend"]));
        assert_eq!((&row["model_group"], &row["completion_tokens"]), (&json!("gpt-5"), &json!(100_000)));
        assert_eq!(row["metadata"]["user_api_key_alias"], "payer");
        let earlier = "start_date=2026-11-20%2000:00:00&end_date=2026-11-21%2000:00:00";
        assert_eq!(stand.get(&format!("/spend/logs/v2?{earlier}")).await["total"], 0);
    }
}

#[tokio::test]
async fn no_models_means_all_and_a_marker_means_none() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "gpt-5").await;
        let denied = if generation == Generation::V1_80 { 401 } else { 403 };
        for (models, status) in [
            (json!([]), 200),
            (json!(["all-proxy-models"]), 200),
            (json!(["gpt-5"]), 200),
            (json!(["no-default-models"]), denied),
        ] {
            let made = stand.post("/key/generate", json!({ "models": models })).await;
            let answer = stand.chat(made["key"].as_str().unwrap(), "gpt-5", "hi").await;
            assert_eq!(answer.status.as_u16(), status, "{generation} {models}: {}", answer.body);
        }
    }
}
