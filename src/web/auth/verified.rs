//! Names and passwords that were right a moment ago, so that a script's next request does not wait for the
//! hash again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;
use sha2::Sha256;
use sha2::digest::Digest as _;
use tokio::sync::Mutex as AsyncMutex;

use super::Credentials;

/// How long they count as right.
const LIFETIME: SignedDuration = SignedDuration::from_secs(60);

/// Most that are kept.
const MAX: usize = 1024;

type Digest = [u8; 32];

/// An account's tag, which says which password it was.
type Tag = [u8; 32];

/// What is kept of them: a hash with a key that nobody knows, and which password it was.
pub(super) struct Verified {
    key: [u8; 32],
    entries: Mutex<HashMap<Digest, (Timestamp, Tag)>>,
    turns: Mutex<HashMap<Digest, Arc<AsyncMutex<()>>>>,
}

/// The turn of equal names and passwords: of many that a script sends at once the first is checked for all.
pub(super) struct Turn<'a> {
    verified: &'a Verified,
    digest: Digest,
    pub(super) lock: Arc<AsyncMutex<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.verified.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // This one and the table's.
        if Arc::strong_count(&self.lock) == 2 {
            turns.remove(&self.digest);
        }
    }
}

impl Verified {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        for half in key.chunks_exact_mut(16) {
            half.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        }
        Self { key, entries: Mutex::default(), turns: Mutex::default() }
    }

    fn hash(&self, credentials: &Credentials) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(credentials.username.len().to_le_bytes());
        hash.update(&credentials.username);
        hash.update(credentials.password.expose_secret());
        hash.finalize().into()
    }

    pub(super) fn turn(&self, credentials: &Credentials) -> Turn<'_> {
        let digest = self.hash(credentials);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = Arc::clone(turns.entry(digest).or_default());
        Turn { verified: self, digest, lock }
    }

    pub(super) fn tag(&self, credentials: &Credentials, now: Timestamp) -> Option<[u8; 32]> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, tag) = entries.get(&self.hash(credentials))?;
        (now.duration_since(*at).abs() < LIFETIME).then_some(*tag)
    }

    pub(super) fn note(&self, credentials: &Credentials, tag: [u8; 32], now: Timestamp) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX {
            entries.retain(|_, (at, _)| now.duration_since(*at).abs() < LIFETIME);
        }
        if entries.len() >= MAX {
            entries.clear();
        }
        entries.insert(self.hash(credentials), (now, tag));
    }
}
