//! Large answers have room for a while, and wait for it: they are read one at a time of each server, at most so many
//! at a time of all servers of a kind, and once whole one at a time is made use of. However many are asked for at
//! once, no more are held, and a server that is slow keeps waiting who asks that one. Small answers wait for nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::clients::ClientError;

/// Up to this many bytes an answer is small, if it is made of few values as well. Answers that wait hold so much.
pub(super) const SMALL: usize = 256 * 1024;

/// What is reserved for a large answer, in bytes: more than any may have. It is taken as it is filled, without being
/// moved as it grows, and blocks beyond 32 MiB go back to the system at once: the C library keeps smaller ones.
pub(super) const ROOM_BYTES: usize = 33 * 1024 * 1024;

/// Longest wait for others' large answers, and longest time that one may take to come once it has room.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What servers of one kind share.
#[derive(Debug)]
struct Shared {
    /// Whose answers these are: a name for errors.
    server: &'static str,
    /// Large answers that come.
    coming: Semaphore,
    /// Those that have come, and become values.
    whole: Semaphore,
}

/// An answer of the proxy may have 32 MiB.
static PROXY: Shared = Shared::of("the proxy", 1);

/// One of an agent may have 8 MiB.
static AGENTS: Shared = Shared::of("the agent", 4);

impl Shared {
    const fn of(server: &'static str, at_once: usize) -> Self {
        Self { server, coming: Semaphore::const_new(at_once), whole: Semaphore::const_new(1) }
    }
}

/// Where the large answers of one server have room. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Room {
    own: Arc<Semaphore>,
    shared: &'static Shared,
}

/// Room for an answer that comes. It is left by dropping it.
#[derive(Debug)]
pub(super) struct Coming {
    _own: OwnedSemaphorePermit,
    _shared: SemaphorePermit<'static>,
}

/// Room for an answer that is whole. It is left by dropping it.
#[derive(Debug)]
pub(super) struct Whole(#[expect(dead_code, reason = "holding it is its use")] SemaphorePermit<'static>);

impl Room {
    /// For the proxy.
    pub(super) fn of_proxy() -> Self {
        Self::new(&PROXY)
    }

    /// For one agent.
    pub(super) fn of_agent() -> Self {
        Self::new(&AGENTS)
    }

    fn new(shared: &'static Shared) -> Self {
        Self { own: Arc::new(Semaphore::new(1)), shared }
    }

    /// The server's name for errors.
    pub(super) fn server(&self) -> &'static str {
        self.shared.server
    }

    /// Waits until no other large answer of this server comes, and few of others do.
    pub(super) async fn enter(&self) -> Result<Coming, ClientError> {
        self.patiently(async {
            // Who waits for a slow server must not take a place from those who ask others.
            let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
            Some(Coming { _own: own, _shared: self.shared.coming.acquire().await.ok()? })
        })
        .await
    }

    /// Waits until no other answer is made use of, which takes no longer than computing does.
    pub(super) async fn close(&self) -> Result<Whole, ClientError> {
        self.patiently(async { Some(Whole(self.shared.whole.acquire().await.ok()?)) }).await
    }

    async fn patiently<T>(&self, room: impl Future<Output = Option<T>>) -> Result<T, ClientError> {
        let entered = tokio::time::timeout(PATIENCE, room).await;
        entered.ok().flatten().ok_or(ClientError::Crowded { server: self.server() })
    }
}
