//! Pages that go on while something runs: a piece of HTML for each change, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;

/// How often a comment is sent where nothing changes, so that nothing on the way closes the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Shortest time between two pieces: a fast answer is not sent token by token.
const PAUSE: Duration = Duration::from_millis(60);

/// An event `html` with what `render` makes of each change, and `end` behind the last one.
pub(super) fn html_events<T, R, D>(changes: watch::Receiver<T>, render: R, is_done: D) -> Response
where
    T: Clone + Send + Sync + 'static,
    R: Fn(&T) -> askama::Result<String> + Send + 'static,
    D: Fn(&T) -> bool + Send + 'static,
{
    enum Next<T> {
        Now(watch::Receiver<T>),
        Change(watch::Receiver<T>),
        End,
        Over,
    }
    let events =
        stream::unfold((Next::Now(changes), render, is_done), |(next, render, is_done)| async move {
            let mut changes = match next {
                Next::Now(changes) => changes,
                Next::Change(mut changes) => {
                    tokio::time::sleep(PAUSE).await;
                    if changes.changed().await.is_err() {
                        return Some((Ok(end()), (Next::Over, render, is_done)));
                    }
                    changes
                }
                Next::End => return Some((Ok(end()), (Next::Over, render, is_done))),
                Next::Over => return None,
            };
            let value = changes.borrow_and_update().clone();
            let html = render(&value).unwrap_or_default();
            let next = if is_done(&value) { Next::End } else { Next::Change(changes) };
            Some((Ok::<_, Infallible>(Event::default().event("html").data(html)), (next, render, is_done)))
        });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert("X-Accel-Buffering", HeaderValue::from_static("no"));
    response
}

/// Tells the page to close the connection, which a browser would otherwise open again.
fn end() -> Event {
    Event::default().event("end").data("end")
}
