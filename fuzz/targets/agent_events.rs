//! An agent's events.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use patchbay::clients::{a2a::Agent, build_http};
use patchbay_fuzz::{Echo, runtime};
use tokio::sync::watch;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static WORLD: OnceLock<(Echo, Agent)> = OnceLock::new();
    let (server, agent) = WORLD.get_or_init(|| {
        let server = Echo::new("text/event-stream");
        let agent = Agent::new(build_http().unwrap(), server.url.clone());
        (server, agent)
    });
    server.say(input);
    runtime().block_on(async {
        let progress = watch::Sender::default();
        let _ = agent.ask(&"c".parse().unwrap(), "hi", Duration::from_millis(20), &progress).await;
    });
});
