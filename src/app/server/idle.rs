//! Connections that wait for a request. Where the server is full, the one that has waited longest is closed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Default)]
pub(super) struct Idle(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// The longest waiting first.
    connections: BTreeMap<u64, CancellationToken>,
}

impl Idle {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close_oldest(&self) {
        if let Some((_, cut)) = self.waiting().connections.pop_first() {
            cut.cancel();
        }
    }
}

/// One connection, which waits until its first request has come in whole.
pub(super) struct Connection {
    idle: Idle,
    pub(super) cut: CancellationToken,
    place: Mutex<Option<u64>>,
}

impl Connection {
    pub(super) fn new(idle: &Idle, cut: CancellationToken) -> Self {
        let connection = Self { idle: idle.clone(), cut, place: Mutex::default() };
        connection.wait();
        connection
    }

    fn place(&self) -> MutexGuard<'_, Option<u64>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) {
        let mut place = self.place();
        if place.is_none() {
            let mut waiting = self.idle.waiting();
            waiting.next += 1;
            let id = waiting.next;
            waiting.connections.insert(id, self.cut.clone());
            *place = Some(id);
        }
    }

    /// A request has come in whole.
    pub(super) fn work(&self) {
        if let Some(id) = self.place().take() {
            self.idle.waiting().connections.remove(&id);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.work();
    }
}

/// An answer, after whose last byte the connection waits again.
pub(super) struct Tracked {
    pub(super) body: Body,
    pub(super) connection: Arc<Connection>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.connection.wait();
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
