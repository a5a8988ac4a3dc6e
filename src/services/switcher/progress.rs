//! How far a swap is.

use tokio::sync::watch;

use crate::domain::swap::{StepKind, Swap};

/// What is known of a swap so far.
pub type Watched = watch::Receiver<Progress>;

#[derive(Debug, Clone)]
pub struct Progress {
    pub swap: Swap,
    pub doing: Option<StepKind>,
    pub is_done: bool,
    pub is_lost: bool,
}

impl Progress {
    pub(super) fn begun(swap: Swap) -> Self {
        Self { swap, doing: None, is_done: false, is_lost: false }
    }

    pub(super) fn ended(swap: Swap) -> Self {
        Self { is_done: true, ..Self::begun(swap) }
    }

    /// The swap as it is stored.
    pub(super) fn stored(swap: Swap) -> Self {
        Self { is_done: swap.finished_at.is_some(), ..Self::begun(swap) }
    }

    pub(super) fn is_written(&self) -> bool {
        self.is_done && !self.is_lost
    }
}
