//! The proxy's virtual keys: a copy to look through, and everything that changes one.
//!
//! The copy is made in the background, a hundred keys a request and four requests at a time, and searched here
//! ([`table`] says why). The first page is shown as soon as it has come. A write through Patchbay is read back and
//! put into the copy, so that no write costs a new copy.

mod changes;
mod copy;
mod file;
mod issue;
mod once;
mod renew;
mod replace;
mod rules;
pub mod table;

use std::sync::{Arc, Mutex, OnceLock};

use jiff::Timestamp;
use tokio::sync::{OnceCell, watch};

pub use self::changes::{Created, OldKey};
use self::copy::Fill;
pub use self::copy::KeysView;
pub use self::issue::Issue;
pub use self::renew::EXTENSION;
pub use self::replace::Replacement;
pub use self::rules::{RulesCopy, RulesSource};
use crate::clients::ClientError;
use crate::clients::litellm::{KeyRecord, LiteLlm};
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::usage::{Call, DailySpend};
use crate::services::agents::Agents;
use crate::services::locks::Locks;
use crate::store::{Fenced, LockError, Store, StoreError};
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
    #[error("this form was sent before")]
    Sent(Option<KeyHash>),
    #[error("this is the agent's own key: type its name to confirm")]
    NotConfirmed,
    #[error("the key is being changed: {0}")]
    Busy(#[from] LockError),
    #[error("nothing was changed: {0}")]
    Fenced(#[from] Fenced),
    #[error("LiteLLM {release} cannot clear: {}", settings.join(", "))]
    CannotClear { settings: Vec<&'static str>, release: String },
    #[error("the proxy answered well, but did not take: {}", .0.join(", "))]
    NotTaken(Vec<&'static str>),
    #[error(
        "the proxy did not answer in time, and now has a key of this alias with an unknown secret: delete it"
    )]
    Lost(KeyHash),
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
    /// Whose keys are not deleted by mistake.
    agents: Option<Agents>,
    view: watch::Sender<KeysView>,
    fill: Mutex<Fill>,
    can_search: OnceCell<bool>,
    file: OnceLock<file::KeysFile>,
    restored: OnceCell<()>,
    rules: RulesCopy,
    /// A key is read, compared and written by one at a time.
    locks: Locks,
}

impl Keys {
    /// The keys of `proxy`.
    pub fn new(proxy: LiteLlm, store: Store, clock: Clock, agents: Option<Agents>) -> Self {
        let inner = Inner {
            locks: Locks::new(&store),
            rules: RulesCopy::new(RulesSource(proxy.clone()), clock.clone()),
            proxy,
            store,
            clock,
            agents,
            view: watch::Sender::new(KeysView::default()),
            fill: Mutex::default(),
            can_search: OnceCell::new(),
            file: OnceLock::new(),
            restored: OnceCell::new(),
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

    /// Whether an agent of the settings uses the key.
    pub fn is_agents(&self, hash: &KeyHash) -> bool {
        self.inner.is_agents(hash)
    }

    /// Whether a key is an agent's own, or was used in the last seven days. Releases that do not tell of use count as
    /// not used.
    pub fn is_in_use(&self, key: &VirtualKey) -> bool {
        self.inner.is_in_use(key)
    }

    /// What a key spent in the last [`DAYS`] days, one entry for each, the oldest first.
    pub async fn daily_spend(&self, hash: &KeyHash) -> Result<Vec<DailySpend>, ClientError> {
        let today = self.inner.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let first = today.checked_sub(jiff::Span::new().days(DAYS - 1)).unwrap_or(today);
        let known = self.inner.proxy.daily_spend(Some(hash), first, today).await?;
        Ok(DailySpend::every_day(known, first, today))
    }

    /// A key's last calls, the newest first; none where the proxy's release has no log of them.
    pub async fn calls(&self, hash: &KeyHash) -> Result<Option<Vec<Call>>, ClientError> {
        let now = self.inner.clock.now();
        let from = now - jiff::SignedDuration::from_hours(24 * DAYS);
        // The proxy's clock may be ahead.
        self.inner.proxy.calls(hash, from, now + jiff::SignedDuration::from_mins(5), CALLS).await
    }
}

/// How a key is named in an entry's detail.
fn labelled(label: &str) -> String {
    format!("key {label}")
}
