//! Refused forms, races, failures, and appointments that outlive a restart.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::time::Duration;

use patchbay::app::{App, Timeouts};
use patchbay::config::{Config, Login};
use patchbay_clock::Clock;
use patchbay_sandbox::{Database, Generation};
use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{GENERATIONS, stage};
use crate::database;
use crate::support::{MASTER_KEY, PASSWORD, Script, Setup, TestApp, USER};

#[tokio::test]
async fn a_refused_form_comes_back_with_its_input_and_an_error_at_each_field() {
    let (_app, stage) = stage(Generation::V1_109).await;
    let form = [
        ("alias", "kept alias"),
        ("access", "all"),
        ("max_budget", "-5"),
        ("budget_duration", "sometimes"),
        ("duration", "soon"),
        ("rpm_limit", "1.5"),
        ("metadata", "[1]"),
    ];
    let page = stage.browser.post("/keys", &form).await;
    assert_eq!(page.status.as_u16(), 422);
    for field in ["max_budget", "budget_duration", "duration", "rpm_limit", "metadata"] {
        assert!(
            page.has(&format!("#{field}[aria-invalid]")) && page.has(&format!("#{field}-error")),
            "{field}"
        );
    }
    assert_eq!(page.attributes("input#alias", "value"), ["kept alias"]);
    assert_eq!(page.attributes("input#rpm_limit", "value"), ["1.5"]);
    let (_, keys) = stage.script.get("/keys").await;
    assert_eq!(keys["total"], 1, "a key was made all the same");
}

#[tokio::test]
async fn a_key_as_an_alias_is_refused() {
    let (_app, stage) = stage(Generation::V1_109).await;
    let (status, answer) = stage.script.post("/keys", &[("alias", "sk-1234567890abcdef")]).await;
    assert_eq!((status.as_u16(), answer["errors"]["alias"].is_string()), (422, true), "{answer}");
}

#[tokio::test]
async fn every_write_is_written_down_whether_it_went_well_or_not() {
    for generation in GENERATIONS {
        let (app, stage) = stage(generation).await;
        let (_, hash) = stage.make("seen", &[("access", "none")]).await;
        app.world.set_database(Database::Down);
        let (status, error) = stage.script.post(&format!("/keys/{hash}/block"), &[]).await;
        assert!([502, 504].contains(&status.as_u16()), "{error}");
        // 1.109 does not say of `/key/info` what is wrong.
        let title = error["error"]["title"].as_str().unwrap();
        assert!(title.contains("database") || generation == Generation::V1_109, "{error}");
        app.world.set_database(Database::Up);
        stage.script.post(&format!("/keys/{hash}/delete"), &[]).await;
        stage.script.post(&format!("/keys/{hash}/delete"), &[]).await;
        let (_, audit) = stage.script.get("/audit").await;
        let said =
            audit["entries"].as_array().unwrap().iter().filter(|entry| entry["object"] == hash.as_str());
        let said: Vec<_> =
            said.map(|e| (e["action"].as_str().unwrap(), e["outcome"].as_str().unwrap())).collect();
        let expected =
            [("key.delete", "failed"), ("key.delete", "ok"), ("key.block", "failed"), ("key.create", "ok")];
        assert_eq!(said, expected);
        assert!(audit["entries"].as_array().unwrap().iter().all(|entry| entry["actor"] == USER));
    }
}

#[tokio::test]
async fn an_agents_key_is_replaced_only_by_its_name() {
    let (app, stage) = stage(Generation::V1_80).await;
    let path = format!("/keys/{}/replace", app.agent_key_hash);
    let page = stage.browser.post(&path, &[("old", "block")]).await;
    assert_eq!((page.status.as_u16(), page.has("#confirm-error")), (422, true), "{}", page.text());
    let page = stage.browser.post(&path, &[("old", "block"), ("confirm", "task-agent")]).await;
    assert!(page.has("input#secret"), "{}", page.text());
    assert_ne!(
        stage.info(&app.agent_key_hash).await["blocked"],
        true,
        "it ended before the new one was saved"
    );
    stage.browser.post(&format!("/keys/{}/retire", app.agent_key_hash), &[]).await;
    let old = stage.info(&app.agent_key_hash).await;
    assert_eq!(old["blocked"], true);
    assert!(old["key_alias"].as_str().unwrap().starts_with("task-agent (replaced "), "{old}");
}

/// A dashboard as `serve` runs it, with its background tasks.
async fn serve(app: &TestApp, database: &str) -> (String, CancellationToken, tokio::task::JoinHandle<()>) {
    let config = Config {
        bind: "127.0.0.1:0".parse().unwrap(),
        base_path: String::new(),
        database_url: database.to_owned(),
        login: Login { username: USER.to_owned(), password: SecretString::from(PASSWORD), is_default: false },
        proxy_url: app.sandbox.parse().unwrap(),
        master_key: SecretString::from(MASTER_KEY),
        agents: Vec::new(),
        agents_file: None,
        agent_key: None,
        setup: patchbay::domain::setup::Setup::default(),
        access: patchbay::config::Access::default(),
    };
    let built = App::build(config, Clock::system(), Timeouts::default()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let token = stop.clone();
    let task = tokio::spawn(async move { built.serve(listener, token).await.unwrap() });
    (base, stop, task)
}

#[tokio::test]
async fn a_replaced_key_ends_when_it_is_due_though_patchbay_was_restarted() {
    let app = TestApp::with(Setup::default()).await;
    let (_dir, database) = database::lasting().await;
    let (base, stop, task) = serve(&app, &database).await;
    let made = app.admin("/key/generate", &json!({ "key_alias": "old", "models": [] })).await;
    let hash = made["token"].as_str().unwrap();
    let form = [("old", "delete"), ("grace", "1s")];
    let (status, new) = Script::new(&base).post(&format!("/keys/{hash}/replace"), &form).await;
    assert_eq!(status.as_u16(), 201, "{new}");
    stop.cancel();
    task.await.unwrap();
    let (_, stage) = super::stage(Generation::V1_109).await;
    let stage = super::scenario::Stage { proxy: app.sandbox.clone(), ..stage };
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_ne!(stage.info(hash).await["status"], "deleted", "it ended though nothing ran");

    let (base, stop, task) = serve(&app, &database).await;
    let script = Script::new(&base);
    for _ in 0..100 {
        if stage.info(hash).await["status"] == "deleted" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stage.info(hash).await["status"], "deleted");
    assert_eq!(stage.info(new["info"]["hash"].as_str().unwrap()).await["status"], "active");
    let (_, audit) = script.get("/audit").await;
    let last = &audit["entries"][0];
    assert_eq!(
        (&last["action"], &last["outcome"], &last["actor"]),
        (&json!("key.delete"), &json!("ok"), &json!(USER))
    );
    stop.cancel();
    task.await.unwrap();
}
