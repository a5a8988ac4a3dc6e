//! What holds for every page: its three forms, its headers, its errors, and what never stands on it.

use axum::http::{Method, StatusCode, header};
use reqwest::RequestBuilder;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{Browser, MASTER_KEY, PASSWORD, Page, Setup, TestApp, USER};

/// Every page with something on it, and its heading. One swap has been done in `c1`.
async fn pages(app: &TestApp) -> Vec<(String, String)> {
    let form =
        [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5-mini"), ("message", "Who?")];
    let (status, swap) = app.script().post("/switch", &form).await;
    assert_eq!((status, swap["outcome"].as_str()), (StatusCode::OK, Some("proven")), "{swap}");
    let (_, models) = app.script().get("/models").await;
    let row = &models["deployments"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    [
        ("/".to_owned(), "Overview".to_owned()),
        ("/models".to_owned(), "Models".to_owned()),
        (format!("/models/{}", text(&row["id"])), text(&row["name"])),
        ("/keys".to_owned(), "Virtual keys".to_owned()),
        (format!("/keys/{}", app.agent_key_hash), "task-agent".to_owned()),
        ("/switch".to_owned(), "Switch a model".to_owned()),
        (
            format!("/switch?agent=task-agent&context=c1&swap={}", text(&swap["id"])),
            "Switch a model".to_owned(),
        ),
        ("/contexts".to_owned(), "Contexts".to_owned()),
        ("/contexts/task-agent/c1".to_owned(), "c1".to_owned()),
        ("/agents".to_owned(), "Agents".to_owned()),
        ("/agents/task-agent".to_owned(), "task-agent".to_owned()),
        ("/audit".to_owned(), "Audit".to_owned()),
        ("/usage".to_owned(), "Usage".to_owned()),
        ("/calls".to_owned(), "Calls".to_owned()),
    ]
    .into()
}

fn request(browser: &Browser, method: Method, path: &str) -> RequestBuilder {
    browser.http.request(method, browser.url(path))
}

#[tokio::test]
async fn every_page_answers_as_page_fragment_and_json() {
    let app = TestApp::start().await;
    let pages = pages(&app).await;
    let browser = app.user().await;
    let login = app.anonymous().get("/login").await;
    assert_eq!((login.all("main").len(), login.one("h1")), (1, "Log in".to_owned()));
    for (path, heading) in &pages {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text());
        assert_eq!((page.all("main").len(), page.one("h1")), (1, heading.clone()), "{path}");
        assert!(
            page.one("head > title").ends_with("· Patchbay") && page.one("head > title").len() > 12,
            "{}",
            page.one("head > title")
        );
        assert!(page.body.starts_with("<!doctype html>"), "{path}");
        assert!(page.headers[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
        // One entry of the navigation is the current one.
        assert_eq!(page.all("nav[aria-label=Main] a[aria-current=page]").len(), 1, "{path}");
        check_references(path, &page);

        let fragment = browser.fragment(path).await;
        assert_eq!(fragment.status, StatusCode::OK);
        assert!(
            !fragment.body.contains("<html") && !fragment.body.contains("<main"),
            "{path}: {}",
            fragment.body
        );
        assert!(!fragment.body.trim().is_empty());
        // Coming back in the browser, htmx needs the whole.
        let back = request(&browser, Method::GET, path).header("hx-request", "true");
        let back = browser.send(back.header("hx-history-restore-request", "true")).await;
        assert!(back.has("main"), "{path}");

        let (status, json) = app.script().get(path).await;
        assert_eq!(status, StatusCode::OK);
        assert!(json.is_object(), "{path}: {json}");
    }
}

/// Labels and descriptions lead somewhere, ids are there once, and nothing is inline, which the policy forbids.
fn check_references(path: &str, page: &Page) {
    let mut ids = page.attributes("[id]", "id");
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "{path}: an id stands twice");
    for (selector, name) in [
        ("label[for]", "for"),
        ("[aria-labelledby]", "aria-labelledby"),
        ("[aria-describedby]", "aria-describedby"),
        ("input[list]", "list"),
    ] {
        for value in page.attributes(selector, name) {
            for id in value.split_whitespace() {
                assert!(ids.iter().any(|known| known == id), "{path}: {name}={id} leads nowhere");
            }
        }
    }
    assert!(
        !page.has("script:not([src]), style, [style], [onclick], [onload], [onsubmit]"),
        "{path}: something is inline"
    );
}

#[tokio::test]
async fn the_hooks_for_scripts_are_there() {
    let app = TestApp::start().await;
    let pages = pages(&app).await;
    let browser = app.user().await;
    let models = browser.get("/models").await;
    assert_eq!(models.all("table#models tbody tr[data-id][data-name='openai/gpt-5']").len(), 1);
    let keys = browser.get("/keys").await;
    let key = format!("table#keys tbody tr[data-hash='{}'][data-alias='task-agent']", app.agent_key_hash);
    assert_eq!(keys.all(&key).len(), 1);
    let contexts = browser.get("/contexts").await;
    assert_eq!(contexts.all("table#contexts tbody tr[data-agent='task-agent'][data-context='c1']").len(), 1);
    let receipt = &pages.iter().find(|(path, _)| path.contains("swap=")).unwrap().0;
    assert_eq!(browser.get(receipt).await.all("#receipt[data-outcome='proven']").len(), 1);
    assert!(browser.get("/nowhere").await.has("[role=alert]"));
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_protect_it() {
    let app = TestApp::start().await;
    let mut paths: Vec<String> = pages(&app).await.into_iter().map(|(path, _)| path).collect();
    paths.extend(
        ["/login", "/nowhere", "/healthz", "/readyz", "/static/nope", "/models/nope", "/logout"]
            .map(str::to_owned),
    );
    let asset = app.anonymous().get("/login").await.attributes("link[rel=stylesheet]", "href").remove(0);
    for browser in [app.user().await, app.anonymous()] {
        for path in paths.iter().chain([&asset]) {
            for accept in ["text/html", "application/json"] {
                let request = request(&browser, Method::GET, path).header(header::ACCEPT, accept);
                let page = Page::of(request.send().await.unwrap()).await;
                let value = |name: &str| page.headers.get(name).map_or("", |value| value.to_str().unwrap());
                assert_eq!(value("x-content-type-options"), "nosniff", "{path}");
                assert_eq!(value("x-frame-options"), "DENY", "{path}");
                assert_eq!(value("referrer-policy"), "same-origin", "{path}");
                let policy = value("content-security-policy");
                assert!(
                    policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
                    "{policy}"
                );
                assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
                assert!(!value("x-request-id").is_empty(), "{path}");
                let kept = if *path == asset { "public, max-age=31536000, immutable" } else { "no-store" };
                assert_eq!(value("cache-control"), kept, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn static_files_are_served_with_type_and_kept_for_a_year() {
    let app = TestApp::with(Setup { base_path: "/p", ..Setup::default() }).await;
    let page = app.user().await.get("/models").await;
    let mut files = page.attributes("link[href]", "href");
    files.extend(page.attributes("script[src], img[src]", "src"));
    assert!(files.len() >= 4, "{files:?}");
    let anonymous = Browser::new(app.base.strip_suffix("/p").unwrap());
    for file in &files {
        assert!(file.starts_with("/p/static/") && file.contains("?v="), "{file}");
        let answer = anonymous.get(file).await;
        let kind = answer.headers[header::CONTENT_TYPE].to_str().unwrap();
        let wanted = match file.split('?').next().unwrap().rsplit('.').next().unwrap() {
            "css" => "text/css",
            "js" => "text/javascript",
            "svg" => "image/svg+xml",
            other => panic!("{other}"),
        };
        assert!(answer.status.is_success() && kind.starts_with(wanted), "{file}: {kind}");
        assert!(!answer.body.is_empty());
    }
    for path in ["nope.css", "", "/", "../Cargo.toml", "..%2fCargo.toml", "app.css/", "app.css/x", ".", "%00"]
    {
        let page = anonymous.get(&format!("/p/static/{path}")).await;
        assert!(page.status == StatusCode::NOT_FOUND, "{path}: {}", page.status);
    }
    let head = anonymous.http.head(anonymous.url(&files[0])).send().await.unwrap();
    assert_eq!((head.status(), head.text().await.unwrap().len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn health_is_told_without_a_login() {
    let app = TestApp::start().await;
    let browser = app.anonymous();
    assert_eq!(browser.get("/healthz").await.body, "ok");
    let ready = browser.get("/readyz").await;
    assert_eq!((ready.status, ready.body.contains("ready")), (StatusCode::OK, true));
}

#[tokio::test]
async fn what_is_not_there_is_told_in_the_form_asked_for() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    for (method, path, status) in [
        (Method::GET, "/nowhere", StatusCode::NOT_FOUND),
        (Method::GET, "/models/", StatusCode::NOT_FOUND),
        (Method::GET, "/models/nope", StatusCode::NOT_FOUND),
        (Method::GET, "/agents/nope", StatusCode::NOT_FOUND),
        (Method::GET, "/agents/%3Cb%3E", StatusCode::NOT_FOUND),
        (Method::GET, "/contexts/task-agent/nope", StatusCode::NOT_FOUND),
        (Method::GET, "/contexts/nope/c1", StatusCode::NOT_FOUND),
        (Method::GET, "/contexts/task-agent/a%20b", StatusCode::NOT_FOUND),
        (Method::GET, "/models/%FF", StatusCode::BAD_REQUEST),
        (Method::POST, "/agents", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/audit", StatusCode::METHOD_NOT_ALLOWED),
        (Method::DELETE, "/switch", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/logout", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/contexts/nope/c1/refresh", StatusCode::NOT_FOUND),
        (Method::POST, "/switch", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let page = browser.send(request(&browser, method.clone(), path)).await;
        assert_eq!(page.status, status, "{method} {path}");
        assert_eq!((page.all("main").len(), page.all("h1").len()), (1, 1), "{}", page.body);
        assert!(!page.one("[role=alert]").is_empty());
        let id = page.headers["x-request-id"].to_str().unwrap();
        assert!(page.text().contains(id), "the request's id is not on the page");
        assert!(!page.has("b"), "the address is not escaped");

        let asked = request(&browser, method.clone(), path).header(header::ACCEPT, "application/json");
        let answer = Page::of(asked.send().await.unwrap()).await;
        let json: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status, status);
        for field in ["title", "detail", "advice", "request_id"] {
            assert!(json["error"][field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {json}");
        }
        let fragment = browser.send(request(&browser, method, path).header("hx-request", "true")).await;
        assert_eq!(fragment.status, status);
        assert!(fragment.has("[role=alert]") && !fragment.body.contains("<html"), "{}", fragment.body);
    }
}

#[tokio::test]
async fn a_form_that_is_too_large_is_refused() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    let prompt = "p".repeat(600 * 1024);
    let page =
        browser.post("/switch", &[("agent", "task-agent"), ("context", "c"), ("prompt", &prompt)]).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", page.text());
    assert_eq!(page.one("h1"), "Too large");
    let page = app.anonymous().post("/login", &[("username", &prompt)]).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// Whatever is asked for, in whichever form, the secrets of the server stay there.
#[tokio::test]
async fn no_secret_ever_leaves_the_server() {
    let app = TestApp::start().await;
    let agent_key = app.agent_key.expose_secret().to_owned();
    let other = app.admin("/key/generate", &json!({ "models": [], "key_alias": "other" })).await;
    let upstream = "sk-upstream-secret-0001";
    let params = json!({ "model": "gpt-5", "api_key": upstream });
    app.admin("/model/new", &json!({ "model_name": "openai/secretive", "litellm_params": params })).await;
    let mut paths: Vec<String> = pages(&app).await.into_iter().map(|(path, _)| path).collect();
    // Failures too, and keys in places where they do not belong.
    let bad = json!({ "model": "gpt-5", "api_key": "bad-key" });
    app.admin("/model/new", &json!({ "model_name": "openai/bad", "litellm_params": bad })).await;
    app.script().post(&format!("/keys/{}/relax", app.agent_key_hash), &[]).await;
    let form = [("agent", "task-agent"), ("context", "c2"), ("model", "openai/bad"), ("probe", "1")];
    let (_, refused) = app.script().post("/switch", &form).await;
    assert_eq!(refused["outcome"], "refused", "{refused}");
    let (_, swap) = app.script().post("/switch", &[form[0], form[1], form[2], ("message", "Hi")]).await;
    assert_eq!(swap["outcome"], "rolled-back", "{swap}");
    paths.extend(["/nowhere", "/contexts/task-agent/c2", "/healthz", "/readyz", "/login"].map(str::to_owned));

    let secrets = [MASTER_KEY, &agent_key, other["key"].as_str().unwrap(), upstream, PASSWORD];
    let browser = app.user().await;
    for path in &paths {
        for (name, value) in [("accept", "text/html"), ("accept", "application/json"), ("hx-request", "true")]
        {
            let request =
                request(&browser, Method::GET, path).basic_auth(USER, Some(PASSWORD)).header(name, value);
            let page = Page::of(request.send().await.unwrap()).await;
            for secret in secrets {
                assert!(!page.body.contains(secret), "{path} as {value} holds {secret}");
                assert!(!format!("{:?}", page.headers).contains(secret));
            }
        }
    }
}
