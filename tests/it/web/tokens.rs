//! Access tokens of scripts, and what admins see of users and sessions.

use axum::http::{Method, StatusCode, header};
use futures_util::future::join_all;
use jiff::SignedDuration;
use patchbay::config::users::Editor;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::clients::logged::Log;
use crate::database;
use crate::support::{PASSWORD, Page, Script, Setup, TestApp, USER};
use crate::web::login::Bare;
use crate::web::roles::team;
use crate::web::sso::{passed_on, trusting};
use crate::web::users::clock;

async fn create(script: &Script, label: &str, role: &str) -> (StatusCode, Value) {
    script.post("/tokens", &[("label", label), ("role", role), ("days", "30")]).await
}

fn secret(made: &(StatusCode, Value)) -> String {
    assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
    made.1["token"].as_str().unwrap().to_owned()
}

async fn bearer(bare: &Bare, method: Method, path: &str, token: &str) -> StatusCode {
    let request = bare.request(method.clone(), path).bearer_auth(token);
    let request = if method == Method::POST { request.form(&[("x", "")]) } else { request };
    Bare::send(request.header(header::ACCEPT, "application/json")).await.status
}

#[tokio::test]
async fn token_gives_at_most_its_role_and_its_owners() {
    let (dir, access) = team();
    let (clock, forward) = clock();
    let app = TestApp::with(Setup { clock, access, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let operator = Script::with(&app.base, "operator", PASSWORD);
    let statuses = async |token: &str| {
        let mut statuses = Vec::new();
        for (method, path) in [
            (Method::GET, "/models"),
            (Method::POST, "/contexts/task-agent/c1/refresh"),
            (Method::POST, "/models"),
        ] {
            statuses.push(bearer(&bare, method, path, token).await.as_u16());
        }
        statuses
    };
    let viewer = secret(&create(&operator, "reader", "viewer").await);
    assert!(viewer.starts_with("pb_") && viewer.len() == 67, "{viewer}");
    assert_eq!(statuses(&viewer).await, [200, 403, 403]);
    let same = secret(&create(&operator, "switcher", "operator").await);
    assert_eq!(statuses(&same).await, [200, 200, 403]);
    let (status, refused) = create(&operator, "too much", "admin").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert!(refused["errors"]["role"].as_str().unwrap().contains("an operator"), "{refused}");
    let admin = secret(&create(&Script::with(&app.base, "admin", PASSWORD), "all", "admin").await);
    assert_eq!(statuses(&admin).await, [200, 200, 422]);

    // It goes down with its owner, and ends with them.
    let edit = |change: &dyn Fn(&mut Editor)| {
        let mut file = Editor::open(&dir.path().join("users")).unwrap();
        change(&mut file);
        file.save_if_changed().unwrap();
        forward(SignedDuration::from_secs(2));
    };
    edit(&|file| {
        let mut user = file.users().unwrap().into_iter().find(|user| user.name == "admin").unwrap();
        user.role = "operator".parse().unwrap();
        file.set(&user);
    });
    assert_eq!(statuses(&admin).await, [200, 200, 403]);
    edit(&|file| assert!(file.remove("admin")));
    assert_eq!(statuses(&admin).await, [401, 401, 401]);

    // As the password of HTTP Basic, whatever the name is.
    for name in ["operator", "x", ""] {
        let basic = bare.request(Method::GET, "/models").basic_auth(name, Some(&same));
        assert_eq!(Bare::send(basic).await.status, StatusCode::OK, "{name}");
    }
    let (_, audit) = Script::with(&app.base, "x", &same).get("/audit?what=token").await;
    let done: Vec<_> = audit["entries"].as_array().unwrap().iter().map(|entry| &entry["object"]).collect();
    assert_eq!(done, ["admin (token all)", "operator (token switcher)", "operator (token reader)"]);
    forward(SignedDuration::from_hours(24 * 30));
    assert_eq!(statuses(&same).await, [401, 401, 401], "it has expired");
}

#[tokio::test]
async fn revoked_token_opens_nothing_on_any_replica() {
    let (_dir, database_url) = database::lasting().await;
    let (_users, access) = team();
    let app = TestApp::with(Setup { access, database_url: Some(database_url), ..Setup::default() }).await;
    let replica = app.replica().await;
    let made = create(&Script::with(&app.base, "operator", PASSWORD), "ci", "viewer").await;
    let (token, id) = (secret(&made), made.1["info"]["id"].as_str().unwrap().to_owned());
    let sides = [Bare::of(&app), Bare::of(&replica)];
    for bare in &sides {
        assert_eq!(bearer(bare, Method::GET, "/models", &token).await, StatusCode::OK);
    }
    let revoke = format!("/tokens/{id}/revoke");
    // Others do not see it, and a token manages none.
    let viewer = Script::with(&app.base, "viewer", PASSWORD);
    assert_eq!(viewer.post(&revoke, &[]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(viewer.get("/tokens").await.1["tokens"], json!([]));
    let own = Script::with(&app.base, "operator", &token);
    assert_eq!(own.post(&revoke, &[]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(create(&own, "more", "viewer").await.0, StatusCode::FORBIDDEN);
    assert_eq!(app.script().post(&revoke, &[]).await.0, StatusCode::OK, "an admin");
    for bare in &sides {
        assert_eq!(bearer(bare, Method::GET, "/models", &token).await, StatusCode::UNAUTHORIZED);
        let basic = bare.request(Method::GET, "/models").basic_auth("operator", Some(&token));
        assert_eq!(Bare::send(basic).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(app.script().post(&revoke, &[]).await.0, StatusCode::NOT_FOUND);
    let (_, audit) = app.script().get("/audit?what=token.revoke").await;
    let [entry] = audit["entries"].as_array().unwrap().as_slice() else { panic!("{audit}") };
    assert_eq!((&entry["actor"], &entry["object"]), (&json!(USER), &json!("operator (token ci)")));
}

#[tokio::test]
async fn token_is_shown_once_and_stored_as_a_hash() {
    let (log, _guard) = Log::capture();
    let (_dir, database_url) = database::lasting().await;
    let app = TestApp::with(Setup { database_url: Some(database_url.clone()), ..Setup::default() }).await;
    let (bare, browser) = (Bare::of(&app), app.user().await);
    let request = browser.get("/tokens").await.attributes("input[name=request]", "value").remove(0);
    let form = [("label", "night <b>"), ("role", "admin"), ("days", "7"), ("request", request.as_str())];
    let page = browser.post("/tokens", &form).await;
    let token = page.attributes("#secret", "value").remove(0);
    assert!(page.headers[header::CACHE_CONTROL] == "no-store" && !page.body.contains("<b>"));
    let again = browser.post("/tokens", &form).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text());
    assert_eq!(bearer(&bare, Method::GET, "/models", &token).await, StatusCode::OK);
    // It is no use where it is sent as something else, and is not repeated.
    let wrong = format!("{}{}", &token[..66], i32::from(token.ends_with('0')));
    for (token, status) in [(&*token, 200), (&*wrong, 401), ("pb_", 401), (&token[..66], 401)] {
        assert_eq!(bearer(&bare, Method::GET, "/models", token).await.as_u16(), status, "{token}");
    }
    let form = [("username", USER), ("password", token.as_str())];
    let page = Bare::send(bare.request(Method::POST, "/login").form(&form)).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    let pages = ["/tokens", "/users", "/audit", "/settings"].map(|path| browser.get(path));
    let pages: Vec<Page> = futures_util::future::join_all(pages).await;
    let mut database = sqlx::AnyConnection::connect(&database_url).await.unwrap();
    let rows: Vec<(String, String)> =
        sqlx::query_as("select hash, label from access_tokens").fetch_all(&mut database).await.unwrap();
    assert!(rows.len() == 1 && rows[0].0.len() == 64, "{rows:?}");
    let lines: Vec<String> = log.lines().iter().map(ToString::to_string).collect();
    for text in pages.iter().map(|page| &page.body).chain(&lines).chain([&rows[0].0]) {
        assert!(!text.contains(&token[3..]), "{text}");
    }
    assert!(pages[0].has("#tokens tbody tr[data-label='night <b>']"), "{}", pages[0].text());
    assert!(lines.iter().any(|line| line.contains("access tokens are refused")), "{lines:?}");
}

#[tokio::test]
async fn users_page_shows_who_comes_from_where_and_ends_a_session() {
    let (_dir, users) = team();
    let access = patchbay::config::Access { users: users.users, ..trusting("127.0.0.1/32") };
    let app = TestApp::with(Setup { access, ..Setup::default() }).await;
    let (bare, admin) = (Bare::of(&app), app.user().await);
    let viewer = bare.log_in_as("viewer", PASSWORD).await;
    let by_header = |groups: &str, method, path: &str| {
        let request = passed_on(bare.request(method, path), "grace", groups);
        Bare::send(request.header("x-forwarded-email", "grace@example.org"))
    };
    assert_eq!(by_header("staff", Method::GET, "/contexts").await.status, StatusCode::OK);
    assert_eq!(by_header("sre", Method::GET, "/contexts").await.status, StatusCode::OK);
    let page = admin.get("/users").await;
    let rows = page.all("#users tbody tr");
    let row = |name: &str| rows.iter().find(|row| row.starts_with(name)).unwrap().clone();
    assert!(
        row("ada").contains("admin shared login") && row("operator").contains("operator users file"),
        "{rows:?}"
    );
    assert!(row("grace").contains("grace@example.org operator single sign-on"), "{rows:?}");
    assert_eq!(rows.len(), 5, "{rows:?}");
    assert!(admin.get("/users?q=single").await.all("#users tbody tr").len() == 1);
    let logins = app.script().get("/audit?what=login&who=grace").await.1;
    let details: Vec<_> =
        logins["entries"].as_array().unwrap().iter().map(|entry| &entry["detail"]).collect();
    assert_eq!(details, ["by single sign-on, as operator", "by single sign-on, as viewer"]);

    let sessions = page.attributes("#sessions tbody tr", "data-user");
    assert_eq!(sessions.iter().filter(|user| *user == "viewer").count(), 1, "{sessions:?}");
    assert_eq!(page.all("#sessions .badge").len(), 1, "one's own is marked");
    let id = page.attributes("#sessions tbody tr[data-user=viewer]", "data-id").remove(0);
    assert_eq!(bare.with_cookie("/models", &viewer).await.status, StatusCode::OK);
    let page = admin.post("/users/sessions/end", &[("session", &id)]).await;
    assert!(page.one("#flash").contains("The session of viewer has ended"), "{}", page.text());
    assert_eq!(bare.with_cookie("/models", &viewer).await.status, StatusCode::SEE_OTHER);
    assert_eq!(admin.post("/users/sessions/end", &[("session", &id)]).await.status, StatusCode::NOT_FOUND);
    let (_, audit) = app.script().get("/audit?what=session.end").await;
    assert_eq!(audit["entries"][0]["object"], "viewer", "{audit}");
}

/// The role of single sign-on is known from the last request alone.
#[tokio::test]
async fn token_of_a_proxys_user_follows_their_groups() {
    let (clock, forward) = clock();
    let access = trusting("127.0.0.1/32");
    let app = TestApp::with(Setup { clock, access, ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let form = [("label", "ci"), ("role", "operator"), ("days", "90")];
    let request = passed_on(bare.request(Method::POST, "/tokens").form(&form), "grace", "sre");
    let token = Bare::send(request).await.attributes("#secret", "value").remove(0);
    let switches =
        async || bearer(&bare, Method::POST, "/contexts/task-agent/c1/refresh", &token).await.as_u16();
    assert_eq!(switches().await, 200);
    for (groups, status) in [("staff", 403), ("sre", 200), ("", 401), ("sre", 200)] {
        Bare::send(passed_on(bare.request(Method::GET, "/contexts"), "grace", groups)).await;
        assert_eq!(switches().await, status, "{groups:?}");
    }
    // A proxy may pass on tokens of its own.
    let request = passed_on(bare.request(Method::GET, "/contexts"), "grace", "sre").bearer_auth("eyJ.x.y");
    assert_eq!(Bare::send(request).await.status, StatusCode::OK);
    // The token counts before the headers.
    let request = passed_on(bare.request(Method::GET, "/models/new"), "grace", "admins").bearer_auth(&token);
    assert_eq!(Bare::send(request).await.status, StatusCode::FORBIDDEN);
    // Nobody says that someone has left.
    forward(SignedDuration::from_hours(24 * 29));
    assert_eq!(switches().await, 200);
    forward(SignedDuration::from_hours(24 * 2));
    assert_eq!(switches().await, 401);
    Bare::send(passed_on(bare.request(Method::GET, "/contexts"), "grace", "sre")).await;
    assert_eq!(switches().await, 200);
}

#[tokio::test]
async fn nobody_has_more_than_50_tokens() {
    let app = TestApp::start().await;
    let script = app.script();
    let made = join_all((0..60).map(|n| {
        let script = &script;
        async move { create(script, &format!("t{n}"), "viewer").await.0 }
    }));
    let made = made.await;
    assert_eq!(made.iter().filter(|status| **status == StatusCode::CREATED).count(), 50, "{made:?}");
}
