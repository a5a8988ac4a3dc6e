//! Making a key whose secret is chosen here and written down before the proxy is told: whoever is killed in
//! between finds it again, and a key that the proxy has forgotten is made again without its users' noticing.
//! Both releases take a `key` of one's own, also one that was deleted before.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use super::{Inner, KeyChangeError, Keys, Result, labelled};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::key_changes::{KeyChanges, Set};
use crate::services::journal::{Record, journaled};

#[derive(Debug, Clone, Copy)]
pub struct Issue<'a> {
    pub secret: &'a SecretString,
    /// Its name, which another key may have: that one makes place, and hands its settings on.
    pub alias: &'a str,
    pub settings: &'a KeyChanges,
    /// Further fields of the proxy.
    pub at_issue: &'a Map<String, Value>,
}

impl Keys {
    /// Makes a key, and ends others of its alias once it is there. Killed at any point, the same call goes on
    /// from there.
    pub async fn issue(&self, issue: Issue<'_>, actor: &Actor) -> Result<VirtualKey> {
        let hash = KeyHash::of(issue.secret);
        let mut entry = NewEntry::new(actor, Action::KeyCreate, hash.as_str(), "ok");
        entry.detail = Some(labelled(issue.alias));
        let inner = &self.inner;
        let work = async |record: &mut Record| inner.issue(&hash, issue, actor, &mut record.entry).await;
        journaled(&inner.store, entry, work).await
    }

    pub async fn others(&self, alias: &str, hash: &KeyHash) -> Result<Vec<VirtualKey>> {
        Ok(self.inner.others(alias, hash).await?)
    }

    /// Whether a key waits for its alias: its issue was cut short.
    pub fn is_waiting_for(key: &VirtualKey, alias: &str) -> bool {
        key.alias.as_deref() == Some(&*waiting(alias, &key.hash))
    }
}

/// What a key is called as long as another one has its alias.
fn waiting(alias: &str, hash: &KeyHash) -> String {
    format!("{alias} (new {})", &hash.as_str()[..8])
}

impl Inner {
    async fn others(
        &self,
        alias: &str,
        hash: &KeyHash,
    ) -> Result<Vec<VirtualKey>, crate::clients::ClientError> {
        let mut all = self.proxy.keys_by_alias(alias).await?;
        all.retain(|key| key.hash != *hash);
        Ok(all)
    }

    async fn issue(
        &self,
        hash: &KeyHash,
        issue: Issue<'_>,
        actor: &Actor,
        entry: &mut NewEntry,
    ) -> Result<VirtualKey> {
        let others = self.others(issue.alias, hash).await?;
        if let Some(old) = others.first() {
            entry.action = Action::KeyReplace;
            entry.before = Some(old.masked.clone());
        }
        let key = if let Some(key) = self.proxy.key(hash).await? {
            key
        } else {
            let mut body = match others.first() {
                Some(old) => self.settings_of(old).await?,
                None => Map::new(),
            };
            body.extend(issue.at_issue.clone());
            body.extend(issue.settings.to_json());
            // What a new key does not have is left out.
            body.retain(|_, value| !value.is_null());
            if issue.settings.duration == Set::Clear {
                body.remove("duration");
            }
            let waiting = waiting(issue.alias, hash);
            let alias = if others.is_empty() { issue.alias } else { &waiting };
            body.insert("key_alias".to_owned(), json!(alias));
            body.insert("key".to_owned(), json!(issue.secret.expose_secret()));
            self.generate(Some(alias), &body, actor).await?.key
        };
        entry.after = Some(format!("{}, {}", key.masked, key.access.describe()));
        for other in &others {
            self.delete(&other.hash, Some(other.label()), actor).await?;
        }
        if key.alias.as_deref() == Some(issue.alias) {
            return Ok(key);
        }
        let body = Map::from_iter([("key_alias".to_owned(), json!(issue.alias))]);
        self.proxy.update_key(hash, &body, &actor.name).await?;
        let key = self.proxy.key(hash).await?.ok_or(KeyChangeError::Unknown)?;
        self.note(hash, Some(&key));
        if key.alias.as_deref() == Some(issue.alias) {
            Ok(key)
        } else {
            Err(KeyChangeError::NotDone("the key is not called as it was sent"))
        }
    }

    async fn settings_of(&self, old: &VirtualKey) -> Result<Map<String, serde_json::Value>> {
        let record = self.proxy.key_record(&old.hash).await?;
        let mut settings = record.map(|record| record.settings).unwrap_or_default();
        let left = old.expires.map(|at| at.duration_since(self.clock.now()).as_secs());
        if let Some(left) = left.filter(|left| *left > 0) {
            settings.insert("duration".to_owned(), json!(format!("{left}s")));
        }
        Ok(settings)
    }
}
