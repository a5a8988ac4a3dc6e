//! Virtual keys.

use patchbay_sandbox::Generation;
use serde_json::{Value, json};

use super::{BOTH, MASTER, Stand, bearer, differences, recording, subject};

#[tokio::test]
async fn keys_are_made_and_shown_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.replay("key_generate_full").await;
        stand.replay("key_generate_duplicate_alias").await;
        stand.replay("key_generate_string_budget").await;
        stand.replay("key_list_alias").await;

        let stand = Stand::start(generation).await;
        let mut body = stand.recording("key_generate_full")["request"]["body"].clone();
        body["key"] = json!(subject(&stand.recording("key_info_by_sk")));
        stand.post("/key/generate", body).await;
        stand.replay("key_info_by_sk").await;
    }
}

#[tokio::test]
async fn keys_are_changed_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let mut body = stand.recording("key_generate_full")["request"]["body"].clone();
        body["key"] = json!(subject(&stand.recording("key_update_models")));
        stand.post("/key/generate", body).await;
        let recorded = stand.recording("key_update_models")["response"]["body"].clone();
        // The recorded key had been used by then.
        let used = json!({ "key": recorded["key"], "spend": recorded["spend"] });
        let answer = stand.post("/key/update", used).await;
        assert_eq!(answer["spend"].as_f64(), recorded["spend"].as_f64());
        stand.pass(1);
        let changed = json!({ "key": recorded["key"], "models": ["gpt-5-mini"] });
        let answer = stand.post("/key/update", changed).await;
        let mut found = Vec::new();
        differences("", &recorded, &answer, &mut found);
        // No call was made here, so that two fields stay empty.
        found.retain(|line| !line.starts_with(".total_spend") && !line.starts_with(".last_active"));
        assert!(found.is_empty(), "{generation}: {found:#?}");
        assert_eq!(answer["updated_at"], "2026-11-22T08:14:12.954000+00:00");

        let block = stand.recording("key_block");
        stand.post("/key/generate", json!({ "key": subject(&block), "key_alias": "to-block" })).await;
        stand.replay("key_block").await;
        stand.replay("key_update_unknown").await;
        stand.replay("key_delete_unknown").await;
        stand.replay("key_list_size_101").await;
        stand.replay("key_list_sort_bad").await;
    }
}

#[tokio::test]
async fn an_update_clears_with_null_and_replaces_metadata() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let made = stand
            .post(
                "/key/generate",
                json!({ "key_alias": "a", "duration": "1d", "max_budget": 1, "metadata": { "a": 1, "b": 2 } }),
            )
            .await;
        let key = &made["key"];
        let answer = stand
            .post(
                "/key/update",
                json!({ "key": key, "key_alias": null, "max_budget": null, "duration": null, "metadata": { "b": 3 } }),
            )
            .await;
        assert_eq!(answer["metadata"], json!({ "b": 3 }));
        assert_eq!((&answer["key_alias"], &answer["max_budget"]), (&Value::Null, &Value::Null));
        assert_eq!(answer["expires"].is_null(), generation == Generation::V1_109);
        let answer = stand.post("/key/update", json!({ "key": key, "duration": "-1" })).await;
        assert_eq!(answer["expires"], Value::Null);
        stand.post("/key/generate", json!({ "key_alias": "a" })).await;
    }
}

#[tokio::test]
async fn a_deleted_key_is_remembered_by_the_newer_proxy_only() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let recorded = recording(Generation::V1_109, "key_info_deleted");
        let key = subject(&recorded);
        stand.post("/key/generate", json!({ "key": key, "key_alias": "custom" })).await;
        // One that exists is enough for both to be called deleted.
        let gone = json!([key, "sk-unknown-000000000"]);
        assert_eq!(stand.post("/key/delete", json!({ "keys": gone })).await["deleted_keys"], gone);
        if generation == Generation::V1_109 {
            stand.replay("key_info_deleted").await;
            assert_eq!(stand.get("/key/list?status=deleted").await["total_count"], 1);
        } else {
            let path = format!("/key/info?key={key}");
            let answer = stand.send("GET", &path, Some(MASTER), None).await;
            assert_eq!(answer.status, 404);
        }
    }
}

#[tokio::test]
async fn keys_are_listed_in_pages_and_searched() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        for number in 0..25 {
            stand.post("/key/generate", json!({ "key_alias": format!("Agent {number:02}") })).await;
            stand.pass(1);
        }
        let page = stand.get("/key/list?page=2&size=10&return_full_object=true").await;
        assert_eq!(page["keys"][0]["key_alias"], "Agent 14", "the newest come first");
        assert_eq!((&page["total_count"], &page["total_pages"]), (&json!(25), &json!(3)));
        let beyond = stand.get("/key/list?page=9&size=10").await;
        assert_eq!((&beyond["keys"], &beyond["current_page"]), (&json!([]), &json!(9)));
        let sorted = "/key/list?sort_by=key_alias&sort_order=asc&size=1&return_full_object=true";
        assert_eq!(stand.get(sorted).await["keys"][0]["key_alias"], "Agent 00");
        assert_eq!(stand.get("/key/list?key_alias=Agent%2001").await["total_count"], 1);
        assert_eq!(stand.get("/key/list?key_alias=Agent").await["total_count"], 0);
        // What it does not know the older proxy ignores.
        let all_or = |modern: u32| if generation == Generation::V1_80 { 25 } else { modern };
        assert_eq!(stand.get("/key/list?search=agent%201").await["total_count"], all_or(10));
        assert_eq!(stand.get("/key/list?status=revoked").await["total_count"], all_or(0));
        let partial = stand.get("/key/list?key_alias=agent%202&substring_matching=true").await;
        let expected = if generation == Generation::V1_80 { 0 } else { 5 };
        assert_eq!(partial["total_count"], expected);
    }
}

#[tokio::test]
async fn a_virtual_key_is_no_administrator() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "gpt-5").await;
        stand.model("gpt-5-mini", "gpt-5-mini").await;
        let key = bearer(&stand.recording("virtual_key_key_generate")).unwrap();
        stand.post("/key/generate", json!({ "key": key, "models": ["gpt-5-mini"] })).await;
        stand.replay("virtual_key_key_generate").await;
        stand.replay("virtual_key_model_new").await;
        let list = stand.send("GET", "/key/list", Some(&key), None).await;
        assert_eq!((list.status.as_u16(), &list.body["error"]["param"]), (403, &json!("user_id")));
        let own = stand.send("GET", "/key/info", Some(&key), None).await;
        assert_eq!(own.body["info"]["models"], json!(["gpt-5-mini"]));
        let models = stand.send("GET", "/v1/models", Some(&key), None).await;
        assert_eq!(models.body["data"].as_array().unwrap().len(), 1);
        let info = stand.send("GET", "/model/info", Some(&key), None).await;
        assert_eq!(info.body["data"].as_array().unwrap().len(), 1);
        let all = stand.send("GET", "/v2/model/info", Some(&key), None).await;
        assert_eq!(all.body["data"].as_array().unwrap().len(), 3, "every key sees every model there");
        for route in ["/global/spend", "/spend/logs/v2"] {
            assert_eq!(stand.send("GET", route, Some(&key), None).await.status, 401);
        }
    }
}
