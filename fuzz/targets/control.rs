//! Control messages and replies, and what is taken out of texts.
#![no_main]

use patchbay::domain::context::ContextId;
use patchbay::domain::control::{AgentConfig, ControlMessage, Prompt, looks_like_control};
use patchbay::domain::model::ModelSpec;
use patchbay::domain::redact;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    if let Ok(spec) = text.parse::<ModelSpec>() {
        let sent = ControlMessage::Model(spec).to_text();
        assert!(looks_like_control(&sent) && !sent.contains(char::is_control));
    }
    if let Ok(prompt) = text.parse::<Prompt>() {
        assert!(looks_like_control(&ControlMessage::Prompt(Some(prompt)).to_text()));
    }
    assert!(!looks_like_control(&text) || text.to_ascii_uppercase().contains("HOTSWAP"));
    let _ = AgentConfig::parse(&text);
    let _ = text.parse::<ContextId>();
    let clean = redact::secrets(&text);
    assert_eq!(redact::secrets(&clean), clean, "what is clean stays as it is");
    assert!(!redact::error_text(&text).contains(char::is_control));
});
