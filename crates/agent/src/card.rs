//! The agent card, readable by clients of A2A 0.3 and 1.0.

use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use serde_json::{Value, json};

use super::PATH;

/// Announces which control messages the agent supports.
const HOT_SWAP_EXTENSION: &str = "urn:patchbay:hotswap:1";

/// The address from the client's `Host` header.
pub(super) fn url_as_asked(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    let authority = authority.filter(|authority| !authority.as_str().contains('@'));
    let authority = authority.as_ref().map_or("localhost", Authority::as_str);
    format!("http://{authority}{PATH}")
}

/// Includes the security scheme if a token is set.
pub(super) fn card(url: &str, has_token: bool) -> Value {
    let mut card = open_card(url);
    if has_token {
        // Each version ignores the fields of the other.
        card["securitySchemes"] = json!({"bearer": {
            "type": "http",
            "scheme": "bearer",
            "httpAuthSecurityScheme": {"scheme": "bearer"},
        }});
        card["security"] = json!([{"bearer": []}]);
        card["securityRequirements"] = json!([{"schemes": {"bearer": {"list": []}}}]);
    }
    card
}

fn open_card(url: &str) -> Value {
    let interface =
        |version: &str| json!({"url": url, "protocolBinding": "JSONRPC", "protocolVersion": version});
    json!({
        "name": "litellm_agent",
        "description": "Answers through a LiteLLM proxy. Model and system prompt can be swapped while it runs, \
                        for each context on its own.",
        "version": env!("CARGO_PKG_VERSION"),
        "url": url,
        "protocolVersion": "0.3.0",
        "preferredTransport": "JSONRPC",
        "supportedInterfaces": [interface("1.0"), interface("0.3")],
        "capabilities": {
            "streaming": true,
            "pushNotifications": false,
            "extensions": [{
                "uri": HOT_SWAP_EXTENSION,
                "description": "Obeys [HOTSWAP:MODEL:provider/model], [HOTSWAP:PROMPT:text] and [HOTSWAP:GET_CONFIG].",
                "required": false,
                "params": {"scope": "context", "multilinePrompt": true, "calls": "chat"},
            }],
        },
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{
            "id": "chat",
            "name": "General assistant",
            "description": "Answers questions with the model that its context is set to.",
            "tags": ["chat", "litellm", "hot-swap"],
            "examples": ["Which model am I using?", "[HOTSWAP:MODEL:openai/gpt-5]", "[HOTSWAP:GET_CONFIG]"],
        }],
    })
}
