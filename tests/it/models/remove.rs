//! Deleting, and what it would hit.

use reqwest::StatusCode;
use serde_json::json;

use super::{BOTH, GOOD, Stand};
use crate::support::TestApp;

#[tokio::test]
async fn what_nothing_depends_on_is_deleted_at_once() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let id = stand.register(&GOOD).await;
        let user = stand.user().await;
        let page = user.get(&format!("/models/{id}/delete")).await;
        assert!(page.one("#radius").contains("calls of this name would fail"));
        assert!(!page.has("#confirm"));
        let page = user.post(&format!("/models/{id}/delete"), &[]).await;
        assert!(page.one("#flash").contains("openai/gpt-5 is deleted"), "{}", page.text());
        assert!(!stand.is_live(&id).await);
        assert!(stand.audit().await[0].contains("model.delete"));
    }
}

#[tokio::test]
async fn keys_contexts_and_siblings_are_named_before_a_deletion() {
    let app = TestApp::start().await;
    let user = app.user().await;
    let swap = [("agent", "task-agent"), ("context", "c-1"), ("model", "openai/gpt-5-mini")];
    assert_eq!(user.post("/switch", &swap).await.outcome(), "verified");
    let list = user.get("/models?q=gpt-5-mini").await;
    let id = list.attributes("#models tbody tr", "data-id").remove(0);
    let page = user.get(&format!("/models/{id}/delete")).await;
    assert_eq!(page.attributes("#radius dd[data-keys]", "data-keys"), ["1"]);
    assert_eq!(page.attributes("#radius dd[data-contexts]", "data-contexts"), ["1"]);
    let radius = page.one("#radius");
    assert!(radius.contains("task-agent") && radius.contains("c-1"), "{radius}");

    for wrong in ["", "openai/gpt-5"] {
        let page = user.post(&format!("/models/{id}/delete"), &[("confirm", wrong)]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.one("#confirm-error").contains("Type the name"));
    }
    let (status, body) = app.script().post(&format!("/models/{id}/delete"), &[]).await;
    assert_eq!((status, &body["wants_confirmation"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(true)));
    let page = user.post(&format!("/models/{id}/delete"), &[("confirm", "openai/gpt-5-mini")]).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!user.get("/models").await.attributes("#models tbody tr", "data-id").contains(&id));
}
