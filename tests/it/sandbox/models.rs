//! Deployments.

use patchbay_sandbox::Generation;
use serde_json::json;

use super::{BOTH, MASTER, Stand, recording};

#[tokio::test]
async fn deployments_are_made_and_changed_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let row = stand.replay("model_new_raw_key").await;
        assert_ne!(row["litellm_params"]["api_key"], "sk-raw-secret-ABCDEFGH");
        stand.replay("model_delete_unknown").await;

        let patch = stand.recording("model_patch_params");
        let id = patch["response"]["body"]["model_id"].clone();
        let params =
            json!({ "model": "openai/gpt-5-mini", "api_base": "http://127.0.0.1:18080/v1", "api_key": "k" });
        let body =
            json!({ "model_name": "gpt-5-mini", "litellm_params": params, "model_info": { "id": id } });
        stand.post("/model/new", body.clone()).await;
        stand.replay("model_patch_params").await;
        let again = stand.send("POST", "/model/new", Some(MASTER), Some(&body)).await;
        assert_eq!(again.status, 500, "the id is taken");

        let gone = stand.post("/model/delete", json!({ "id": id })).await;
        assert_eq!(gone["message"], format!("Model: {} deleted successfully", id.as_str().unwrap()));
        let names = stand.get("/v1/models").await;
        assert_eq!(names["data"].as_array().unwrap().len(), 2, "config-mock and gpt-5: {names}");
    }
}

#[tokio::test]
async fn deployments_of_the_configuration_are_read_only() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let id = stand.get("/model/info").await["data"][0]["model_info"]["id"].as_str().unwrap().to_owned();
        let params = json!({ "model": "openai/z" });
        let path = format!("/model/{id}/update");
        let body = json!({ "litellm_params": params });
        let patched = stand.send("PATCH", &path, Some(MASTER), Some(&body)).await;
        assert_eq!(
            (patched.status.as_u16(), &patched.body["error"]["type"]),
            (400, &json!("validation_error"))
        );
        let update = json!({ "litellm_params": params, "model_info": { "id": id } });
        let updated = stand.send("POST", "/model/update", Some(MASTER), Some(&update)).await;
        assert_eq!(updated.status, 400);
        let message = updated.body["error"]["message"].as_str().unwrap();
        assert!(message.contains("Model in config"), "{message}");
        let deleted = stand.send("POST", "/model/delete", Some(MASTER), Some(&json!({ "id": id }))).await;
        assert_eq!(deleted.status, 400);
        assert_eq!(stand.chat(MASTER, "config-mock", "hi").await.status, 200);
    }
}

#[tokio::test]
async fn model_info_hides_secrets() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let mut body = stand.recording("model_new_raw_key")["request"]["body"].clone();
        body["litellm_params"]["my_custom_secret"] = json!("mcs");
        let id = recording(Generation::V1_80, "model_info_one")["response"]["body"]["data"][0]["model_info"]
            ["id"]
            .clone();
        body["model_info"]["id"] = id.clone();
        stand.post("/model/new", body).await;
        let text =
            stand.get("/model/info").await.to_string() + &stand.get("/v2/model/info").await.to_string();
        assert!(!text.contains("raw-secret") && !text.contains("api_key"), "{text}");
        assert_eq!(text.contains("mcs"), generation == Generation::V1_80);
        let data = &stand.get("/model/info").await["data"];
        assert_eq!(
            (&data[0]["model_name"], &data[0]["model_info"]["db_model"]),
            (&json!("config-mock"), &json!(false))
        );
        let info = &data[1]["model_info"];
        assert_eq!((&info["description"], &info["db_model"]), (&json!("free text"), &json!(true)));
        assert_eq!(
            (&info["input_cost_per_token"], &info["max_input_tokens"]),
            (&json!(1.25e-6), &json!(272_000))
        );
        assert_eq!(info.get("blocked"), (generation == Generation::V1_109).then_some(&json!(false)));
    }
    let stand = Stand::start(Generation::V1_80).await;
    let recorded = stand.recording("model_info_one");
    let mut body = stand.recording("model_new_raw_key")["request"]["body"].clone();
    let path = recorded["request"]["path"].as_str().unwrap();
    body["model_info"]["id"] = json!(path.split_once('=').unwrap().1);
    stand.post("/model/new", body).await;
    stand.replay("model_info_one").await;
}

#[tokio::test]
async fn a_deployment_of_an_unknown_provider_is_a_ghost() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let answer = stand.replay("model_new_unknown_provider").await;
        let names = stand.get("/v1/models").await;
        assert_eq!(names["data"].as_array().unwrap().len(), 1, "not served: {names}");
        let id = match generation {
            Generation::V1_80 => answer["model_id"].as_str().unwrap().to_owned(),
            Generation::V1_109 => {
                let message = answer["error"]["message"].as_str().unwrap();
                message.split('\'').nth(1).unwrap().to_owned()
            }
        };
        assert_eq!(stand.chat(MASTER, "bad-provider", "hi").await.status, 400);
        let path = format!("/model/{id}/update");
        let body = json!({ "litellm_params": { "model": "openai/gpt-5" } });
        assert_eq!(stand.send("PATCH", &path, Some(MASTER), Some(&body)).await.status, 200);
        assert_eq!(stand.chat(MASTER, "bad-provider", "hi").await.status, 200, "a patch brings it to life");
        stand.post("/model/delete", json!({ "id": id })).await;
    }
    let stand = Stand::start(Generation::V1_109).await;
    let recorded = stand.recording("x_ghost_v2_model_info");
    let id = recorded["request"]["path"].as_str().unwrap().split_once('=').unwrap().1;
    let params = json!({ "model": "nonsense/foo", "api_key": "x" });
    let body = json!({ "model_name": "ghost", "litellm_params": params, "model_info": { "id": id } });
    assert_eq!(stand.send("POST", "/model/new", Some(MASTER), Some(&body)).await.status, 500);
    stand.replay("x_ghost_v2_model_info").await;
}

#[tokio::test]
async fn an_update_by_post_is_served_late_by_the_older_proxy() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let id = stand.model("m", "gpt-5").await;
        let update = |model: &str| json!({ "model_name": "m", "litellm_params": { "model": model }, "model_info": { "id": id } });
        let said =
            async || stand.chat(MASTER, "m", "hi").await.body["choices"][0]["message"]["content"].clone();
        stand.post("/model/update", update("gpt-5-mini")).await;
        let old = if generation == Generation::V1_80 { "I am gpt-5" } else { "I am gpt-5-mini" };
        assert_eq!(said().await, old);
        stand.pass(21);
        assert_eq!(said().await, "I am gpt-5-mini");
        stand.post("/model/update", update("gpt-5-nano")).await;
        let path = format!("/model/{id}/update");
        let body = json!({ "litellm_params": { "model": "claude-sonnet-4-5", "rpm": null } });
        stand.send("PATCH", &path, Some(MASTER), Some(&body)).await;
        assert_eq!(said().await, "I am claude-sonnet-4-5", "a patch is served at once");
    }
}

#[tokio::test]
async fn the_newer_proxy_pages_searches_and_blocks_deployments() {
    let stand = Stand::start(Generation::V1_109).await;
    for number in 0..5 {
        stand.model(&format!("Model {number}"), "gpt-5").await;
        stand.pass(1);
    }
    let page = stand.get("/v2/model/info?page=2&size=4&sortBy=model_name&sortOrder=desc").await;
    assert_eq!(
        (&page["total_count"], &page["total_pages"], &page["size"]),
        (&json!(6), &json!(2), &json!(4))
    );
    assert_eq!(page["data"][0]["model_name"], "Model 0");
    assert_eq!(stand.get("/v2/model/info?search=model%203").await["total_count"], 1);
    assert_eq!(stand.get("/v2/model/info?search=GPT").await["total_count"], 5, "the upstream's name counts");
    let refused = stand.send("GET", "/v2/model/info?size=0", Some(MASTER), None).await;
    assert_eq!(refused.status, 422);
    let id = &stand.get("/v2/model/info?search=model%203").await["data"][0]["model_info"]["id"];
    stand.post("/model/block", json!({ "model_id": id })).await;
    assert_eq!(stand.chat(MASTER, "Model 3", "hi").await.body["error"]["type"], "permission_error");
    stand.post("/model/unblock", json!({ "model_id": id })).await;
    assert_eq!(stand.chat(MASTER, "Model 3", "hi").await.status, 200);

    let stand = Stand::start(Generation::V1_80).await;
    for _ in 0..3 {
        stand.model("same", "gpt-5").await;
    }
    let all = stand.get("/v2/model/info?page=2&size=1&search=nope").await;
    assert_eq!(all["data"].as_array().unwrap().len(), 4);
    assert_eq!(all.get("total_count"), None);
    let blocked = stand.send("POST", "/model/block", Some(MASTER), Some(&json!({ "model_id": "x" }))).await;
    assert_eq!((blocked.status.as_u16(), blocked.body), (404, json!({ "detail": "Not Found" })));
}
