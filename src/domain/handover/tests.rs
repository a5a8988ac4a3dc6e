use super::*;

const HANDOVER: &str = include_str!("../../../tests/wire/errors/handover.json");
const OTHERS: &str = include_str!("../../../tests/wire/errors/handover-not.json");

fn rows(json: &str) -> Vec<(String, String)> {
    let rows: Vec<serde_json::Value> = serde_json::from_str(json).unwrap();
    let field = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.iter().map(|row| (field(row, "class"), field(row, "body"))).collect()
}

fn fault_of(class: &str) -> HistoryFault {
    match class {
        "context_too_long" => ContextTooLong,
        "tool_call_id_mismatch" => ToolCallId,
        "orphaned_tool_result" => OrphanedToolResult,
        "thinking_signature_rejected" => Thinking,
        "unsupported_content" | "empty_content" => UnsupportedContent,
        "role_order" | "system_role_unsupported" => RoleOrder,
        "unsupported_parameter" | "tools_unsupported" => UnsupportedParameter,
        other => panic!("unknown class {other}"),
    }
}

#[test]
fn finds_recorded_errors_however_they_are_escaped() {
    for (class, body) in rows(HANDOVER) {
        let escaped = serde_json::to_string(&body).unwrap();
        let twice = serde_json::to_string(&escaped).unwrap();
        for text in [&body, &escaped, &twice] {
            assert_eq!(HistoryFault::find(text), Some(fault_of(&class)), "{text}");
        }
    }
}

#[test]
fn ignores_recorded_errors_of_other_kinds() {
    for (_, body) in rows(OTHERS) {
        assert_eq!(HistoryFault::find(&body), None, "{body}");
    }
}

#[test]
fn finds_errors_with_other_wording() {
    for (fault, error) in [
        (ContextTooLong, "This model's maximum prompt length is 131072 but the request contains 537812"),
        (ToolCallId, r#"Invalid "input[4].id": 'call_9'. Expected an ID that begins with 'fc'."#),
        (ToolCallId, "ContextWindowExceededError: Invalid 'messages[5].tool_call_id': string too long."),
        (OrphanedToolResult, "No tool output found for function call call_QzX71."),
        (
            OrphanedToolResult,
            r"The \u0060tool_use\u0060 ids were found without \u0060tool_result\u0060 blocks",
        ),
        (Thinking, "Item 'fc_7' of type 'function_call' was provided without its required 'reasoning' item."),
        (Thinking, "messages.2.assistant.reasoning_content: Extra inputs are not permitted"),
        (
            Thinking,
            "The encrypted content for item rs_1 could not be verified.\n\nThis error occurs when load balancing Responses \
             API across deployments with different API keys.",
        ),
        (
            ContextTooLong,
            "prompt is too long\n\nLiteLLM: model group 'rate limit' failed with the error above and no fallback model \
             group was found for it.",
        ),
        (UnsupportedContent, "Image input modality is not enabled for models/gemma-3-1b-it"),
        (RoleOrder, r#"messages: roles must alternate between \"user\" and \"assistant\""#),
        (RoleOrder, "Developer instruction is not enabled for models/gemma-3-27b-it"),
        (UnsupportedParameter, "This model doesn’t support the topK field. Remove topK and try again."),
        (
            UnsupportedParameter,
            "Unknown name 'n': Cannot find field.\nReceived Model Group=x: RateLimitError",
        ),
    ] {
        assert_eq!(HistoryFault::find(error), Some(fault), "{error}");
    }
}

#[test]
fn ignores_similar_errors() {
    for error in [
        "ContextWindowExceededError: Too many tokens, please wait before trying again.",
        "ContextWindowExceededError: Invalid 'user': string too long.",
        "Unknown name \"$schema\" at 'tools[0].function_declarations[0].parameters': Cannot find field.",
        "context deadline exceeded",
        "This model does not support image generation",
        "Invalid 'tools[0].function.name': string does not match pattern.",
    ] {
        assert_eq!(HistoryFault::find(error), None, "{error}");
    }
}

#[test]
fn reads_the_start_of_a_long_error() {
    let filler = "x".repeat(MAX_CHARS);
    assert_eq!(HistoryFault::find(&format!("prompt is too long {filler}")), Some(ContextTooLong));
    assert_eq!(HistoryFault::find(&format!("{filler} prompt is too long")), None);
}
