//! What people without a login, and viewers, cannot do: fill the log, the audit or the memory, and keep others waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode, header};
use patchbay::config::Access;
use patchbay::store::Store;
use patchbay_clock::Clock;
use serde_json::Value;
use sqlx::Connection as _;
use tokio::task::JoinSet;

use crate::clients::logged::Log;
use crate::database;
use crate::support::{PASSWORD, Page, Script, Setup, TestApp, USER};
use crate::web::login::Bare;
use crate::web::roles::team;

fn behind_proxy() -> Access {
    Access { trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()], ..Access::default() }
}

async fn refusals(app: &TestApp) -> Vec<Value> {
    let (_, audit) = app.script().get("/audit?outcome=refused&size=200").await;
    audit["entries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn equal_refusals_within_a_minute_are_one_entry_with_a_count() {
    let (_dir, access) = team();
    let (clock, forward) = super::users::clock();
    let app = TestApp::with(Setup { clock, access, ..Setup::default() }).await;
    let viewer = Script::with(&app.base, "viewer", PASSWORD);
    for _ in 0..30 {
        assert_eq!(viewer.post("/models", &[]).await.0, StatusCode::FORBIDDEN);
    }
    let entries = refusals(&app).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["object"], "POST /models");
    assert_eq!(entries[0]["count"], 30);
    let admin = app.user().await;
    let page = admin.get("/audit?outcome=refused&logins=1").await;
    assert!(page.one("#audit td[data-label=Outcome]").contains("30 times"), "{}", page.text());
    assert!(admin.get("/audit.csv?outcome=refused").await.body.trim_end().ends_with(",30"));

    // The same a minute later is another entry, and so is another address.
    forward(jiff::SignedDuration::from_secs(61));
    for path in ["/models", "/keys", "/models"] {
        assert_eq!(viewer.post(path, &[]).await.0, StatusCode::FORBIDDEN);
    }
    let counts: Vec<_> = refusals(&app).await.iter().map(|entry| entry["count"].as_i64().unwrap()).collect();
    assert_eq!(counts, [1, 2, 30]);
}

#[tokio::test]
async fn refusals_that_come_at_once_are_all_counted() {
    let (_dir, access) = team();
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    let viewer = Script::with(&app.base, "viewer", PASSWORD);
    assert_eq!(viewer.post("/models", &[]).await.0, StatusCode::FORBIDDEN);
    let posts = (0..100).map(|_| viewer.post("/models", &[]));
    let posts = futures_util::future::join_all(posts).await;
    assert!(posts.iter().all(|(status, _)| *status == StatusCode::FORBIDDEN));
    assert_eq!(viewer.post("/models", &[]).await.0, StatusCode::FORBIDDEN);
    let entries = refusals(&app).await;
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["count"], 102);
}

#[tokio::test]
async fn refused_requests_for_many_long_paths_are_few_short_entries() {
    let (_dir, access) = team();
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    let viewer = Script::with(&app.base, "viewer", PASSWORD);
    let long = "x".repeat(20_000);
    for number in 0..150 {
        let path = format!("/keys/{number}-{long}/delete");
        assert_eq!(viewer.post(&path, &[]).await.0, StatusCode::FORBIDDEN);
    }
    let entries = refusals(&app).await;
    assert!((2..=101).contains(&entries.len()), "{} entries", entries.len());
    assert!(entries.iter().all(|entry| entry["object"].as_str().unwrap().chars().count() <= 201));
    assert_eq!(entries.iter().map(|entry| entry["count"].as_i64().unwrap()).sum::<i64>(), 150);
    assert_eq!(entries[0]["object"], "other requests");
}

#[tokio::test]
async fn throttled_logins_are_short_log_lines_and_one_a_second() {
    let (log, _guard) = Log::capture();
    let app = TestApp::start().await;
    let bare = Bare::of(&app);
    let path = format!("/models/{}", "x".repeat(20_000));
    let mut throttled = 0;
    let begun = Instant::now();
    for _ in 0..60 {
        let request = bare.request(Method::GET, &path).basic_auth("eve", Some("not it"));
        throttled += u64::from(Bare::send(request).await.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(throttled >= 40, "{throttled}");
    // The line about the others comes within the next second.
    let lines = loop {
        let lines: Vec<_> = log
            .lines()
            .into_iter()
            .filter(|line| line["message"].to_string().contains("logins are not"))
            .collect();
        if lines.iter().map(|line| line["count"].as_u64().unwrap()).sum::<u64>() == throttled {
            break lines;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{lines:?}");
        tokio::task::yield_now().await;
    };
    assert!(lines.len() as u64 <= begun.elapsed().as_secs() + 1, "{} lines", lines.len());
    assert!(lines.iter().all(|line| line["address"] == "127.0.0.1"), "{lines:?}");
    assert!(log.lines().iter().all(|line| line.to_string().len() < 2_000), "a line is long");
}

/// Sends many wrong logins at once, then a right one from `from`: few of the wrong ones are checked before it.
async fn right_login_beside(guess: impl Fn(usize) -> (String, String), from: &str) {
    const GUESSES: usize = 300;
    let (_dir, mut access) = team();
    access.trusted_proxies = behind_proxy().trusted_proxies;
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let login = |name: &str, password: &str, from: &str| {
        let request = bare.request(Method::GET, "/contexts").header("x-forwarded-for", from);
        request.basic_auth(name, Some(password))
    };
    let (checked, mut guesses) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for number in 0..GUESSES {
        let (name, from) = guess(number);
        let request = login(&name, &format!("not it {number}"), &from);
        let checked = Arc::clone(&checked);
        guesses.spawn(async move {
            let status = request.send().await.unwrap().status();
            checked.fetch_add(usize::from(status == StatusCode::UNAUTHORIZED), Ordering::SeqCst);
        });
    }
    // The first is answered: they are under way.
    guesses.join_next().await.unwrap().unwrap();
    loop {
        let page = Bare::send(login("operator", PASSWORD, from)).await;
        match page.status {
            StatusCode::OK => break,
            // Where it has to give way the answer says when to try again.
            StatusCode::TOO_MANY_REQUESTS => assert!(page.headers.contains_key(header::RETRY_AFTER)),
            status => panic!("{status}: {}", page.text()),
        }
    }
    let checked = checked.load(Ordering::SeqCst);
    assert!(checked < 150, "it waited for {checked} of {GUESSES} checks");
}

#[tokio::test]
async fn right_basic_login_does_not_wait_behind_one_address() {
    right_login_beside(|number| (format!("name-{number}"), "203.0.113.1".to_owned()), "203.0.113.2").await;
}

#[tokio::test]
async fn right_basic_login_does_not_wait_behind_many_addresses() {
    right_login_beside(
        |number| (format!("name-{number}"), format!("203.{}.{}.1", number / 200, number % 200)),
        "198.51.100.2",
    )
    .await;
}

#[tokio::test]
async fn right_basic_login_does_not_wait_behind_guesses_of_its_name() {
    right_login_beside(|_| ("operator".to_owned(), "203.0.113.1".to_owned()), "203.0.113.2").await;
}

#[tokio::test]
async fn wrong_guesses_lock_nobody_else_out() {
    let (_dir, access) = team();
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    for number in 0..25 {
        let name = if number < 5 { "viewer".to_owned() } else { format!("name-{number}") };
        let form = [("username", name), ("password", "not it".to_owned())];
        Bare::send(bare.request(Method::POST, "/login").form(&form)).await;
    }
    // At the same address, by form and by Basic.
    bare.log_in(None, "").await;
    let request = bare.request(Method::GET, "/models").basic_auth("operator", Some(PASSWORD));
    assert_eq!(Bare::send(request).await.status, StatusCode::OK);
    let request = bare.request(Method::GET, "/models").basic_auth(USER, Some(PASSWORD));
    assert_eq!(Bare::send(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn forged_addresses_give_no_new_guesses() {
    let app = TestApp::with(Setup { access: behind_proxy(), ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let mut checked = 0;
    for number in 0..40 {
        let forged = format!("10.1.1.{number}, 192.0.2.{number}:1, 203.0.113.9");
        let request = bare.request(Method::POST, "/login").header("x-forwarded-for", forged);
        let page = Bare::send(request.form(&[("username", USER), ("password", "not it")])).await;
        checked += usize::from(page.status == StatusCode::UNAUTHORIZED);
    }
    assert!((5..10).contains(&checked), "{checked} of 40 guesses were checked");
}

#[tokio::test]
async fn downloads_are_streamed_and_few_at_once() {
    let (_dir, access) = team();
    let (_database, url) = database::lasting().await;
    let app = TestApp::with(Setup { access, database_url: Some(url.clone()), ..Setup::default() }).await;
    // More than the connections' buffers hold.
    let statement = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 400000) \
                     insert into audit (at, actor, action, object, outcome) \
                     select 0, 'crowd', 'ask', 'an-agent/a-context-of-some-length', 'ok' from n";
    let mut database = sqlx::AnyConnection::connect(&url).await.unwrap();
    sqlx::query(statement).execute(&mut database).await.unwrap();
    let bare = Bare::of(&app);
    let download = async |name: &str, path: &str| {
        let request = bare.request(Method::GET, path).basic_auth(name, Some(PASSWORD));
        request.send().await.unwrap()
    };
    let mut unread = Vec::new();
    for _ in 0..4 {
        let answer = download("viewer", "/audit.csv").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.content_length(), None, "it is made while it is sent");
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
        unread.push(answer);
    }
    for path in ["/audit.csv", "/keys.csv", "/models/export"] {
        let page = Page::of(download("viewer", path).await).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(page.body.contains("oo many downloads"), "{}", page.body);
    }
    for path in ["/keys.csv", "/models/export"] {
        let answer = download("operator", path).await;
        assert_eq!(answer.status(), StatusCode::OK, "one user keeps the others out of {path}");
        assert!(!answer.text().await.unwrap().is_empty());
    }
    // A client that goes away makes room.
    drop(unread);
    let begun = Instant::now();
    while download("viewer", "/keys.csv").await.status() != StatusCode::OK {
        assert!(begun.elapsed() < Duration::from_secs(20), "downloads that are not taken keep their places");
    }
}

#[tokio::test]
async fn answer_with_a_new_secret_is_kept_nowhere() {
    let app = TestApp::start().await;
    let browser = app.user().await;
    for (path, form) in [
        ("/keys".to_owned(), vec![("alias", "fresh"), ("access", "all")]),
        (format!("/keys/{}/replace", app.agent_key_hash), vec![("old", "block"), ("grace", "2h")]),
    ] {
        for accept in ["text/html", "application/json"] {
            let alias = format!("fresh-{}", accept.len());
            let mut form = form.clone();
            if path == "/keys" {
                form[0].1 = &alias;
            }
            let request = browser.http.post(browser.url(&path)).form(&form).header(header::ACCEPT, accept);
            let page = Page::of(request.header(header::ACCEPT_ENCODING, "gzip").send().await.unwrap()).await;
            assert!(page.body.contains("sk-"), "{path} as {accept}: {}", page.body);
            assert_eq!(page.headers[header::CACHE_CONTROL], "no-store", "{path} as {accept}");
            for name in [header::CONTENT_ENCODING, header::ETAG] {
                assert!(!page.headers.contains_key(&name), "{path} as {accept} has {name}");
            }
            if accept == "application/json" && path != "/keys" {
                break;
            }
        }
    }
}

#[tokio::test]
async fn questions_and_answers_end_with_their_context_and_their_time() {
    let (_dir, url) = database::lasting().await;
    let app = TestApp::with(Setup { database_url: Some(url.clone()), ..Setup::default() }).await;
    let script = app.script();
    for context in ["kept", "gone"] {
        let form = [
            ("agent", "task-agent"),
            ("context", context),
            ("model", "openai/gpt-5-mini"),
            ("message", "A secret plan"),
        ];
        assert_eq!(script.post("/switch", &form).await.1["outcome"], "proven");
        let path = format!("/contexts/task-agent/{context}/message");
        assert!(script.post(&path, &[("message", "A secret plan")]).await.0.is_success());
    }
    let mut database = sqlx::AnyConnection::connect(&url).await.unwrap();
    let mut left = async || {
        let statement = "select (select count(*) from asks where proof like '%secret plan%'), \
                         (select count(*) from swaps where proof like '%secret plan%'), (select count(*) from swaps)";
        sqlx::query_as::<_, (i64, i64, i64)>(statement).fetch_one(&mut database).await.unwrap()
    };
    assert_eq!(left().await, (2, 2, 2));
    assert!(script.post("/contexts/task-agent/gone/forget", &[]).await.0.is_success());
    assert_eq!(left().await, (1, 1, 2), "the swaps stay");
    let store = Store::open(&url, Clock::system()).await.unwrap();
    let now = Clock::system().now();
    store.end_conversations_before(now - jiff::SignedDuration::from_hours(24)).await.unwrap();
    assert_eq!(left().await, (1, 1, 2));
    assert_eq!(store.end_conversations_before(now + jiff::SignedDuration::from_hours(1)).await.unwrap(), 2);
    assert_eq!(left().await, (0, 0, 2));
    let page = app.user().await.get("/contexts/task-agent/kept").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.body.contains("secret plan"), "{}", page.text());
}
