//! The table of faults: what goes wrong, when, and what the receipt says then. Whatever it is, a swap is never
//! called `verified` or `proven` where the agent is not on what was asked for.
//!
//! What needs more than a row stands elsewhere: two operators at once and a form that is out of date in
//! `web/switch.rs`, a turn that undoes a swap in `wide.rs`, Patchbay killed in `killed.rs`, streams that are cut
//! in `clients/agent_stream.rs`, a sick proxy or agent on every page in `web/faults.rs`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ahead, audited};
use crate::support::{Setup, TestApp};
use crate::web::fakes::{FakeAgent, Front, Manner};

const BEFORE: &str = "openai/gpt-5-mini";
const ASKED: &str = "openai/gpt-5";

/// A dashboard whose proxy and agent can be told to fail.
struct Stage {
    app: TestApp,
    agent: FakeAgent,
    front: Front,
    ahead: Ahead,
    form: Vec<(&'static str, &'static str)>,
}

impl Stage {
    async fn new() -> Self {
        let (front, agent, ahead) =
            (Front::start(Manner::Good).await, FakeAgent::start(Manner::Good).await, Ahead::default());
        let mut setup = Setup {
            proxy: Some(front.url.clone()),
            agent: Some(agent.url.clone()),
            clock: ahead.clock(),
            ..Setup::default()
        };
        // No look back may come between.
        setup.timeouts.agents.look_again = [Duration::from_mins(5); 2];
        let app = TestApp::with(setup).await;
        front.lead_to(&app.sandbox);
        let form = vec![("agent", "task-agent"), ("context", "one"), ("model", ASKED)];
        let stage = Self { app, agent, front, ahead, form };
        stage.key("update", json!({ "models": [] })).await;
        stage
    }

    /// Changes the agent's key.
    async fn key(&self, verb: &str, mut body: Value) {
        body["key"] = json!(self.app.agent_key_hash);
        self.app.admin(&format!("/key/{verb}"), &body).await;
    }

    fn with(&mut self, name: &'static str, value: &'static str) {
        self.form.retain(|(known, _)| *known != name);
        self.form.push((name, value));
    }
}

/// What is expected: status, outcome, words of the receipt, and the model that the agent is really on.
struct Row(u16, &'static str, &'static str, &'static str);

async fn check(stage: Stage, row: Row) {
    let Row(status, outcome, words, on) = row;
    let (answered, swap) = stage.app.script().post("/switch", &stage.form).await;
    assert_eq!((answered.as_u16(), swap["outcome"].as_str()), (status, Some(outcome)), "{swap:#}");
    let details: Vec<&str> =
        swap["steps"].as_array().unwrap().iter().map(|step| step["detail"].as_str().unwrap()).collect();
    assert!(details.iter().any(|detail| detail.contains(words)), "no “{words}” in {details:#?}");
    assert_eq!(stage.agent.model(), on, "{swap:#}");
    if matches!(outcome, "verified" | "proven") {
        assert_eq!(
            stage.agent.model_of("one"),
            stage.form.iter().find(|(name, _)| *name == "model").unwrap().1
        );
    }
    if outcome == "refused" {
        assert!(!stage.agent.seen("[HOTSWAP"), "something was sent");
    }
    // It is written down as it was told.
    assert_eq!(audited(&stage.app, "swap").await[0]["outcome"], outcome);
    let (_, shown) = stage.app.script().get(&format!("/switch?swap={}", swap["id"].as_str().unwrap())).await;
    assert_eq!(shown["receipt"]["outcome"], outcome);
}

/// One test for each row: name, what is done to the stage, what is expected then.
macro_rules! faults {
    ($($name:ident: |$stage:ident| $provoke:block => $row:expr;)+) => { $(
        #[tokio::test]
        async fn $name() {
            let mut set = Stage::new().await;
            {
                let $stage = &mut set;
                $provoke
            }
            check(set, $row).await;
        }
    )+ };
}

faults! {
    // Before anything is sent: the model, the key, the proxy.
    unknown_model: |stage| { stage.with("model", "openai/none"); }
        => Row(422, "refused", "The proxy has no model called openai/none", BEFORE);
    blocked_model: |stage| {
        let (_, models) = stage.app.script().get("/models?q=gpt-5").await;
        let all = models["deployments"].as_array().unwrap();
        let id = all.iter().find(|one| one["name"] == ASKED).unwrap()["id"].as_str().unwrap();
        stage.app.script().post(&format!("/models/{id}/block"), &[]).await;
    } => Row(422, "refused", "openai/gpt-5 is blocked at the proxy", BEFORE);
    key_may_not_call_it: |stage| { stage.key("update", json!({ "models": [BEFORE] })).await; }
        => Row(422, "refused", "may not call openai/gpt-5", BEFORE);
    key_blocked: |stage| { stage.key("block", json!({})).await; }
        => Row(422, "refused", "is blocked", BEFORE);
    key_expired: |stage| {
        stage.key("update", json!({ "duration": "1h" })).await;
        stage.ahead.by(7200);
    } => Row(422, "refused", "expired", BEFORE);
    key_over_budget: |stage| { stage.key("update", json!({ "max_budget": 0 })).await; }
        => Row(422, "refused", "budget", BEFORE);
    key_unknown: |stage| {
        let hash = stage.app.agent_key_hash.clone();
        stage.app.admin("/key/delete", &json!({ "keys": [hash] })).await;
    } => Row(422, "refused", "does not know the agent's key", BEFORE);
    upstream_credential_bad: |stage| {
        let params = json!({ "model": "gpt-5", "api_key": "bad-key" });
        stage.app.admin("/model/new", &json!({ "model_name": "openai/dead", "litellm_params": params })).await;
        stage.with("model", "openai/dead");
        stage.with("probe", "1");
    } => Row(502, "refused", "A tiny call of openai/dead failed", BEFORE);
    upstream_credential_bad_and_not_tried: |stage| {
        stage.with("message", "Which model?");
        stage.agent.set_once("Which", Manner::FailedTask);
    } => Row(502, "rolled-back", "AuthenticationError", BEFORE);
    proxy_down_before: |stage| { stage.front.stop(); }
        => Row(502, "refused", "he proxy cannot be reached", BEFORE);
    proxy_hangs: |stage| { stage.front.set(Manner::Hangs); }
        => Row(504, "refused", "he proxy did not answer within", BEFORE);
    proxy_is_something_else: |stage| { stage.front.set(Manner::Html); }
        => Row(502, "refused", "not understood", BEFORE);
    proxy_fails: |stage| { stage.front.set(Manner::Fails500); }
        => Row(502, "refused", "he proxy answered 500", BEFORE);
    proxy_down_after_the_control_message: |stage| {
        let front = stage.front.clone();
        stage.agent.when("[HOTSWAP:MODEL", move || front.stop());
        stage.with("message", "Which model?");
        stage.agent.set_once("Which", Manner::FailedTask);
    } => Row(502, "rolled-back", "The context is back on openai/gpt-5-mini", BEFORE);

    // The agent, before and while it is switched.
    agent_down_before: |stage| { stage.agent.stop(); }
        => Row(502, "refused", "he agent cannot be reached", BEFORE);
    agent_down_before_the_control_message: |stage| {
        let agent = stage.agent.clone();
        stage.agent.when("[HOTSWAP:GET_CONFIG", move || agent.stop());
    } => Row(502, "failed", "he agent cannot be reached", BEFORE);
    agent_down_after_the_control_message: |stage| {
        let agent = stage.agent.clone();
        stage.agent.when("[HOTSWAP:MODEL", move || agent.stop());
    } => Row(200, "accepted", "could not be read back", ASKED);
    chat_instead_of_control: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::Chat); }
        => Row(502, "rolled-back", "takes control messages for chat", BEFORE);
    chat_without_tokens: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::BareChat); }
        => Row(502, "rolled-back", "not what was asked for", BEFORE);
    chat_in_the_form_of_control_replies: |stage| { stage.agent.set_for("[HOTSWAP", Manner::Mimic); }
        => Row(200, "accepted", "by the text of the reply alone", ASKED);
    chat_instead_of_the_configuration: |stage| { stage.agent.set_for("[HOTSWAP:GET_CONFIG", Manner::Chat); }
        => Row(502, "failed", "takes control messages for chat", BEFORE);
    yes_and_nothing_done: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::Deaf); }
        => Row(502, "rolled-back", "not what was asked for", BEFORE);
    yes_and_another_configuration: |stage| {
        let agent = stage.agent.clone();
        stage.agent.when("[HOTSWAP:MODEL", move || agent.set_once("[HOTSWAP:GET_CONFIG", Manner::Liar));
    } => Row(502, "rolled-back", "The context is on openai/other, which is not what was asked for", BEFORE);
    slow_before: |stage| { stage.agent.set_for("[HOTSWAP:GET_CONFIG", Manner::Hangs); }
        => Row(504, "failed", "he agent did not answer within", BEFORE);
    slow_at_the_control_message: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::Hangs); }
        => Row(502, "rolled-back", "The read-back decides", BEFORE);
    slow_at_the_read_back: |stage| {
        let agent = stage.agent.clone();
        stage.agent.when("[HOTSWAP:MODEL", move || agent.set_for("[HOTSWAP:GET_CONFIG", Manner::Hangs));
    } => Row(200, "accepted", "could not be read back", ASKED);
    status_500: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::Fails500); }
        => Row(502, "rolled-back", "he agent answered 500", BEFORE);
    html: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::Html); }
        => Row(502, "rolled-back", "not understood", BEFORE);
    garbage: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::Garbage); }
        => Row(502, "rolled-back", "not understood", BEFORE);
    huge_answer: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::Huge); }
        => Row(502, "rolled-back", "more than 8 MiB", BEFORE);
    wrong_content_type: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::Image); }
        => Row(502, "rolled-back", "not understood", BEFORE);
    neither_result_nor_error: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::Neither); }
        => Row(502, "rolled-back", "neither result nor error", BEFORE);
    state_that_nobody_knows: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::OddState); }
        => Row(502, "rolled-back", "unknown state", BEFORE);
    json_rpc_error: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::RpcError); }
        => Row(502, "rolled-back", "refused the message", BEFORE);
    stale_session: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::StaleSession); }
        => Row(502, "rolled-back", "stale session", BEFORE);
    cut_though_obeyed: |stage| { stage.agent.set_once("[HOTSWAP:MODEL", Manner::Cut); }
        => Row(200, "verified", "The read-back decides", ASKED);
    cut_at_the_read_back: |stage| {
        let agent = stage.agent.clone();
        stage.agent.when("[HOTSWAP:MODEL", move || agent.set_once("[HOTSWAP:GET_CONFIG", Manner::Cut));
    } => Row(200, "accepted", "could not be read back", ASKED);

    // Cards.
    card_missing: |stage| { stage.agent.set_card(Manner::Missing); }
        => Row(200, "verified", "The agent shows no card", ASKED);
    card_is_html: |stage| { stage.agent.set_card(Manner::Html); }
        => Row(200, "verified", "The agent shows no card", ASKED);
    card_lies_about_the_dialect: |stage| { stage.agent.set_card(Manner::NewCard); }
        => Row(200, "verified", "The context is on openai/gpt-5", ASKED);

    // The prompt, and the message that is to prove the swap.
    prompt_with_line_breaks: |stage| { stage.with("prompt", "One.\nTwo."); }
        => Row(422, "refused", "line breaks", BEFORE);
    prompt_fails_after_the_model: |stage| {
        stage.with("prompt", "Be brief.");
        stage.agent.set_once("[HOTSWAP:PROMPT", Manner::StaleSession);
    } => Row(502, "rolled-back", "The context is back on openai/gpt-5-mini", BEFORE);
    message_fails: |stage| {
        stage.with("message", "Which model?");
        stage.agent.set_once("Which", Manner::FailedTask);
    } => Row(502, "rolled-back", "The context is back on openai/gpt-5-mini", BEFORE);
    message_is_cut: |stage| {
        stage.with("message", "Which model?");
        stage.agent.set_once("Which", Manner::Cut);
    } => Row(502, "rolled-back", "he agent", BEFORE);
    another_model_answers: |stage| {
        stage.with("message", "Which model?");
        stage.agent.set_once("Which", Manner::Impostor);
    } => Row(502, "rolled-back", "openai/other answered, not openai/gpt-5", BEFORE);
    nobody_knows_who_answers: |stage| {
        stage.with("message", "Which model?");
        stage.agent.set_once("Which", Manner::BareChat);
    } => Row(200, "verified", "the agent does not say which model gave it", ASKED);
    the_answer_names_another_model: |stage| {
        stage.with("message", "Which model?");
        stage.agent.set_once("Which", Manner::NamesAnother);
    } => Row(200, "verified", "But the answer's metadata names gpt-5-mini-2025-08-07.", ASKED);
    the_answer_calls_itself_another_model: |stage| {
        stage.with("message", "Which model?");
        stage.agent.set_once("Which", Manner::CallsItselfAnother);
    } => Row(200, "verified", "But the answer calls itself gpt-5-mini", ASKED);
    nothing_can_be_put_back: |stage| {
        stage.with("message", "Which model?");
        let agent = stage.agent.clone();
        stage.agent.when("Which", move || agent.stop());
        stage.agent.set_once("Which", Manner::FailedTask);
    } => Row(502, "failed", "he agent cannot be reached", ASKED);
}
