//! The table.

use serde_json::json;

use super::{BOTH, GOOD, Stand};
use crate::support::{PASSWORD, USER};

#[tokio::test]
async fn a_thousand_deployments_are_read_once() {
    // The aliases, and the rows: 1.109 gives them in pages.
    for (generation, cost) in BOTH.into_iter().zip([2, 6]) {
        let stand = Stand::start(generation).await;
        for number in 0..1000 {
            let params = json!({ "model": "gpt-5", "custom_llm_provider": "openai" });
            let body = json!({ "model_name": format!("m/{number:04}"), "litellm_params": params });
            assert_eq!(stand.admin("/model/new", &body).await.0, 200);
        }
        let before = stand.requests();
        let script = stand.script();
        let (_, body) = script.get("/models").await;
        assert_eq!((&body["total"], &body["pages"]), (&json!(1001), &json!(21)));
        assert_eq!(stand.requests() - before, cost, "{generation}: the first load");
        let (_, body) = script.get("/models?page=2&size=200&q=m/0").await;
        assert_eq!(body["deployments"].as_array().unwrap().len(), 200);
        assert_eq!(body["deployments"][0]["name"], "m/0200");
        assert_eq!(stand.requests() - before, cost, "{generation}: the second");
    }
}

#[tokio::test]
async fn keys_are_counted_when_asked_for() {
    let stand = Stand::start(BOTH[1]).await;
    stand.register(&GOOD).await;
    for (alias, models) in [
        ("all", json!([])),
        ("named", json!(["openai/gpt-5", "openai/*"])),
        ("wild", json!(["openai/*"])),
        ("other", json!(["x"])),
        ("none", json!(["no-default-models"])),
    ] {
        stand.admin("/key/generate", &json!({ "key_alias": alias, "models": models })).await;
    }
    // The overview, where a login leads otherwise, counts the keys as well.
    let user = stand.app.anonymous();
    let page = user.post("/login", &[("username", USER), ("password", PASSWORD), ("next", "/models")]).await;
    let cell = "tr[data-name='openai/gpt-5'] td[data-label=Keys]";
    assert!(page.one(cell).contains("not been read"), "{}", page.one(cell));
    let more = page.attributes(".keys-unread a", "href").remove(0);
    let page = user.get(&more).await;
    assert_eq!(page.one(cell), "3");
    assert!(!page.has(".keys-unread"));
    assert_eq!(page.one("tr[data-name='config/mock'] td[data-label=Keys]"), "1");
    assert_eq!(
        user.get("/keys?model=openai/gpt-5").await.attributes("#keys tbody tr", "data-alias").len(),
        3
    );
}

#[tokio::test]
async fn filters_and_order_are_in_the_address() {
    let stand = Stand::start(BOTH[1]).await;
    stand.register(&GOOD).await;
    let user = stand.user().await;
    let names = async |query: &str| {
        user.get(&format!("/models?{query}")).await.attributes("#models tbody tr", "data-name")
    };
    assert_eq!(names("source=config").await, ["config/mock"]);
    assert_eq!(names("source=database&blocked=no&mode=chat&provider=openai").await, ["openai/gpt-5"]);
    assert_eq!(names("sort=name&dir=desc").await, ["openai/gpt-5", "config/mock"]);
    assert_eq!(names("sort=mode").await.len(), 2);
    let page = user.get("/models?q=zzz").await;
    assert!(page.text().contains("No results"), "{}", page.text());
    let page = user.get("/models?blocked=no&sort=source&size=100").await;
    assert_eq!(page.attributes("select#blocked option[selected]", "value"), ["no"]);
    assert!(
        page.attributes("thead a", "href")
            .iter()
            .all(|href| href.contains("blocked=no") && href.contains("size=100"))
    );
}
