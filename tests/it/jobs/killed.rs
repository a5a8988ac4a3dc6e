//! A process is killed in the middle of a job, and another goes on with it.

use std::sync::mpsc;

use serde_json::{Value, json};

use super::{MODEL, Stage};
use crate::support::TestApp;

/// Begins a job, lets another process work on it and kills that one when an item of this number, or a greater one, is
/// to begin. Then the dashboard itself goes on with the job.
async fn killed(stage: &mut Stage, at: u32, begin: impl AsyncFnOnce(&Stage) -> String) -> Value {
    stage.app.stop_jobs();
    let href = begin(stage).await;
    let (reached, is_reached) = mpsc::channel();
    let victim = stage.app.unstarted_replica();
    // With more threads than items run at a time: those that are reached stay where they are.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(8).enable_all().build().unwrap();
    runtime.spawn(async move {
        let mut victim: TestApp = victim;
        victim
            .start_dashboard_with(|jobs| {
                jobs.before_items(move |_, item| {
                    if item.n >= at {
                        let _ = reached.send(());
                        loop {
                            std::thread::park();
                        }
                    }
                });
            })
            .await;
        std::future::pending::<()>().await;
    });
    tokio::task::spawn_blocking(move || is_reached.recv()).await.unwrap().unwrap();
    runtime.shutdown_background();
    let (_, job) = stage.app.script().get(&href).await;
    let job = if href == "/danger" { job["last"].clone() } else { job };
    assert!(job["state"] == "running" || job["is_running"] == true, "{job}");
    stage.app.start_jobs();
    stage.ended(&href).await
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_go_on_and_none_is_made_twice() {
    let mut stage = Stage::start().await;
    let job = killed(&mut stage, 4, Stage::begin_swaps).await;
    assert_eq!(job["counts"]["done"], 6, "{job}");
    for item in job["items"].as_array().unwrap() {
        let path = format!("/contexts/task-agent/{}", item["context"].as_str().unwrap());
        let (_, context) = stage.app.script().get(&path).await;
        let is_good = |swap: &&Value| swap["outcome"] == "verified";
        assert!(context["swaps"].as_array().unwrap().iter().filter(is_good).count() <= 1, "{context}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_changes_go_on() {
    let mut stage = Stage::start().await;
    let job = killed(&mut stage, 5, Stage::begin_key_changes).await;
    assert_eq!((&job["done"], &job["failed"]), (&json!(6), &json!(0)), "{job}");
    stage.all_are_blocked().await;
    let (_, audit) = stage.app.script().get("/audit?what=key.bulk").await;
    assert_eq!(audit["entries"].as_array().unwrap().len(), 1, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_was_done_has_not_failed() {
    let mut stage = Stage::start().await;
    let job = killed(&mut stage, 5, async |stage| {
        let mut form = vec![("scope", "selected"), ("action", "delete"), ("confirm", "6")];
        form.extend(stage.keys.iter().map(|hash| ("key", hash.as_str())));
        stage.post("/keys/bulk/run", &form).await["href"].as_str().unwrap().to_owned()
    })
    .await;
    assert_eq!((&job["done"], &job["failed"]), (&json!(6), &json!(0)), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_and_registers_nothing_twice() {
    let mut stage = Stage::start().await;
    let before = stage.model_names().await.len();
    let job = killed(&mut stage, 5, Stage::begin_import).await;
    assert!(job["results"].as_array().unwrap().iter().all(|result| result["result"] == "done"), "{job}");
    assert_eq!(stage.model_names().await.len(), before + 6);
    let (_, audit) = stage.app.script().get("/audit?what=model.import").await;
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{audit}");
    assert_eq!(
        (&entries[0]["outcome"], &entries[0]["detail"]),
        (&json!("ok"), &json!("6 done, 0 failed, 0 not begun"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_goes_on() {
    // While it deletes, and when everything is deleted: a look and its report, three models, seven keys, the note.
    for at in [6, 14] {
        let mut stage = Stage::start().await;
        let job = killed(&mut stage, at, Stage::begin_reset).await;
        stage.is_reset(&job).await;
        let (_, audit) = stage.app.script().get("/audit?what=proxy.reset").await;
        let entries = audit["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 1, "{audit}");
        assert_eq!(entries[0]["detail"], "3 models and 7 keys deleted");
        let (_, ends) = stage.app.script().get("/audit?what=reset.end").await;
        assert_eq!(ends["entries"].as_array().unwrap().len(), 1, "{ends}");
    }
}

/// What cannot be kept is said, and not lost without a word.
#[tokio::test]
async fn an_import_with_secrets_ends_with_its_process() {
    let stage = Stage::start().await;
    let secret = "a-secret-by-value";
    let list = format!(
        "model_list:\n - {{model_name: a/b, litellm_params: {{model: openai/x, api_key: {secret}}}}}\n \
         - {{model_name: c/d, litellm_params: {{model: openai/y}}}}\n"
    );
    let id = stage.post("/models/import", &[("yaml", &list)]).await["id"].as_str().unwrap().to_owned();
    let href = format!("/models/import/{id}");
    let page = stage.app.user().await.get(&href).await;
    assert!(page.one("#in-memory").contains("in the memory of this server only"), "{}", page.text());
    let url = stage.app.database_url().to_owned();
    let mut database = <sqlx::AnyConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let tasks: Vec<String> =
        sqlx::query_scalar("select coalesce(task, '') from job_items union all select parameters from jobs")
            .fetch_all(&mut database)
            .await
            .unwrap();
    assert!(tasks.len() >= 3 && tasks.iter().all(|text| !text.contains(secret)), "{tasks:?}");

    // The same process applies it.
    stage.post(&format!("{href}/apply"), &[("raw_secrets", "yes")]).await;
    assert_eq!(stage.ended(&href).await["results"][0]["result"], "done");

    // Another process plans one, and is killed.
    let mut victim = stage.app.unstarted_replica();
    let (planned, is_planned) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.spawn(async move {
        victim.start_dashboard_with(|_| ()).await;
        let yaml = list.replace("a/b", "e/f");
        let (_, job) = victim.script().post("/models/import", &[("yaml", &yaml)]).await;
        planned.send(job["id"].as_str().unwrap().to_owned()).unwrap();
        std::future::pending::<()>().await;
    });
    let href = format!("/models/import/{}", is_planned.await.unwrap());
    runtime.shutdown_background();
    let mut job = stage.app.script().get(&href).await.1;
    for _ in 0..600 {
        if job["state"] != "planned" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        job = stage.app.script().get(&href).await.1;
    }
    assert_eq!(job["state"], "failed", "{job}");
    assert_eq!(job["why"], "interrupted: the list held secrets, import it again");
    stage.post(&format!("{href}/apply"), &[("raw_secrets", "yes")]).await;
    let page = stage.app.user().await.get(&href).await;
    assert!(page.one("[role=alert]").contains("import it again"), "{}", page.text());
    assert!(!page.has("form[action$='/apply']"), "{}", page.text());
    assert!(!stage.model_names().await.contains(&"e/f".to_owned()));
    assert!(stage.model_names().await.contains(&MODEL.to_owned()));
}
