//! The database, and requests that fit nowhere.

use patchbay_sandbox::{Database, Generation};
use serde_json::json;

use super::{BOTH, MASTER, Stand, bearer};

#[tokio::test]
async fn a_lost_database_fails_as_recorded() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        stand.model("gpt-5", "gpt-5").await;
        let warm = stand.post("/key/generate", json!({})).await["key"].as_str().unwrap().to_owned();
        assert_eq!(stand.chat(&warm, "gpt-5", "hi").await.status, 200);
        let cold = bearer(&stand.recording("dbdown_chat_cold_key")).unwrap();
        stand.post("/key/generate", json!({ "key": cold })).await;
        stand.world.set_database(Database::Down);
        stand.replay("dbdown_key_list").await;
        stand.replay("dbdown_key_update").await;
        stand.replay("dbdown_chat_cold_key").await;
        if generation == Generation::V1_109 {
            stand.replay("dbdown_model_info").await;
        } else {
            stand.get("/model/info").await;
            let v2 = stand.send("GET", "/v2/model/info", Some(MASTER), None).await;
            assert_eq!((v2.status.as_u16(), v2.body), (500, json!("Internal Server Error")));
        }
        assert_eq!(stand.chat(&warm, "gpt-5", "hi").await.status, 200, "a key in the cache");
        assert_eq!(stand.chat(MASTER, "gpt-5", "hi").await.status, 200);
        let ready = stand.send("GET", "/health/readiness", None, None).await;
        // The older proxy believes in its database for a while.
        assert_eq!(ready.status.is_success(), generation == Generation::V1_80);
        stand.pass(60);
        let ready = stand.send("GET", "/health/readiness", None, None).await;
        assert_eq!(ready.status, 503);
        assert_eq!(stand.send("GET", "/health/liveliness", None, None).await.body, "I'm alive!");
        stand.world.set_database(Database::Up);
        assert_eq!(stand.chat(&cold, "gpt-5", "hi").await.status, 200);
    }
}

#[tokio::test]
async fn a_proxy_without_a_database_serves_its_configuration() {
    for generation in BOTH {
        let stand = Stand::start_with(generation, Database::None).await;
        let ready = stand.send("GET", "/health/readiness", None, None).await;
        assert_eq!((ready.status.as_u16(), &ready.body["db"]), (200, &json!("Not connected")));
        assert_eq!(stand.get("/model/info").await["data"].as_array().unwrap().len(), 1);
        let answer = stand.chat(MASTER, "config-mock", "hi").await;
        assert_eq!(answer.body["choices"][0]["message"]["content"], "I am config-mock");
        let made = stand.send("POST", "/key/generate", Some(MASTER), Some(&json!({}))).await;
        assert_eq!(made.status, 500);
        assert!(
            made.body["error"]["message"].as_str().unwrap().contains("DB not connected"),
            "{}",
            made.body
        );
        let unknown = stand.chat("sk-unknown", "config-mock", "hi").await;
        assert_eq!(
            (unknown.status.as_u16(), &unknown.body["error"]["type"]),
            (400, &json!("no_db_connection"))
        );
    }
}

#[tokio::test]
async fn odd_requests_are_refused_in_the_frameworks_words() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let unknown = stand.send("GET", "/no/such/path", Some(MASTER), None).await;
        assert_eq!((unknown.status.as_u16(), unknown.body), (404, json!({ "detail": "Not Found" })));
        let method = stand.send("GET", "/model/new", Some(MASTER), None).await;
        assert_eq!((method.status.as_u16(), method.body), (405, json!({ "detail": "Method Not Allowed" })));
        for (key, start) in [
            (None, "Authentication Error, No api key passed in."),
            (Some(""), "Authentication Error, Malformed API Key passed in."),
        ] {
            let answer = stand.send("GET", "/key/list", key, None).await;
            assert_eq!(answer.status, 401);
            assert!(answer.body["error"]["message"].as_str().unwrap().starts_with(start), "{}", answer.body);
        }
        let foreign = stand.send("GET", "/key/list", Some("not-a-key"), None).await;
        let masked = generation == Generation::V1_109;
        assert_eq!(foreign.body["error"]["message"].as_str().unwrap().contains("not-****-key"), masked);
        let large = json!({ "metadata": { "a": "x".repeat(2 * 1024 * 1024) } });
        let answer = stand.send("POST", "/key/generate", Some(MASTER), Some(&large)).await;
        assert_eq!(answer.status, 413);
    }
}
