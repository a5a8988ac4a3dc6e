//! Servers that lie and clients that attack: everything ends in time, stays small, says what is wrong and tells
//! no secret.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod crash;
mod dashboard;
mod everything;
mod liar;
mod limits;
mod matrix;
mod memory;

/// Whether to try everything, as `tests/soak/run` does, and not a part that is quick.
fn is_long() -> bool {
    std::env::var_os("HOSTILE_LONG").is_some()
}
