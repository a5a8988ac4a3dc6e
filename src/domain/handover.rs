//! Errors of providers that mean that a conversation's history does not suit the model.

use HistoryFault::{
    ContextTooLong, OrphanedToolResult, RoleOrder, Thinking, ToolCallId, UnsupportedContent,
    UnsupportedParameter,
};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// Bounds the work on an error that echoes a whole request.
const MAX_CHARS: usize = 8_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum HistoryFault {
    ContextTooLong,
    ToolCallId,
    /// A tool result without its call, or a call without its result.
    OrphanedToolResult,
    /// Thinking blocks, their signatures and encrypted reasoning.
    Thinking,
    /// Images, files and empty messages.
    UnsupportedContent,
    /// Includes models without a system role.
    RoleOrder,
    /// Includes models without tools.
    UnsupportedParameter,
}

impl HistoryFault {
    /// None for any other error.
    pub fn find(error: &str) -> Option<Self> {
        let text = normalize(error);
        if OTHER_ERRORS.iter().copied().flatten().any(|words| text.contains(words)) {
            return None;
        }
        let row = PATTERNS.iter().find(|(_, any)| any.iter().any(|parts| occur_in_order(&text, parts)));
        row.map(|(fault, _)| *fault)
    }

    /// One sentence for the receipt of a swap.
    pub fn describe(self) -> &'static str {
        match self {
            ContextTooLong => "The conversation is too long for this model.",
            ToolCallId => "The model does not accept ids in the conversation, such as those of tool calls.",
            OrphanedToolResult => {
                "The conversation has a tool call without a result, or a result without a call."
            }
            Thinking => "The conversation's reasoning is missing or was rejected by the model.",
            UnsupportedContent => {
                "The model does not accept some content, such as an image or an empty message."
            }
            RoleOrder => "The model does not accept the roles in the conversation or their order.",
            UnsupportedParameter => "The model does not support a parameter or tools that the agent sends.",
        }
    }
}

fn occur_in_order(text: &str, parts: &[&str]) -> bool {
    parts.iter().try_fold(text, |rest, part| rest.split_once(part).map(|(_, after)| after)).is_some()
}

/// Lower case without quotes and escapes, so that one pattern fits JSON, Python and plain text.
fn normalize(error: &str) -> String {
    let mut text = String::new();
    let mut chars = error.chars().take(MAX_CHARS).peekable();
    while let Some(mut c) = chars.next() {
        if c == '\\' {
            while chars.next_if_eq(&'\\').is_some() {}
            c = match chars.next() {
                Some('n' | 'r' | 't') => ' ',
                Some('u') => unicode_escape(&chars.by_ref().take(4).collect::<String>()),
                Some(other) => other,
                None => break,
            };
        }
        if !matches!(c, '\'' | '"' | '`' | '‘' | '’' | '“' | '”') {
            text.extend(c.to_lowercase());
        }
    }
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (short, long) in [("doesnt ", "does not "), ("dont ", "do not "), ("isnt ", "is not ")] {
        text = text.replace(short, long);
    }
    for appended in APPENDED {
        match text.find(appended) {
            Some(end) if end > 0 => text.truncate(end),
            _ => {}
        }
    }
    text
}

fn unicode_escape(hex: &str) -> char {
    u32::from_str_radix(hex, 16).ok().and_then(char::from_u32).unwrap_or(' ')
}

/// Normalized first words of what LiteLLM appends: errors of fallbacks, and advice. They may be of another kind.
const APPENDED: &[&str] = &[
    "received model group=",
    "litellm: model group",
    // 1.109, of encrypted reasoning: “… with different API keys”.
    "this error occurs when load balancing responses api",
];

/// Normalized words of errors with another cause. Some of these name tokens, parameters or lengths too.
const OTHER_ERRORS: &[&[&str]] = &[
    // Rate limits and quotas.
    &["rate limit", "rate_limit", "ratelimit", "rate-limited", "too many requests", "throttl"],
    &["parallel request limit", "tokens per min", "tokens_per_minute", "tokens per day", "(tpm)"],
    &["too many tokens, please wait", "quota", "resource_exhausted", "resource has been exhausted"],
    &["prompt tokens limit exceeded", "requires more credits", "insufficient balance", "credit balance"],
    &["budget has been exceeded", "exceeded budget", "crossed budget"],
    // Access.
    &["authentication_error", "authenticationerror", "authentication error", "api key", "api_key_invalid"],
    &["permission_error", "permissiondenied", "accessdenied", "access denied"],
    &["not allowed to access model"],
    // Models, network and moderation.
    &["model_not_found", "on-demand throughput", "no healthy deployment", "no deployments available"],
    &["overloaded", "service unavailable", "timed out", "connection error", "connection refused"],
    &["content management policy", "contentpolicyviolation", "content_filter"],
    // Other requests.
    &["unsupported for streaming", "streaming is not supported", "image generation"],
    &["function_declarations["],
    // Fields with a limit of their own; LiteLLM reports these as a context that is too long.
    &["user: string too long", "user_id: string too long", "name: string too long", "invalid metadata"],
];

/// Alternatives, each a list of words that all occur in this order. The first match decides, so the general
/// patterns of `UnsupportedParameter` come last. A comment names a public report, or who sends each message.
const PATTERNS: &[(HistoryFault, &[&[&str]])] = &[
    (ToolCallId, &[&["tool call id", "must be a-z"]]), // nearai/ironclaw#1241
    (ToolCallId, &[&["tool_use.id:"], &["tool_calls[", "].id:"]]), // maximhq/bifrost#5097, vercel/ai#5171
    (ToolCallId, &[&["call_id: string too long"]]),    // dyad-sh/dyad#4304
    (ToolCallId, &[&["input[", "expected an id that begins with"]]), // continuedev/continue#11785
    (ToolCallId, &[&["tool_result.tool_use_id:"], &["tool_use ids must be unique"]]), // Anthropic
    (ToolCallId, &[&["tooluseid", "failed to satisfy constraint"]]), // Bedrock
    (ToolCallId, &[&["messages[", "missing field tool_call_id"]]), // DeepSeek
    (ToolCallId, &[&["tool call id has to be defined"]]), // Mistral
    (ToolCallId, &[&["input[", ".id: string too long"]]), // OpenAI Responses
    (OrphanedToolResult, &[&["expected toolresult blocks at"]]), // lastmile-ai/mcp-agent#302
    (OrphanedToolResult, &[&["number of toolresult blocks", "exceeds"]]), // BerriAI/litellm#7099
    // GoogleCloudPlatform/generative-ai#368
    (OrphanedToolResult, &[&["function response turn comes immediately after"]]),
    (OrphanedToolResult, &[&["number of function response parts"]]), // google-gemini/gemini-cli#16415
    (OrphanedToolResult, &[&["tool_use ids were found without"]]),   // anthropics/claude-code#8612
    (OrphanedToolResult, &[&["unexpected tool_use_id found in"]]),   // router-for-me/CLIProxyAPI#497
    (OrphanedToolResult, &[&["did not find", "tool_result block(s)"]]), // browser-use/browser-use#988
    (OrphanedToolResult, &[&["same number of function calls and responses"]]), // camel-ai/camel#1467
    (OrphanedToolResult, &[&["role tool must be a response to a prece"]]), // FoundationAgents/OpenManus#23
    (OrphanedToolResult, &[&["tool_calls must be followed by tool messages"]]), // aliasrobotics/cai#111
    (OrphanedToolResult, &[&["no tool call found for"]]),            // continuedev/continue#10092
    (OrphanedToolResult, &[&["previous message does not contain any tool_use"]]), // Anthropic
    (OrphanedToolResult, &[&["each tool_use must have a single result"]]), // Anthropic
    (OrphanedToolResult, &[&["tool call id", "not found in previous"]]), // Cohere
    (OrphanedToolResult, &[&["tool results tool id", "not found"]]), // MiniMax
    (OrphanedToolResult, &[&["tool call result does not follow tool call"]]), // MiniMax
    (OrphanedToolResult, &[&["unexpected tool call id"], &["tool_call_id", "not found"]]), // Mistral, OpenAI
    (OrphanedToolResult, &[&["no tool output found for"]]),          // OpenAI Responses
    (OrphanedToolResult, &[&["tool role, but there was no previous assistant message"]]), // llama.cpp
    (Thinking, &[&["invalid signature in thinking"]]),               // kaitranntt/ccs#415
    (Thinking, &[&["expected thinking or redacted_thinking"]]),      // anomalyco/opencode#3077
    (Thinking, &[&["must start with a thinking block"]]),            // anomalyco/opencode#3077
    (Thinking, &[&["a thought_signature"], &["thinking.signature:"]]), // openai/openai-node#1707, Anthropic
    (Thinking, &[&["thought signature"], &["missing reasoning_content"]]), // decolua/9router#301, DeepSeek
    (Thinking, &[&["could not decrypt", "encrypted_content"]]),      // lidge-jun/opencodex#2229
    (Thinking, &[&["encrypted content", "could not be"]]),           // openai/codex#8145
    (Thinking, &[&["invalid_encrypted_content"]]),                   // openai/codex#8145
    (Thinking, &[&["was provided without its required"]]),           // continuedev/continue#10018
    (Thinking, &[&["must be passed back to the api"]]),              // earendil-works/pi#3636
    (Thinking, &[&["reasoning_content is missing in assistant"]]),   // iOfficeAI/AionUi#2746
    (Thinking, &[&["messages", "property", "reasoning", "is unsupported"]]), // janhq/jan#8136
    (Thinking, &[&["messages", ".reasoning: reasoning is not supported"]]), // vercel/ai#8057
    (Thinking, &[&["thinking", "cannot be modified"], &["invalid data in redacted_thinking"]]), // Anthropic
    (Thinking, &[&["reasoning_content: extra inputs are not permitted"]]), // Anthropic
    (Thinking, &[&["not support the reasoningcontent"]]),            // Bedrock
    (Thinking, &[&["thought_signature", "base64 decoding failed"]]), // Gemini
    (Thinking, &[&["extra_forbidden", "messages", "reasoning_content"]]), // Mistral
    (Thinking, &[&["item with id rs_", "not found"]]),               // OpenAI Responses
    (RoleOrder, &[&["roles must alternate"]]),                       // vllm-project/vllm#6862
    (RoleOrder, &[&["alternate between user and"]]),                 // MadcowD/ell#369
    (RoleOrder, &[&["must start with a user"]]),                     // langgenius/dify#12340
    (RoleOrder, &[&["must end with a user"]]), // smallmain/vscode-unify-chat-provider#249
    (RoleOrder, &[&["not support assistant message prefill"]]), // smallmain/vscode-unify-chat-provider#249
    (RoleOrder, &[&["unexpected role"]]),      // mistralai/mistral-inference#135
    (RoleOrder, &[&["invalid_request_message_order"]]), // BerriAI/litellm#17761
    (RoleOrder, &[&["function call turn comes immediately after"]]), // continuedev/continue#11164
    (RoleOrder, &[&["system role", "not supported"]]), // vllm-project/vllm#2964
    (RoleOrder, &[&["does not support system"]]), // 567-labs/instructor#1753
    (RoleOrder, &[&[".role does not support"]]), // tailcallhq/forgecode#1177
    (RoleOrder, &[&["role: unknown variant"], &["expected last role user"]]), // num-scope/pix#34, Mistral
    (RoleOrder, &[&[".role failed to satisfy constraint"]]), // continuedev/continue#1938
    (RoleOrder, &[&["is not one of [", "user", "role"]]), // DashScope, haru/redmine_ai_helper#242
    (RoleOrder, &[&["first message must use the user role"]]), // Anthropic
    (RoleOrder, &[&["would pre-fill the assistant response"], &["role: input should be"]]), // Anthropic
    (RoleOrder, &[&["deepseek-reasoner does not support successive"]]), // DeepSeek
    (RoleOrder, &[&["please use a valid role: user, model"]]), // Gemini
    (RoleOrder, &[&["developer instruction is not enabled"]]), // Gemini
    (RoleOrder, &[&["supported values are: assistant"], &["supported values are: system"]]), // OpenAI
    (RoleOrder, &[&["should alternate with assistant message"]]), // Perplexity
    (RoleOrder, &[&["last message must have role"]]), // Perplexity
    (RoleOrder, &[&["2 or more assistant messages at the end"]]), // llama.cpp
    (RoleOrder, &[&["assistant response prefill is incompatible"]]), // llama.cpp
    (RoleOrder, &[&["when the last message is from the assistant"], &["system message must be"]]), // vLLM
    (RoleOrder, &[&["only user and assistant roles are supported"]]), // vLLM
    (RoleOrder, &[&["no user query found in messages"]]), // vLLM
    (UnsupportedContent, &[&["no endpoints found that support", "input"]]), // NousResearch/hermes-agent#23411
    (UnsupportedContent, &[&["is only supported by certain models"]]), // danny-avila/LibreChat#6333
    (UnsupportedContent, &[&["is not a multimodal model"]]), // vllm-project/vllm#23402
    (UnsupportedContent, &[&["image input", "not supported"]]), // claraverse-space/ClaraVerse#234
    (UnsupportedContent, &[&["not support image"], &["not support pdf"]]), // dyad-sh/dyad#3812, Anthropic
    // yilewang/llm-for-zotero#143
    (UnsupportedContent, &[&["messages[", "unknown variant", "expected text"]]),
    (UnsupportedContent, &[&["messages[", "invalid type:", "expected a string"]]), // CosmosShadow/gptpdf#41
    (UnsupportedContent, &[&["cannot unmarshal", "messages.content"]]),            // ollama/ollama#10255
    (UnsupportedContent, &[&["supported values are: text", "image_url"]]), // continuedev/continue#1201
    (UnsupportedContent, &[&["mimetype parameter", "not supported"]]),     // google/adk-python#2430
    (UnsupportedContent, &[&["invalid value for content: expected"]]),     // docker/docker-agent#63
    (UnsupportedContent, &[&["must have either content or tool_calls"]]),  // solbrowse/extension#16
    (UnsupportedContent, &[&["text content blocks must"]]),                // cecli-dev/cecli#102
    (UnsupportedContent, &[&["text field in the contentblock", "is blank"]]), // Just-Curieous/Curie#14
    (UnsupportedContent, &[&["must include at least one parts field"]]),   // cloudwego/eino#383
    // Portkey-AI/gateway#462
    (UnsupportedContent, &[&["unable to submit request because it", "text parameter"]]),
    (UnsupportedContent, &[&["image exceeds", "maximum"], &["must have non-empty content"]]), // Anthropic
    (UnsupportedContent, &[&["messages.", "content", "input tag", "expected tags"]]),         // Anthropic
    (UnsupportedContent, &[&["cannot end with trailing whitespace"]]),                        // Anthropic
    (UnsupportedContent, &[&["not support the image"], &["not support document"]]),           // Bedrock
    (UnsupportedContent, &[&["content field in the message object", "is empty"]]),            // Bedrock
    (UnsupportedContent, &[&["messages[", "missing field content"]]),                         // DeepSeek
    (UnsupportedContent, &[&["content or tool_calls must be set"]]),                          // DeepSeek
    (UnsupportedContent, &[&["input modality is not enabled"], &["unsupported mime type"]]),  // Gemini
    (UnsupportedContent, &[&["contents.parts must not be empty"], &["not support audio"]]), // Gemini, OpenAI
    (UnsupportedContent, &[&["messages", "content", "must be a string"]]),                  // Groq
    (UnsupportedContent, &[&["message at position", "must not be empty"]]),                 // Moonshot
    (UnsupportedContent, &[&["missing data required for image input"]]),                    // Ollama
    (UnsupportedContent, &[&["not support file content"], &["image(s) may be provided"]]),  // OpenAI, vLLM
    (UnsupportedContent, &[&["invalid type for messages[", "content"]]),                    // OpenAI
    (UnsupportedContent, &[&["supported values are: output_text"]]), // OpenAI Responses
    (UnsupportedContent, &[&["images are not supported"]]),          // OpenAI-compatible servers
    (UnsupportedContent, &[&["image content", "not supported"]]),    // OpenAI-compatible servers
    (UnsupportedContent, &[&["image_url is not supported"]]),        // OpenAI-compatible servers
    (UnsupportedContent, &[&["content type image_url"]]),            // OpenAI-compatible servers
    (UnsupportedContent, &[&["not support vision"]]),                // OpenAI-compatible servers
    (UnsupportedContent, &[&["messages", "content", "input should be a valid"]]), // OpenAI-compatible servers
    (UnsupportedContent, &[&["must have at least one content element"]]), // xAI
    (ContextTooLong, &[&["prompt is too long"], &["prompt exceeds"]]), // anthropics/claude-code#12186, Zhipu
    (ContextTooLong, &[&["input is too long"]]),                     // continuedev/continue#9592
    (ContextTooLong, &[&["tokens) is too long and exceeds"]]),       // vllm-project/vllm#10440
    (ContextTooLong, &[&["too long to fit into the model"]]),        // vllm-project/vllm#12165
    (ContextTooLong, &[&["maximum context length"]]),                // webtimemachine/wtm2#579
    (ContextTooLong, &[&["context_length_exceeded"]]),               // anomalyco/opencode#6071
    (ContextTooLong, &[&["exceed", "context window"]]),              // run-llama/llama_index#8046
    (ContextTooLong, &[&["exceed context limit"], &["input length", "exceed"]]), // Aider-AI/aider#3618, vLLM
    (ContextTooLong, &[&["longer than the model", "context length"]]), // BerriAI/litellm#10793
    (ContextTooLong, &[&["input tokens exceed"], &["contextwindowexceedederror"]]), // BerriAI/litellm#15968
    (ContextTooLong, &[&["token count", "exceeds the"]]),            // google-gemini/gemini-cli#6678
    (ContextTooLong, &[&["prompt contains", "tokens", "too large for model"]]), // BerriAI/litellm#21647
    (ContextTooLong, &[&["reduce the length of"], &["prompt too long"]]), // agent0ai/agent-zero#1102, Ollama
    (ContextTooLong, &[&["request exceeds the maximum size"]]),      // Anthropic
    (ContextTooLong, &[&["too many input tokens"], &["expected maxlength:", "actual:"]]), // Bedrock
    (ContextTooLong, &[&["too many tokens", "shorter"], &["context window exceed"]]), // Cohere, LiteLLM
    (ContextTooLong, &[&["range of input length should be"]]),       // DashScope
    (ContextTooLong, &[&["request body too large for", "max size", "tokens"]]), // GitHub Models
    (ContextTooLong, &[&["loaded with context length of only"]]),    // LM Studio
    (ContextTooLong, &[&["exceeded model token limit"], &["exceed", "context length"]]), // Moonshot, Ollama
    (ContextTooLong, &[&["invalid messages[", "string too long"]]),  // OpenAI
    (ContextTooLong, &[&["invalid input", "string too long"]]),      // OpenAI Responses
    (ContextTooLong, &[&["context length exceeded"]]),               // OpenAI-compatible servers
    (ContextTooLong, &[&["inputs tokens + max_new_tokens must be"]]), // TGI
    (ContextTooLong, &[&["input token count", "only supports up to"]]), // Vertex
    (ContextTooLong, &[&["exceed", "context size"], &["maximum prompt length is"]]), // llama.cpp, xAI
    (ContextTooLong, &[&["longer than the maximum model length"]]),  // vLLM
    (UnsupportedParameter, &[&["unsupported parameter:"]]),          // evalstate/fast-agent#279
    (UnsupportedParameter, &[&["unsupported value:", "does not support"]]), // tmc/langchaingo#1355
    (UnsupportedParameter, &[&["unrecognized request argument"]]),   // openai/openai-python#1724
    (UnsupportedParameter, &[&["is not supported with this model"]]), // mrwadams/stride-gpt#19
    (UnsupportedParameter, &[&["reasoning_effort must be one of"]]), // iamsrikanthnani/pluely#219
    (UnsupportedParameter, &[&["parameter is unsupported"]]),        // BerriAI/litellm#6610
    (UnsupportedParameter, &[&["does not support parameter"]]),      // BerriAI/litellm#9686
    (UnsupportedParameter, &[&["unsupportedparamserror"]]),          // 567-labs/instructor#1390
    (UnsupportedParameter, &[&["models do not support", "only", "is supported"]]), // jentic/standard-agent#31
    (UnsupportedParameter, &[&["is deprecated for this model"]]),    // szczyglis-dev/py-gpt#184
    (UnsupportedParameter, &[&["cannot both be specified"]]), // jekalmin/extended_openai_conversation#428
    (UnsupportedParameter, &[&["in the request are not valid", "supported values"]]), // agno-agi/agno#2553
    (UnsupportedParameter, &[&["no endpoints found that support the provided"]]), // zed-industries/zed#36094
    (UnsupportedParameter, &[&["not support tool"], &["not support response"]]), // ollama/ollama#6027, Groq
    (UnsupportedParameter, &[&["function calling is not"]]),  // agno-agi/agno#3505
    (UnsupportedParameter, &[&["tool choice requires"]]),     // langchain4j/langchain4j#3475
    (UnsupportedParameter, &[&["does not support the", "parameter."], &["must define tools"]]), // Anthropic
    (UnsupportedParameter, &[&["when thinking is enabled"], &["thinking is not supported"]]), // Anthropic
    (UnsupportedParameter, &[&["thinking may not be enabled when"]]), // Anthropic
    (UnsupportedParameter, &[&["maximum allowed number of output tokens"]]), // Anthropic
    (UnsupportedParameter, &[&["does not support the", "field. remove"]]), // Bedrock
    (UnsupportedParameter, &[&["extraneous key", "is not permitted"]]), // Bedrock
    (UnsupportedParameter, &[&["maximum tokens you requested exceeds"]]), // Bedrock
    (UnsupportedParameter, &[&["tool use is not supported"], &["unknown parameter:"]]), // Bedrock, OpenAI
    (UnsupportedParameter, &[&["toolconfig field must be defined"]]), // Bedrock
    (UnsupportedParameter, &[&["range of max_tokens should be"]]), // DashScope
    (UnsupportedParameter, &[&["response_format type is unavailable"]]), // DeepSeek
    (UnsupportedParameter, &[&["invalid max_tokens value"], &["not support function"]]), // DeepSeek
    (UnsupportedParameter, &[&["only works in thinking mode"], &["is not enabled for models/"]]), // Gemini
    (UnsupportedParameter, &[&["unknown name", "cannot find field"]]), // Gemini
    (UnsupportedParameter, &[&["but the supported range is from"]]), // Gemini
    (UnsupportedParameter, &[&["tokens must be less than or equal to"]]), // Groq
    (UnsupportedParameter, &[&["tool calling is not supported"], &["not support thinking"]]), // Groq, Ollama
    (UnsupportedParameter, &[&["extra inputs are not permitted"]]), // Mistral
    (UnsupportedParameter, &[&["above maximum value"], &["param requires --jinja"]]), // OpenAI, llama.cpp
    (UnsupportedParameter, &[&["supports at most", "completion tokens"]]), // OpenAI
    (UnsupportedParameter, &[&["parameter", "not supported by this model"]]), // OpenAI-compatible servers
    (UnsupportedParameter, &[&["parameter", "not supported for this model"]]), // OpenAI-compatible servers
    (UnsupportedParameter, &[&["parameter is not supported"]]), // OpenAI-compatible servers
    (UnsupportedParameter, &[&["tools are not supported"]]),  // OpenAI-compatible servers
    (UnsupportedParameter, &[&["tool_choice", "not supported"]]), // OpenAI-compatible servers
    (UnsupportedParameter, &[&["no endpoints found that support tool"]]), // OpenRouter
    (UnsupportedParameter, &[&["argument not supported on this model"]]), // xAI
];

#[cfg(test)]
mod tests;
