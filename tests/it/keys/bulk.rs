//! One change of many keys, where it is refused.

use patchbay_sandbox::Generation;

use super::stage;

#[tokio::test]
async fn another_count_than_was_seen_changes_nothing() {
    let (_app, stage) = stage(Generation::V1_109).await;
    stage.make("a", &[]).await;
    let (_, hash) = stage.make("b", &[]).await;
    let form = [("scope", "filter"), ("filter", "q=own-"), ("count", "1"), ("action", "block")];
    let page = stage.browser.post("/keys/bulk/run", &form).await;
    assert_eq!(page.status.as_u16(), 422);
    assert!(page.text().contains("There are now 2 keys, not 1"), "{}", page.text());
    assert_ne!(stage.info(&hash).await["blocked"], true);
}

#[tokio::test]
async fn the_agents_key_is_not_deleted_among_others() {
    let (app, stage) = stage(Generation::V1_80).await;
    let (_, hash) = stage.make("a", &[]).await;
    let agents = app.agent_key_hash.clone();
    let form = [
        ("scope", "selected"),
        ("key", hash.as_str()),
        ("key", &agents),
        ("count", "2"),
        ("action", "delete"),
        ("confirm", "2"),
    ];
    let (status, job) = stage.script.post("/keys/bulk/run", &form).await;
    assert_eq!(status.as_u16(), 202, "{job}");
    let href = job["href"].as_str().unwrap();
    let mut ended = stage.script.get(href).await.1;
    for _ in 0..100 {
        if ended["is_running"] == false {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        ended = stage.script.get(href).await.1;
    }
    assert_eq!((&ended["done"], &ended["failed"]), (&serde_json::json!(1), &serde_json::json!(1)), "{ended}");
    let metrics = app.anonymous().get("/metrics").await.body;
    assert!(metrics.contains(r#"patchbay_jobs_running{kind="keys"} 0"#), "{metrics}");
    assert!(metrics.contains(r#"patchbay_jobs_total{kind="keys",state="done"} 1"#), "{metrics}");
    assert!(ended["keys"][0]["why"].as_str().unwrap().contains("agent's own"), "{ended}");
    assert!(
        stage.info(&agents).await["token"].is_null()
            && stage.info(&agents).await["key_alias"] == "task-agent"
    );
}
