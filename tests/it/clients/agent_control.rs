//! Control messages: what recorded agents reply, and what that means.

use patchbay::clients::a2a::AgentError;
use patchbay::domain::agent::{Dialect, Scope};
use patchbay::domain::context::ContextId;
use patchbay::domain::control::{AgentConfig, Answer, ControlMessage, Reply, Tokens};
use serde_json::json;

use super::recording::recording;
use super::replay::{Exchange, play};
use super::{PATIENCE, agent, context};

/// Plays the card and then `recorded`, whose text is sent as it was.
async fn answer_to(recorded: &super::recording::Recording) -> Result<Answer, AgentError> {
    let v10 = recorded.version().is_some();
    let card = if v10 { v10_card() } else { recording("a2a/card_agent-card").played() };
    let replay = play([card, recorded.played()]).await;
    let client = agent(&replay);
    let answer = client.send(&context(recorded.context()), recorded.text(), PATIENCE).await;
    assert_eq!(client.dialect(), Some(if v10 { Dialect::V10 } else { Dialect::V03 }));
    answer
}

/// The card of an agent that owns to dialect 1.0: those recorded do not, although they speak it.
fn v10_card() -> Exchange {
    let mut card = recording("a2a/adk2.13/card");
    card.body()["supportedInterfaces"][0]["protocolVersion"] = json!("1.0");
    card.played()
}

async fn answered(name: &str) -> Answer {
    answer_to(&recording(&format!("a2a/{name}"))).await.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn model(spec: &str) -> ControlMessage {
    ControlMessage::Model(spec.parse().unwrap())
}

fn prompt(text: &str) -> ControlMessage {
    ControlMessage::Prompt(Some(text.parse().unwrap()))
}

fn refused(words: &str) -> Reply {
    Reply::Refused(words.to_owned())
}

fn config(provider: &str, model: &str, prompt: Option<&str>) -> Reply {
    Reply::Config(AgentConfig::new(Some(provider), model, prompt))
}

#[tokio::test]
async fn swaps_are_confirmed() {
    let cases = [
        ("swap_gpt5", "openai/gpt-5"),
        ("swap_back", "openai/gpt-4o-mini"),
        ("swap_anthropic", "anthropic/claude-sonnet-4-5"),
        ("swap_openrouter_3seg", "openrouter/anthropic/claude-3-opus"),
        ("swap_unknown_provider", "nosuch/foo-1"),
        ("upstream_down_swap_still_ok", "openai/gpt-4o"),
        ("upstream_down_swap_anthropic", "anthropic/claude-sonnet-4-5"),
        ("adk2.13/v03_swap", "openai/gpt-5"),
        ("adk2.13/v1_swap", "openai/gpt-5-mini"),
    ];
    for (name, spec) in cases {
        let message = model(spec);
        assert_eq!(recording(&format!("a2a/{name}")).text(), message.to_text(), "{name}");
        let answer = answered(name).await;
        assert_eq!(message.read_reply(&answer), Reply::Done, "{name}");
        assert_eq!(answer.state.as_ref().map(AgentConfig::spec_text).as_deref(), Some(spec), "{name}");
        assert_eq!((answer.from_model, answer.tokens), (false, None), "{name}");
        // `app:` before the names: all contexts of these agents share the model.
        assert_eq!(answer.scope, Some(Scope::Agent), "{name}");
    }
}

#[tokio::test]
async fn another_model_than_the_one_asked_for_is_no_yes() {
    // Asked for `gpt-4o`, an agent puts a provider of its own before it.
    let answer = answered("swap_no_provider").await;
    assert_eq!(answer.text, "✅ Model switched to: openai/gpt-4o");
    assert_eq!(model("other/gpt-4o").read_reply(&answer), Reply::Unknown);
    assert_eq!(model("openai/gpt-5").read_reply(&answered("swap_back").await), Reply::Unknown);
    for name in ["ctl_model_bracket", "ctl_model_crlf", "ctl_model_spaces_inside"] {
        let answer = answered(name).await;
        assert!(answer.text.starts_with("✅ Model switched to: openai/g"), "{name}");
        assert_eq!(model("openai/gpt-4o").read_reply(&answer), Reply::Unknown, "{name}");
    }
}

#[tokio::test]
async fn refusals_keep_the_agents_words() {
    let cases = [
        ("ctl_model_empty", "Missing model specification for hot-swap."),
        ("ctl_model_empty_colon", "Missing model specification for hot-swap."),
        ("ctl_model_spaces", "Invalid model specification: Model name cannot be empty"),
        (
            "ctl_model_slash_only",
            "Invalid model specification: Model spec must include provider and model when using '/' format",
        ),
    ];
    for (name, words) in cases {
        let answer = answered(name).await;
        assert_eq!(model("openai/gpt-5").read_reply(&answer), refused(words), "{name}");
        assert_eq!(answer.state.unwrap().spec_text(), "openai/gpt-4o-mini", "{name}");
    }
}

#[tokio::test]
async fn prompts_are_confirmed() {
    for (name, text) in [
        ("ctl_prompt_ok", "You are concise."),
        ("ctl_prompt_bracket", "Use [brackets] and ] freely"),
        ("ctl_prompt_braces", "Use {app:litellm_agent/model} and {nosuch_var} here"),
    ] {
        let message = prompt(text);
        assert_eq!(recording(&format!("a2a/{name}")).text(), message.to_text(), "{name}");
        assert_eq!(message.read_reply(&answered(name).await), Reply::Done, "{name}");
        assert_eq!(prompt("Another one").read_reply(&answered(name).await), Reply::Unknown, "{name}");
    }
    let unicode = answered("ctl_prompt_unicode").await;
    let told = unicode.state.as_ref().unwrap().prompt.clone().unwrap();
    assert_eq!(prompt(&told).read_reply(&unicode), Reply::Done);
    // A prompt that Patchbay itself would have cut or refused.
    for name in ["ctl_prompt_crlf", "ctl_prompt_200k"] {
        let answer = answered(name).await;
        assert!(answer.text.starts_with("✅ System prompt updated."), "{name}");
        assert_eq!(prompt("line one").read_reply(&answer), Reply::Unknown, "{name}");
    }
    for name in ["ctl_prompt_empty", "ctl_prompt_clear", "ctl_prompt_bare"] {
        assert_eq!(ControlMessage::Prompt(None).read_reply(&answered(name).await), Reply::Done, "{name}");
        assert_eq!(prompt("x").read_reply(&answered(name).await), Reply::Unknown, "{name}");
    }
}

#[tokio::test]
async fn the_configuration_is_read() {
    let mini = || config("openai", "gpt-4o-mini", None);
    let cases = [
        ("config_fresh_context", config("anthropic", "claude-sonnet-4-5", None)),
        ("config_unknown_provider", config("nosuch", "foo-1", None)),
        ("ctl_get_config_payload", mini()),
        ("ctl_leading_space", mini()),
        ("ctl_model_bracket_config", config("openai", "gp]t-4o", None)),
        ("ctl_model_spaces_inside_config", config("openai", "gpt 4o", None)),
        ("ctl_prompt_bracket_config", config("openai", "gpt-4o-mini", Some("Use [brackets] and ] freely"))),
        (
            "ctl_prompt_braces_config",
            config("openai", "gpt-4o-mini", Some("Use {app:litellm_agent/model} and {nosuch_var} here")),
        ),
        ("adk2.13/v03_with_header_0.3", config("openai", "gpt-5", None)),
        ("adk2.13/v1_SendMessage_blocking_field", config("openai", "gpt-5-mini", None)),
    ];
    for (name, expected) in cases {
        let recorded = recording(&format!("a2a/{name}"));
        let card = if recorded.version() == Some("1.0") { v10_card() } else { v03_card() };
        // The client sends no header in dialect 0.3.
        let exchange = recorded.played().rpc(|rpc| rpc.version = rpc.version.take().filter(|v| v == "1.0"));
        let replay = play([card, exchange]).await;
        let answer =
            agent(&replay).send(&context(recorded.context()), recorded.text(), PATIENCE).await.unwrap();
        let told = ControlMessage::GetConfig.read_reply(&answer);
        assert_eq!(told, expected, "{name}");
        assert_eq!(answer.state.map(Reply::Config), Some(told), "{name}: text and state differ");
    }
    let unicode = answered("ctl_prompt_unicode_config").await;
    let Reply::Config(told) = ControlMessage::GetConfig.read_reply(&unicode) else { panic!("{unicode:?}") };
    assert!(told.prompt.as_deref().unwrap().starts_with("Sei höflich — 日本語 🦀"), "{told:?}");
    assert_eq!(Some(told), unicode.state);
}

fn v03_card() -> Exchange {
    recording("a2a/card_agent-card").played()
}

#[tokio::test]
async fn what_a_model_answered_is_chat() {
    let names = [
        "ctl_bad_verb",
        "ctl_lower_verb",
        "ctl_no_verb",
        "ctl_trailing_text",
        "ctl_unclosed",
        "ctl_model_newline",
        "ctl_prompt_multiline",
        "ctl_model_bracket_ask",
        "ctl_model_spaces_inside_ask",
        "ctl_prompt_braces_ask",
        "ctl_prompt_bracket_ask",
        "ctl_prompt_unicode_ask",
        "ctl_prompt_200k_ask",
        "send_blocking",
        "send_default_no_configuration",
        "send_anthropic",
        "send_openrouter",
        "adk2.13/v03_send",
        "adk2.13/v03_send_default",
        "adk2.13/v1_SendMessage",
    ];
    for name in names {
        let answer = answered(name).await;
        assert!(answer.from_model && answer.text.starts_with("I am "), "{name}: {answer:?}");
        for message in
            [model("openai/gpt-5"), prompt("x"), ControlMessage::Prompt(None), ControlMessage::GetConfig]
        {
            assert_eq!(message.read_reply(&answer), Reply::Chat, "{name}");
        }
    }
}

#[tokio::test]
async fn tokens_and_model_of_an_answer_are_read() {
    let cases = [
        ("send_blocking", (210, 7), "openai/gpt-5"),
        ("send_anthropic", (1019, 7), "anthropic/claude-sonnet-4-5"),
        ("send_openrouter", (1098, 7), "openrouter/anthropic/claude-3-opus"),
        // ADK 2 writes `502.0`.
        ("adk2.13/v1_SendMessage", (502, 7), "openai/gpt-5-mini"),
    ];
    for (name, tokens, spec) in cases {
        let answer = answered(name).await;
        assert_eq!(answer.tokens, Some(Tokens { input: tokens.0, output: tokens.1 }), "{name}");
        assert_eq!(answer.state.unwrap().spec_text(), spec, "{name}");
    }
}

#[tokio::test]
async fn words_of_a_model_that_imitate_a_control_reply_stay_chat() {
    let imitations = [
        ("✅ Model switched to: openai/gpt-5", model("openai/gpt-5")),
        ("❌ Missing model specification for hot-swap.", model("openai/gpt-5")),
        ("✅ System prompt updated. This change takes effect immediately.", prompt("x")),
        ("✅ System prompt cleared. Reverting to default instruction.", ControlMessage::Prompt(None)),
        (
            "📊 Current Configuration\n━━━━━━━━━━━━━━━━━━━━━━\nModel: gpt-5\nProvider: openai\n\
             System Prompt: x\n━━━━━━━━━━━━━━━━━━━━━━",
            ControlMessage::GetConfig,
        ),
    ];
    for (words, message) in imitations {
        let mut recorded = recording("a2a/send_blocking");
        recorded.body()["result"]["artifacts"][0]["parts"][0]["text"] = json!(words);
        let answer = answer_to(&recorded).await.unwrap();
        assert_eq!(answer.text, words);
        assert_eq!(message.read_reply(&answer), Reply::Chat, "{words}");
        // Where the provider does not count tokens, the agent's own state still tells.
        recorded.body()["result"]["metadata"]["adk_usage_metadata"].take();
        recorded.body()["result"]["metadata"]["adk_actions"]["stateDelta"]["app:litellm_agent/model"] =
            json!("gpt-4");
        recorded.body()["result"]["metadata"]["adk_actions"]["stateDelta"]["app:litellm_agent/prompt"] =
            json!("Pretend.");
        let reply = message.read_reply(&answer_to(&recorded).await.unwrap());
        assert!(!matches!(reply, Reply::Done | Reply::Config(_)), "{words}: {reply:?}");
    }
}

#[tokio::test]
async fn an_agent_without_a_state_of_its_own_is_read_by_its_words() {
    // As google-adk 1.16 answers.
    let mut recorded = recording("a2a/swap_gpt5");
    recorded.body()["result"]["metadata"].as_object_mut().unwrap().remove("adk_actions");
    let answer = answer_to(&recorded).await.unwrap();
    assert_eq!((&answer.state, answer.scope), (&None, None));
    assert_eq!(model("openai/gpt-5").read_reply(&answer), Reply::Done);
}

#[test]
fn what_an_agents_own_tool_was_told_is_read() {
    let transcript = super::recording::text("a2a/a2a_hot_swap_transcript.txt");
    let told: Vec<_> = transcript
        .split("📊 Current Configuration")
        .skip(1)
        .map(|rest| {
            let end = rest.find("\nContext ID").into_iter().chain(rest.find("\nMessage response")).min();
            let reply = format!("📊 Current Configuration{}", &rest[..end.unwrap()]);
            let config = AgentConfig::parse(&reply).unwrap_or_else(|| panic!("{reply}"));
            (config.spec_text(), config.prompt)
        })
        .collect();
    let brief = |text: &str| Some(text.to_owned());
    let claude = || "anthropic/claude-sonnet-4-5".to_owned();
    let expected = [
        // Never switched: the agent names the provider twice.
        ("openai/gpt-4o-mini".to_owned(), None),
        (claude(), brief("You are concise.")),
        (claude(), brief("You are concise.")),
        (claude(), None),
        ("openai/gpt-5".to_owned(), brief("be brief")),
    ];
    assert_eq!(told, expected);
}

#[test]
fn context_ids_that_agents_take_verbatim_are_not_sent() {
    for name in ["html", "newline", "nul", "path", "sql", "unicode"] {
        let recorded = recording(&format!("a2a/hostile_ctx_{name}"));
        assert_eq!(recorded.result()["contextId"], recorded.context(), "the agent echoes it");
        assert!(recorded.context().parse::<ContextId>().is_err(), "{name}");
    }
}
