//! Editing, replacing, blocking.

use patchbay_sandbox::Generation;
use reqwest::StatusCode;
use serde_json::json;

use super::{BOTH, GOOD, Stand, error_at, with};

#[tokio::test]
async fn an_edit_sends_what_differs_and_is_read_back() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let id = stand
            .register(&with(&GOOD, &[("rpm", "5"), ("description", "old"), ("extra", "timeout: 30")]))
            .await;
        let user = stand.user().await;
        let form = user.get(&format!("/models/{id}/edit")).await;
        assert_eq!(form.attributes("#rpm", "value"), ["5"]);
        assert!(form.one("#extra").starts_with("timeout: 30"), "{}", form.one("#extra"));
        let seen = form.attributes("input[name=seen]", "value").remove(0);
        // As a browser sends it: all fields, most of them as they were.
        let sent =
            with(&GOOD, &[("rpm", "9"), ("description", ""), ("extra", "timeout: 31"), ("seen", &seen)]);
        let page = user.post(&format!("/models/{id}"), &sent).await;
        assert!(page.one("#flash").contains("is changed"), "{}", page.text());
        let live = stand.live(&id).await;
        assert_eq!(
            (&live["litellm_params"]["rpm"], &live["litellm_params"]["timeout"]),
            (&json!(9), &json!(31))
        );
        assert_eq!(live["model_info"]["description"], "");
        let again = user.post(&format!("/models/{id}"), &sent).await;
        assert_eq!(again.status, StatusCode::OK, "nothing differs any more: {}", again.text());
        let stale = user.post(&format!("/models/{id}"), &with(&sent, &[("rpm", "10")])).await;
        assert_eq!(
            (stale.status, stale.one("h1")),
            (StatusCode::CONFLICT, "The deployment has changed".to_owned())
        );
        let audit = stand.audit().await;
        assert!(
            audit[0].contains("failed") && audit[1].contains("rpm=5") && audit[1].contains("rpm=9"),
            "{audit:?}"
        );
    }
}

#[tokio::test]
async fn what_the_proxy_cannot_clear_is_said_and_replaced_in_one_step() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let id = stand.register(&with(&GOOD, &[("rpm", "5"), ("extra", "timeout: 30")])).await;
        let user = stand.user().await;
        let cleared = with(&GOOD, &[("rpm", ""), ("extra", "")]);
        let page = user.post(&format!("/models/{id}"), &cleared).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        let notice = page.all(".notice.inner strong").remove(0);
        assert!(notice.contains("Requests per minute") && notice.contains("timeout"), "{notice}");
        assert!(page.has("button[name=replace][value=yes]"));
        assert_eq!(stand.live(&id).await["litellm_params"]["rpm"], 5, "nothing was sent");

        let without = with(&cleared, &[("secret", ""), ("replace", "yes")]);
        let page = user.post(&format!("/models/{id}"), &without).await;
        assert!(error_at(&page, "secret").contains("never returns"), "{}", page.text());
        let page = user.post(&format!("/models/{id}"), &with(&cleared, &[("replace", "yes")])).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        let new = page.url.path().rsplit('/').next().unwrap().to_owned();
        assert_ne!(new, id);
        assert!(!stand.is_live(&id).await);
        let live = stand.live(&new).await;
        assert!(live["litellm_params"].get("rpm").is_none(), "{live}");
        assert_eq!(live["model_name"], "openai/gpt-5");
    }
}

#[tokio::test]
async fn a_replacement_that_is_dead_does_not_cost_the_former_one() {
    let stand = Stand::start(BOTH[0]).await;
    let id = stand.register(&GOOD).await;
    let form = with(&GOOD, &[("provider", ""), ("model", "nonsense/x"), ("replace", "yes")]);
    let (_, body) = stand.script().post(&format!("/models/{id}"), &form).await;
    assert_eq!(body["live"], false, "{body}");
    assert!(stand.is_live(&id).await);
}

#[tokio::test]
async fn a_rename_that_keys_would_feel_asks_first() {
    let stand = Stand::start(BOTH[1]).await;
    let id = stand.register(&GOOD).await;
    stand.admin("/key/generate", &json!({ "key_alias": "k", "models": ["openai/gpt-5"] })).await;
    let user = stand.user().await;
    let renamed = with(&GOOD, &[("name", "openai/other")]);
    let page = user.post(&format!("/models/{id}"), &renamed).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(error_at(&page, "name").contains("would lose it"));
    let page = user.post(&format!("/models/{id}"), &with(&renamed, &[("rename", "yes")])).await;
    assert_eq!((page.status, page.one("h1")), (StatusCode::OK, "openai/other".to_owned()));
}

#[tokio::test]
async fn models_of_the_configuration_file_are_read_only_and_say_why() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let user = stand.user().await;
        let id = stand.config_id().await;
        let page = user.get(&format!("/models/{id}")).await;
        assert!(page.text().contains("configuration file"));
        assert!(!page.has("a[href$='/edit']") && !page.has("a[href$='/delete']"));
        for (path, form) in [("", vec![("rpm", "3")]), ("/delete", vec![]), ("/block", vec![])] {
            let page = user.post(&format!("/models/{id}{path}"), &form).await;
            assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {}", page.text());
            assert_eq!(page.one("h1"), "This deployment is read-only", "{path}");
        }
        assert!(stand.is_live(&id).await);
    }
}

#[tokio::test]
async fn a_deployment_is_blocked_where_the_proxy_can() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let id = stand.register(&GOOD).await;
        let user = stand.user().await;
        if generation == Generation::V1_80 {
            let page = user.get(&format!("/models/{id}")).await;
            assert!(page.one("#block-why").contains("1.80.17 cannot"), "{}", page.text());
            assert!(page.has("button[aria-describedby=block-why][disabled]"));
            let page = user.post(&format!("/models/{id}/block"), &[]).await;
            assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
            assert!(page.text().contains("1.106"), "{}", page.text());
            continue;
        }
        let page = user.post(&format!("/models/{id}/block"), &[]).await;
        assert!(page.one("#flash").contains("blocked"), "{}", page.text());
        assert_eq!(stand.live(&id).await["model_info"]["blocked"], true);
        assert_eq!(
            user.get("/models?blocked=yes").await.attributes("#models tbody tr", "data-id"),
            [id.as_str()]
        );
        user.post(&format!("/models/{id}/unblock"), &[]).await;
        assert_eq!(stand.live(&id).await["model_info"]["blocked"], false);
        assert!(stand.audit().await[0].contains("model.unblock"));
    }
}

#[tokio::test]
async fn an_unknown_deployment_is_not_found() {
    let stand = Stand::start(BOTH[1]).await;
    for (path, form) in
        [("/models/nope", &[("rpm", "1")][..]), ("/models/nope/delete", &[]), ("/models/nope/test", &[])]
    {
        let (status, body) = stand.script().post(path, form).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {body}");
    }
    assert_eq!(stand.script().get("/models/nope/edit").await.0, StatusCode::NOT_FOUND);
}
