//! "None", "filtered out", "proxy down" and "proxy has no database" are told apart.

use axum::http::StatusCode;
use patchbay_sandbox::{Database, Generation};

use crate::support::{Page, Setup, TestApp, closed_port};

async fn empty(app: &TestApp, path: &str, status: StatusCode) -> Page {
    let page = app.user().await.get(path).await;
    assert_eq!(page.status, status, "{path}: {}", page.text());
    assert!(page.has(".empty") && !page.has("tbody tr"), "{path}: {}", page.text());
    page
}

#[tokio::test]
async fn nothing_yet() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let app = TestApp::with(Setup { generation, is_furnished: false, ..Setup::default() }).await;
        let ok = StatusCode::OK;
        assert!(empty(&app, "/models", ok).await.one(".empty").contains("No models yet"));
        assert!(empty(&app, "/keys", ok).await.one(".empty").contains("No keys yet"));
        assert!(empty(&app, "/contexts", ok).await.one(".empty").contains("No contexts yet"));
        // A filter on nothing does not hide that there is nothing.
        assert!(empty(&app, "/models?q=x", ok).await.one(".empty").contains("No models yet"));
        assert!(empty(&app, "/keys?q=x&state=blocked", ok).await.one(".empty").contains("No keys yet"));
        let page = app.user().await.get("/").await;
        assert!(page.text().contains("No context was switched yet"), "{}", page.text());
    }
}

#[tokio::test]
async fn filtered_out() {
    let app = TestApp::start().await;
    let ok = StatusCode::OK;
    assert!(empty(&app, "/models?q=zzz", ok).await.one(".empty").contains("None of the 3 deployments fits"));
    assert!(empty(&app, "/keys?q=zzz", ok).await.one(".empty").contains("None of the 1 keys fits"));
    let form = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5-mini")];
    app.script().post("/switch", &form).await;
    let page = empty(&app, "/contexts?q=zzz", ok).await;
    assert!(page.one(".empty").contains("No known context fits the search"), "{}", page.text());
}

#[tokio::test]
async fn the_proxy_is_down() {
    let proxy = Some(format!("http://{}", closed_port().await));
    let app = TestApp::with(Setup { proxy, ..Setup::default() }).await;
    let bad = StatusCode::BAD_GATEWAY;
    for (path, text) in
        [("/models", "The registry could not be read"), ("/keys", "The keys could not be read")]
    {
        let page = empty(&app, path, bad).await;
        assert!(page.one(".empty").contains(text), "{}", page.text());
        assert!(page.one("[role=alert]").contains("The proxy is down"), "{}", page.text());
        assert!(page.one("[role=alert]").contains("LITELLM_PROXY_URL"), "{}", page.text());
    }
    let page = app.user().await.get("/").await;
    assert!(page.one("[aria-labelledby=tile-proxy]").contains("down"), "{}", page.text());
}

#[tokio::test]
async fn the_proxy_has_no_database() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let setup = Setup { generation, database: Database::None, is_furnished: false, ..Setup::default() };
        let app = TestApp::with(setup).await;
        let page = app.user().await.get("/keys").await;
        assert!(page.one(".empty").contains("The proxy has no database"), "{generation}: {}", page.text());
        assert!(page.one("[role=alert]").contains("DATABASE_URL"), "{generation}: {}", page.text());
        let page = app.user().await.get("/").await;
        assert!(
            page.one("[aria-labelledby=tile-proxy]").contains("no database"),
            "{generation}: {}",
            page.text()
        );
    }
}

#[tokio::test]
async fn the_proxys_database_is_down() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        let app = TestApp::with(Setup { generation, database: Database::Down, ..Setup::default() }).await;
        let page = empty(&app, "/keys", StatusCode::BAD_GATEWAY).await;
        assert!(
            page.one("[role=alert]").contains("The proxy's database is down"),
            "{generation}: {}",
            page.text()
        );
        assert!(
            page.one("[role=alert]").contains("Start the proxy's Postgres"),
            "{generation}: {}",
            page.text()
        );
        let page = app.user().await.get("/").await;
        assert!(
            page.one("[aria-labelledby=tile-proxy]").contains("database down"),
            "{generation}: {}",
            page.text()
        );
    }
}
