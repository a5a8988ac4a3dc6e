//! Many keys.

use std::time::Duration;

use patchbay_sandbox::Generation;
use serde_json::json;

use crate::support::{Setup, TestApp};

/// More keys at once than a page of the proxy's.
#[tokio::test]
async fn a_search_finds_keys_beyond_the_first_page_of_the_proxy() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        // Nobody has looked at the keys yet: a login would, by its overview.
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        let script = app.script();
        for number in 0..320 {
            let models = if number == 7 { json!(["rare/model"]) } else { json!(["openai/gpt-5"]) };
            app.admin(
                "/key/generate",
                &json!({ "key_alias": format!("many-{number:04}"), "models": models }),
            )
            .await;
        }
        // The first page comes before all keys do; then the index fills.
        let (_, first) = script.get("/keys").await;
        assert_eq!(first["issued"], 321, "{}", first["issued"]);
        for _ in 0..100 {
            if script.get("/keys").await.1["is_complete"] == true {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (_, found) = script.get("/keys?q=MANY-0003").await;
        assert_eq!(found["keys"][0]["alias"], "many-0003", "{}", found["total"]);
        let (_, found) = script.get("/keys?q=rare/").await;
        assert_eq!((&found["total"], &found["keys"][0]["alias"]), (&json!(1), &json!("many-0007")));
    }
}
