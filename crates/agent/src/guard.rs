//! Checks the bearer token.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::StartError;

/// Hashes have the same length, so they can be compared in constant time.
#[derive(Clone)]
pub(super) struct Guard(Arc<[u8; 32]>);

impl Guard {
    pub(super) fn new(token: &SecretString) -> Result<Self, StartError> {
        let token = token.expose_secret();
        let good = HeaderValue::try_from(token).is_ok() && !token.is_empty() && token.trim() == token;
        if good { Ok(Self(Arc::new(digest(token.as_bytes())))) } else { Err(StartError::Token) }
    }

    fn admits(&self, request: &Request) -> bool {
        let given = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let token = given.and_then(|given| {
            let (scheme, token) = given.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
        });
        token.is_some_and(|token| digest(token).ct_eq(&*self.0).into())
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.admits(&request) {
        return next.run(request).await;
    }
    let error = json!({"code": -32600, "message": "Invalid request: a bearer token is required"});
    let body = Json(json!({"jsonrpc": "2.0", "id": null, "error": error}));
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], body).into_response()
}
