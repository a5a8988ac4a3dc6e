//! An agent's card, answers and lists.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use patchbay::clients::{a2a::Agent, build_http};
use patchbay_fuzz::{Echo, runtime};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static WORLD: OnceLock<(Echo, Agent)> = OnceLock::new();
    let (server, agent) = WORLD.get_or_init(|| {
        let server = Echo::new("application/json");
        let agent = Agent::new(build_http().unwrap(), server.url.clone());
        (server, agent)
    });
    server.say(input);
    runtime().block_on(async {
        let _ = agent.card().await;
        // A task that says it is working is asked for again until the time is over.
        let _ = agent.send(&"c".parse().unwrap(), "hi", Duration::from_millis(20)).await;
        let _ = agent.list_contexts().await;
    });
});
