//! Bounds the memory that large responses take, however many are asked for at once.
//!
//! A large response is downloaded one at a time per server, and a few at a time per kind of server; once complete,
//! one at a time is decoded. Small responses wait for nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::clients::{ClientError, Result, Upstream};

/// Responses up to this many bytes are small, if they have few values as well.
pub(super) const SMALL_BYTES: usize = 256 * 1024;

/// Buffer of a large response, in bytes: more than any may have. It is filled without being moved, and blocks above
/// 32 MiB go back to the system at once, where the C library keeps smaller ones.
pub(super) const BUFFER_BYTES: usize = 33 * 1024 * 1024;

/// Longest wait for a permit, and longest download of a large response.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(10);

/// What servers of one kind share.
#[derive(Debug)]
struct Shared {
    upstream: Upstream,
    downloads: Semaphore,
    decoding: Semaphore,
}

/// A response of the proxy may have 32 MiB, one of an agent 8 MiB.
static PROXY: Shared = Shared::new(Upstream::Proxy, 1);
static AGENTS: Shared = Shared::new(Upstream::Agent, 4);

impl Shared {
    const fn new(upstream: Upstream, downloads: usize) -> Self {
        let (downloads, decoding) = (Semaphore::const_new(downloads), Semaphore::const_new(1));
        Self { upstream, downloads, decoding }
    }
}

/// The limiter of one server. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct LargeResponseLimiter {
    own: Arc<Semaphore>,
    shared: &'static Shared,
}

#[derive(Debug)]
pub(super) struct DownloadPermit {
    _own: OwnedSemaphorePermit,
    _shared: SemaphorePermit<'static>,
}

#[derive(Debug)]
pub(super) struct DecodePermit(#[expect(dead_code, reason = "held until dropped")] SemaphorePermit<'static>);

impl LargeResponseLimiter {
    pub(super) fn new(upstream: Upstream) -> Self {
        let shared = match upstream {
            Upstream::Proxy => &PROXY,
            Upstream::Agent => &AGENTS,
        };
        Self { own: Arc::new(Semaphore::new(1)), shared }
    }

    pub(super) fn upstream(&self) -> Upstream {
        self.shared.upstream
    }

    pub(super) async fn download_permit(&self) -> Result<DownloadPermit> {
        self.within_max_wait(async {
            // The server's own permit first: waiting for a slow server must not take a shared one from others.
            let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
            Some(DownloadPermit { _own: own, _shared: self.shared.downloads.acquire().await.ok()? })
        })
        .await
    }

    pub(super) async fn decode_permit(&self) -> Result<DecodePermit> {
        self.within_max_wait(async { Some(DecodePermit(self.shared.decoding.acquire().await.ok()?)) }).await
    }

    async fn within_max_wait<T>(&self, permit: impl Future<Output = Option<T>>) -> Result<T> {
        let permit = tokio::time::timeout(MAX_WAIT, permit).await.ok().flatten();
        permit.ok_or(ClientError::Overloaded { upstream: self.upstream() })
    }
}
