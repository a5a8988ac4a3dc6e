//! What the targets share: a runtime, and a server that answers whatever was made up.

use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use url::Url;

/// One runtime for all inputs.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_current_thread().enable_all().build().unwrap())
}

/// Serves a router on a free port for as long as the process lives.
pub async fn serve(router: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(patchbay::app::serve(listener, router, CancellationToken::new()));
    url
}

/// A server whose every answer is the same.
pub struct Echo {
    pub url: Url,
    body: Arc<Mutex<Vec<u8>>>,
}

impl Echo {
    pub fn new(kind: &'static str) -> Self {
        let body = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::clone(&body);
        let router = Router::new().fallback(move || {
            let body = answer.lock().unwrap().clone();
            async move { ([("content-type", kind)], body) }
        });
        Self { url: runtime().block_on(serve(router)), body }
    }

    pub fn say(&self, body: &[u8]) {
        body.clone_into(&mut self.body.lock().unwrap());
    }
}
