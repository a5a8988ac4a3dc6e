//! Servers that lie and clients that attack: everything ends in time, stays small, says what is wrong and tells
//! no secret. What takes long or measures the process is ignored here and run by `tests/nightly`.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod bootstrap;
mod crash;
mod dashboard;
mod elsewhere;
pub(crate) mod everything;
mod liar;
mod limits;
mod matrix;
mod memory;
mod soak;
