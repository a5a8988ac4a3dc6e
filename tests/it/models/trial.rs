//! Tests of one deployment.

use reqwest::StatusCode;
use serde_json::json;

use super::{BOTH, GOOD, Stand, with};

#[tokio::test]
async fn the_deployment_itself_answers_and_the_table_remembers() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let good = stand.register(&GOOD).await;
        let twin = stand.register(&with(&GOOD, &[("model", "gpt-5-mini"), ("duplicate", "yes")])).await;
        for (id, answer) in [(&good, "I am gpt-5"), (&twin, "I am gpt-5-mini")] {
            for _ in 0..3 {
                let (status, body) = stand.script().post(&format!("/models/{id}/test"), &[]).await;
                assert_eq!((status, &body["text"]), (StatusCode::OK, &json!(answer)), "{generation}");
            }
        }
        let user = stand.user().await;
        let page = user.post(&format!("/models/{good}/test"), &[]).await;
        assert_eq!(page.attributes(".test", "data-ok"), ["true"]);
        let list = user.get("/models").await;
        assert!(list.one(&format!("tr[data-id='{good}'] td[data-label='Last test']")).starts_with("ok"));
        assert!(stand.audit().await[0].contains("model.test"));
    }
}

#[tokio::test]
async fn an_upstreams_error_is_told_without_its_stack_trace() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let form = with(&GOOD, &[("name", "openai/missing"), ("model", "missing-model")]);
        let id = stand.register(&form).await;
        let (status, body) = stand.script().post(&format!("/models/{id}/test"), &[]).await;
        assert_eq!((status, &body["ok"]), (StatusCode::OK, &json!(false)), "{body}");
        let text = body["text"].as_str().unwrap();
        assert!(text.contains("does not exist") && !text.contains("Traceback"), "{text}");
        let list = stand.user().await.get("/models").await;
        assert!(list.one(&format!("tr[data-id='{id}'] td[data-label='Last test']")).starts_with("failed"));
    }
}

#[tokio::test]
async fn a_model_that_does_not_chat_is_not_tested() {
    let stand = Stand::start(BOTH[1]).await;
    let form = with(&GOOD, &[("name", "e"), ("model", "text-embedding-3-small"), ("mode", "embedding")]);
    let id = stand.register(&form).await;
    let user = stand.user().await;
    assert!(user.get(&format!("/models/{id}")).await.has("form[action$='/test'] button[disabled]"));
    let page = user.post(&format!("/models/{id}/test"), &[]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.text().contains("embedding"), "{}", page.text());
}
