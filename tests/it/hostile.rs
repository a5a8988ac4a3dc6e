//! Servers that lie and clients that attack: everything ends in time, stays small, says what is wrong and tells
//! no secret.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod bootstrap;
mod crash;
mod dashboard;
mod elsewhere;
pub(crate) mod everything;
mod fuzz;
mod liar;
mod limits;
mod matrix;
mod memory;
mod soak;

use std::sync::atomic::{AtomicUsize, Ordering};

/// Panics of our own code, wherever they were caught.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.location().is_some_and(|place| place.file().starts_with("src/")) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
}

fn panics() -> usize {
    PANICS.load(Ordering::SeqCst)
}

/// Whether to try everything, as `tests/soak/run` does, and not a part that is quick.
fn is_long() -> bool {
    std::env::var_os("HOSTILE_LONG").is_some()
}
