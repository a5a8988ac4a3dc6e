//! The tiny call of a model: the only one that shows whether the model's provider plays along.

use patchbay::clients::{ClientError, Meaning};
use patchbay::domain::calls::ModelCall;
use serde_json::json;

use super::proxy_errors::assert_presentable;
use super::recording::recording;
use super::replay::{Exchange, play};
use super::{GENERATIONS, MASTER, proxy};

fn call() -> ModelCall {
    ModelCall::chat("openai/gpt-5")
}

/// The recorded calls have other messages; all else is the same.
fn asked(exchange: Exchange) -> Exchange {
    exchange.body(json!({
        "model": "openai/gpt-5",
        "messages": [{ "role": "user", "content": "Reply with the word ok." }],
        "max_tokens": 16,
        "litellm_session_id": "patchbay-probe",
    }))
}

async fn failure_of(name: &str) -> ClientError {
    let recorded = recording(&format!("litellm/{name}"));
    let key = recorded.key().unwrap().to_owned();
    let replay = play([asked(recorded.played()).key(&key)]).await;
    proxy(&replay).probe(&key.into(), &call()).await.unwrap_err()
}

#[tokio::test]
async fn a_working_key_and_model_are_seen() {
    // 1.80 names the model behind the alias, 1.109 the alias.
    for (generation, mock) in [("1.80", "mock"), ("1.109", "mock-1")] {
        for (name, model) in [
            ("chat_key_ok", "gpt-5"),
            ("chat_key_models_empty_any", "gpt-5"),
            ("dbdown_chat_warm_key", "gpt-5"),
            ("chat_upstream_500", mock),
        ] {
            let recorded = recording(&format!("litellm/{generation}/{name}"));
            let key = recorded.key().unwrap().to_owned();
            let replay = play([asked(recorded.played()).key(&key)]).await;
            let probe = proxy(&replay).probe(&key.into(), &call()).await.unwrap().unwrap();
            assert_eq!(probe.model.as_deref(), Some(model), "{generation}/{name}");
        }
    }
}

/// Recording, status and meaning in both generations, and how the message begins in both.
type Case = (&'static str, [(u16, &'static str); 2], Meaning);

const UNAVAILABLE: &str = "The requested model 'gpt-5' is not available for this API key";
const PASSED: &str = "/chat/completions: Invalid model name passed in model=";

const CASES: &[Case] = &[
    // The proxy refuses the virtual key …
    (
        "chat_unknown_key",
        [
            (401, "Authentication Error, Invalid proxy server token passed. Received API Key = sk-...0000"),
            (401, "Authentication Error, Invalid API key provided."),
        ],
        Meaning::Credentials,
    ),
    (
        "chat_deleted_key",
        [
            (401, "Authentication Error, Invalid proxy server token passed. Received API Key = sk-...0001"),
            (401, "Authentication Error, Invalid API key provided."),
        ],
        Meaning::Credentials,
    ),
    (
        "chat_key_routes_not_allowed",
        [
            (403, "Virtual key is not allowed to call this route."),
            (403, "Virtual key is not allowed to call this"),
        ],
        Meaning::Credentials,
    ),
    (
        "chat_blocked",
        [
            (401, "Key is blocked. Update via `/key/unblock`"),
            (401, "Key is blocked. Update via `/key/unblock`"),
        ],
        Meaning::KeyBlocked,
    ),
    (
        "chat_expired",
        [
            (400, "Authentication Error - Expired Key. Key Expiry time 2026-11-22 07:53:29"),
            (401, "Authentication Error - Expired Key. Key Expiry time 2026-11-22 08:14:13"),
        ],
        Meaning::KeyExpired,
    ),
    (
        "chat_budget_exceeded",
        [
            (400, "Budget has been exceeded! Current cost: 1000.018, Max budget: 1e-06"),
            (422, "Budget has been exceeded! Key=small-budget (sk-...PJRQ) Current cost: 1000.018"),
        ],
        Meaning::OverBudget,
    ),
    (
        "chat_zero_budget",
        [
            (400, "Budget has been exceeded! Current cost: 0.0"),
            (422, "Budget has been exceeded! Key=zero-budget"),
        ],
        Meaning::OverBudget,
    ),
    (
        "chat_rpm_exceeded",
        [
            (429, "Rate limit exceeded for api_key: b9bbc6c3"),
            (429, "Rate limit exceeded for api_key: 7504e8f9"),
        ],
        Meaning::RateLimited,
    ),
    // … or the model to this key, or knows no such model …
    (
        "chat_key_not_allowed_model",
        [
            (
                401,
                "key not allowed to access model. This key can only access models=['gpt-5-mini']. Tried to",
            ),
            (403, UNAVAILABLE),
        ],
        Meaning::ModelDenied,
    ),
    (
        "chat_key_no_default",
        [
            (401, "key not allowed to access model. This key can only access models=['no-default-models']."),
            (403, UNAVAILABLE),
        ],
        Meaning::ModelDenied,
    ),
    (
        "chat_key_access_group_other",
        [
            (
                401,
                "key not allowed to access model. This key can only access models=['beta']. Tried to access gpt-5",
            ),
            (403, UNAVAILABLE),
        ],
        Meaning::ModelDenied,
    ),
    (
        "chat_key_unknown_model",
        [
            (401, "key not allowed to access model."),
            (403, "The requested model 'nope' is not available for this"),
        ],
        Meaning::ModelDenied,
    ),
    ("chat_key_models_empty_unknown", [(400, PASSED), (400, PASSED)], Meaning::NotFound),
    ("chat_unknown_model_master", [(400, PASSED), (400, PASSED)], Meaning::NotFound),
    ("chat_bad_provider", [(400, PASSED), (400, PASSED)], Meaning::NotFound),
    // … or has no database to look the key up in …
    (
        "dbdown_chat_cold_key",
        [
            (401, "Can't reach database server at `127.0.0.1`:`5433`"),
            (503, "Service Unavailable, the authentication database is temporarily unreachable."),
        ],
        Meaning::DatabaseDown,
    ),
    // … or passes on what the provider said.
    (
        "chat_upstream_401",
        [
            (
                401,
                "litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key provided: [",
            ),
            (
                401,
                "litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key provided: [",
            ),
        ],
        Meaning::Upstream,
    ),
    (
        "chat_upstream_429",
        [
            (429, "litellm.RateLimitError: RateLimitError: OpenAIException - fake upstream failure 429"),
            (429, "litellm.RateLimitError: RateLimitError: OpenAIException - fake upstream failure 429"),
        ],
        Meaning::Upstream,
    ),
    (
        "chat_upstream_500_real",
        [
            (
                500,
                "litellm.InternalServerError: InternalServerError: OpenAIException - fake upstream failure 500",
            ),
            (
                500,
                "litellm.InternalServerError: InternalServerError: OpenAIException - fake upstream failure 500",
            ),
        ],
        Meaning::Upstream,
    ),
    (
        "chat_dead_upstream",
        [
            (500, "litellm.InternalServerError: InternalServerError: OpenAIException - Connection error."),
            (500, "litellm.InternalServerError: InternalServerError: OpenAIException - Connection error."),
        ],
        Meaning::Upstream,
    ),
    (
        "chat_timeout",
        [
            (408, "litellm.Timeout: APITimeoutError - Request timed out."),
            (408, "litellm.Timeout: APITimeoutError - Request timed out."),
        ],
        Meaning::Upstream,
    ),
];

#[tokio::test]
async fn every_recorded_refusal_is_understood() {
    for (name, expected, meaning) in CASES {
        for (generation, (status, start)) in GENERATIONS.iter().zip(expected) {
            let case = format!("{generation}/{name}");
            let error = failure_of(&case).await;
            let ClientError::Status { status: seen, message, meaning: meant, .. } = &error else {
                panic!("{case}: {error:?}")
            };
            assert_eq!((seen, meant), (status, meaning), "{case}: {message}");
            assert!(message.starts_with(start), "{case}: {message:?}");
            assert_presentable(&error.to_string(), &case);
            for noise in ["Model Group", "No fallback was attempted", "Fallbacks="] {
                assert!(!message.contains(noise), "{case}: {message:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_one_release_alone_says_is_understood() {
    let blocked = failure_of("1.109/chat_blocked_model").await;
    assert_eq!(blocked.meaning(), Some(Meaning::ModelDenied), "{blocked}");
    let unset = failure_of("1.109/x_chat_env_unset").await;
    assert_eq!(unset.meaning(), Some(Meaning::Upstream), "{unset}");
    assert!(unset.to_string().contains("Missing credentials."), "{unset}");
}

#[tokio::test]
async fn a_python_none_is_no_kind_of_error() {
    for (name, kind) in
        [("1.80/chat_rpm_exceeded", None), ("1.109/chat_rpm_exceeded", Some("throttling_error"))]
    {
        let error = failure_of(name).await;
        let ClientError::Status { kind: seen, .. } = &error else { panic!("{error:?}") };
        assert_eq!(seen.as_deref(), kind, "{name}");
    }
}

#[tokio::test]
async fn the_probed_key_does_not_come_back_in_an_error() {
    let key = "a-key-of-no-known-shape";
    let body =
        format!(r#"{{"error":{{"message":"LiteLLM Virtual Key expected. Received={key}, expected"}}}}"#);
    let exchange = asked(Exchange::new("POST", "/v1/chat/completions", 401, body)).key(key);
    let replay = play([exchange]).await;
    let error = proxy(&replay).probe(&key.into(), &call()).await.unwrap_err();
    assert!(error.to_string().contains("Received=[redacted], expected"), "{error}");
}

#[tokio::test]
async fn a_good_status_without_an_answer_in_it_is_no_success() {
    for body in [r#"{"error":{"message":"no"}}"#, r#"{"choices":[]}"#, r#"{"choices":null}"#, "data: [DONE]"]
    {
        let exchange = asked(Exchange::new("POST", "/v1/chat/completions", 200, body)).key(MASTER);
        let replay = play([exchange]).await;
        let error = proxy(&replay).probe(&MASTER.into(), &call()).await.unwrap_err();
        assert!(matches!(error, ClientError::NotUnderstood { .. }), "{body}: {error:?}");
    }
}
