//! An item that panics has failed, and its job goes on and ends.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::Stage;

const WHY: &str = "An internal error: see Patchbay's log.";

/// A stage whose first item panics, once.
async fn stage() -> Stage {
    let stage = Stage::start().await;
    let has_panicked = AtomicBool::new(false);
    stage.app.jobs().before_items(move |_, item| {
        assert!(item.n != 1 || has_panicked.swap(true, Ordering::SeqCst), "injected");
    });
    stage
}

#[tokio::test]
async fn a_swap_that_panics_has_failed() {
    let stage = stage().await;
    let href = stage.begin_swaps().await;
    let job = stage.ended(&href).await;
    assert_eq!((&job["state"], &job["counts"]["done"]), (&json!("done"), &json!(5)), "{job}");
    assert_eq!(
        (&job["items"][0]["state"], &job["items"][0]["why"]),
        (&json!("failed"), &json!(WHY)),
        "{job}"
    );
    stage.post(&format!("{href}/retry"), &[]).await;
    assert_eq!(stage.ended(&href).await["counts"]["done"], 6);
}

#[tokio::test]
async fn a_key_change_that_panics_has_failed() {
    let stage = stage().await;
    let href = stage.begin_key_changes().await;
    let job = stage.ended(&href).await;
    assert_eq!((&job["done"], &job["failed"], &job["waiting"]), (&json!(5), &json!(1), &json!(0)), "{job}");
    assert_eq!((&job["keys"][0]["result"], &job["keys"][0]["why"]), (&json!("failed"), &json!(WHY)), "{job}");
    stage.post(&format!("{href}/retry"), &[]).await;
    assert_eq!(stage.ended(&href).await["done"], 6);
    stage.all_are_blocked().await;
}

#[tokio::test]
async fn an_import_that_panics_has_failed() {
    let stage = stage().await;
    let href = stage.begin_import().await;
    let job = stage.ended(&href).await;
    assert_eq!(job["results"][0], json!({ "result": "failed", "why": WHY }), "{job}");
    stage.post(&format!("{href}/apply"), &[]).await;
    let job = stage.ended(&href).await;
    let is_done = |result: &Value| result["result"] == "done";
    let results = job["results"].as_array().unwrap();
    // The provider knows no such models, which the sandbox does not mind.
    assert!(results.iter().all(is_done), "{job}");
}

#[tokio::test]
async fn a_reset_that_panics_has_failed_and_another_can_begin() {
    let stage = stage().await;
    let before = stage.model_names().await.len();
    let href = stage.begin_reset().await;
    let job = stage.ended(&href).await;
    assert_eq!(job["error"], WHY, "{job}");
    assert_eq!(stage.model_names().await.len(), before);
    let page = stage.app.user().await.get("/danger").await;
    assert_eq!(page.attributes("#reset", "data-state"), ["failed"]);
    stage.begin_reset().await;
    let job = stage.ended(&href).await;
    stage.is_reset(&job).await;
}
