//! What an agent for real use has more: a memory on disk, a token, a key that may be issued again.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use patchbay_agent::{Extras, StartError, open};
use secrecy::SecretString;
use serde_json::json;

use super::{Bench, bench, config, options, said, serve};
use crate::database;
use crate::support::spawn;

/// The bench's proxy behind an agent with extras; the agent ends with the guard.
async fn with(bench: &Bench, proxy: &str, extras: Extras) -> (Bench, tokio_util::sync::DropGuard) {
    let (address, guard) = spawn(open(options(proxy), extras).await.unwrap()).await;
    let (http, fake) = (bench.http.clone(), Arc::clone(&bench.fake));
    (Bench { root: format!("http://{address}"), proxy: proxy.to_owned(), http, fake }, guard)
}

#[tokio::test]
async fn a_restart_loses_nothing() {
    let first = bench().await;
    let (_dir, url) = database::file();
    let extras = || Extras { database_url: Some(url.clone()), ..Extras::default() };
    let (agent, guard) = with(&first, &first.proxy, extras()).await;
    agent.reply("a", "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
    agent.reply("a", "[HOTSWAP:PROMPT:Two\nlines]").await;
    agent.reply("a", "who?").await;
    let before = agent.say("b", "hello").await;
    agent.reply("b", "[HOTSWAP:MODEL:wild/x]").await;
    drop(guard);
    let (agent, _guard) = with(&first, &first.proxy, extras()).await;
    assert_eq!(agent.reply("a", "[HOTSWAP:GET_CONFIG]").await, config("gpt-5-mini", "openai", "Two\nlines"));
    assert_eq!(agent.reply("a", "again?").await, "I am openai/gpt-5-mini");
    assert_eq!(
        agent.fake.last_messages(),
        ["system: Two\nlines", "user: who?", "assistant: I am openai/gpt-5-mini", "user: again?"]
    );
    assert_eq!(agent.reply("b", "again?").await, "I am wild/x");
    assert_eq!(agent.fake.last_messages()[1..3], ["user: hello", "assistant: I am openai/gpt-5"]);
    let after = agent.rpc(None, "tasks/get", json!({"id": before["id"]})).await;
    assert_eq!(after["result"], before, "the task is as it was, with its ids");
    assert_eq!(
        agent.reply("new", "[HOTSWAP:GET_CONFIG]").await,
        config("gpt-5", "openai", "(default prompt)")
    );
}

#[tokio::test]
async fn the_history_on_disk_is_bounded_as_in_memory() {
    let first = bench().await;
    let (_dir, url) = database::file();
    let extras = || Extras { database_url: Some(url.clone()), ..Extras::default() };
    let (agent, guard) = with(&first, &first.proxy, extras()).await;
    for n in 0..103 {
        agent.say("c", &format!("q{n}")).await;
    }
    drop(guard);
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let rows: (i64, String) =
        sqlx::query_as("select count(*), min(question) from exchanges where question <> 'q100'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(rows.0, 99, "100 exchanges are kept");
    let (agent, _guard) = with(&first, &first.proxy, extras()).await;
    agent.say("c", "last").await;
    assert_eq!(agent.fake.last_messages()[1], "user: q3");
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_promised() {
    let first = bench().await;
    let (_dir, url) = database::file();
    let extras = Extras { database_url: Some(url.clone()), ..Extras::default() };
    let (agent, _guard) = with(&first, &first.proxy, extras).await;
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query("drop table contexts").execute(&pool).await.unwrap();
    let told = agent.reply("c", "[HOTSWAP:MODEL:openai/gpt-5-mini]").await;
    assert!(told.starts_with("❌ The agent's database failed, so that nothing was changed."), "{told}");
    assert_eq!(agent.reply("c", "[HOTSWAP:GET_CONFIG]").await, config("gpt-5", "openai", "(default prompt)"));
    assert_eq!(agent.reply("c", "who?").await, "I am openai/gpt-5", "an answer that was paid for is given");
    sqlx::query("drop table tasks").execute(&pool).await.unwrap();
    let calls = agent.fake.calls().len();
    let refused = agent.rpc(None, "message/send", said("c", "who?")).await;
    assert_eq!(refused["error"], json!({"code": -32603, "message": "The agent's database failed."}));
    assert_eq!(agent.fake.calls().len(), calls, "the model is not asked");
}

#[tokio::test]
async fn a_database_of_another_kind_is_refused() {
    let (dir, url) = database::file();
    let start = |url: &str| {
        let extras = Extras { database_url: Some(url.to_owned()), ..Extras::default() };
        open(options("http://127.0.0.1:9"), extras)
    };
    assert!(matches!(start("postgres://x/y").await, Err(StartError::Store(_))));
    std::fs::write(dir.path().join("test.db"), "this is no database at all, but a text").unwrap();
    assert!(matches!(start(&url).await, Err(StartError::Store(_))));
}

#[tokio::test]
async fn a_token_is_asked_for_and_announced() {
    let first = bench().await;
    let token = Some(SecretString::from("right-token"));
    let (agent, _guard) = with(&first, &first.proxy, Extras { token, ..Extras::default() }).await;
    let card = |agent: &Bench| {
        agent.http.get(format!("{}/a2a/litellm_agent/.well-known/agent-card.json", agent.root)).send()
    };
    let shown: serde_json::Value = card(&agent).await.unwrap().json().await.unwrap();
    assert_eq!(shown["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_eq!(shown["securitySchemes"]["bearer"]["httpAuthSecurityScheme"]["scheme"], "bearer");
    assert_eq!(shown["security"], json!([{"bearer": []}]));
    assert!(shown["securityRequirements"][0]["schemes"]["bearer"].is_object());
    let open_card: serde_json::Value = card(&first).await.unwrap().json().await.unwrap();
    assert_eq!(open_card.get("securitySchemes"), None);
    assert_eq!(open_card["capabilities"]["streaming"], true);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": said("c", "who?")});
    for (given, status) in [
        (None, 401),
        (Some("Bearer wrong"), 401),
        (Some("Bearer right-token2"), 401),
        (Some("Basic right-token"), 401),
        (Some("Bearer "), 401),
        (Some("Bearer right-token"), 200),
        (Some("bearer  right-token"), 200),
    ] {
        let request = agent.post(None).body(body.to_string());
        let request =
            given.into_iter().fold(request, |request, given| request.header("authorization", given));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{given:?}");
        assert_eq!(response.headers().get("www-authenticate").is_some(), status == 401);
    }
    assert_eq!(agent.fake.calls().len(), 2);
    for bad in ["", " ", "a\nb"] {
        let extras = Extras { token: Some(bad.into()), ..Extras::default() };
        assert!(
            matches!(open(options("http://127.0.0.1:9"), extras).await, Err(StartError::Token)),
            "{bad:?}"
        );
    }
}

#[tokio::test]
async fn a_key_that_is_issued_again_needs_no_restart() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    let check = move |headers: HeaderMap| {
        let key = headers["authorization"].to_str().unwrap().to_owned();
        let good = key == "Bearer sk-second";
        seen.lock().unwrap().push(key);
        async move {
            if !good {
                return (StatusCode::UNAUTHORIZED, "{}").into_response();
            }
            axum::Json(json!({"data": [{"id": "*"}], "choices": [{"message": {"content": "yes"}}]}))
                .into_response()
        }
    };
    let proxy =
        Router::new().route("/v1/chat/completions", post(check.clone())).route("/v1/models", get(check));
    let proxy = serve(proxy).await;
    let issued = Arc::new(Mutex::new("sk-agent-secret"));
    let source = Arc::clone(&issued);
    let extras = Extras {
        key_source: Some(Arc::new(move || Some(SecretString::from(*source.lock().unwrap())))),
        ..Extras::default()
    };
    let first = bench().await;
    let (agent, _guard) = with(&first, &proxy, extras).await;
    assert_eq!(agent.say("c", "who?").await["status"]["state"], "failed");
    assert_eq!(keys.lock().unwrap().len(), 1, "the same key is not tried again");
    *issued.lock().unwrap() = "sk-second";
    assert_eq!(agent.reply("c", "[HOTSWAP:MODEL:a/b]").await, "✅ Model switched to: a/b");
    assert_eq!(agent.reply("c", "who?").await, "yes");
    let tried = ["sk-agent-secret", "sk-agent-secret", "sk-second", "sk-second"];
    assert_eq!(*keys.lock().unwrap(), tried.map(|key| format!("Bearer {key}")));
}
