//! The registry of proxies that cannot show it as others do: without a database, of older releases.

use reqwest::StatusCode;
use serde_json::json;

use super::lived_in::{lived_in, names};
use crate::support::{Setup, TestApp};

/// What a proxy without a database answers instead.
#[tokio::test]
async fn a_proxy_that_cannot_page_is_read_from_its_expanded_list() {
    use axum::Router;
    use axum::routing::get;
    for status in [404, 500] {
        let row = |id: &str, name: &str, model: &str| {
            json!({ "model_name": name, "litellm_params": { "model": model },
                    "model_info": { "id": id, "db_model": false } })
        };
        let rows = json!({ "data": [
            row("a", "acme/smart", "openai/gpt-5"), row("w", "openai/gpt-4", "openai/gpt-4"),
            row("w", "openai/o3", "openai/o3"), row("a", "openai/gpt-5", "openai/gpt-5"),
            row("v", "any/*", "openai/*"), row("v", "any/gpt-4", "openai/gpt-4"),
        ] });
        let code = StatusCode::from_u16(status).unwrap();
        let refuse = move || async move { code };
        let router = Router::new()
            .route(
                "/model/info",
                get(move || {
                    let rows = rows.clone();
                    async move { axum::Json(rows) }
                }),
            )
            .fallback(refuse);
        let (address, _guard) = crate::support::spawn(router).await;
        let proxy = Some(format!("http://{address}"));
        let app = TestApp::with(Setup { proxy, is_furnished: false, ..Setup::default() }).await;
        assert_eq!(names(&app, "").await, ["any/*", "openai/*", "openai/gpt-5"], "{status}");
        let offered = app.user().await.get("/switch").await.attributes("datalist#models option", "value");
        assert_eq!(offered, ["acme/smart", "openai/gpt-5"]);
    }
}

/// Releases before 1.80 have no `/router/settings`.
#[tokio::test]
async fn aliases_are_found_on_older_releases_too() {
    use axum::extract::Request;
    use axum::middleware::{Next, from_fn};
    use axum::response::IntoResponse;
    let app = TestApp::start().await;
    lived_in(&app).await;
    app.admin("/key/update", &json!({ "key": app.agent_key_hash, "models": ["team/smart"] })).await;
    let form = [("agent", "task-agent"), ("context", "alias"), ("model", "team/smart")];
    let (_, told) = app.script().post("/switch", &form).await;
    assert_eq!(told["outcome"], "verified", "{told}");
    let agent_key = app.agent_key.clone();
    let older = async |request: Request, next: Next| match request.uri().path() {
        "/router/settings" => StatusCode::NOT_FOUND.into_response(),
        _ => next.run(request).await,
    };
    let router = patchbay_sandbox::router(app.world.clone()).layer(from_fn(older));
    let (address, _guard) = crate::support::spawn(router).await;
    let proxy = Some(format!("http://{address}"));
    let mut app = TestApp::with(Setup { proxy, is_furnished: false, ..Setup::default() }).await;
    let page = app.user().await.get("/switch").await;
    let offered: Vec<String> = page.attributes("datalist#models option", "value");
    assert!(offered.contains(&"team/smart".to_owned()), "{offered:?}");
    assert!(!page.body.contains("smtp-secret"));
    // There a key that lists the alias alone may not call it (measured on 1.74).
    app.restart(|config| config.agents[0].key = Some(agent_key)).await;
    let (_, told) = app.script().post("/switch", &form).await;
    assert_eq!(told["outcome"], "refused", "{told}");
    assert!(told["steps"].to_string().contains("not among those of the key"), "{told}");
}
