//! What goes over the wire, and the figures of it.

use std::io::Read as _;

use flate2::read::GzDecoder;
use patchbay::domain::role::Role;
use reqwest::{Method, Response, StatusCode, header};

use crate::support::{Browser, MASTER_KEY, PASSWORD, Page, Setup, TestApp, USER};
use crate::web::login::Bare;
use crate::web::roles::team;

async fn get(browser: &Browser, path: &str, headers: &[(header::HeaderName, &str)]) -> Response {
    let request = browser.http.get(browser.url(path)).header(header::ACCEPT, "text/html");
    headers.iter().fold(request, |request, (name, value)| request.header(name, *value)).send().await.unwrap()
}

fn value<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_answer_that_is_known_is_not_sent_again() {
    let app = TestApp::start().await;
    let (ada, path) = (app.user().await, "/audit");
    // Its times are told by the second: two looks within one are the same.
    for _ in 0..20 {
        let first = get(&ada, path, &[]).await;
        assert_eq!(value(&first, "cache-control"), "no-store", "Back shows nothing after a logout");
        let etag = value(&first, "etag").to_owned();
        assert!(etag.starts_with("W/\""), "{etag}");
        let again = get(&ada, path, &[(header::IF_NONE_MATCH, &format!("W/\"0\", {etag}"))]).await;
        if again.status() == StatusCode::OK {
            continue;
        }
        assert_eq!((again.status(), value(&again, "etag")), (StatusCode::NOT_MODIFIED, etag.as_str()));
        let size: usize =
            again.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        assert!(size < 270, "{:?}", again.headers());
        assert!(again.text().await.unwrap().is_empty());
        return;
    }
    panic!("the page was never the same");
}

#[tokio::test]
async fn pages_and_files_are_compressed_for_who_takes_it_and_another_page_is_never_taken_for_this_one() {
    let app = TestApp::start().await;
    let ada = app.user().await;
    let style = ada.get("/login").await.attributes("link[rel=stylesheet]", "href").remove(0);
    for path in ["/models", "/keys", "/models", style.as_str()] {
        let plain = get(&ada, path, &[]).await;
        assert_eq!(value(&plain, "content-encoding"), "");
        let plain = plain.text().await.unwrap();
        let packed = get(&ada, path, &[(header::ACCEPT_ENCODING, "br, gzip")]).await;
        assert_eq!(value(&packed, "content-encoding"), "gzip", "{path}");
        let vary: Vec<_> =
            packed.headers().get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
        assert!(vary.join(",").to_lowercase().contains("accept-encoding"), "{path}: {vary:?}");
        let bytes = packed.bytes().await.unwrap();
        assert!(bytes.len() * 2 < plain.len(), "{path}: {} of {}", bytes.len(), plain.len());
        let mut text = String::new();
        GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        let title =
            |text: &str| text.split("<title>").nth(1).map(|rest| rest.split('<').next().unwrap().to_owned());
        assert_eq!(title(&text), title(&plain), "{path}");
    }
    let small = get(&ada, "/healthz", &[(header::ACCEPT_ENCODING, "gzip")]).await;
    assert_eq!(value(&small, "content-encoding"), "");
}

/// Beside text of an attacker's choice, the size of a compressed answer would tell of the secret.
#[tokio::test]
async fn answers_with_a_secret_are_not_compressed() {
    let app = TestApp::start().await;
    let ada = app.user().await;
    for (kind, alias) in [("text/html", "shown-once"), ("application/json", "for-a-script")] {
        let form = [("alias", alias), ("access", "all")];
        let request = ada.http.post(ada.url("/keys")).form(&form).header(header::ACCEPT, kind);
        let answer = request.header(header::ACCEPT_ENCODING, "gzip").send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        assert_eq!(value(&answer, "content-encoding"), "", "{kind}");
        assert!(answer.text().await.unwrap().contains("sk-"), "{kind}");
    }
}

#[tokio::test]
async fn the_figures_need_no_login_and_tell_nothing_of_people_or_secrets() {
    let app = TestApp::start().await;
    let ada = app.user().await;
    ada.get(&format!("/keys/{}", app.agent_key_hash)).await;
    ada.get("/models?q=very-private").await;
    ada.get("/nowhere/very-private").await;
    ada.http.request("PRIVATE".parse().unwrap(), ada.url("/models")).send().await.unwrap();
    ada.post("/switch", &[("agent", "task-agent"), ("context", "c-private"), ("model", "openai/gpt-5-mini")])
        .await;
    let figures = app.anonymous().get("/metrics").await;
    assert_eq!(figures.status, StatusCode::OK);
    for wanted in [
        r#"patchbay_requests_total{method="GET",route="/keys/{hash}",status="200"}"#,
        r#"method="GET",route="none",status="404""#,
        r#"method="other",route="/models""#,
        r#"patchbay_request_seconds_bucket{method="GET",route="/models""#,
        r#"patchbay_swaps_total{outcome="verified"} 1"#,
        "patchbay_upstream_seconds_count{server=",
        r#"patchbay_upstream_calls_total{upstream="proxy",route="key/info",status="2xx"}"#,
        r#"patchbay_upstream_calls_total{upstream="agent",route="message/send",status="2xx"}"#,
        r#"patchbay_agent_up{agent="task-agent"} 1"#,
        r#"patchbay_snapshot_age_seconds{of="models"}"#,
        "patchbay_sessions 1",
        "patchbay_listeners 0",
    ] {
        assert!(figures.body.contains(wanted), "{wanted} in\n{}", figures.body);
    }
    for secret in [MASTER_KEY, PASSWORD, USER, "private", "PRIVATE", app.agent_key_hash.as_str(), "c-private"]
    {
        assert!(!figures.body.contains(secret), "{secret} in\n{}", figures.body);
    }
}

#[tokio::test]
async fn a_page_made_for_one_reader_is_shown_to_no_other() {
    let (_dir, access) = team();
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let mut cookies = Vec::new();
    for &role in Role::ALL {
        cookies.push((role, bare.log_in_as(role.as_str(), PASSWORD).await));
    }
    for (role, cookie) in cookies.iter().chain(&cookies) {
        let look = |kind| {
            let request = bare.request(Method::GET, "/models").header(header::ACCEPT, kind);
            request.header(header::COOKIE, cookie)
        };
        let page = Page::of(look("text/html").send().await.unwrap()).await;
        assert_eq!(page.has("a[href='/models/new']"), *role == Role::Admin, "{}", role.as_str());
        let json = look("application/json").send().await.unwrap();
        assert_eq!(value(&json, "content-type"), "application/json");
        let dark = bare.request(Method::GET, "/models").header(header::ACCEPT, "text/html");
        let dark = dark.header(header::COOKIE, format!("{cookie}; patchbay_theme=dark"));
        let dark = Page::of(dark.send().await.unwrap()).await;
        assert!(dark.has("html[data-theme=dark]") && !page.has("html[data-theme=dark]"));
    }
}
