//! Many keys.

use std::backtrace::Backtrace;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use patchbay_clock::Clock;

use patchbay_sandbox::Generation;
use serde_json::json;

use crate::database;
use crate::support::{Script, Setup, TestApp};

/// More keys at once than a page of the proxy's.
#[tokio::test]
async fn a_search_finds_keys_beyond_the_first_page_of_the_proxy() {
    for generation in [Generation::V1_80, Generation::V1_109] {
        // Nobody has looked at the keys yet: a login would, by its overview.
        let app = TestApp::with(Setup { generation, ..Setup::default() }).await;
        let script = app.script();
        for number in 0..320 {
            let models = if number == 7 { json!(["rare/model"]) } else { json!(["openai/gpt-5"]) };
            app.admin(
                "/key/generate",
                &json!({ "key_alias": format!("many-{number:04}"), "models": models }),
            )
            .await;
        }
        // The first page comes before all keys do; then the index fills.
        let (_, first) = script.get("/keys").await;
        assert_eq!(first["issued"], 321, "{}", first["issued"]);
        complete(&script).await;
        let (_, found) = script.get("/keys?q=MANY-0003").await;
        assert_eq!(found["keys"][0]["alias"], "many-0003", "{}", found["total"]);
        let (_, found) = script.get("/keys?q=rare/").await;
        assert_eq!((&found["total"], &found["keys"][0]["alias"]), (&json!(1), &json!("many-0007")));
    }
}

async fn complete(script: &Script) {
    for _ in 0..200 {
        if script.get("/keys").await.1["is_complete"] == true {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the keys are never read to the end");
}

/// The copy of before, marked with its age, where the proxy does not answer.
#[tokio::test]
async fn shows_keys_from_the_disk_after_a_restart() {
    let (dir, database_url) = database::file();
    let setup = Setup { database_url: Some(database_url), ..Setup::default() };
    let mut app = TestApp::with(setup).await;
    let secret = app.admin("/key/generate", &json!({ "key_alias": "kept", "models": [] })).await;
    complete(&app.script()).await;
    let (_, before) = app.script().get("/keys").await;
    let file = dir.path().join("test.db.keys");
    for _ in 0..200 {
        if file.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("kept") && !text.contains(secret["key"].as_str().unwrap()), "{text}");

    app.world.set_database(patchbay_sandbox::Database::Down);
    app.restart(|_| {}).await;
    let (_, after) = app.script().get("/keys?q=KEPT").await;
    assert_eq!(after["keys"][0]["alias"], "kept", "{after}");
    assert_eq!((&after["as_of"]["at"], &after["issued"]), (&before["as_of"]["at"], &before["issued"]));
    assert!(after["trouble"].is_object(), "{after}");

    // Nothing of another proxy is shown.
    let (_, elsewhere) = {
        app.restart(|config| config.proxy_url = "http://127.0.0.1:1".parse().unwrap()).await;
        app.script().get("/keys").await
    };
    assert!(!elsewhere.to_string().contains("kept"), "{elsewhere}");
}

#[tokio::test]
async fn answers_after_a_panic_while_keys_are_read() {
    let (is_armed, system) = (AtomicBool::new(true), Clock::system());
    let clock = Clock::from_fn(move || {
        // The task that reads the keys asks for the time once; no handler is above it.
        let reads_keys = || {
            let trace = Backtrace::force_capture().to_string();
            trace.contains("src/services/keys/copy.rs") && !trace.contains("src/web/")
        };
        assert!(
            !(is_armed.load(Ordering::SeqCst) && reads_keys() && is_armed.swap(false, Ordering::SeqCst)),
            "a panic for a test"
        );
        system.now()
    });
    let app = TestApp::with(Setup { clock, ..Setup::default() }).await;
    let script = app.script();
    let answer = tokio::time::timeout(Duration::from_secs(5), script.get("/keys")).await;
    let (status, json) = answer.expect("the page waits for a copy that never comes");
    assert!(!status.is_success() && json.to_string().contains("internal error"), "{status} {json}");
    // A failure counts for a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (status, json) = script.get("/keys").await;
    assert_eq!((status.as_u16(), &json["is_complete"]), (200, &json!(true)), "{json}");
}
