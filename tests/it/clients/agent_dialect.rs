//! Agent cards, and which generation of the protocol is spoken.

use std::time::Duration;

use patchbay::clients::a2a::{Agent, AgentError};
use patchbay::clients::{ClientError, Meaning, build_http};
use patchbay::domain::agent::{Dialect, Scope};
use serde_json::{Value, json};

use super::recording::{Recording, recording};
use super::replay::{Body, Exchange, play};
use super::{PATIENCE, agent, context};

const CARD: &str = "/a2a/litellm_agent/.well-known/agent-card.json";
const AGENT: &str = "/a2a/litellm_agent";

fn of(name: &str) -> Recording {
    recording(&format!("a2a/{name}"))
}

fn card() -> Exchange {
    of("card_agent-card").played()
}

/// A card that declares these interfaces, each with a binding and a version.
fn card_with(interfaces: &[(&str, &str)]) -> Exchange {
    let mut card = of("adk2.13/card");
    let interface = |&(binding, version): &(&str, &str)| json!({ "url": "http://x", "protocolBinding": binding, "protocolVersion": version });
    card.body()["supportedInterfaces"] = interfaces.iter().map(interface).collect();
    card.played()
}

/// The recorded answer to a call that the client words otherwise.
fn answers(name: &str, method: &str, version: Option<&str>, text: &str) -> Exchange {
    let role = if version.is_some() { "ROLE_USER" } else { "user" };
    of(name).played().rpc(|rpc| {
        method.clone_into(&mut rpc.method);
        rpc.version = version.map(str::to_owned);
        rpc.text = json!(text);
        rpc.role = json!(role);
        rpc.context = json!("c");
        rpc.task = Value::Null;
    })
}

fn v03(name: &str) -> Exchange {
    answers(name, "message/send", None, "hi")
}

fn v10(name: &str) -> Exchange {
    answers(name, "SendMessage", Some("1.0"), "hi")
}

async fn hi(agent: &Agent) -> Result<String, AgentError> {
    agent.send(&context("c"), "hi", PATIENCE).await.map(|answer| answer.text)
}

#[tokio::test]
async fn recorded_cards_are_read() {
    for name in ["card_agent-card", "adk2.13/card", "upstream_down_card"] {
        let replay = play([of(name).played()]).await;
        let card = agent(&replay).card().await.unwrap();
        assert_eq!((card.name.as_str(), card.version.as_str()), ("litellm_agent", "1.0.0"), "{name}");
        assert!(card.description.starts_with("A flexible AI agent powered by LiteLLM"), "{name}");
        assert_eq!((card.dialect, card.streaming), (Dialect::V03, Some(true)), "{name}");
        assert_eq!(card.skills, ["General Purpose AI Assistant"], "{name}");
        assert_eq!((card.multiline_prompt, card.scope), (false, None), "{name}");
        assert_eq!(card.claimed_url.as_deref(), Some("http://localhost:8000"), "{name}");
    }
}

#[tokio::test]
async fn the_wrong_address_in_a_card_is_shown_and_not_used() {
    // Both requests come to the configured address, although the card names another.
    let mut told = of("card_agent-card");
    told.body()["url"] = json!("http://ann:secret@127.0.0.1:1/x");
    let replay = play([told.played(), v03("send_blocking"), told.played()]).await;
    let client = agent(&replay);
    assert!(hi(&client).await.unwrap().starts_with("I am openai/gpt-5"));
    let claimed = client.card().await.unwrap().claimed_url;
    assert_eq!(claimed.as_deref(), Some("http://[redacted]@127.0.0.1:1/x"));
}

#[tokio::test]
async fn an_address_is_used_as_written_and_may_be_that_of_the_card() {
    let replay = play([card(), v03("send_blocking")]).await;
    let client = Agent::new(build_http().unwrap(), replay.url(CARD));
    hi(&client).await.unwrap();
    assert_eq!(client.address(), replay.url(AGENT).as_str());
    for path in ["/a2a/litellm_agent/", "/a2a/litellm_agent//", "/"] {
        assert_eq!(Agent::new(build_http().unwrap(), replay.url(path)).address(), replay.url(path).as_str());
    }
}

#[tokio::test]
async fn an_own_agents_card_tells_what_it_can_do() {
    let mut own = of("adk2.13/card");
    own.body()["capabilities"]["extensions"] = json!([
        null,
        { "uri": "urn:else", "params": { "scope": "agent" } },
        { "uri": "urn:patchbay:hotswap:1", "params": { "scope": "context", "multilinePrompt": true } },
    ]);
    own.body()["skills"] = json!([{ "name": 5 }, "x", { "name": "Chat" }]);
    let replay = play([own.played()]).await;
    let card = agent(&replay).card().await.unwrap();
    assert_eq!((card.scope, card.multiline_prompt), (Some(Scope::Context), true));
    assert_eq!(card.skills, ["Chat"]);
}

/// Nor is there a card at the root of the host.
fn at_root() -> Exchange {
    Exchange::new("GET", "/.well-known/agent-card.json", 404, "")
}

#[tokio::test]
async fn what_is_no_card_is_said() {
    let missing = of("card_agent_json").played().target(CARD);
    let replay = play([missing, at_root()]).await;
    let error = agent(&replay).card().await.unwrap_err();
    assert_eq!(error.meaning(), Some(Meaning::NotFound));
    assert_eq!(error.to_string(), "the agent answered 404: Not Found");

    let bodies = [
        ("<html><title>Welcome</title>", "no agent card, but a web page titled “Welcome”"),
        ("{\"description\":\"x\"}", "no agent card, but “{\"description\":\"x\"}”"),
        ("{\"name\":\"x\"", "no agent card, but “{\"name\":\"x\"”"),
        ("[]", "no agent card, but “[]”"),
        ("", "no agent card, but an empty body"),
    ];
    for (body, expected) in bodies {
        let replay = play([Exchange::new("GET", CARD, 200, body), at_root()]).await;
        let error = agent(&replay).card().await.unwrap_err();
        let ClientError::NotUnderstood { detail, .. } = error else { panic!("{body}: {error:?}") };
        assert_eq!(detail, expected);
    }
    let odd = r#"{"name":"x","skills":null,"supportedInterfaces":{"a":1},"capabilities":[],"url":7}"#;
    let replay = play([Exchange::new("GET", CARD, 200, odd)]).await;
    let card = agent(&replay).card().await.unwrap();
    assert_eq!((card.name.as_str(), card.dialect, card.claimed_url), ("x", Dialect::V03, None));
}

#[tokio::test]
async fn the_card_decides_which_dialect_is_tried_first() {
    let cases: [(&[(&str, &str)], Dialect); 8] = [
        (&[("JSONRPC", "0.3.0")], Dialect::V03),
        (&[("JSONRPC", "1.0")], Dialect::V10),
        (&[("jsonrpc", "1.0.2")], Dialect::V10),
        (&[("JSONRPC", "0.3.0"), ("JSONRPC", "1.1")], Dialect::V10),
        (&[("GRPC", "1.0"), ("JSONRPC", "0.3.0")], Dialect::V03),
        (&[("HTTP+JSON", "1.0")], Dialect::V03),
        (&[("JSONRPC", "10.0")], Dialect::V03),
        (&[], Dialect::V03),
    ];
    for (interfaces, dialect) in cases {
        let answer = match dialect {
            Dialect::V03 => v03("adk2.13/v03_send"),
            Dialect::V10 => v10("adk2.13/v1_SendMessage"),
        };
        let replay = play([card_with(interfaces), answer]).await;
        let client = agent(&replay);
        assert_eq!(client.dialect(), None);
        hi(&client).await.unwrap();
        assert_eq!(client.dialect(), Some(dialect), "{interfaces:?}");
    }
}

#[tokio::test]
async fn a_dialect_is_asked_for_once() {
    let script = [card(), v03("send_blocking"), v03("send_blocking"), v03("send_blocking")];
    let replay = play(script).await;
    let client = agent(&replay);
    hi(&client).await.unwrap();
    // A clone knows what the other has found out.
    hi(&client.clone()).await.unwrap();
    hi(&client).await.unwrap();
}

#[tokio::test]
async fn an_agent_whose_card_is_missing_is_spoken_to_all_the_same() {
    let missing = || of("card_agent_json").played().target(CARD);
    let replay = play([missing(), at_root(), v03("send_blocking")]).await;
    hi(&agent(&replay)).await.unwrap();
    let replay = play([missing(), at_root(), v03("err_unknown_method"), v10("adk2.13/v1_SendMessage")]).await;
    let client = agent(&replay);
    hi(&client).await.unwrap();
    assert_eq!(client.dialect(), Some(Dialect::V10));
}

/// A 1.0 card, and the refusal of 1.0 by the agents recorded.
#[tokio::test]
async fn an_agent_that_refuses_1_0_is_spoken_to_in_0_3() {
    for refusal in ["err_v1_SendMessage", "adk2.13/v1_bad_version_2.0", "adk2.13/v1_unknown_method"] {
        let script = [
            card_with(&[("JSONRPC", "1.0")]),
            v10(refusal),
            v03("adk2.13/v03_send"),
            v03("adk2.13/v03_send"),
        ];
        let replay = play(script).await;
        let client = agent(&replay);
        assert!(hi(&client).await.unwrap().starts_with("I am openai/gpt-5"), "{refusal}");
        assert_eq!(client.dialect(), Some(Dialect::V03), "{refusal}");
        hi(&client).await.unwrap();
    }
}

#[tokio::test]
async fn an_agent_that_refuses_0_3_is_spoken_to_in_1_0() {
    for refusal in ["err_unknown_method", "adk2.13/v1_SendMessage_no_header", "adk2.13/v03_with_header_1.0"] {
        let sent = || v10("adk2.13/v1_SendMessage");
        let replay = play([card(), v03(refusal), sent(), sent()]).await;
        let client = agent(&replay);
        assert!(hi(&client).await.unwrap().starts_with("I am openai/gpt-5-mini"), "{refusal}");
        assert_eq!(client.dialect(), Some(Dialect::V10), "{refusal}");
        hi(&client).await.unwrap();
    }
}

#[tokio::test]
async fn an_agent_that_knows_neither_keeps_its_first_refusal() {
    let script = [
        card(),
        v03("err_unknown_method"),
        v10("adk2.13/v1_bad_version_garbage"),
        answers("err_unknown_method", "message/stream", None, "hi"),
        answers("adk2.13/v1_bad_version_garbage", "SendStreamingMessage", Some("1.0"), "hi"),
    ];
    let replay = play(script).await;
    let client = agent(&replay);
    let error = hi(&client).await.unwrap_err();
    assert_eq!(error.to_string(), "the agent refused the message: Method not found (-32601)");
    assert!(error.is_refusal());
    assert_eq!(client.dialect(), None);
}

#[tokio::test]
async fn an_agent_that_changed_its_dialect_is_found_again() {
    let script = [
        card(),
        v03("send_blocking"),
        v03("err_unknown_method"),
        v10("adk2.13/v1_SendMessage"),
        v10("adk2.13/v1_SendMessage"),
    ];
    let replay = play(script).await;
    let client = agent(&replay);
    for _ in 0..3 {
        hi(&client).await.unwrap();
    }
    assert_eq!(client.dialect(), Some(Dialect::V10));
}

/// The recorded answer to a question for the task `id`.
fn task(name: &str, id: &str, method: &str) -> Exchange {
    of(name).played().rpc(|rpc| {
        method.clone_into(&mut rpc.method);
        rpc.task = json!(id);
    })
}

#[tokio::test]
async fn an_early_answer_is_followed_to_its_end() {
    let id = "a147a4e0-88fc-4924-892d-144203bf889e";
    let first = of("send_nonblocking");
    assert_eq!(first.result()["id"], id);
    let replay = play([
        card(),
        first.played(),
        task("tasks_get_working", id, "tasks/get"),
        task("tasks_get_working", id, "tasks/get"),
        task("tasks_get_completed", id, "tasks/get"),
    ])
    .await;
    let client = agent(&replay);
    let answer = client.send(&context(first.context()), first.text(), PATIENCE).await.unwrap();
    assert!(answer.from_model && answer.text.starts_with("I am openai/gpt-5"), "{answer:?}");
}

#[tokio::test]
async fn an_early_answer_in_1_0_is_followed_to_its_end() {
    let first = of("adk2.13/v1_SendMessage_returnImmediately");
    let id = first.result()["task"]["id"].as_str().unwrap().to_owned();
    let card = card_with(&[("JSONRPC", "1.0")]);
    let replay = play([card, first.played(), task("adk2.13/v1_GetTask", &id, "GetTask")]).await;
    let answer = agent(&replay).send(&context(first.context()), first.text(), PATIENCE).await.unwrap();
    assert!(answer.text.starts_with("I am openai/gpt-5-mini"), "{answer:?}");
    assert_eq!(answer.tokens.map(|tokens| (tokens.input, tokens.output)), Some((502, 7)));
}

#[tokio::test]
async fn a_message_that_was_taken_is_not_sent_again() {
    // The agent takes the message, but knows no way to ask for its task. Sent once more in the other dialect,
    // it would reach the model twice.
    let first = of("send_nonblocking");
    let id = first.result()["id"].as_str().unwrap().to_owned();
    for refusal in ["err_unknown_method", "tasks_get_unknown", "adk2.13/v1_bad_version_2.0"] {
        let refused = of(refusal).played().rpc(|rpc| {
            "tasks/get".clone_into(&mut rpc.method);
            rpc.version = None;
            (rpc.text, rpc.role, rpc.context) = (Value::Null, Value::Null, Value::Null);
            rpc.task = json!(id);
        });
        let replay = play([card(), first.played(), refused]).await;
        let error = agent(&replay).send(&context(first.context()), first.text(), PATIENCE).await.unwrap_err();
        assert!(!error.is_refusal(), "{refusal}: it may have acted");
        assert!(matches!(error, AgentError::Transport(ClientError::NotUnderstood { .. })), "{error:?}");
        assert!(error.to_string().contains("it took the message"), "{error}");
    }
}

#[tokio::test]
async fn a_task_that_does_not_end_costs_no_more_than_the_time_limit() {
    let first = of("send_nonblocking");
    let id = first.result()["id"].as_str().unwrap().to_owned();
    let never = task("tasks_get_working", &id, "tasks/get").with(Body::Stalled("{"));
    let replay = play([card(), first.played(), never]).await;
    let time = Duration::from_millis(500);
    let error = agent(&replay).send(&context(first.context()), first.text(), time).await.unwrap_err();
    assert!(matches!(&error, AgentError::Transport(error) if error.is_timeout()), "{error:?}");
}
