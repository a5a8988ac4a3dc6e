//! The proxy's virtual keys: a copy to look through, and everything that changes one.
//!
//! The copy is made in the background, a hundred keys a request and four requests at a time, and searched here
//! ([`table`] says why). The first page is shown as soon as it has come. A write through Patchbay is read back and
//! put into the copy, so that no write costs a new copy.

mod changes;
mod copy;
mod file;
mod issue;
mod replace;
pub mod table;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::{OnceCell, watch};

pub use self::changes::{Created, OldKey};
use self::copy::Fill;
pub use self::copy::KeysView;
pub use self::issue::Issue;
pub use self::replace::Replacement;
use crate::clients::ClientError;
use crate::clients::litellm::{KeyRecord, LiteLlm};
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::usage::{Call, DailySpend};
use crate::store::{Store, StoreError};
use patchbay_clock::Clock;

/// Most keys that are copied.
pub const MAX_KEYS: usize = 100_000;

pub const DAYS: i64 = 30;

const CALLS: u32 = 20;

type Result<T, E = KeyChangeError> = std::result::Result<T, E>;

/// A key was not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyChangeError {
    #[error("the proxy knows no such key")]
    Unknown,
    #[error("another key has this alias")]
    AliasTaken(KeyHash),
    #[error("the key was changed since the form was loaded")]
    Changed,
    #[error("this is the agent's own key: type its name to confirm")]
    NotConfirmed,
    #[error("the proxy answered well, but {0}")]
    NotDone(&'static str),
    #[error("the key has expired, so that the new one needs a duration of its own")]
    Expired,
    #[error(transparent)]
    Proxy(#[from] ClientError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    proxy: LiteLlm,
    store: Store,
    clock: Clock,
    /// The agent's own key, which is not deleted by mistake.
    agent_key: Option<KeyHash>,
    view: watch::Sender<KeysView>,
    fill: Mutex<Fill>,
    can_search: OnceCell<bool>,
    file: OnceLock<file::KeysFile>,
    restored: OnceCell<()>,
    fresh: Mutex<Vec<Fresh>>,
}

/// A new key's secret, until it was shown.
struct Fresh {
    hash: KeyHash,
    secret: SecretString,
    owner: String,
    since: Timestamp,
}

/// How long a new key's secret waits to be shown, and how many wait.
const FRESH_FOR: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);
const FRESH_AT_MOST: usize = 100;

impl Keys {
    /// The keys of `proxy`.
    pub fn new(proxy: LiteLlm, store: Store, clock: Clock, agent_key: Option<KeyHash>) -> Self {
        let inner = Inner {
            proxy,
            store,
            clock,
            agent_key,
            view: watch::Sender::new(KeysView::default()),
            fill: Mutex::default(),
            can_search: OnceCell::new(),
            file: OnceLock::new(),
            restored: OnceCell::new(),
            fresh: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub async fn key(&self, hash: &KeyHash) -> Result<Option<VirtualKey>, ClientError> {
        self.inner.proxy.key(hash).await
    }

    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub async fn record(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, ClientError> {
        self.inner.proxy.key_record(hash).await
    }

    /// Other keys that have a key's alias: its uniqueness is racy at the proxy.
    pub async fn duplicates(&self, key: &VirtualKey) -> Result<Vec<KeyHash>, ClientError> {
        let Some(alias) = key.alias.as_deref().filter(|alias| !alias.is_empty()) else {
            return Ok(Vec::new());
        };
        let all = self.inner.proxy.keys_by_alias(alias).await?;
        Ok(all.into_iter().map(|other| other.hash).filter(|hash| *hash != key.hash).collect())
    }

    /// The copy of one key and when it was made, for when the proxy does not answer.
    pub fn copy_of(&self, hash: &KeyHash) -> Option<(VirtualKey, Option<Timestamp>)> {
        let view = self.inner.view.borrow();
        Some((view.keys.get(hash)?, view.at))
    }

    /// Whether it is the agent's own key.
    pub fn is_agents(&self, hash: &KeyHash) -> bool {
        self.inner.agent_key.as_ref() == Some(hash)
    }

    /// What a key spent in the last [`DAYS`] days, one entry for each, the oldest first.
    pub async fn daily_spend(&self, hash: &KeyHash) -> Result<Vec<DailySpend>, ClientError> {
        let today = self.inner.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let first = today.checked_sub(jiff::Span::new().days(DAYS - 1)).unwrap_or(today);
        let known = self.inner.proxy.daily_spend(Some(hash), first, today).await?;
        Ok(DailySpend::every_day(known, first, today))
    }

    /// A key's last calls, the newest first.
    pub async fn calls(&self, hash: &KeyHash) -> Result<Vec<Call>, ClientError> {
        let now = self.inner.clock.now();
        let from = now - jiff::SignedDuration::from_hours(24 * DAYS);
        // The proxy's clock may be ahead.
        self.inner.proxy.calls(hash, from, now + jiff::SignedDuration::from_mins(5), CALLS).await
    }

    /// Keeps a new key's secret for `owner` to see once. In memory only: it is in no database, session, address,
    /// log or message.
    pub fn keep_secret(&self, hash: &KeyHash, secret: SecretString, owner: &str) {
        let since = self.inner.clock.now();
        let mut fresh = self.inner.fresh();
        fresh.retain(|kept| since.duration_since(kept.since) < FRESH_FOR);
        if fresh.len() >= FRESH_AT_MOST {
            fresh.remove(0);
        }
        fresh.push(Fresh { hash: hash.clone(), secret, owner: owner.to_owned(), since });
    }

    /// The secret of a new key, for whoever made it: the first time only.
    pub fn take_secret(&self, hash: &KeyHash, owner: &str) -> Option<SecretString> {
        let now = self.inner.clock.now();
        let mut fresh = self.inner.fresh();
        fresh.retain(|kept| now.duration_since(kept.since) < FRESH_FOR);
        let at = fresh.iter().position(|kept| kept.hash == *hash && kept.owner == owner)?;
        Some(fresh.remove(at).secret)
    }
}

impl Inner {
    fn fresh(&self) -> std::sync::MutexGuard<'_, Vec<Fresh>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
