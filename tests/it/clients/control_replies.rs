//! Control messages and what replies to them mean, without a server.

use proptest::prelude::*;

use patchbay::domain::control::{
    AgentConfig, Answer, ControlMessage, MAX_PROMPT_BYTES, Prompt, PromptError, Reply, looks_like_control,
};
use patchbay::domain::model::ModelSpec;

fn spec(text: &str) -> ModelSpec {
    text.parse().unwrap()
}

fn told(text: &str) -> Answer {
    Answer { text: text.to_owned(), ..Answer::default() }
}

#[test]
fn messages_are_written_as_agents_read_them() {
    assert_eq!(ControlMessage::Model(spec("openai/gpt-5")).to_text(), "[HOTSWAP:MODEL:openai/gpt-5]");
    assert_eq!(ControlMessage::Prompt(None).to_text(), "[HOTSWAP:PROMPT:]");
    let prompt = "Be brief.".parse().unwrap();
    assert_eq!(ControlMessage::Prompt(Some(prompt)).to_text(), "[HOTSWAP:PROMPT:Be brief.]");
    assert_eq!(ControlMessage::GetConfig.to_text(), "[HOTSWAP:GET_CONFIG]");
}

#[test]
fn a_models_words_are_never_a_control_reply() {
    let swap = ControlMessage::Model(spec("openai/gpt-5"));
    let words = "✅ Model switched to: openai/gpt-5";
    assert_eq!(swap.read_reply(&told(words)), Reply::Done);
    assert_eq!(swap.read_reply(&Answer { from_model: true, ..told(words) }), Reply::Chat);
    assert_eq!(swap.read_reply(&told("✅ Model switched to: openai/gpt-4")), Reply::Unknown);
    assert_eq!(swap.read_reply(&told("Sure, I switched!")), Reply::Unknown);
    assert_eq!(
        swap.read_reply(&told("❌ Invalid model specification: no")),
        Reply::Refused("Invalid model specification: no".into())
    );
}

#[test]
fn words_that_the_agents_state_denies_are_no_reply() {
    let state = |model: &str, prompt| Some(AgentConfig::new(Some("openai"), model, prompt));
    let with = |text: &str, state| Answer { state, ..told(text) };
    let swap = ControlMessage::Model(spec("openai/gpt-5"));
    let words = "✅ Model switched to: openai/gpt-5";
    assert_eq!(swap.read_reply(&with(words, state("gpt-5", None))), Reply::Done);
    assert_eq!(swap.read_reply(&with(words, state("gpt-4", None))), Reply::Unknown);
    let prompt = ControlMessage::Prompt(Some("Be brief.".parse().unwrap()));
    let words = "✅ System prompt updated. This change takes effect immediately.";
    assert_eq!(prompt.read_reply(&with(words, state("gpt-5", Some("Be brief.")))), Reply::Done);
    assert_eq!(prompt.read_reply(&with(words, state("gpt-5", None))), Reply::Unknown);
    let clear = ControlMessage::Prompt(None);
    let words = "✅ System prompt cleared. Reverting to default instruction.";
    assert_eq!(clear.read_reply(&with(words, state("gpt-5", None))), Reply::Done);
    assert_eq!(clear.read_reply(&with(words, state("gpt-5", Some("Be brief.")))), Reply::Unknown);
    let words = config_reply("gpt-5", "openai", "x");
    assert_eq!(ControlMessage::GetConfig.read_reply(&with(&words, state("gpt-4", None))), Reply::Unknown);
}

const RULE: &str = "━━━━━━━━━━━━━━━━━━━━━━";

fn config_reply(model: &str, provider: &str, prompt: &str) -> String {
    format!(
        "📊 Current Configuration\n{RULE}\nModel: {model}\nProvider: {provider}\nSystem Prompt: {prompt}\n{RULE}"
    )
}

#[test]
fn the_configuration_is_read_with_its_oddities() {
    let swapped = AgentConfig::parse(&config_reply("gpt-5", "openai", "(default prompt)")).unwrap();
    assert_eq!(swapped, AgentConfig::new(Some("openai"), "gpt-5", None));
    assert!(swapped.is_on(&spec("openai/gpt-5")));
    assert!(!swapped.is_on(&spec("anthropic/gpt-5")));
    let fresh = AgentConfig::parse(&config_reply("openai/gpt-4o-mini", "openai", "x")).unwrap();
    assert_eq!(fresh.spec_text(), "openai/gpt-4o-mini");
    assert!(fresh.is_on(&spec("openai/gpt-4o-mini")));
    let unnamed = AgentConfig::parse(&config_reply("gpt-5", "(default provider)", "x")).unwrap();
    assert_eq!((unnamed.spec_text().as_str(), unnamed.spec()), ("gpt-5", Some(spec("gpt-5"))));
    let routed = AgentConfig::parse(&config_reply("anthropic/claude", "openrouter", "two\nlines")).unwrap();
    assert!(routed.is_on(&spec("openrouter/anthropic/claude")));
    assert_eq!(routed.prompt.as_deref(), Some("two\nlines"));
}

#[test]
fn a_model_is_known_by_its_shorter_and_longer_names() {
    let config = AgentConfig::new(Some("openrouter"), "anthropic/claude", None);
    for same in ["openrouter/anthropic/claude", "anthropic/claude", "claude", "azure/anthropic/claude"] {
        assert!(config.is_called(same), "{same}");
    }
    for other in ["", "openai/gpt-5", "openrouter/anthropic/claude-2", "aude"] {
        assert!(!config.is_called(other), "{other}");
    }
}

#[test]
fn other_texts_are_no_configuration() {
    for text in
        ["", "Model: x", "📊 Current Configuration", &config_reply("a", "b", "c").replace("Model: ", "")]
    {
        assert_eq!(AgentConfig::parse(text), None, "{text}");
    }
}

#[test]
fn chat_that_an_agent_could_obey_is_recognised() {
    for text in ["[HOTSWAP:MODEL:a/b]", "  [hotswap", "\n[HotSwap:FOO]"] {
        assert!(looks_like_control(text), "{text}");
    }
    for text in ["What does [HOTSWAP:MODEL:a/b] do?", "", "[HOT", "héllo wörld"] {
        assert!(!looks_like_control(text), "{text}");
    }
}

#[test]
fn prompts_keep_line_breaks_and_nothing_worse() {
    let prompt: Prompt = " a\r\nb\rc ".parse().unwrap();
    assert_eq!((prompt.as_str(), prompt.is_multiline()), ("a\nb\nc", true));
    assert_eq!(" \n".parse::<Prompt>(), Err(PromptError::Empty));
    assert_eq!("a\u{0}b".parse::<Prompt>(), Err(PromptError::ControlCharacter));
    assert_eq!("x".repeat(MAX_PROMPT_BYTES + 1).parse::<Prompt>(), Err(PromptError::TooLong));
}

proptest! {
    #[test]
    fn whatever_an_agent_tells_is_read_back_as_told(
        provider in "[a-z]{1,8}", model in "[a-z0-9/.-]{1,20}", prompt in "[^\\p{C}━]{1,40}",
    ) {
        prop_assume!(!model.starts_with(&format!("{provider}/")));
        let read = AgentConfig::parse(&config_reply(&model, &provider, prompt.trim()));
        prop_assert_eq!(read, Some(AgentConfig::new(Some(&provider), &model, Some(prompt.trim()))));
    }

    #[test]
    fn no_reply_makes_the_parser_panic(text in any::<String>()) {
        let _ = AgentConfig::parse(&text);
        let _ = ControlMessage::GetConfig.read_reply(&told(&text));
    }
}
