//! More time and budget for a key, by one button each.

use axum::http::StatusCode;
use jiff::Timestamp;
use patchbay_sandbox::Generation;
use serde_json::json;

use crate::support::{Setup, TestApp};

#[tokio::test]
async fn a_key_lives_longer_and_its_budget_begins_again() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        let key = json!({ "key_alias": "ci", "duration": "10d", "max_budget": 5 });
        let made = app.admin("/key/generate", &key).await;
        app.admin("/key/update", &json!({ "key": made["key"], "spend": 4.5 })).await;
        app.admin("/key/generate", &json!({ "key_alias": "for-ever" })).await;
        let script = app.script();
        let (_, found) = script.get("/keys?q=ci").await;
        let hash = found["keys"][0]["hash"].as_str().unwrap().to_owned();
        let browser = app.user().await;
        let page = browser.get(&format!("/keys/{hash}")).await;
        assert!(
            page.one("#spent").contains("$4.50") && page.one("#spent").contains("of $5.00"),
            "{}",
            page.one("#spent")
        );
        let before: Timestamp = found["keys"][0]["expires"].as_str().unwrap().parse().unwrap();

        let (status, key) = script.post(&format!("/keys/{hash}/extend"), &[]).await;
        assert_eq!(status, StatusCode::OK, "{key}");
        let after: Timestamp = key["expires"].as_str().unwrap().parse().unwrap();
        let days = after.duration_since(before).as_secs_f64() / 86_400.0;
        assert!((29.9..30.1).contains(&days), "{days} days");

        let (status, key) = script.post(&format!("/keys/{hash}/reset-spend"), &[]).await;
        assert_eq!(
            (status, &key["spend"], &key["max_budget"]),
            (StatusCode::OK, &json!(0.0), &json!(5.0)),
            "{key}"
        );
        let (_, audit) = script.get("/audit?what=key.update").await;
        assert_eq!(audit["entries"][0]["before"], "spend $4.50", "{audit}");
        assert!(!browser.get(&format!("/keys/{hash}")).await.has("form[action$='/reset-spend']"));

        // A key that never expires has nothing to extend.
        let (_, found) = script.get("/keys?q=for-ever").await;
        let hash = found["keys"][0]["hash"].as_str().unwrap();
        assert!(!browser.get(&format!("/keys/{hash}")).await.has("form[action$='/extend']"));
        let (status, refused) = script.post(&format!("/keys/{hash}/extend"), &[]).await;
        assert_ne!(status, StatusCode::OK, "{refused}");
    }
}
