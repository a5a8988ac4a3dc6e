//! Single sign-on: who a reverse proxy says the user is, and who only claims to be a reverse proxy.

use axum::http::{HeaderValue, Method, StatusCode, header};
use jiff::SignedDuration;
use patchbay::config::Access;
use patchbay::config::sso::{Sso, SsoArgs};
use reqwest::RequestBuilder;

use crate::clients::logged::Log;
use crate::database;
use crate::support::{PASSWORD, Page, Setup, TestApp, USER};
use crate::web::login::{Bare, location};
use crate::web::roles::team;

const USER_HEADER: &str = "x-forwarded-user";
const GROUPS: &str = "x-forwarded-groups";

pub(super) fn sso(logout_url: &str) -> Option<Sso> {
    let args = SsoArgs {
        user_header: "X-Forwarded-User".to_owned(),
        email_header: "X-Forwarded-Email".to_owned(),
        groups_header: "X-Forwarded-Groups".to_owned(),
        roles: "admins=admin,sre=operator,staff=viewer".to_owned(),
        logout_url: logout_url.to_owned(),
        ..SsoArgs::default()
    };
    args.validate(true).unwrap()
}

pub(super) fn trusting(proxy: &str) -> Access {
    Access { sso: sso(""), trusted_proxies: vec![proxy.parse().unwrap()], ..Access::default() }
}

/// Behind a reverse proxy at the address of the tests.
async fn behind() -> TestApp {
    TestApp::with(Setup { access: trusting("127.0.0.1/32"), ..Setup::default() }).await
}

/// As the reverse proxy passes on a browser's request.
pub(super) fn passed_on(request: RequestBuilder, name: &str, groups: &str) -> RequestBuilder {
    request
        .header(header::ACCEPT, "text/html")
        .header("sec-fetch-site", "same-origin")
        .header(USER_HEADER, name)
        .header(GROUPS, groups)
}

async fn get(bare: &Bare, path: &str, name: &str, groups: &str) -> Page {
    Bare::send(passed_on(bare.request(Method::GET, path), name, groups)).await
}

#[tokio::test]
async fn groups_give_the_role_and_another_group_counts_at_once() {
    let app = behind().await;
    let bare = Bare::of(&app);
    let statuses = async |groups: &str| {
        let mut statuses = Vec::new();
        for path in ["/models", "/compare", "/models/new"] {
            statuses.push(get(&bare, path, "grace", groups).await.status.as_u16());
        }
        let swap = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5-mini")];
        let request = bare.request(Method::POST, "/switch").form(&swap);
        statuses.push(Bare::send(passed_on(request, "grace", groups)).await.status.as_u16());
        statuses
    };
    assert_eq!(statuses("admins").await, [200, 200, 200, 303]);
    assert_eq!(statuses("staff").await, [200, 200, 403, 403]);
    assert_eq!(statuses("x , sre,staff").await, [200, 200, 403, 303]);
    for none in ["", "others", "Admins", "admins|sre", "*", "admins2"] {
        assert_eq!(statuses(none).await, [403; 4], "{none:?}");
    }
    let page = get(&bare, "/models", "grace", "others").await;
    assert!(page.one("[role=alert]").contains("none of your groups has a role"), "{}", page.text());
    assert!(page.headers.get(header::SET_COOKIE).is_none());
    let (_, audit) = app.script().get("/audit?what=swap").await;
    let who: Vec<_> = audit["entries"].as_array().unwrap().iter().map(|entry| &entry["actor"]).collect();
    assert_eq!(who, ["grace", "grace"]);
}

#[tokio::test]
async fn headers_from_elsewhere_are_ignored_and_logged() {
    let (log, _guard) = Log::capture();
    let app = TestApp::with(Setup { access: trusting("10.0.0.0/8"), ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let forged = || {
        passed_on(bare.request(Method::GET, "/models"), "grace", "admins")
            .header("x-forwarded-for", "10.0.0.1")
            .header("forwarded", "for=10.0.0.1")
            .header("x-real-ip", "10.0.0.1")
    };
    for _ in 0..20 {
        let page = Bare::send(forged()).await;
        assert_eq!((page.status, location(&page)), (StatusCode::SEE_OTHER, "/login?next=%2Fmodels"));
    }
    // Those who have another login keep it, and no more than that.
    let (_, cookie) = bare.log_in(None, "").await;
    let page = Bare::send(forged().header(header::COOKIE, &cookie)).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.one("form.user").contains(USER), "{}", page.one("form.user"));
    let ignored = |line: &serde_json::Value| {
        line["message"].as_str().unwrap_or_default().contains("single sign-on headers are ignored")
    };
    let lines: Vec<_> = log.lines().into_iter().filter(|line| ignored(line)).collect();
    assert!((1..10).contains(&lines.len()), "{lines:?}");
    assert!(lines.iter().all(|line| line["address"] == "127.0.0.1"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.to_string().contains("grace")), "{lines:?}");
}

#[tokio::test]
async fn ambiguous_headers_let_no_one_in_by_any_other_login() {
    let app = behind().await;
    let bare = Bare::of(&app);
    let (_, cookie) = bare.log_in(None, "").await;
    let long = "x".repeat(255);
    let wrong: [&[(&str, &[u8])]; 8] = [
        &[(USER_HEADER, b"grace"), (USER_HEADER, b"grace")],
        &[(USER_HEADER, b""), (USER_HEADER, b"grace")],
        &[(USER_HEADER, b"grace"), (GROUPS, b"staff"), (GROUPS, b"admins")],
        &[(USER_HEADER, b"gr\xe4ce"), (GROUPS, b"admins")],
        &[(USER_HEADER, b"gra\tce"), (GROUPS, b"admins")],
        &[(USER_HEADER, long.as_bytes()), (GROUPS, b"admins")],
        &[(USER_HEADER, b"grace (token ci)"), (GROUPS, b"admins")],
        &[(USER_HEADER, USER.as_bytes()), (GROUPS, b"admins")],
    ];
    for lines in wrong {
        let with = |mut request: RequestBuilder| {
            for (name, value) in lines {
                request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
            }
            request.header(header::ACCEPT, "text/html").header(header::COOKIE, &cookie)
        };
        for path in ["/models", "/login"] {
            let page = Bare::send(with(bare.request(Method::GET, path))).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path} with {lines:?}");
            assert!(!page.body.contains(&long), "{path}");
        }
    }
    // A header without a name is no login: others count.
    for empty in ["", "  ", "\t"] {
        let page = get(&bare, "/models", empty, "admins").await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{empty:?}");
        let request = passed_on(bare.request(Method::GET, "/models"), empty, "admins");
        assert_eq!(Bare::send(request.header(header::COOKIE, &cookie)).await.status, StatusCode::OK);
    }
    // Another spelling of the header is another header.
    let request = bare.request(Method::GET, "/models").header("x_forwarded_user", "grace");
    assert_eq!(Bare::send(request.header(GROUPS, "admins")).await.status, StatusCode::SEE_OTHER);
}

/// The browser may keep a session of someone else.
#[tokio::test]
async fn header_counts_before_session_and_password() {
    let app = behind().await;
    let bare = Bare::of(&app);
    let (_, cookie) = bare.log_in(None, "").await;
    let request = || passed_on(bare.request(Method::GET, "/models/new"), "grace", "staff");
    assert_eq!(Bare::send(request().header(header::COOKIE, &cookie)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(Bare::send(request().basic_auth(USER, Some(PASSWORD))).await.status, StatusCode::FORBIDDEN);
    let page = get(&bare, "/login", "grace", "staff").await;
    assert_eq!((page.status, location(&page)), (StatusCode::SEE_OTHER, "/"));
}

#[tokio::test]
async fn forms_must_say_that_they_come_from_the_dashboard() {
    let app = behind().await;
    let bare = Bare::of(&app);
    let send = async |lines: &[(&str, &str)]| {
        let swap = [("agent", "task-agent"), ("context", "c1"), ("model", "openai/gpt-5-mini")];
        let mut request = bare.request(Method::POST, "/switch").form(&swap);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        Bare::send(request.header(USER_HEADER, "grace").header(GROUPS, "admins")).await.status
    };
    let own = app.base.clone();
    for lines in [
        &[][..],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site"), ("origin", "http://evil.example")],
        &[("sec-fetch-site", "same-site"), ("origin", &own)],
    ] {
        assert_eq!(send(lines).await, StatusCode::FORBIDDEN, "{lines:?}");
    }
    for lines in [&[("origin", own.as_str())][..], &[("sec-fetch-site", "same-origin")]] {
        assert_eq!(send(lines).await, StatusCode::SEE_OTHER, "{lines:?}");
    }
}

#[tokio::test]
async fn logout_leads_to_the_address_of_the_proxy() {
    for (url, links, buttons) in [("https://sso.example/logout", 1, 0), ("", 0, 0)] {
        let access = Access { sso: sso(url), ..trusting("127.0.0.1/32") };
        let app = TestApp::with(Setup { access, ..Setup::default() }).await;
        let bare = Bare::of(&app);
        let page = get(&bare, "/", "grace", "staff").await;
        assert_eq!(page.one("form.user span[title]"), "grace viewer");
        let hrefs = page.attributes("form.user a", "href");
        assert_eq!(hrefs, vec![url; links]);
        assert_eq!(page.all("form.user button").len(), buttons);
        // Others log out as ever.
        let (_, cookie) = bare.log_in(None, "").await;
        assert_eq!(bare.with_cookie("/", &cookie).await.all("form.user button").len(), 1);
    }
}

#[tokio::test]
async fn message_of_a_change_is_on_the_next_page() {
    let app = behind().await;
    let bare = Bare::of(&app);
    let path = "/contexts/task-agent/c1";
    let request = bare.request(Method::POST, &format!("{path}/refresh"));
    let page = Bare::send(passed_on(request, "grace", "sre")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    let cookie = super::login::set_cookie(&page).split(';').next().unwrap().to_owned();
    let request = passed_on(bare.request(Method::GET, path), "grace", "sre").header(header::COOKIE, &cookie);
    assert!(Bare::send(request).await.one("#flash").contains("c1 is on"));
    // It opens nothing.
    assert_eq!(bare.with_cookie(path, &cookie).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn passwords_can_be_switched_off() {
    let (_dir, access) = team();
    let (_file, database_url) = database::lasting().await;
    let access = Access { users: access.users, ..trusting("127.0.0.1/32") };
    let mut app = TestApp::with(Setup { access, database_url: Some(database_url), ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let cookies = [bare.log_in(None, "").await.1, bare.log_in_as("admin", PASSWORD).await];
    app.restart(|config| config.access.is_password_login_off = true).await;
    let bare = Bare::of(&app);
    for cookie in cookies {
        assert_eq!(bare.with_cookie("/models", &cookie).await.status, StatusCode::SEE_OTHER);
    }
    for name in [USER, "admin", "nobody"] {
        let form = [("username", name), ("password", PASSWORD)];
        let page = Bare::send(bare.request(Method::POST, "/login").form(&form)).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
        assert!(page.one("[role=alert]").contains("switched off") && !page.has("input[type=password]"));
        let basic = bare.request(Method::GET, "/models").basic_auth(name, Some(PASSWORD));
        assert_eq!(Bare::send(basic).await.status, StatusCode::UNAUTHORIZED);
    }
    let page = Bare::send(bare.request(Method::GET, "/login")).await;
    assert!(page.text().contains("single sign-on") && !page.has("input[type=password]"), "{}", page.text());
    // The names are free then.
    assert_eq!(get(&bare, "/models/new", USER, "admins").await.status, StatusCode::OK);
}

#[tokio::test]
async fn streams_of_the_proxys_users_go_on_and_are_checked_again() {
    let (clock, forward) = super::users::clock();
    let app = TestApp::with(Setup { clock, access: trusting("127.0.0.1/32"), ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let request = bare.request(Method::GET, "/events").header(header::ACCEPT, "text/event-stream");
    let mut answer = request.header(USER_HEADER, "grace").header(GROUPS, "staff").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut next = async || answer.chunk().await.unwrap().map(|piece| piece.to_vec());
    assert!(next().await.is_some_and(|piece| piece.starts_with(b"retry:")));
    // A comment says that the login was looked at.
    while next().await.expect("the stream goes on") != b":\n\n" {}
    forward(SignedDuration::from_mins(6));
    while let Some(piece) = next().await {
        assert_ne!(piece, b":\n\n", "it goes on for ever");
    }
}
