//! Agents that keep one model for all contexts, and write back what a turn began with when it ends: as ADK
//! agents do.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{audited, relax, switch};
use crate::support::{Setup, TestApp, spawn};

/// Model of all contexts.
type Shared = Arc<Mutex<String>>;

/// What a question finds: the agent answers when it is let, and fails a turn that something else met.
#[derive(Default)]
struct Turn {
    begun: Notify,
    end: Notify,
    runs: AtomicBool,
    is_stale: AtomicBool,
}

#[derive(Clone)]
struct Bed {
    model: Shared,
    turn: Arc<Turn>,
}

async fn rpc(State(Bed { model, turn }): State<Bed>, Json(request): Json<Value>) -> Json<Value> {
    if request["method"] == "tasks/get" {
        let error = json!({ "code": -32001, "message": "Task not found" });
        return Json(json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }));
    }
    let text = request["params"]["message"]["parts"][0]["text"].as_str().unwrap_or_default().to_owned();
    if text.starts_with("[HOTSWAP:") {
        turn.is_stale.fetch_or(turn.runs.load(SeqCst), SeqCst);
    } else {
        turn.is_stale.store(false, SeqCst);
        turn.runs.store(true, SeqCst);
        turn.begun.notify_one();
        turn.end.notified().await;
        turn.runs.store(false, SeqCst);
        if turn.is_stale.load(SeqCst) {
            return Json(json!({ "jsonrpc": "2.0", "id": request["id"],
                "error": { "code": -32603, "message": "stale session" } }));
        }
    }
    let mut now = model.lock().unwrap();
    let reply = if !text.starts_with("[HOTSWAP:") {
        "Here I am.".to_owned()
    } else if let Some(spec) = text.strip_prefix("[HOTSWAP:MODEL:").and_then(|rest| rest.strip_suffix(']')) {
        spec.split_once('/').unwrap().1.clone_into(&mut now);
        format!("✅ Model switched to: {spec}")
    } else {
        let rule = "━".repeat(22);
        format!(
            "📊 Current Configuration\n{rule}\nModel: {now}\nProvider: openai\nSystem Prompt: (default prompt)\n{rule}"
        )
    };
    let delta = json!({ "app:x/model": *now, "app:x/provider": "openai", "app:x/prompt": null });
    Json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": {
        "kind": "task", "id": "t", "contextId": "c", "status": { "state": "completed" },
        "artifacts": [{ "artifactId": "a", "parts": [{ "kind": "text", "text": reply }] }],
        "metadata": { "adk_actions": { "stateDelta": delta } },
    } }))
}

fn agent(bed: Bed) -> Router {
    let card = json!({ "name": "wide", "protocolVersion": "0.3.0", "url": "http://localhost:8000" });
    Router::new()
        .route("/a/.well-known/agent-card.json", get(move || async move { Json(card) }))
        .route("/a", post(rpc))
        .with_state(bed)
}

async fn ready() -> (TestApp, Shared, tokio_util::sync::DropGuard) {
    let (app, bed, guard) = ready_to_talk().await;
    (app, bed.model, guard)
}

async fn ready_to_talk() -> (TestApp, Bed, tokio_util::sync::DropGuard) {
    let model: Shared = Arc::new(Mutex::new("gpt-5-mini".to_owned()));
    let bed = Bed { model, turn: Arc::default() };
    let (address, guard) = spawn(agent(bed.clone())).await;
    let app = TestApp::with(Setup { agent: Some(format!("http://{address}/a")), ..Setup::default() }).await;
    relax(&app).await;
    (app, bed, guard)
}

#[tokio::test]
async fn a_swap_that_a_running_turn_undoes_is_caught() {
    let (app, model, _guard) = ready().await;
    let browser = app.user().await;
    assert_eq!(switch(&browser, "one", "openai/gpt-5", &[]).await.outcome(), "verified");
    // A turn that began before the swap ends now, and writes its model back.
    "gpt-5-mini".clone_into(&mut model.lock().unwrap());
    for _ in 0..100 {
        if !audited(&app, "drift").await.is_empty() {
            let page = browser.get("/contexts/task-agent/one").await;
            let notice = page.one(".notice.warn[role=alert]");
            assert!(notice.contains("Rolled back by a running turn"), "{notice}");
            assert!(notice.contains("Put it back"), "{notice}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the revert was not seen");
}

#[tokio::test]
async fn neither_a_look_back_nor_a_read_meets_a_question() {
    let (app, bed, _guard) = ready_to_talk().await;
    let browser = app.user().await;
    assert_eq!(switch(&browser, "one", "openai/gpt-5", &[]).await.outcome(), "verified");
    let script = app.script();
    let ask = script.post("/contexts/task-agent/one/message", &[("message", "Are you there?")]);
    let meanwhile = async {
        bed.turn.begun.notified().await;
        let read = script.post("/contexts/task-agent/one/refresh", &[]);
        // Both looks back fall due.
        let long = tokio::time::sleep(std::time::Duration::from_millis(800));
        tokio::pin!(read, long);
        tokio::select! {
            _ = &mut read => panic!("the context was read in the middle of a turn"),
            () = &mut long => {}
        }
        "gpt-5-mini".clone_into(&mut bed.model.lock().unwrap());
        bed.turn.end.notify_one();
        read.await
    };
    let ((status, asked), (_, config)) = tokio::join!(ask, meanwhile);
    assert_eq!((status.as_u16(), asked["answer"].as_str()), (200, Some("Here I am.")), "{asked}");
    assert_eq!(config["model"], "gpt-5-mini");
    // Put off is not left out.
    for _ in 0..100 {
        if !audited(&app, "drift").await.is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the swap was not looked at again");
}

#[tokio::test]
async fn a_swap_in_one_context_moves_the_others_and_is_no_drift() {
    let (app, _model, _guard) = ready().await;
    let browser = app.user().await;
    switch(&browser, "one", "openai/gpt-5", &[]).await;
    switch(&browser, "two", "openai/gpt-5-mini", &[]).await;
    let page = browser.get("/contexts").await;
    for context in ["one", "two"] {
        let row = page.one(&format!("tr[data-context={context}]"));
        assert!(row.contains("openai/gpt-5-mini") && !row.contains("drift"), "{row}");
    }
    // The form says so before the button is pressed, and a swap in another context counts as seen or not.
    let page = browser.get("/switch?agent=task-agent&context=one").await;
    assert!(page.one(".scope").contains("All contexts share one model"));
    let seen = page.attributes("input[name=seen]", "value").remove(0);
    switch(&browser, "two", "openai/gpt-5", &[]).await;
    let page =
        switch(&browser, "one", "openai/gpt-5-mini", &[("seen", &seen), ("seen_for", "task-agent/one")])
            .await;
    assert_eq!(page.status.as_u16(), 409, "{}", page.text());
}

#[tokio::test]
async fn reading_costs_such_an_agent_a_history_entry_and_is_not_done_in_the_background() {
    let (app, model, _guard) = ready().await;
    let browser = app.user().await;
    switch(&browser, "one", "openai/gpt-5", &[]).await;
    // Past the looks back that follow each swap.
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    "gpt-5-mini".clone_into(&mut model.lock().unwrap());
    app.switcher().look_for_drift().await;
    let (_, context) = app.script().get("/contexts/task-agent/one").await;
    assert_eq!(context["has_drifted"], false);
    let (_, config) = app.script().post("/contexts/task-agent/one/refresh", &[]).await;
    assert_eq!(config["model"], "gpt-5-mini");
    let (_, context) = app.script().get("/contexts/task-agent/one").await;
    assert_eq!(context["has_drifted"], true);
}
