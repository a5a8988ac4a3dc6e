//! Which names can be switched to, compared with what the proxy answers.

use reqwest::redirect::Policy;
use serde_json::json;

use super::{admin, ready, setting};
use crate::support::client;

/// The names of `/v1/models` that are asked for, beside the first ones: each call costs a second.
const NAMES: usize = 40;

/// Names that a fallback answers.
const FALL_BACK: [&str; 2] = ["openai/dead", "acme/dead"];

#[tokio::test]
async fn names_are_switchable_exactly_where_the_proxy_answers() {
    let (browser, _guard) = ready().await;
    let http = client(Policy::none());
    let get = async |path: &str| -> serde_json::Value {
        let request = http.get(format!("{}/{path}", setting("LIVE_PROXY")));
        request.bearer_auth(setting("LIVE_MASTER_KEY")).send().await.unwrap().json().await.unwrap()
    };
    let listed = get("v1/models").await;
    let rows = listed["data"].as_array().unwrap();
    let is_chat = |row: &&serde_json::Value| row["mode"].is_null() || row["mode"] == "chat";
    let all: Vec<&str> = rows.iter().filter(is_chat).map(|row| row["id"].as_str().unwrap()).collect();
    let step = (all.len() / NAMES).max(1);
    let some = all.iter().take(14).chain(all.iter().skip(14).step_by(step)).copied();
    let made_up = [
        "openai/gpt-99",
        "openai/a/b",
        "anthropic/x",
        "anthropic/claude-99",
        "openai/-",
        "xopenai/a",
        "OPENAI/a",
        "nobody/x",
        "anthropic2/x",
        "acme/none",
    ];
    let (mut differ, mut asked) = (Vec::new(), 0);
    // One of the two deployments of `acme/half` is dead: what is answered depends on the turn.
    for name in some.chain(made_up).filter(|name| *name != "acme/half") {
        // A release without modes lists models of all kinds; the proxy knows some of them.
        let group = get(&format!("model_group/info?model_group={name}")).await;
        let mode = group["data"][0]["mode"].as_str().unwrap_or("chat").to_owned();
        if !matches!(mode.as_str(), "chat" | "completion" | "responses") {
            continue;
        }
        let body =
            json!({ "model": name, "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 16 });
        let request = http.post(format!("{}/v1/chat/completions", setting("LIVE_PROXY"))).json(&body);
        let answer = request.bearer_auth(setting("LIVE_AGENT_KEY")).send().await.unwrap();
        // 1.80 answers a wildcard by its own name; that is no model to switch to.
        let answers = answer.status().is_success() && !name.contains('*');
        let form = [("agent", "task-agent"), ("context", "names-demo"), ("model", name), ("probe", "1")];
        let page = browser.post("/switch", &form).await;
        let is_switched = page.outcome() == "verified";
        asked += 1;
        let is_untold = FALL_BACK.contains(&name) && !page.text().contains("fell back to openai/gpt-5");
        if is_switched != answers || is_untold {
            differ.push(format!("{name}: the proxy {}, {}", answer.status(), page.text()));
        }
    }
    admin("key/update", &json!({ "key": setting("LIVE_AGENT_KEY"), "models": [] })).await;
    assert!(differ.is_empty(), "{} of {asked} differ: {differ:#?}", differ.len());
    assert!(asked > 15, "{asked}");
}
