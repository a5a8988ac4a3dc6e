//! No swap is called proven unless the model that was asked for has answered. The fake upstream says who it is.

use reqwest::redirect::Policy;
use serde_json::{Value, json};

use super::{admin, dashboard, let_key_call, setting};
use crate::support::{PASSWORD, USER, client};

/// Names of the lived-in proxy, the upstream model behind each, and what the built-in agent's swap ends as, with the
/// probe and without. Of the two deployments of `acme/half` one is dead.
const CASES: [(&str, &str, [&str; 2]); 9] = [
    ("openai/gpt-5", "gpt-5", ["proven", "proven"]),
    ("openai/dead", "dead", ["verified", "verified"]),
    ("acme/dead", "dead", ["verified", "verified"]),
    ("acme/gone", "gone", ["refused", "rolled-back"]),
    ("openai/gpt-99", "gpt-99", ["proven", "proven"]),
    ("anthropic/other", "other", ["proven", "proven"]),
    ("acme/smart", "gpt-5", ["proven", "proven"]),
    ("acme/smart-dead", "dead", ["refused", "rolled-back"]),
    ("acme/half", "half", ["", ""]),
];

const FALL_BACK: [&str; 2] = ["openai/dead", "acme/dead"];

async fn swap(base: &str, model: &str, probe: bool) -> Value {
    let mut form = vec![
        ("agent", "task-agent"),
        ("context", "proven-demo"),
        ("model", model),
        ("message", "Which model am I using?"),
    ];
    if probe {
        form.push(("probe", "1"));
    }
    let request = client(Policy::none()).post(format!("{base}/switch")).form(&form);
    let request = request.basic_auth(USER, Some(PASSWORD)).header("accept", "application/json");
    request.send().await.unwrap().json().await.unwrap()
}

/// What is wrong with the outcome of a swap, if anything is.
fn wrong(name: &str, upstream: &str, expected: &str, told: &Value) -> Option<String> {
    let (outcome, steps) = (told["outcome"].as_str().unwrap_or_default(), told["steps"].to_string());
    let answer = told["proof"]["answer"].as_str().unwrap_or_default();
    let is_false = outcome == "proven" && answer != format!("I am {upstream}");
    // Other agents call names on other routes.
    let is_builtin = setting("LIVE_SCOPE") == "context";
    let is_other = is_builtin && !expected.is_empty() && outcome != expected;
    let is_untold = is_builtin && FALL_BACK.contains(&name) && !steps.contains("fell back to openai/gpt-5");
    (is_false || is_other || is_untold).then(|| format!("{name}: {outcome}, “{answer}”, {steps}"))
}

#[tokio::test]
async fn proven_is_only_what_answered() {
    let_key_call(&[]).await;
    let (base, _guard) = dashboard(&setting("LIVE_MASTER_KEY")).await;
    let (mut found, mut outcomes) = (Vec::new(), Vec::new());
    for (name, upstream, expected) in CASES {
        for round in 0..if name == "acme/half" { 4 } else { 1 } {
            for (probe, expected) in [true, false].into_iter().zip(expected) {
                let told = swap(&base, name, probe).await;
                outcomes.push(format!("{name} {round} probe={probe}: {}", told["outcome"]));
                found.extend(wrong(name, upstream, expected, &told));
            }
        }
    }
    found.extend(cooled_down(&base).await);
    println!("{}", outcomes.join("\n"));
    assert!(found.is_empty(), "{found:#?}");
}

/// A deployment whose upstream answers 401 is left alone for five seconds.
async fn cooled_down(base: &str) -> Option<String> {
    let upstream = std::env::var("LIVE_UPSTREAM").unwrap_or_else(|_| "http://127.0.0.1:18080/v1".to_owned());
    let params = json!({ "model": "openai/cold", "api_base": upstream, "api_key": "bad-key" });
    let made = admin("model/new", &json!({ "model_name": "acme/cold", "litellm_params": params })).await;
    let mut wrongs = Vec::new();
    for probe in [true, false, true] {
        let told = swap(base, "acme/cold", probe).await;
        let outcome = told["outcome"].as_str().unwrap_or_default();
        let is_builtin = setting("LIVE_SCOPE") == "context";
        if outcome == "proven" || is_builtin && !["refused", "rolled-back"].contains(&outcome) {
            wrongs.push(told.to_string());
        }
    }
    admin("model/delete", &json!({ "id": made["model_id"] })).await;
    wrongs.pop()
}
