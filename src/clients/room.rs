//! Large answers are read one at a time: one of the proxy's and one of the agents'. However many are asked for at
//! once, no more than two are held. Small answers wait for nothing.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clients::ClientError;

/// Up to this many bytes an answer is small, if it is made of few values as well. Answers that wait hold so much.
pub(super) const SMALL: usize = 256 * 1024;

/// What is reserved for a large answer, in bytes: more than any may have. It is taken as it is filled, without being
/// moved as it grows, and blocks beyond 32 MiB go back to the system at once: the C library keeps smaller ones.
pub(super) const ROOM_BYTES: usize = 33 * 1024 * 1024;

/// Longest wait for others' large answers, and longest time that one may take to come once it has room.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Where one large answer has room.
pub(super) struct Room {
    /// Whose answers these are: a name for errors.
    pub(super) server: &'static str,
    free: Semaphore,
}

/// For the proxy's answers.
pub(super) static PROXY: Room = Room::of("the proxy");

/// For all agents' answers.
pub(super) static AGENTS: Room = Room::of("the agent");

impl Room {
    const fn of(server: &'static str) -> Self {
        Self { server, free: Semaphore::const_new(1) }
    }

    /// Waits until no other large answer is read or held. It is left by dropping the permit.
    pub(super) async fn enter(&'static self) -> Result<SemaphorePermit<'static>, ClientError> {
        match tokio::time::timeout(PATIENCE, self.free.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(ClientError::Crowded { server: self.server }),
        }
    }
}
