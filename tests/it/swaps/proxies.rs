//! Swaps on proxies that are run in other ways: without a database, behind basic authentication.

use axum::Router;
use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::response::IntoResponse as _;
use patchbay_sandbox::{Database, Generation};
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::json;
use tower::ServiceExt as _;

use super::relax;
use crate::support::{MASTER_KEY, Setup, TestApp, agent_options, spawn};

const FORM: [(&str, &str); 4] =
    [("agent", "task-agent"), ("context", "one"), ("model", "openai/gpt-5"), ("probe", "1")];

#[tokio::test]
async fn proxy_without_a_database_cannot_check_keys_and_the_probe_decides() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let config_models =
            ["openai/gpt-5", "openai/gpt-5-mini"].map(|name| (name.to_owned(), name.to_owned()));
        let mut app = TestApp::with(Setup {
            generation,
            database: Database::None,
            config_models: config_models.to_vec(),
            is_furnished: false,
            ..Setup::default()
        })
        .await;
        // The one key that such a proxy takes, unless it has authentication of its own.
        let key = SecretString::from(MASTER_KEY);
        let (agent, _guard) = spawn(patchbay_agent::router(agent_options(&app.sandbox, &key)).unwrap()).await;
        let url: url::Url = format!("http://{agent}/a2a/litellm_agent").parse().unwrap();
        for (key, expected) in [(MASTER_KEY, "verified"), ("sk-other", "refused")] {
            let url = url.clone();
            app.restart(|config| (config.agents[0].url, config.agents[0].key) = (url, Some(key.into())))
                .await;
            let (_, told) = app.script().post("/switch", &FORM).await;
            assert_eq!(told["outcome"], expected, "{generation} {told:#}");
            let checked = &told["steps"][0];
            assert_eq!(checked["result"], "warning", "{generation} {told:#}");
            let text = checked["detail"].as_str().unwrap();
            assert!(text.contains("cannot be checked: the proxy has no database"), "{generation} {text}");
        }
    }
}

#[tokio::test]
async fn key_is_still_refused_where_the_database_is_down() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        relax(&app).await;
        app.world.set_database(Database::Down);
        let (_, told) = app.script().post("/switch", &FORM).await;
        assert_eq!(told["outcome"], "refused", "{generation} {told:#}");
    }
}

#[tokio::test]
async fn address_with_user_and_password_passes_basic_authentication() {
    let mut app = TestApp::start().await;
    relax(&app).await;
    let sandbox = patchbay_sandbox::router(app.world.clone());
    let gate = move |mut request: Request| {
        let sandbox = sandbox.clone();
        async move {
            let given: Vec<_> = request.headers().get_all(AUTHORIZATION).iter().cloned().collect();
            // user : p@ss
            if given != ["Basic dXNlcjpwQHNz"] {
                return (StatusCode::UNAUTHORIZED, format!("{} Authorization headers", given.len()))
                    .into_response();
            }
            request.headers_mut().remove(AUTHORIZATION);
            sandbox.oneshot(request).await.unwrap()
        }
    };
    let (address, _guard) = spawn(Router::new().fallback(gate)).await;
    app.restart(|config| config.proxy_url = format!("http://user:p%40ss@{address}/").parse().unwrap()).await;
    let (status, told) = app.script().post("/switch", &FORM).await;
    assert_eq!((status, &told["outcome"]), (StatusCode::OK, &json!("verified")), "{told:#}");
    let user = app.user().await;
    for path in ["/", "/models", "/keys"] {
        let page = user.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(!page.has("main [role=alert]"), "{path}: {}", page.text());
        assert!(!page.body.contains("p@ss") && !page.body.contains("p%40ss"), "{path} shows the password");
    }
}
