//! How long a session is one, and what is kept of it.

use axum::http::{Method, StatusCode, header};
use patchbay::domain::key::hex;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, Row as _};

use crate::database;
use crate::support::{MASTER_KEY, PASSWORD, Setup, TestApp, USER};
use crate::web::login::{Bare, location, set_cookie};

#[tokio::test]
async fn logout_ends_the_session_at_the_server_and_only_this_one() {
    let app = TestApp::start().await;
    let bare = Bare::of(&app);
    let (_, first) = bare.log_in(None, "").await;
    let (_, second) = bare.log_in(None, "").await;
    let (_, third) = bare.log_in(None, "").await;
    assert!(first != second && second != third);
    for cookie in [&first, &second, &third] {
        assert_eq!(bare.with_cookie("/models", cookie).await.status, StatusCode::OK);
    }
    let get = bare.with_cookie("/logout", &first).await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(bare.with_cookie("/models", &first).await.status, StatusCode::OK, "a link logs out");

    let request = bare.request(Method::POST, "/logout").header(header::COOKIE, &first);
    let page = Bare::send(request).await;
    assert_eq!((page.status, location(&page)), (StatusCode::SEE_OTHER, "/login"));
    assert!(set_cookie(&page).contains("Max-Age=0"), "{}", set_cookie(&page));
    // Replayed, from a client that kept it.
    assert_eq!(bare.with_cookie("/models", &first).await.status, StatusCode::SEE_OTHER);
    for cookie in [&second, &third] {
        assert_eq!(bare.with_cookie("/models", cookie).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_session_gets_a_new_id_at_login_and_a_careful_cookie() {
    let app = TestApp::with(Setup { base_path: "/tools", ..Setup::default() }).await;
    let bare = Bare::of(&app);
    // Whoever only looks gets no session.
    let page = Bare::send(bare.request(Method::GET, "/login")).await;
    assert!(page.headers.get(header::SET_COOKIE).is_none());
    let (page, first) = bare.log_in(None, "").await;
    let parts: Vec<_> = set_cookie(&page).split("; ").skip(1).map(str::to_ascii_lowercase).collect();
    for wanted in ["httponly", "samesite=lax", "path=/tools"] {
        assert!(parts.iter().any(|part| part == wanted), "{wanted} in {parts:?}");
    }
    // Logging in again in the same browser, or with an id that someone planted, brings a new id.
    let (_, again) = bare.log_in(Some(&first), "").await;
    assert_ne!(first, again);
    assert_eq!(bare.with_cookie("/models", &first).await.status, StatusCode::SEE_OTHER);
    let planted = "patchbay_session=AAAAAAAAAAAAAAAAAAAAAA";
    let (_, own) = bare.log_in(Some(planted), "").await;
    assert_ne!(own, planted);
    assert_eq!(bare.with_cookie("/models", planted).await.status, StatusCode::SEE_OTHER);
    for odd in
        ["patchbay_session=", "patchbay_session=%00", "patchbay_session=../../etc", "patchbay_session=é"]
    {
        assert_eq!(bare.with_cookie("/models", odd).await.status, StatusCode::SEE_OTHER, "{odd}");
    }
}

/// All text and bytes of the sessions' table.
async fn sessions(url: &str) -> Vec<(String, String)> {
    let mut database = sqlx::AnyConnection::connect(url).await.unwrap();
    let rows = sqlx::query("select id_hash, data from sessions").fetch_all(&mut database).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn sessions_outlive_a_restart_but_not_a_new_password() {
    let (dir, database_url) = database::lasting().await;
    let mut app = TestApp::with(Setup { database_url: Some(database_url.clone()), ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let (_, cookie) = bare.log_in(None, "").await;
    let (_, other) = bare.log_in(None, "").await;

    let id = cookie.split_once('=').unwrap().1;
    let rows = sessions(&database_url).await;
    assert_eq!(rows.len(), 2);
    let secrets = [id, PASSWORD, MASTER_KEY, other.split_once('=').unwrap().1];
    for (_, data) in &rows {
        assert!(!secrets.iter().any(|secret| data.contains(secret)), "{data}");
    }
    // Neither do they stand anywhere else in the file, where there is one.
    for file in dir.iter().flat_map(|dir| std::fs::read_dir(dir.path()).unwrap()) {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a session's id or a secret stands in the database in clear");
        }
    }
    // tower-sessions' text form of the id is hashed.
    let hash = hex(&Sha256::digest(id.as_bytes()));
    assert!(rows.iter().any(|(id_hash, _)| *id_hash == hash), "{rows:?}");

    app.restart(|_| ()).await;
    let bare = Bare::of(&app);
    assert_eq!(bare.with_cookie("/models", &cookie).await.status, StatusCode::OK);
    app.restart(|config| config.login.password = SecretString::from("another one")).await;
    let bare = Bare::of(&app);
    for cookie in [&cookie, &other] {
        assert_eq!(bare.with_cookie("/models", cookie).await.status, StatusCode::SEE_OTHER);
    }
    let page = app.anonymous().post("/login", &[("username", USER), ("password", PASSWORD)]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    // Going back to the old password does not bring the ended sessions back to life.
    app.restart(|config| config.login.password = SecretString::from(PASSWORD)).await;
    assert_eq!(Bare::of(&app).with_cookie("/models", &cookie).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_new_name_ends_sessions_as_well() {
    let (_dir, database_url) = database::lasting().await;
    let mut app = TestApp::with(Setup { database_url: Some(database_url), ..Setup::default() }).await;
    let (_, cookie) = Bare::of(&app).log_in(None, "").await;
    app.restart(|config| config.login.username = "grace".to_owned()).await;
    assert_eq!(Bare::of(&app).with_cookie("/models", &cookie).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn someone_who_is_logged_in_is_led_on_from_the_login_form() {
    let app = TestApp::start().await;
    assert_eq!(app.user().await.get("/login").await.url.path(), "/");
}

/// Reverse proxies lead `/a/b` to `/a/b/`, or take the slash away.
#[tokio::test]
async fn below_a_path_the_overview_has_a_slash_or_none() {
    let app = TestApp::with(Setup { base_path: "/a/b", ..Setup::default() }).await;
    let bare = Bare::of(&app);
    let (_, cookie) = bare.log_in(None, "").await;
    for path in ["", "/", "/?x=1"] {
        let page = bare.with_cookie(path, &cookie).await;
        assert_eq!((page.status, page.one("h1")), (StatusCode::OK, "Overview".to_owned()), "{path:?}");
        assert_eq!(bare.with_cookie(path, "").await.status, StatusCode::SEE_OTHER, "{path:?}");
    }
}
