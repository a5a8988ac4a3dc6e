//! Login, sessions, and who may come in without one.

use axum::http::{Method, StatusCode, header};
use patchbay::config::users::{Hash, NamedUser};
use patchbay::config::{Access, Hosts, UsersFile};
use patchbay::domain::role::Role;
use reqwest::redirect;

use crate::support::{PASSWORD, Page, Setup, TestApp, USER};

const WRONG: &str = "Tr0ub4dor&3-not-it";

/// The addresses behind the login, with the method that each takes.
pub(super) fn protected(app: &TestApp) -> Vec<(Method, String)> {
    let get = [
        "/",
        "/models",
        "/models/x",
        "/keys",
        "/switch",
        "/contexts",
        "/agents",
        "/agents/task-agent",
        "/audit",
    ];
    let mut all: Vec<_> = get.map(|path| (Method::GET, path.to_owned())).into();
    all.push((Method::GET, format!("/keys/{}", app.agent_key_hash)));
    all.push((Method::GET, "/contexts/task-agent/c1".to_owned()));
    all.push((Method::POST, "/switch".to_owned()));
    all.push((Method::POST, format!("/keys/{}/relax", app.agent_key_hash)));
    all.push((Method::POST, "/contexts/task-agent/c1/refresh".to_owned()));
    all.push((Method::POST, "/contexts/task-agent/c1/undo".to_owned()));
    all
}

/// A client that keeps nothing and follows nothing, so that each answer is seen as it came.
pub(super) struct Bare {
    http: reqwest::Client,
    base: String,
}

impl Bare {
    pub(super) fn of(app: &TestApp) -> Self {
        let http = reqwest::Client::builder().redirect(redirect::Policy::none()).no_proxy().build();
        Self { http: http.unwrap(), base: app.base.clone() }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(super) async fn send(request: reqwest::RequestBuilder) -> Page {
        Page::of(request.send().await.unwrap()).await
    }

    pub(super) async fn with_cookie(&self, path: &str, cookie: &str) -> Page {
        let request = self.request(Method::GET, path).header(header::COOKIE, cookie);
        Self::send(request.header(header::ACCEPT, "text/html")).await
    }

    /// Logs in by another name; the cookie.
    pub(super) async fn log_in_as(&self, name: &str, password: &str) -> String {
        let form = [("username", name), ("password", password)];
        let page = Self::send(self.request(Method::POST, "/login").form(&form)).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
        set_cookie(&page).split(';').next().unwrap().to_owned()
    }

    /// Logs in; the answer, and the cookie as a browser would send it back.
    pub(super) async fn log_in(&self, cookie: Option<&str>, next: &str) -> (Page, String) {
        let form = [("username", USER), ("password", PASSWORD), ("next", next)];
        let mut request = self.request(Method::POST, "/login").form(&form);
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let page = Self::send(request).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
        let cookie = set_cookie(&page).split(';').next().unwrap().to_owned();
        (page, cookie)
    }
}

pub(super) fn set_cookie(page: &Page) -> &str {
    page.headers[header::SET_COOKIE].to_str().unwrap()
}

pub(super) fn location(page: &Page) -> &str {
    page.headers[header::LOCATION].to_str().unwrap()
}

#[tokio::test]
async fn a_wrong_password_gives_the_form_back_without_it() {
    let app = TestApp::start().await;
    let browser = app.anonymous();
    for (name, password) in [(USER, WRONG), ("eve <b>", PASSWORD), (USER, ""), ("", "")] {
        let form = [("username", name), ("password", password), ("next", "/models?q=a")];
        let page = browser.post("/login", &form).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{name} {password}");
        assert!(page.one("[role=alert]").contains("wrong"), "{}", page.text());
        assert_eq!(page.attributes("input[name=username]", "value"), [name]);
        assert_eq!(page.attributes("input[name=next]", "value"), ["/models?q=a"]);
        assert!(page.attributes("input[name=password]", "value").is_empty());
        assert!(password.is_empty() || !page.body.contains(password), "the password is on the page");
        assert!(!page.body.contains("<b>"), "the name is not escaped");
        assert!(page.headers.get(header::SET_COOKIE).is_none());
    }
    assert!(browser.get("/models").await.url.path().ends_with("/login"));
    // What was typed as a name may have been the password.
    let audit = app.script().get("/audit").await.1.to_string();
    assert!(audit.contains("refused") && !audit.contains("eve") && !audit.contains(WRONG), "{audit}");
}

/// What is led to after the login: the address asked for if it is this dashboard's own, else the overview.
async fn leads(base_path: &'static str, own: &[&str], foreign: &[&str]) {
    let app = TestApp::with(Setup { base_path, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    for next in own {
        let (page, _) = bare.log_in(None, next).await;
        assert_eq!(page.headers[header::LOCATION].as_bytes(), next.as_bytes());
    }
    for next in foreign {
        let (page, _) = bare.log_in(None, next).await;
        assert_eq!(location(&page), format!("{base_path}/"), "{next:?}");
        // The same through the address of the form.
        let page = Bare::send(bare.request(Method::GET, "/login").query(&[("next", next)])).await;
        assert_eq!(page.attributes("form[data-once]", "action"), [format!("{base_path}/login")], "{next:?}");
    }
}

#[tokio::test]
async fn the_login_leads_to_own_addresses_only() {
    let own = [
        "/",
        "/models",
        "/models?q=a%20b&page=2",
        "/keys/abc#x",
        "/switch?agent=a&context=b",
        "/audit?before=3",
        "/models?q=é",
    ];
    let foreign = [
        "",
        " ",
        "models",
        "./models",
        "../models",
        "?q=1",
        "#x",
        "//evil.example",
        "///evil.example",
        "////evil.example/%2e%2e",
        "/\\evil.example",
        "\\\\evil.example",
        "/\\/evil.example",
        "\\/evil.example",
        "http://evil.example",
        "HTTP://evil.example/",
        "https:evil.example",
        "http:/evil.example",
        "http:\\\\evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "mailto:a@b.c",
        "/\tevil",
        "/\t/evil.example",
        "\t//evil.example",
        "/\n/evil.example",
        "\r\n//evil.example",
        "/x\r\nSet-Cookie: a=b",
        " /x",
        "/a\\..\\b",
        "//evil.example@127.0.0.1/",
        "//127.0.0.1:80@evil.example/",
        "/\u{0}/x",
        "/\u{85}x",
        "ftp://evil.example",
        "/.//evil.example",
        "/..//evil.example",
        "/x/..//evil.example",
        "/./%2e%2e//evil.example",
    ];
    leads("", &own, &foreign).await;
    let long = format!("/{}", "x".repeat(3000));
    leads("", &[], &[&long]).await;
}

#[tokio::test]
async fn below_a_path_only_what_is_below_it_is_own() {
    let own = ["/a/b/", "/a/b/models", "/a/b/models?q=/x", "/a/b/models/../keys"];
    let foreign = [
        "/",
        "/models",
        "/a",
        "/a/bc",
        "/a/b.evil/x",
        "/a/b/../c",
        "/a/b/../bc",
        "/a/b/%2e%2e/c",
        "/a/b/.%2E/bc/x",
        "/a/b/../../x",
        "/a/b/models/../../../x",
        "//a/b/x",
        "/a/b\\x",
        "/A/B/models",
        "//evil.example/a/b/",
        "http://evil.example/a/b/",
        "/a/b/\\..\\..\\x",
    ];
    leads("/a/b", &own, &foreign).await;
}

#[tokio::test]
async fn scripts_come_in_with_basic() {
    let app = TestApp::start().await;
    let bare = Bare::of(&app);
    for (name, value) in [("accept", "text/html"), ("accept", "application/json"), ("hx-request", "true")] {
        let request =
            bare.request(Method::GET, "/models").basic_auth(USER, Some(PASSWORD)).header(name, value);
        let page = Bare::send(request).await;
        assert_eq!(page.status, StatusCode::OK, "{value}");
        assert!(page.body.contains("openai/gpt-5-mini"));
        assert!(page.headers.get(header::SET_COOKIE).is_none(), "a script is given a session");
    }
    let wrong = [
        bare.request(Method::GET, "/models").basic_auth(USER, Some(WRONG)),
        bare.request(Method::GET, "/models").basic_auth("eve", Some(PASSWORD)),
        bare.request(Method::GET, "/models").basic_auth(USER, None::<&str>),
        bare.request(Method::POST, "/switch").basic_auth(USER, Some(WRONG)).form(&[("agent", "task-agent")]),
    ];
    for request in wrong {
        let page = Bare::send(request.header(header::ACCEPT, "text/html")).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
        assert!(page.headers[header::WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "));
        assert!(page.has("[role=alert]") && !page.body.contains(WRONG), "{}", page.text());
    }
    // What is no Basic at all counts as nobody.
    for odd in ["Basic", "Basic !!!", "Bearer x", "Basic YQ==", "Basic /////w=="] {
        let request = bare.request(Method::GET, "/models").header(header::AUTHORIZATION, odd);
        assert_eq!(Bare::send(request).await.status, StatusCode::SEE_OTHER, "{odd}");
    }
}

#[tokio::test]
async fn a_post_from_another_site_is_refused() {
    let app = TestApp::start().await;
    let bare = Bare::of(&app);
    let (_, cookie) = bare.log_in(None, "").await;
    let relax = format!("/keys/{}/relax", app.agent_key_hash);
    let signs = [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "null")];
    for path in [
        "/login",
        "/switch",
        &relax,
        "/logout",
        "/contexts/task-agent/c/refresh",
        "/contexts/task-agent/c/undo",
    ] {
        for (name, value) in signs {
            let request = || {
                bare.request(Method::POST, path)
                    .header(name, value)
                    .form(&[("username", USER), ("password", PASSWORD)])
            };
            let with_session = request().header(header::COOKIE, &cookie).header(header::ACCEPT, "text/html");
            for request in [with_session, request().basic_auth(USER, Some(PASSWORD))] {
                let page = Bare::send(request).await;
                assert_eq!(page.status, StatusCode::FORBIDDEN, "{path} {value}");
                assert!(page.text().contains("another site"), "{}", page.text());
                assert!(page.headers.get(header::SET_COOKIE).is_none());
            }
        }
    }
    assert_eq!(bare.with_cookie("/models", &cookie).await.status, StatusCode::OK, "logged out from afar");
    let (_, key) = app.script().get(&format!("/keys/{}", app.agent_key_hash)).await;
    assert_eq!(key["key"]["access"], "list", "{key}");
    // The dashboard's own pages may.
    let origin = app.base.clone();
    let request =
        bare.request(Method::POST, "/logout").header(header::COOKIE, &cookie).header("origin", origin);
    assert_eq!(
        Bare::send(request.header("sec-fetch-site", "same-origin")).await.status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn whoever_is_not_logged_in_is_told_in_the_form_asked_for() {
    let app = TestApp::with(Setup { base_path: "/p", ..Setup::default() }).await;
    let bare = Bare::of(&app);
    for (method, path) in protected(&app) {
        let request = || bare.request(method.clone(), &format!("{path}?q=a%20b"));
        let page = Bare::send(request().header(header::ACCEPT, "text/html")).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{method} {path}");
        let next = format!("next=%2Fp{}%3Fq%3Da%2520b", path.replace('/', "%2F"));
        let wanted = match (&method, path.as_str()) {
            (&Method::POST, _) | (_, "/") => "/p/login".to_owned(),
            _ => format!("/p/login?{next}"),
        };
        assert_eq!(location(&page), wanted);

        let page = Bare::send(request().header(header::ACCEPT, "application/json")).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        let json: serde_json::Value = serde_json::from_str(&page.body).unwrap();
        assert!(json["error"]["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{json}");
        assert!(page.headers.contains_key(header::WWW_AUTHENTICATE));

        let page = Bare::send(request().header("hx-request", "true")).await;
        assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(page.headers["hx-redirect"].to_str().unwrap(), wanted);
        // A browser would put its own window for a name and a password before the login page.
        assert!(!page.headers.contains_key(header::WWW_AUTHENTICATE), "{method} {path}");
    }
}

#[tokio::test]
async fn the_default_password_is_told_where_it_is_in_use() {
    for is_default_password in [false, true] {
        let app = TestApp::with(Setup { is_default_password, ..Setup::default() }).await;
        let page = app.user().await.get("/models").await;
        assert_eq!(page.text().contains("The default password is in use"), is_default_password);
        let page = app.anonymous().get("/login").await;
        assert_eq!(page.text().contains("default login"), is_default_password);
    }
}

/// Logs in and reads a page by HTTP Basic under another host name. A page from elsewhere whose name leads to this machine
/// (DNS rebinding) is same-origin with what it asks.
async fn is_let_in(app: &TestApp, name: &str, password: &str) -> bool {
    let bare = Bare::of(app);
    let host = format!("{name}:{}", app.base.rsplit(':').next().unwrap());
    let request = bare.request(Method::POST, "/login").header(header::HOST, &host);
    let request = request.header(header::ORIGIN, format!("http://{host}"));
    let page = Bare::send(request.form(&[("username", USER), ("password", password)])).await;
    let is_let_in = page.status == StatusCode::SEE_OTHER;
    assert_eq!(page.headers.contains_key(header::SET_COOKIE), is_let_in, "{host}");
    let request = bare.request(Method::GET, "/keys").header(header::HOST, &host);
    let read = Bare::send(request.basic_auth(USER, Some(password))).await;
    assert_eq!(read.body.contains("task-agent"), is_let_in, "{host}: {}", read.text());
    if !is_let_in {
        assert_eq!(
            (page.status, read.status),
            (StatusCode::MISDIRECTED_REQUEST, StatusCode::MISDIRECTED_REQUEST)
        );
    }
    is_let_in
}

#[tokio::test]
async fn other_host_names_are_refused() {
    for is_default_password in [false, true] {
        let hosts =
            Hosts::read("PATCHBAY_HOSTS", Some("patchbay.example"), "127.0.0.1:0".parse().unwrap()).unwrap();
        for (hosts, listed) in [(Hosts::default(), false), (hosts, true), (Hosts::Any, true)] {
            let is_any = hosts == Hosts::Any;
            let access = Access { hosts, ..Access::default() };
            let app = TestApp::with(Setup { is_default_password, access, ..Setup::default() }).await;
            for (name, is_good) in [
                ("localhost", true),
                ("127.0.0.1", true),
                ("patchbay.example", listed && !is_default_password),
                ("evil.example", is_any && !is_default_password),
            ] {
                assert_eq!(
                    is_let_in(&app, name, PASSWORD).await,
                    is_good,
                    "{name} {is_default_password} {is_any}"
                );
            }
            // Orchestrators ask by an address that cannot be listed beforehand.
            for path in ["/healthz", "/readyz"] {
                let request =
                    Bare::of(&app).request(Method::GET, path).header(header::HOST, "10.1.2.3:10950");
                assert_eq!(Bare::send(request).await.status, StatusCode::OK, "{path}");
            }
        }
    }
}

/// Also in a users file that was written by hand.
#[tokio::test]
async fn a_named_user_has_not_the_default_password() {
    let hash = Hash::of(&"fuzzforge123".into()).unwrap();
    let users = vec![NamedUser { name: "grace".to_owned(), hash, role: Role::Admin }];
    for is_default_password in [false, true] {
        let users = Some(UsersFile { path: None, users: users.clone() });
        let access = Access { users, ..Access::default() };
        let app = TestApp::with(Setup { is_default_password, access, ..Setup::default() }).await;
        let form = [("username", "grace"), ("password", "fuzzforge123")];
        let page = Bare::send(Bare::of(&app).request(Method::POST, "/login").form(&form)).await;
        assert_eq!(page.status == StatusCode::SEE_OTHER, is_default_password, "{}", page.status);
    }
}
