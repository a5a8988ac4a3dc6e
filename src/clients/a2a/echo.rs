//! An agent may repeat the credentials that it is sent, in an error or in an answer.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::agent::Credentials;

/// Shorter texts occur in ordinary words.
const MIN: usize = 6;

/// What is taken out of all that an agent sends.
#[derive(Debug, Clone, Default)]
pub(super) struct Echo(Arc<[SecretString]>);

impl Echo {
    /// The header's value, what stands behind its scheme, and of a Basic one user and password.
    pub(super) fn of(credentials: &Credentials) -> Self {
        let value = credentials.value.expose_secret();
        let token = value.split_once(' ').map(|(_, token)| token);
        let decoded = token.and_then(|token| String::from_utf8(STANDARD.decode(token).ok()?).ok());
        let password =
            decoded.as_ref().and_then(|pair| pair.split_once(':')).map(|(_, word)| word.to_owned());
        let mut all: Vec<String> = [Some(value.to_owned()), token.map(str::to_owned), decoded, password]
            .into_iter()
            .flatten()
            .filter(|secret| secret.len() >= MIN)
            .collect();
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(all.into_iter().map(SecretString::from).collect())
    }

    /// Looks through a whole answer, of up to 8 MiB: `redact::known`, which finds other forms of a secret as well, takes a
    /// multiple of its size in memory.
    pub(super) fn remove(&self, text: &mut Vec<u8>) {
        for secret in &*self.0 {
            let secret = secret.expose_secret();
            if memmem::find(text, secret.as_bytes()).is_some() {
                *text = String::from_utf8_lossy(text).replace(secret, "[redacted]").into_bytes();
            }
        }
    }
}
