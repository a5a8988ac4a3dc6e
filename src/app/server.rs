//! An HTTP/1.1 server with limits against slow and malicious clients, which `axum::serve` lacks.

mod idle;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, Version, header};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use futures_util::{StreamExt as _, stream};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::csrf::CsrfLayer;

use self::idle::{Connection, Idle, Tracked};
use crate::config::Hosts;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub head: Duration,
    pub body: Duration,
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: Duration::from_secs(30), body: Duration::from_mins(2), connections: 12_000 }
    }
}

/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// Limit for unacknowledged data and between keepalive probes.
const PEER_TIMEOUT: Duration = Duration::from_mins(1);

/// Pause after a failed accept, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Grace period for requests after `stop`.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Serves `router` until `stop`.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    serve_within(listener, router, stop, Limits::default()).await;
    Ok(())
}

pub async fn serve_within(listener: TcpListener, router: Router, stop: CancellationToken, limits: Limits) {
    let (free, running) = (Arc::new(Semaphore::new(limits.connections)), TaskTracker::new());
    let (cut, idle) = (CancellationToken::new(), Idle::default());
    // The semaphore is never closed.
    while let Some(Ok(room)) = stop.run_until_cancelled(Arc::clone(&free).acquire_owned()).await {
        if free.available_permits() == 0 {
            idle.close_oldest();
        }
        let (stream, peer) = match stop.run_until_cancelled(listener.accept()).await {
            None => break,
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) if is_client_error(&error) => continue,
            Some(Err(error)) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (router, stop) = (router.clone(), stop.clone());
        let connection = Connection::new(&idle, cut.child_token());
        running.spawn(async move {
            let cut = connection.cut.clone();
            cut.run_until_cancelled(serve_connection(stream, peer, router, stop, limits, connection)).await;
            drop(room);
        });
    }
    drop(listener);
    running.close();
    if tokio::time::timeout(SHUTDOWN_GRACE, running.wait()).await.is_err() {
        tracing::debug!(connections = running.len(), "connections are cut that did not end");
        cut.cancel();
        running.wait().await;
    }
}

fn is_client_error(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    stop: CancellationToken,
    limits: Limits,
    connection: Connection,
) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "a connection keeps the system's defaults");
    }
    let connection = Arc::new(connection);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (router, connection) = (router.clone(), Arc::clone(&connection));
        async move {
            if !names_one_host(&request) {
                return Ok::<_, Infallible>(
                    (StatusCode::BAD_REQUEST, "One Host header is needed.\n").into_response(),
                );
            }
            request.extensions_mut().insert(ConnectInfo(peer));
            let reading = Arc::clone(&connection);
            let answer = router.oneshot(request.map(|body| with_deadline(body, limits.body, reading)));
            let answer = answer.await.unwrap_or_else(|never| match never {});
            Ok(answer.map(|body| Body::new(Tracked { body, connection })))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES)
        .max_header_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection broke");
    }
}

/// Refuses requests by other host names, and changes that pages of other sites ask for: for servers without a login.
pub fn guard(router: Router, hosts: Hosts) -> Router {
    router.layer(CsrfLayer::new()).layer(from_fn(move |request: Request, next: Next| {
        let is_good = hosts.allow(request.headers());
        async move {
            if is_good {
                return next.run(request).await;
            }
            let why =
                "This server does not answer to the host name of this request: --hosts has the names.\n";
            (StatusCode::MISDIRECTED_REQUEST, why).into_response()
        }
    }))
}

/// RFC 9112, section 3.2: a reverse proxy may have used another one of several.
fn names_one_host(request: &Request<Incoming>) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11)
}

/// Limits the time for the whole body.
fn with_deadline(body: Incoming, limit: Duration, connection: Arc<Connection>) -> Body {
    if body.is_end_stream() {
        connection.work();
        return Body::empty();
    }
    let until = Instant::now() + limit;
    let start = (Body::new(body).into_data_stream(), connection);
    let frames = stream::unfold(start, move |(mut body, connection)| async move {
        let next = match timeout_at(until, body.next()).await {
            Ok(Some(next)) => next.map_err(std::io::Error::other),
            Ok(None) => {
                connection.work();
                return None;
            }
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        Some((next, (body, connection)))
    });
    Body::from_stream(frames)
}

fn tune(stream: &TcpStream) -> std::io::Result<()> {
    // Nagle's algorithm delays small answers by about 40 ms.
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(PEER_TIMEOUT))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))?;
    Ok(())
}
