//! Names whose deployment is dead and for which the proxy's router answers by a fallback.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use super::switch;
use crate::support::{TestApp, agent_options, spawn};

const FELL_BACK: &str = "openai/dead did not answer: the proxy fell back to openai/gpt-5.";

/// `openai/dead` cannot be reached and falls back to `openai/gpt-5`; `openai/gone` has no fallback; an alias does not
/// inherit the fallback of its target; of the two deployments of `openai/half` one is dead.
pub(crate) async fn furnish(app: &TestApp) {
    let dead =
        json!({ "model": "openai/x", "api_key": "os.environ/KEY", "api_base": "http://127.0.0.1:1/v1" });
    let well = json!({ "model": "openai/gpt-5-nano", "api_key": "os.environ/KEY" });
    for (id, name, params) in [
        ("dead", "openai/dead", &dead),
        ("gone", "openai/gone", &dead),
        ("half-a", "openai/half", &dead),
        ("half-b", "openai/half", &well),
        ("wild", "any/*", &json!({ "model": "openai/*", "api_key": "os.environ/KEY" })),
    ] {
        let body = json!({ "model_name": name, "litellm_params": params, "model_info": { "id": id } });
        app.admin("/model/new", &body).await;
    }
    let settings = json!({ "router_settings": {
        "model_group_alias": { "team/smart": "openai/gpt-5", "team/dead": "openai/dead" },
        "fallbacks": [{ "openai/dead": ["openai/gpt-5"] }],
    } });
    app.admin("/config/update", &settings).await;
    app.admin("/key/update", &json!({ "key": app.agent_key_hash, "models": [] })).await;
}

/// The built-in agent without what it says of the proxy's headers, as other agents are.
async fn silent_agent() -> (TestApp, DropGuard) {
    let mut app = TestApp::start().await;
    furnish(&app).await;
    let agent = patchbay_agent::router(agent_options(&app.sandbox, &app.agent_key)).unwrap();
    let without_route = async |request: Request, next: Next| -> Response {
        let (parts, body) = next.run(request).await.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap().replace("\"proxy\":", "\"other\":");
        (
            parts.status,
            parts.headers.get("content-type").map(|kind| [("content-type", kind.clone())]),
            Body::from(text),
        )
            .into_response()
    };
    let (address, guard) = spawn(agent.layer(middleware::from_fn(without_route))).await;
    let url = format!("http://{address}/a2a/litellm_agent").parse().unwrap();
    app.restart(|config| config.agents[0].url = url).await;
    (app, guard)
}

fn step<'a>(swap: &'a Value, kind: &str) -> &'a Value {
    let steps = swap["steps"].as_array().unwrap();
    steps.iter().find(|step| step["kind"] == kind).unwrap_or_else(|| panic!("no step {kind}: {swap:#}"))
}

async fn swap(app: &TestApp, model: &str, more: &[(&str, &str)]) -> (StatusCode, Value) {
    let mut form = vec![("agent", "task-agent"), ("context", "fallback"), ("model", model)];
    form.extend_from_slice(more);
    app.script().post("/switch", &form).await
}

const PROBE: (&str, &str) = ("probe", "1");
const MESSAGE: (&str, &str) = ("message", "Which model am I using?");

#[tokio::test]
async fn answer_of_a_fallback_is_verified_with_a_warning_and_never_proven() {
    let app = TestApp::start().await;
    furnish(&app).await;
    let (status, told) = swap(&app, "openai/dead", &[PROBE, MESSAGE]).await;
    assert_eq!((status, &told["outcome"]), (StatusCode::OK, &json!("verified")), "{told:#}");
    for kind in ["probe", "prove"] {
        let step = step(&told, kind);
        assert_eq!((&step["result"], &step["detail"]), (&json!("warning"), &json!(FELL_BACK)), "{told:#}");
    }
    assert_eq!(told["proof"]["answer"], "I am gpt-5", "{told:#}");
    assert_eq!(told["proof"]["served"], "openai/gpt-5", "{told:#}");
    let (_, context) = app.script().get("/contexts/task-agent/fallback").await;
    assert_eq!(context["context"]["config"]["model"], "dead", "not rolled back: {context:#}");

    let page = app
        .user()
        .await
        .get(&format!("/switch?agent=task-agent&context=fallback&swap={}", told["id"].as_str().unwrap()))
        .await;
    assert!(page.all("#receipt .steps .warning").join(" ").contains(FELL_BACK), "{}", page.text());
    let credit = page.one("#receipt .proof figcaption");
    assert!(credit.contains("openai/gpt-5") && credit.contains("fallback"), "{credit}");
}

#[tokio::test]
async fn agents_word_alone_does_not_prove_a_name_that_falls_back() {
    let (app, _guard) = silent_agent().await;
    for more in [&[PROBE, MESSAGE][..], &[MESSAGE]] {
        let (_, told) = swap(&app, "openai/dead", more).await;
        assert_eq!(told["outcome"], "verified", "{told:#}");
        assert_eq!(told["proof"]["route"], json!(null), "{told:#}");
        assert_eq!(step(&told, "prove")["result"], "warning", "{told:#}");
    }
    // The same agent's word is enough where the model answered the probe, or has no fallback.
    let (_, told) = swap(&app, "openai/gpt-5-mini", &[PROBE, MESSAGE]).await;
    assert_eq!(told["outcome"], "proven", "{told:#}");
}

#[tokio::test]
async fn proven_is_what_answered_itself() {
    let app = TestApp::start().await;
    furnish(&app).await;
    for (model, expected) in [
        ("openai/gpt-5", "proven"),
        ("any/thing", "proven"),
        ("team/smart", "proven"),
        ("openai/dead", "verified"),
        ("openai/gone", "refused"),
        ("team/dead", "refused"),
    ] {
        let (_, told) = swap(&app, model, &[PROBE, MESSAGE]).await;
        assert_eq!(told["outcome"], expected, "{model}: {told:#}");
        if expected == "proven" {
            assert_eq!(told["proof"]["served"], model, "{told:#}");
        }
    }
    // Probe and question meet one deployment each.
    for _ in 0..4 {
        let (_, told) = swap(&app, "openai/half", &[PROBE, MESSAGE]).await;
        let is_answered = told["proof"]["route"]["deployment"] == "half-b";
        assert_eq!(told["outcome"] == "proven", is_answered, "{told:#}");
    }
}

#[tokio::test]
async fn comparison_and_messages_credit_the_model_that_answered() {
    let app = TestApp::start().await;
    furnish(&app).await;
    let form = [
        ("agent", "task-agent"),
        ("message", "Which model?"),
        ("model", "openai/dead"),
        ("model", "openai/gpt-5-mini"),
    ];
    let (_, told) = app.script().post("/compare", &form).await;
    let columns = told["columns"].as_array().unwrap();
    assert_eq!(columns[0]["problem"], FELL_BACK, "{told:#}");
    assert_eq!(columns[0]["proof"]["served"], "openai/gpt-5", "{told:#}");
    assert_eq!(columns[0]["cost"], json!(null), "the price is that of another model: {told:#}");
    assert_eq!(
        (&columns[1]["problem"], &columns[1]["proof"]["served"]),
        (&json!(null), &json!("openai/gpt-5-mini")),
        "{told:#}"
    );

    let browser = app.user().await;
    assert_eq!(switch(&browser, "asked", "openai/dead", &[]).await.outcome(), "verified");
    let page = browser.post("/contexts/task-agent/asked/message", &[MESSAGE]).await;
    let credit = page.one("#asks figcaption");
    assert!(credit.contains("openai/gpt-5") && credit.contains("fallback"), "{credit}");
}

#[tokio::test]
async fn test_of_a_deployment_fails_where_another_one_answered() {
    let app = TestApp::start().await;
    furnish(&app).await;
    let (_, told) = app.script().post("/models/dead/test", &[]).await;
    assert_eq!(told["ok"], false, "{told}");
    // A default fallback is also taken where a deployment is called by its id.
    let settings = json!({ "router_settings": { "fallbacks": [{ "*": ["openai/gpt-5"] }] } });
    app.admin("/config/update", &settings).await;
    let (_, told) = app.script().post("/models/dead/test", &[]).await;
    assert_eq!(told["ok"], false, "{told}");
    assert!(told["text"].as_str().unwrap().contains("another deployment answered"), "{told}");
    let key = app.agent_key.expose_secret();
    assert!(!told.to_string().contains(key), "{told}");
}
