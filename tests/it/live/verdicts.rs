//! What Patchbay says before a swap against what the agent's next turn does, on an agent with mixed routes.

use patchbay::clients::a2a::Agent;
use patchbay::domain::context::ContextId;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use std::time::Duration;

use super::{admin, dashboard, let_key_call, setting};
use crate::support::{PASSWORD, USER, client};

/// Kinds of models, and one of each. What `/anthropic` does depends on whether the proxy has a key for it.
const KINDS: [(&str, &str); 8] = [
    ("responses route", "openai/gpt-5"),
    ("bare name, registered", "openai/gpt-4o"),
    ("bare name, not registered", "openai/gpt-99"),
    ("pass-through", "anthropic/claude-sonnet-4-5"),
    ("pass-through that Patchbay cannot try", "mistral/mistral-small"),
    ("dead, bare name", "openai/gone"),
    ("dead, responses route", "openai/gpt-5-gone"),
    ("responses route, by a wildcard", "openai/gpt-5-nano"),
];

/// The only kind of which nothing is known before.
const NOT_KNOWN: &str = "pass-through that Patchbay cannot try";

async fn post(base: &str, path: &str, form: &[(&str, &str)]) -> Value {
    let request = client(Policy::none()).post(format!("{base}{path}")).form(form);
    let request = request.basic_auth(USER, Some(PASSWORD)).header("accept", "application/json");
    request.send().await.unwrap().json().await.unwrap()
}

async fn get(base: &str, path: &str) -> Value {
    let request = client(Policy::none()).get(format!("{base}{path}")).basic_auth(USER, Some(PASSWORD));
    request.header("accept", "application/json").send().await.unwrap().json().await.unwrap()
}

/// Whether the model answers, by the receipt of a swap without a question; none where that is not known.
fn verdict(swap: &Value) -> Option<bool> {
    match (swap["outcome"].as_str(), swap["assessment"]["answers"]["state"].as_str()) {
        (Some("refused"), _) | (_, Some("no")) => Some(false),
        (_, Some("yes" | "fallback")) => Some(true),
        _ => None,
    }
}

/// Whether the agent's next turn on a model is answered; Patchbay has no part in it.
async fn is_answered(agent: &Agent, context: &ContextId, model: &str) -> bool {
    let time = Duration::from_mins(2);
    agent.send(context, &format!("[HOTSWAP:MODEL:{model}]"), time).await.unwrap();
    let answer = agent.send(context, "Which model am I using?", time).await;
    answer.is_ok_and(|answer| answer.text.contains("I am"))
}

/// The call profile is found out, as on an agent of which the settings say nothing. A proxy that is busy books a call later
/// than Patchbay looks for it: then another answered message does.
async fn learn(base: &str) {
    let form = [
        ("agent", "task-agent"),
        ("context", "verdict-first"),
        ("model", "openai/gpt-4o"),
        ("message", "Which model am I using?"),
    ];
    for _ in 0..3 {
        let swap = post(base, "/switch", &form).await;
        assert!(swap["proof"]["answer"].as_str().is_some_and(|text| text.contains("I am")), "{swap}");
        for _ in 0..30 {
            let agent = get(base, "/agents/task-agent").await;
            if agent["agent"]["calls"]["observed"].as_array().is_some_and(|seen| !seen.is_empty()) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
    panic!("how the agent calls the proxy was not found out");
}

#[tokio::test]
async fn what_is_said_before_a_swap_is_what_the_next_turn_does() {
    let_key_call(&[]).await;
    let mut made = Vec::new();
    for name in ["gone", "openai/gpt-5-gone"] {
        let params =
            json!({ "model": "openai/gone", "api_base": "http://127.0.0.1:1/v1", "api_key": "sk-none" });
        let model = admin("model/new", &json!({ "model_name": name, "litellm_params": params })).await;
        made.push(model["model_id"].clone());
    }
    let (base, _guard) = dashboard(&setting("LIVE_MASTER_KEY")).await;
    learn(&base).await;
    let agent = Agent::new(client(Policy::none()), setting("LIVE_AGENT").parse().unwrap());
    let mut lines = Vec::new();
    let (mut greens, mut reds, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (n, (kind, model)) in KINDS.into_iter().enumerate() {
        let context = format!("verdict-{n}");
        let form = [("agent", "task-agent"), ("context", &context), ("model", model), ("probe", "1")];
        let swap = post(&base, "/switch", &form).await;
        let said = verdict(&swap);
        let is_answered = is_answered(&agent, &format!("truth-{n}").parse().unwrap(), model).await;
        lines.push(format!("{kind} ({model}): said {said:?}, answered {is_answered}; {}", swap["outcome"]));
        match said {
            Some(true) if !is_answered => greens.push(swap.to_string()),
            Some(false) if is_answered => reds.push(swap.to_string()),
            None => unknown.push(kind),
            _ => {}
        }
    }
    for id in made {
        admin("model/delete", &json!({ "id": id })).await;
    }
    println!("{}", lines.join("\n"));
    assert!(
        greens.is_empty() && reds.is_empty(),
        "false greens {greens:#?}, false reds {reds:#?}, {lines:#?}"
    );
    assert!(unknown.iter().all(|kind| *kind == NOT_KNOWN), "{unknown:?}, {lines:#?}");
}
