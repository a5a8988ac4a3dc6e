//! More of what a key has: time, and budget.

use jiff::SignedDuration;

use super::{Inner, KeyChangeError, Keys, Result};
use crate::domain::audit::{Action, Actor};
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::key_changes::{KeyChanges, Set};
use crate::services::journal::Record;

/// By how much a key is made to live longer.
pub const EXTENSION: SignedDuration = SignedDuration::from_hours(24 * 30);

/// How far the proxy's clock and ours may be apart.
const SLACK: SignedDuration = SignedDuration::from_mins(5);

impl Keys {
    /// Lets a key that expires live [`EXTENSION`] longer, or that long from now where it has expired.
    pub async fn extend(&self, hash: &KeyHash, actor: &Actor) -> Result<VirtualKey> {
        let inner = &self.inner;
        let extend = async |record: &mut Record| inner.extend(hash, actor, record).await;
        inner.journaled(Action::KeyUpdate, actor, hash, extend).await
    }

    /// Puts a key's spend back to nothing: what was spent so far does not count towards its budget any more.
    pub async fn reset_spend(&self, hash: &KeyHash, actor: &Actor) -> Result<VirtualKey> {
        let inner = &self.inner;
        let reset = async |record: &mut Record| inner.reset_spend(hash, actor, record).await;
        inner.journaled(Action::KeyUpdate, actor, hash, reset).await
    }
}

impl Inner {
    async fn extend(&self, hash: &KeyHash, actor: &Actor, record: &mut Record) -> Result<VirtualKey> {
        let before = self.known(hash, record).await?.expires;
        let expires = before.ok_or(KeyChangeError::NotDone("the key never expires"))?;
        let now = self.clock.now();
        let until = expires.max(now) + EXTENSION;
        record.entry.before = Some(format!("expires {expires:.0}"));
        record.entry.after = Some(format!("expires {until:.0}"));
        // The proxy counts from its own now.
        let seconds = until.duration_since(now).as_secs();
        let changes = KeyChanges { duration: Set::To(format!("{seconds}s")), ..KeyChanges::default() };
        record.check().await?;
        self.proxy.update_key(hash, &changes.to_json(), &actor.name).await?;
        let is_so = |key: &VirtualKey| key.expires.is_some_and(|at| at.duration_since(until).abs() < SLACK);
        let key = self.read_back(hash, is_so).await?;
        if is_so(&key) { Ok(key) } else { Err(KeyChangeError::NotDone("the key expires when it did before")) }
    }

    async fn reset_spend(&self, hash: &KeyHash, actor: &Actor, record: &mut Record) -> Result<VirtualKey> {
        let before = self.known(hash, record).await?.spend;
        record.entry.before = Some(format!("spend ${before:.2}"));
        record.entry.after = Some("spend $0.00".to_owned());
        record.check().await?;
        self.proxy.reset_spend(hash, &actor.name).await?;
        // Calls may be booked meanwhile.
        let is_so = |key: &VirtualKey| key.spend == 0.0 || key.spend < before;
        let key = self.read_back(hash, is_so).await?;
        if is_so(&key) { Ok(key) } else { Err(KeyChangeError::NotDone("the spend is what it was")) }
    }
}
