//! The clients of proxy and agents, before recordings of the real servers (`tests/wire`).
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod agent_control;
mod agent_dialect;
mod agent_failures;
mod agent_shapes;
mod agent_stream;
mod bounds;
mod control_replies;
pub(crate) mod logged;
mod proxy_calls;
mod proxy_errors;
mod proxy_keys;
mod proxy_models;
mod proxy_probe;
mod recording;
mod replay;

use std::time::Duration;

use patchbay::clients::a2a::Agent;
use patchbay::clients::build_http;
use patchbay::clients::litellm::{LiteLlm, Timeouts};
use patchbay::domain::context::ContextId;

use self::replay::Replay;

const MASTER: &str = "sk-bed-master";
const GENERATIONS: [&str; 2] = ["1.80", "1.109"];

/// Long enough for a busy machine: no test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client of the proxy that `replay` plays.
fn proxy(replay: &Replay) -> LiteLlm {
    proxy_with(replay, MASTER)
}

fn proxy_with(replay: &Replay, master: &str) -> LiteLlm {
    LiteLlm::new(build_http().unwrap(), replay.url("/"), master.into(), timeouts(PATIENCE))
}

fn timeouts(each: Duration) -> Timeouts {
    Timeouts { admin: each, chat: each }
}

/// A client of the agent that `replay` plays, where the recorded ones stand.
fn agent(replay: &Replay) -> Agent {
    Agent::new(build_http().unwrap(), replay.url("/a2a/litellm_agent"))
}

fn context(id: &str) -> ContextId {
    id.parse().unwrap()
}
