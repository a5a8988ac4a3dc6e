//! The one way to change something upstream: an intent is noted before the call, and the end of its audit entry is
//! committed together with our own rows. An intent whose process is gone ends as `unknown`.

use std::fmt::Display;

use crate::domain::audit::NewEntry;
use crate::services::locks::Held;
use crate::store::{Fenced, OwnRow, Store, StoreError};

/// What is recorded of a change, completed while it is made.
pub(super) struct Record {
    pub(super) entry: NewEntry,
    /// Written with the entry's end, whether or not the change succeeds.
    pub(super) rows: Vec<OwnRow>,
    /// The lock of what is changed.
    pub(super) held: Option<Held>,
}

impl Record {
    /// Succeeds where the lock is still held. To be called directly before the change is sent: this process may have been
    /// paused since it read what is there.
    pub(super) async fn check(&self) -> Result<(), Fenced> {
        match &self.held {
            Some(held) => held.check().await,
            None => Ok(()),
        }
    }
}

/// Why a change was not made.
pub(super) trait Failure: Display + From<StoreError> {
    /// Whether a check said no, so that nothing was sent.
    fn is_refusal(&self) -> bool {
        false
    }
}

/// Makes a change by `work`. Its entry ends as it stands in the record after a success, and as `refused` or `failed`
/// with the reason after a failure.
pub(super) async fn journaled<T, E: Failure>(
    store: &Store,
    entry: NewEntry,
    work: impl AsyncFnOnce(&mut Record) -> Result<T, E>,
) -> Result<T, E> {
    let intent = store.begin_write(&entry).await?;
    let mut record = Record { entry, rows: Vec::new(), held: None };
    // On the heap: in a debug build the futures of several calls do not fit on the stack.
    let result = Box::pin(work(&mut record)).await;
    let Record { mut entry, rows, held } = record;
    if let Err(error) = &result {
        let outcome = if error.is_refusal() { "refused" } else { "failed" };
        outcome.clone_into(&mut entry.outcome);
        entry.add_detail(&error.to_string());
    }
    store.end_write(intent, &entry, &rows).await?;
    drop(held);
    result
}
