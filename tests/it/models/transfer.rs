//! Import and export.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{BOTH, GOOD, Stand, with};

const LIST: &str = "
model_list:
  - model_name: openai/gpt-5
    litellm_params: {model: gpt-5, custom_llm_provider: openai, api_key: os.environ/LITELLM_OPENAI_API_KEY, rpm: 9}
    model_info: {mode: chat}
  - model_name: new/one
    litellm_params: {model: openai/gpt-5-mini, api_key: os.environ/B}
    model_info: {description: fresh}
  - model_name: config/mock
    litellm_params: {model: openai/config-mock}
  - model_name: raw/one
    litellm_params: {model: openai/gpt-5, api_key: raw-secret-in-yaml}
  - model_name: dead/one
    litellm_params: {model: nonsense/x}
  - 17
";

async fn finished(stand: &Stand, id: &str) -> Value {
    for _ in 0..100 {
        let (_, body) = stand.script().get(&format!("/models/import/{id}")).await;
        if body["state"] == "done" {
            return body;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the import does not end");
}

fn words(body: &Value, list: &str, word: &str) -> Vec<String> {
    let list = body.pointer(list).unwrap().as_array().unwrap();
    list.iter().map(|item| item[word].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_is_compared_then_applied_item_by_item() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        let id = stand.register(&with(&GOOD, &[("rpm", "5")])).await;
        stand.register(&with(&GOOD, &[("name", "only/here")])).await;
        let (status, body) = stand.script().post("/models/import", &[("yaml", LIST)]).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let steps = words(&body, "/plan/items", "step");
        assert_eq!(steps, ["change", "add", "same", "add", "add", "refused"], "{generation}: {body}");
        let change = &body["plan"]["items"][0]["changes"];
        assert_eq!(*change, json!([{ "field": "litellm_params.rpm", "before": "5", "after": "9" }]));
        assert_eq!(body["plan"]["only_at_proxy"], json!(["only/here"]));
        assert!(!body.to_string().contains("raw-secret-in-yaml"));
        assert_eq!(stand.live(&id).await["litellm_params"]["rpm"], 5, "nothing is done yet");

        let job = body["id"].as_str().unwrap();
        let (status, _) = stand.script().post(&format!("/models/import/{job}/apply"), &[]).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        let body = finished(&stand, job).await;
        let results = words(&body, "/results", "result");
        assert_eq!(results, ["done", "done", "nothing", "failed", "dead", "nothing"], "{body}");
        assert_eq!(stand.live(&id).await["litellm_params"]["rpm"], 9);

        let (_, _) =
            stand.script().post(&format!("/models/import/{job}/apply"), &[("raw_secrets", "yes")]).await;
        let body = finished(&stand, job).await;
        let results = words(&body, "/results", "result");
        assert_eq!(results, ["done", "done", "nothing", "done", "dead", "nothing"], "{body}");
        assert_eq!(stand.user().await.get("/models").await.attributes(".ghosts li", "data-ghost").len(), 1);
    }
}

#[tokio::test]
async fn the_plan_works_as_pages_without_a_script() {
    let stand = Stand::start(BOTH[1]).await;
    let user = stand.user().await;
    let page = user.post("/models/import", &[("yaml", LIST)]).await;
    assert_eq!(page.attributes("#job", "data-state"), ["planned"]);
    assert_eq!(page.attributes("#items tbody tr", "data-step").len(), 6);
    assert!(!page.body.contains("raw-secret-in-yaml"));
    let action = page.attributes("form[action$='/apply']", "action").remove(0);
    let mut page = user.post(&action, &[]).await;
    while page.attributes("#job", "data-state") != ["done"] {
        assert!(page.body.contains("http-equiv=\"refresh\""), "a page that refreshes itself");
        tokio::time::sleep(Duration::from_millis(100)).await;
        page = user.get(page.url.path()).await;
    }
    assert!(page.has("progress[max='4'][value='4']"), "{}", page.text());
    assert!(page.text().contains("Try the failed ones again"));

    let page = user.post("/models/import", &[("yaml", "model_list:\n - model_name: [raw-secret")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.one("#yaml-error").contains("line"), "{}", page.one("#yaml-error"));
    assert_eq!(page.one("#yaml"), "");
    // Keys are applied where their env file is; the page says so, and nothing of them is sent.
    assert!(!page.has("#keys-left-out"));
    let keys = "keys:\n- {key_alias: from-a-list, env: SOME_KEY}\n- {key_alias: another}\n";
    let page = user.post("/models/import", &[("yaml", format!("{LIST}\n{keys}").as_str())]).await;
    assert!(page.one("#keys-left-out").contains("2 virtual keys are left out"), "{}", page.text());
    assert!(page.one("#keys-left-out").contains("patchbay apply"), "{}", page.text());
    let page = user.post("/models/import", &[("yaml", keys)]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.text().contains("These are keys alone"), "{}", page.text());
    assert!(!user.get("/keys").await.text().contains("from-a-list"));
    assert_eq!(user.get("/models/import/none").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_export_holds_no_secret_and_imports_as_the_same() {
    for generation in BOTH {
        let stand = Stand::start(generation).await;
        for name in super::odd_names() {
            stand.register(&with(&GOOD, &[("name", &name), ("rpm", "5"), ("description", &name)])).await;
        }
        let raw = [
            ("name", "raw"),
            ("secret", "raw-secret-77"),
            ("raw_secret", "yes"),
            ("api_base", "http://u:raw-secret-77@h/v1"),
        ];
        stand.register(&with(&GOOD, &raw)).await;
        let user = stand.user().await;
        let page = user.get("/models/export").await;
        assert_eq!(page.headers["content-type"], "application/yaml; charset=utf-8");
        assert!(!page.body.contains("raw-secret-77"), "{}", page.body);
        assert!(page.body.contains("os.environ/LITELLM_OPENAI_API_KEY"));
        let part = reqwest::multipart::Part::text(page.body).file_name("list.yaml");
        let form = reqwest::multipart::Form::new().text("yaml", "").part("file", part);
        let request = user.http.post(format!("{}/models/import", stand.app.base)).multipart(form);
        let page = user.send(request).await;
        let steps = page.attributes("#items tbody tr", "data-step");
        assert_eq!(steps, vec!["same"; super::odd_names().len() + 1], "{}", page.text());
        assert!(page.text().contains("Nothing to do"));
    }
}
