//! The proxy's answers.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use patchbay::clients::build_http;
use patchbay::clients::litellm::{LiteLlm, Timeouts};
use patchbay::domain::calls::ModelCall;
use patchbay_fuzz::{Echo, runtime};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static WORLD: OnceLock<(Echo, LiteLlm)> = OnceLock::new();
    let (server, proxy) = WORLD.get_or_init(|| {
        let server = Echo::new("application/json");
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { admin: second, chat: second };
        let http = build_http().unwrap();
        let proxy = LiteLlm::new(http, server.url.clone(), "sk-master-1".into(), timeouts);
        (server, proxy)
    });
    server.say(input);
    runtime().block_on(async {
        let (hash, call) = ("ab".repeat(32).parse().unwrap(), ModelCall::chat("openai/gpt-5"));
        let _ = proxy.deployments().await;
        let _ = proxy.details().await;
        let _ = proxy.keys(1).await;
        let _ = proxy.key_record(&hash).await;
        let _ = proxy.health().await;
        let _ = proxy.global_spend().await;
        let _ = proxy.probe(&"sk-agent-1".into(), &call).await;
    });
});
