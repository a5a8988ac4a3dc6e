//! Failures of agents, most of which come as HTTP 200.

use patchbay::clients::Meaning;
use patchbay::clients::a2a::AgentError;
use serde_json::{Value, json};

use super::proxy_errors::assert_presentable;
use super::recording::{Recording, recording};
use super::replay::{Exchange, play};
use super::{PATIENCE, agent, context};

const AGENT: &str = "/a2a/litellm_agent";

fn of(name: &str) -> Recording {
    recording(&format!("a2a/{name}"))
}

fn card() -> Exchange {
    of("card_agent-card").played()
}

/// What is said of a message which is answered with `exchange`.
async fn failure(exchange: Exchange) -> AgentError {
    failure_after([card(), exchange]).await
}

/// The same of an agent whose refusal of `message/send` makes the client try `message/stream`.
async fn closed(name: &str) -> AgentError {
    failure_after([card(), to_hi(name), to_hi(name)]).await
}

async fn failure_after(exchanges: impl IntoIterator<Item = Exchange>) -> AgentError {
    let replay = play(exchanges).await;
    agent(&replay).send(&context("c"), "hi", PATIENCE).await.unwrap_err()
}

/// The recorded answer to whatever the client sends.
fn to_hi(name: &str) -> Exchange {
    let mut exchange = of(name).played().method("POST").target(AGENT);
    exchange.asked.rpc = None;
    exchange
}

#[tokio::test]
async fn failed_tasks_are_errors_in_the_agents_words() {
    let cases = [
        ("text_upstream_400", "litellm.BadRequestError: OpenAIException - fake upstream failure 400"),
        (
            "text_upstream_401",
            "litellm.AuthenticationError: AuthenticationError: OpenAIException - fake upstream failure 401",
        ),
        (
            "text_upstream_404",
            "litellm.NotFoundError: NotFoundError: OpenAIException - fake upstream failure 404",
        ),
        (
            "text_upstream_429",
            "litellm.RateLimitError: RateLimitError: OpenAIException - fake upstream failure 429",
        ),
        (
            "text_upstream_500",
            "litellm.InternalServerError: InternalServerError: OpenAIException - fake upstream failure 500",
        ),
        (
            "text_upstream_401_responses_path",
            "LiteLLM responses request failed: {\"error\":{\"message\":\"fake upstream failure 401\"",
        ),
        (
            "text_upstream_500_responses_path",
            "LiteLLM responses request failed: {\"error\":{\"message\":\"fake upstream failure 500\"",
        ),
        ("send_unknown_provider", "litellm.BadRequestError: Unmapped LLM provider for this endpoint."),
        ("upstream_down_gpt5", "All connection attempts failed"),
        (
            "upstream_down_gpt4o",
            "litellm.InternalServerError: InternalServerError: OpenAIException - Connection error.",
        ),
        (
            "upstream_down_anthropic",
            "litellm.InternalServerError: AnthropicException - Cannot connect to host",
        ),
    ];
    for (name, start) in cases {
        let recorded = of(name);
        let replay = play([card(), recorded.played()]).await;
        let error =
            agent(&replay).send(&context(recorded.context()), recorded.text(), PATIENCE).await.unwrap_err();
        let AgentError::Task { state, message } = &error else { panic!("{name}: {error:?}") };
        assert_eq!(*state, "failed", "{name}");
        assert!(message.starts_with(start), "{name}: {message:?}");
        assert!(!error.is_refusal(), "{name}: it may have acted");
        assert_presentable(&error.to_string(), name);
    }
}

#[tokio::test]
async fn failures_that_the_client_does_not_provoke_are_read_as_well() {
    let cases = [
        ("parts_empty", "No parts in the new_message."),
        ("ctx_spaces_second", "Session with id sp-9e09 already exists."),
        (
            "parts_file_uri",
            "litellm.BadRequestError: Error: Unable to fetch image from URL after 3 attempts.",
        ),
        (
            "adk2.13/v1_upstream_401",
            "litellm.AuthenticationError: AuthenticationError: OpenAIException - fake upstream failure 401",
        ),
    ];
    for (name, start) in cases {
        let error = failure(to_hi(name)).await;
        let AgentError::Task { state: "failed", message } = &error else { panic!("{name}: {error:?}") };
        assert!(message.starts_with(start), "{name}: {message:?}");
    }
    let error = failure(to_hi("adk2.13/v1_CancelTask_running")).await;
    // 1.0 tells a canceled task bare, without a reason.
    assert_eq!(error.to_string(), "the agent's task ended as canceled: it gave no reason");
}

#[tokio::test]
async fn the_next_message_after_a_failure_is_answered() {
    for status in ["400", "401", "404", "429", "500"] {
        let failed = of(&format!("text_upstream_{status}"));
        let next = of(&format!("text_upstream_{status}_next"));
        let replay = play([card(), failed.played(), next.played()]).await;
        let client = agent(&replay);
        let id = context(failed.context());
        client.send(&id, failed.text(), PATIENCE).await.unwrap_err();
        assert!(client.send(&id, next.text(), PATIENCE).await.unwrap().from_model, "{status}");
    }
}

#[tokio::test]
async fn json_rpc_errors_are_refusals_but_for_internal_ones() {
    let cases = [
        ("err_empty_body", -32700, true),
        ("err_malformed_json", -32700, true),
        ("adk2.13/v03_malformed", -32700, true),
        ("adk2.13/v1_malformed", -32700, true),
        ("err_array_batch", -32600, true),
        ("err_no_id", -32602, true),
        ("err_bad_role", -32602, true),
        ("err_missing_messageId", -32602, true),
        ("err_missing_params", -32602, true),
        ("err_no_jsonrpc", -32602, true),
        ("err_taskId_completed", -32602, true),
        ("err_unknown_taskId", -32001, true),
        ("tasks_cancel_completed", -32002, true),
        ("adk2.13/v03_card_extended", -32004, true),
        ("adk2.13/v1_missing_messageId", -32602, true),
        ("adk2.13/v1_role_user_lower", -32602, true),
        ("adk2.13/v1_parts_empty", -32602, true),
        ("adk2.13/v1_GetTask_unknown", -32001, true),
        ("err_not_utf8", -32603, false),
        ("text_lone_surrogate", -32603, false),
        ("tasks_cancel_running", -32603, false),
    ];
    for (name, code, is_refusal) in cases {
        let error = if code == -32004 { closed(name).await } else { failure(to_hi(name)).await };
        let AgentError::Rpc { code: seen, message } = &error else { panic!("{name}: {error:?}") };
        assert_eq!((*seen, error.is_refusal()), (code, is_refusal), "{name}: {message}");
        assert!(!message.is_empty(), "{name}");
        assert_presentable(&error.to_string(), name);
    }
}

#[tokio::test]
async fn http_errors_are_told_by_their_status() {
    let cases = [
        ("adk2.13/v1_origin_evil", 403, Meaning::Credentials, "“Forbidden: origin not allowed”"),
        ("http_health", 404, Meaning::NotFound, "Not Found"),
        ("rpc_get", 405, Meaning::Other, "Method Not Allowed"),
    ];
    for (name, status, meaning, text) in cases {
        let error = if status == 403 { failure(to_hi(name)).await } else { closed(name).await };
        assert_eq!(error.to_string(), format!("the agent answered {status}: {text}"), "{name}");
        let AgentError::Transport(error) = error else { panic!("{name}: {error:?}") };
        assert_eq!(error.meaning(), Some(meaning), "{name}");
    }
    let error = failure(to_hi("err_trailing_slash").location("http://127.0.0.1:1/x")).await;
    assert!(
        error.to_string().contains("a redirect to http://127.0.0.1:1/x, which is not followed"),
        "{error}"
    );
}

#[tokio::test]
async fn bad_bodies_are_told() {
    let page = "<!doctype html><title>Sign in</title>";
    let cases = [
        (200, page, "is not understood: expected value at line 1 column 1, in a web page titled “Sign in”"),
        (200, "", "is not understood: EOF while parsing a value at line 1 column 0, in an empty body"),
        (200, "{\"jsonrpc\":\"2.0\",\"result\":{", "is not understood: EOF while parsing an object"),
        (200, "{}", "is not understood: neither result nor error, but “{}”"),
        (
            200,
            "{\"result\":null,\"error\":null}",
            "is not understood: neither result nor error, but “{\"result\":null",
        ),
        (200, "{\"error\":\"no\"}", "is not understood: neither result nor error, but “{\"error\":\"no\"}”"),
        (200, "{\"result\":7}", "is not understood: no task: invalid type"),
        (
            200,
            "{\"result\":{\"kind\":\"task\",\"id\":\"t\"}}",
            "is not understood: no task: missing field `status`",
        ),
        (
            200,
            "{\"result\":{\"id\":\"t\",\"status\":{\"state\":\"TASK_STATE_UNSPECIFIED\"}}}",
            "is not understood: a task in the unknown state “TASK_STATE_UNSPECIFIED”",
        ),
        (500, page, "the agent answered 500: a web page titled “Sign in”"),
        (500, "", "the agent answered 500: an empty body"),
        (502, "{\"result\":{}}", "the agent answered 502: “{\"result\":{}}”"),
        (429, "slow down", "the agent answered 429: “slow down”"),
        (401, "{\"detail\":\"Not authenticated\"}", "the agent answered 401: Not authenticated"),
        (
            400,
            "{\"error\":{\"code\":-32602,\"message\":\"no\"}}",
            "the agent refused the message: no (-32602)",
        ),
        (200, "{\"error\":{\"code\":\"x\",\"message\":7}}", "the agent refused the message:  (0)"),
    ];
    for (status, body, expected) in cases {
        let error = failure(Exchange::new("POST", AGENT, status, body)).await;
        assert!(error.to_string().contains(expected), "{body}: {error}");
        assert!(!matches!(&error, AgentError::Rpc { code: 0, .. }) || !error.is_refusal(), "{body}");
    }
}

#[tokio::test]
async fn every_way_to_end_is_told_apart() {
    let cases = [
        ("failed", "failed"),
        ("rejected", "rejected"),
        ("canceled", "canceled"),
        ("auth-required", "auth-required"),
        ("TASK_STATE_REJECTED", "rejected"),
        ("TASK_STATE_AUTH_REQUIRED", "auth-required"),
    ];
    for (state, expected) in cases {
        let mut recorded = of("text_upstream_401");
        let status = &mut recorded.body()["result"]["status"];
        status["state"] = json!(state);
        status["message"]["parts"][0]["text"] =
            json!("no: sk-secret-000000\nTraceback (most recent call last)");
        let mut exchange = recorded.played();
        exchange.asked.rpc = None;
        let error = failure(exchange).await;
        assert_eq!(error.to_string(), format!("the agent's task ended as {expected}: no: sk-[redacted]"));
    }
}

async fn answer_of(result: Value) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": "1", "result": result }).to_string();
    let replay = play([card(), Exchange::new("POST", AGENT, 200, body)]).await;
    agent(&replay).send(&context("c"), "hi", PATIENCE).await.unwrap().text
}

#[tokio::test]
async fn answers_of_other_shapes_are_read() {
    let message = json!({ "kind": "message", "messageId": "m", "role": "agent", "parts": [{ "text": "a" }] });
    assert_eq!(answer_of(message).await, "a");
    let wrapped =
        json!({ "message": { "parts": [{ "text": "b" }, { "data": { "text": "x" } }, { "text": "c" }] } });
    assert_eq!(answer_of(wrapped).await, "bc");
    let asks = json!({ "task": { "id": "t", "artifacts": null, "metadata": null, "status": {
        "state": "TASK_STATE_INPUT_REQUIRED", "message": { "parts": [{ "text": "Which?" }] } } } });
    assert_eq!(answer_of(asks).await, "Which?");
    let artifacts = json!([
        null,
        { "parts": [{ "text": "d" }, null, { "text": 5 }] },
        { "parts": "x" },
        { "parts": [{ "text": "e" }] },
    ]);
    let status = json!({ "state": "completed", "message": "x" });
    let odd = json!({ "id": "t", "status": status, "metadata": [1], "artifacts": artifacts });
    assert_eq!(answer_of(odd).await, "d\n\ne");
    assert_eq!(answer_of(json!({ "id": "t", "status": { "state": "completed" } })).await, "");
}
