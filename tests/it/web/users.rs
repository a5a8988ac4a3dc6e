//! Named users: the file, its changes while the dashboard runs, and who guesses passwords.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode, header};
use jiff::SignedDuration;
use patchbay::config::Access;
use patchbay::config::users::{Editor, Hash, NamedUser};
use patchbay::domain::role::Role;
use patchbay_clock::Clock;
use secrecy::SecretString;

use crate::support::{PASSWORD, Page, Setup, TestApp, USER};
use crate::web::login::{Bare, location};
use crate::web::roles::team;

/// A clock that tests put forward.
pub(super) fn clock() -> (Clock, impl Fn(SignedDuration)) {
    let ahead = Arc::new(AtomicI64::new(0));
    let read = Arc::clone(&ahead);
    let system = Clock::system();
    let clock =
        Clock::from_fn(move || system.now() + SignedDuration::from_millis(read.load(Ordering::SeqCst)));
    let forward = move |by: SignedDuration| {
        ahead.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    };
    (clock, forward)
}

fn edit(dir: &Path, change: impl FnOnce(&mut Editor)) {
    let mut file = Editor::open(&dir.join("users")).unwrap();
    change(&mut file);
    file.save_if_changed().unwrap();
}

#[tokio::test]
async fn a_change_of_the_file_counts_at_once_and_a_bad_one_is_told() {
    let (dir, access) = team();
    let (clock, forward) = clock();
    let app = TestApp::with(Setup { clock, access, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let status = async |cookie: &str, path: &str| bare.with_cookie(path, cookie).await.status;
    let (viewer, operator) =
        (bare.log_in_as("viewer", PASSWORD).await, bare.log_in_as("operator", PASSWORD).await);
    assert_eq!(status(&viewer, "/models").await, StatusCode::OK);
    let other = Hash::of(&SecretString::from("another one")).unwrap();

    // Another role: the session goes on with it.
    assert_eq!(status(&viewer, "/models/new").await, StatusCode::FORBIDDEN);
    edit(dir.path(), |file| {
        let user = file.users().unwrap().into_iter().find(|user| user.name == "viewer").unwrap();
        file.set(&NamedUser { role: Role::Admin, ..user });
    });
    forward(SignedDuration::from_secs(2));
    assert_eq!(status(&viewer, "/models/new").await, StatusCode::OK);

    // A bad file changes nothing, and is told.
    let good = std::fs::read(dir.path().join("users")).unwrap();
    std::fs::write(dir.path().join("users"), "viewer:oops:root\n").unwrap();
    forward(SignedDuration::from_secs(2));
    let page = bare.with_cookie("/", &viewer).await;
    assert!(page.text().contains("The users' file is not taken"), "{}", page.text());
    assert!(page.text().contains("line 1") && !page.text().contains("oops"), "{}", page.text());
    std::fs::remove_file(dir.path().join("users")).unwrap();
    forward(SignedDuration::from_secs(2));
    assert_eq!(status(&viewer, "/models").await, StatusCode::OK);
    std::fs::write(dir.path().join("users"), good).unwrap();
    forward(SignedDuration::from_secs(2));
    let page = bare.with_cookie("/", &viewer).await;
    assert!(!page.text().contains("users' file"), "{}", page.text());

    // Another password, and no user any more: their sessions and their scripts end.
    let basic = |name: &'static str| bare.request(Method::GET, "/models").basic_auth(name, Some(PASSWORD));
    for name in ["viewer", "operator"] {
        assert_eq!(Bare::send(basic(name)).await.status, StatusCode::OK);
    }
    edit(dir.path(), |file| {
        file.set(&NamedUser { name: "viewer".to_owned(), hash: other, role: Role::Viewer });
        assert!(file.remove("operator"));
    });
    forward(SignedDuration::from_secs(2));
    for (name, cookie) in [("viewer", &viewer), ("operator", &operator)] {
        assert_eq!(status(cookie, "/models").await, StatusCode::SEE_OTHER, "{name}");
        assert_eq!(Bare::send(basic(name)).await.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    // Whoever comes back by name does not get the old session back.
    edit(dir.path(), |file| {
        let hash = Hash::of(&SecretString::from(PASSWORD)).unwrap();
        file.set(&NamedUser { name: "operator".to_owned(), hash, role: Role::Operator });
    });
    forward(SignedDuration::from_secs(2));
    assert_eq!(status(&operator, "/models").await, StatusCode::SEE_OTHER);
    bare.log_in_as("viewer", "another one").await;
}

/// Logs in with a wrong password, `rounds` times for each kind of name: how long it took, and the different answers.
async fn guess(rounds: usize) -> ([Vec<Duration>; 3], BTreeSet<String>) {
    let (_dir, access) = team();
    let (clock, forward) = clock();
    let app = TestApp::with(Setup { clock, access, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    bare.log_in_as("viewer", PASSWORD).await;
    let mut times = [const { Vec::new() }; 3];
    let mut bodies = BTreeSet::new();
    for _ in 0..rounds {
        for (name, times) in [USER, "viewer", "nobody-of-this-name"].iter().zip(&mut times) {
            let form = [("username", *name), ("password", "not it")];
            let begun = Instant::now();
            let page = Bare::send(bare.request(Method::POST, "/login").form(&form)).await;
            times.push(begun.elapsed());
            assert_eq!(page.status, StatusCode::UNAUTHORIZED, "{}", page.text());
            bodies.insert(page.body.replace(&format!("value=\"{name}\""), ""));
        }
        // Everybody is slowed down alike; this is about the time without that.
        forward(SignedDuration::from_hours(1));
    }
    (times, bodies)
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_look_the_same() {
    assert_eq!(guess(1).await.1.len(), 1, "the answers differ");
}

#[tokio::test]
#[ignore = "measures time: tests/nightly"]
async fn a_wrong_name_and_a_wrong_password_take_the_same_time() {
    // The median of each: none is answered without the hash's time.
    let medians = guess(9).await.0.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    assert!(*least * 2 > *most, "{medians:?}");
}

async fn wrong(bare: &Bare, name: &str, from: &str) -> Page {
    let request = bare.request(Method::POST, "/login").header("x-forwarded-for", from);
    Bare::send(request.form(&[("username", name), ("password", "not it")])).await
}

#[tokio::test]
async fn who_guesses_waits_longer_and_longer_and_nobody_else_does() {
    let (_dir, mut access) = team();
    access.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let (clock, forward) = clock();
    let app = TestApp::with(Setup { clock, access, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let right = async |from: &str| {
        let request = bare.request(Method::POST, "/login").header("x-forwarded-for", from);
        Bare::send(request.form(&[("username", USER), ("password", PASSWORD)])).await
    };
    let cookie = bare.log_in(None, "").await.1;
    let mut waits = Vec::new();
    for name in ["nobody-of-this-name", USER] {
        let from = format!("198.51.100.{}", name.len());
        for _ in 0..5 {
            assert_eq!(wrong(&bare, name, &from).await.status, StatusCode::UNAUTHORIZED);
        }
        for _ in 0..3 {
            let page = wrong(&bare, name, &from).await;
            assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS, "{}", page.text());
            let wait: i64 = page.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
            assert!(page.one("[role=alert]").contains(&format!("Wait {wait} second")), "{}", page.text());
            waits.push(wait);
            forward(SignedDuration::from_secs(wait));
            assert_eq!(wrong(&bare, name, &from).await.status, StatusCode::UNAUTHORIZED);
        }
    }
    assert_eq!(waits, [1, 2, 4, 1, 2, 4], "names that nobody has are slowed down in another way");
    // There even the right password waits; from elsewhere, and with a session, nobody does.
    let from = format!("198.51.100.{}", USER.len());
    assert_eq!(right(&from).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(right("203.0.113.7").await.status, StatusCode::SEE_OTHER);
    let request = bare.request(Method::GET, "/models").header("x-forwarded-for", &from);
    let page = Bare::send(request.header(header::COOKIE, &cookie).header(header::ACCEPT, "text/html")).await;
    assert_eq!(page.status, StatusCode::OK);
    // The same goes for HTTP Basic.
    let basic = |password: &str| {
        let request = bare.request(Method::GET, "/models").header("x-forwarded-for", "198.51.100.99");
        Bare::send(request.basic_auth("viewer", Some(password)))
    };
    for _ in 0..5 {
        assert_eq!(basic("not it").await.status, StatusCode::UNAUTHORIZED);
    }
    let page = basic(PASSWORD).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(page.headers.contains_key(header::RETRY_AFTER));
    forward(SignedDuration::from_secs(1));
    assert_eq!(basic(PASSWORD).await.status, StatusCode::OK);
    // What failed is written down with the address that the trusted proxy tells, and only names that there are.
    let (_, audit) = app.script().get("/audit?what=login&outcome=refused").await;
    let told = audit.to_string();
    assert!(told.contains(&from) && !told.contains("nobody-of-this-name"), "{told}");
}

/// Many requests of one script at once are checked once, and none is taken for a guess.
#[tokio::test]
async fn a_script_may_begin_with_many_requests_at_once() {
    let app = TestApp::start().await;
    let bare = Bare::of(&app);
    let requests = (0..32).map(|_| {
        let request = bare.request(Method::GET, "/contexts").basic_auth(USER, Some(PASSWORD));
        tokio::spawn(async move { request.send().await.unwrap().status() })
    });
    for status in requests.collect::<Vec<_>>() {
        assert_eq!(status.await.unwrap(), StatusCode::OK);
    }
}

/// Who is right is not refused because others who are right come in at the same time, also not after mistakes.
#[tokio::test]
async fn right_passwords_are_let_in_however_many_come_at_once() {
    let app = TestApp::start().await;
    let bare = Bare::of(&app);
    let at_once = async |password: &'static str| {
        let logins = (0..16).map(|_| {
            let form = [("username", USER), ("password", password)];
            let request = bare.request(Method::POST, "/login").form(&form);
            tokio::spawn(async move { Bare::send(request).await.status })
        });
        futures_util::future::try_join_all(logins.collect::<Vec<_>>()).await.unwrap()
    };
    for mistakes in [0, 4] {
        for _ in 0..mistakes {
            let form = [("username", USER), ("password", "not it")];
            let page = Bare::send(bare.request(Method::POST, "/login").form(&form)).await;
            assert_eq!(page.status, StatusCode::UNAUTHORIZED);
        }
        let statuses = at_once(PASSWORD).await;
        assert!(statuses.iter().all(|status| *status == StatusCode::SEE_OTHER), "{mistakes}: {statuses:?}");
    }
    // Of wrong ones as many are looked at as one after the other.
    let statuses = at_once("not it").await;
    let looked_at = statuses.iter().filter(|status| **status == StatusCode::UNAUTHORIZED).count();
    let refused = statuses.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    assert_eq!((looked_at, refused), (5, 11), "{statuses:?}");
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_in_the_end_anyway() {
    let (clock, forward) = clock();
    let app = TestApp::with(Setup { clock, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let is_in = async |cookie: &str| bare.with_cookie("/models", cookie).await.status == StatusCode::OK;
    let (_, idle) = bare.log_in(None, "").await;
    let (_, busy) = bare.log_in(None, "").await;
    for _ in 0..7 {
        forward(SignedDuration::from_mins(100));
        assert!(is_in(&busy).await, "it ended though it was used");
    }
    assert!(!is_in(&idle).await, "it did not end though it was not used");
    forward(SignedDuration::from_mins(30));
    assert!(!is_in(&busy).await, "it never ends");
    // It does not come back when the clock does.
    forward(SignedDuration::from_hours(-14));
    assert!(!is_in(&idle).await);
}

#[tokio::test]
async fn looking_writes_no_session_more_than_once_a_minute() {
    let (clock, forward) = clock();
    let app = TestApp::with(Setup { clock, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let (_, cookie) = bare.log_in(None, "").await;
    // A session that was written comes with its cookie.
    let is_written = async || {
        let page = bare.with_cookie("/contexts", &cookie).await;
        assert_eq!(page.status, StatusCode::OK);
        page.headers.contains_key(header::SET_COOKIE)
    };
    for _ in 0..5 {
        assert!(!is_written().await);
    }
    forward(SignedDuration::from_secs(61));
    assert!(is_written().await);
    assert!(!is_written().await);
}

#[tokio::test]
async fn behind_tls_the_cookie_is_for_this_host_and_https_alone() {
    for (base_path, name) in [("", "__Host-patchbay_session"), ("/tools", "__Secure-patchbay_session")] {
        let access = Access { is_behind_tls: true, ..Access::default() };
        let app = TestApp::with(Setup { base_path, access, ..Setup::default() }).await;
        let bare = Bare::of(&app);
        let (page, cookie) = bare.log_in(None, "").await;
        assert!(cookie.starts_with(&format!("{name}=")), "{cookie}");
        let set = page.headers[header::SET_COOKIE].to_str().unwrap().to_ascii_lowercase();
        let path = if base_path.is_empty() { "/" } else { base_path };
        for part in ["; secure", "; httponly", "; samesite=lax", &format!("; path={path}")] {
            assert!(set.contains(part), "{part} in {set}");
        }
        assert!(!set.contains("domain="), "{set}");
        assert_eq!(page.headers["strict-transport-security"], "max-age=31536000");
        assert_eq!(bare.with_cookie("/models", &cookie).await.status, StatusCode::OK);
    }
    let app = TestApp::start().await;
    let page = app.anonymous().get("/login").await;
    assert!(!page.headers.contains_key("strict-transport-security"));
}

#[tokio::test]
async fn after_the_logout_nothing_is_left_in_the_browser() {
    let app = TestApp::start().await;
    let bare = Bare::of(&app);
    let (page, cookie) = bare.log_in(None, "").await;
    assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");
    for path in ["/", "/models", "/keys", "/keys.csv", "/audit", "/switch"] {
        let page = bare.with_cookie(path, &cookie).await;
        assert_eq!(
            (page.status, page.headers[header::CACHE_CONTROL].to_str().unwrap()),
            (StatusCode::OK, "no-store")
        );
    }
    let page = Bare::send(bare.request(Method::POST, "/logout").header(header::COOKIE, &cookie)).await;
    assert_eq!(location(&page), "/login");
    assert_eq!(page.headers["clear-site-data"], "\"cache\"");
    assert!(page.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn an_address_is_believed_from_a_trusted_proxy_alone() {
    for (trusted, seen) in [("10.0.0.0/8", "127.0.0.1"), ("127.0.0.0/8", "203.0.113.9")] {
        let access = Access { trusted_proxies: vec![trusted.parse().unwrap()], ..Access::default() };
        let app = TestApp::with(Setup { access, ..Setup::default() }).await;
        let bare = Bare::of(&app);
        let request = bare.request(Method::POST, "/login").header("x-forwarded-for", "1.2.3.4, 203.0.113.9");
        let form = [("username", USER), ("password", PASSWORD)];
        assert_eq!(Bare::send(request.form(&form)).await.status, StatusCode::SEE_OTHER);
        let (_, audit) = app.script().get("/audit").await;
        assert_eq!(audit["entries"][0]["address"], seen, "{audit}");
    }
}
