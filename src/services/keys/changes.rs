//! Changes of one key. Each is journaled, read back and put into the copy.

use std::time::Duration;

use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::Map;

use super::once::key_request;
use super::{Inner, KeyChangeError, Keys, Result, labelled};
use crate::clients::litellm::KeyRecord;
use crate::clients::{ClientError, Meaning};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::key::{Access, KeyHash, VirtualKey};
use crate::domain::key_changes::{Difference, KeyChanges, Set};
use crate::domain::release::{self, Feature};
use crate::services::journal::{Failure, Record, journaled};
use crate::store::OwnRow;

pub struct Created {
    pub key: VirtualKey,
    /// Its secret: known now, and never again.
    pub secret: SecretString,
    /// Other keys that have its alias by now: uniqueness is racy at the proxy.
    pub duplicates: Vec<KeyHash>,
    /// What the proxy did not do as it was asked to.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldKey {
    Delete,
    Block,
}

impl OldKey {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Block => "block",
        }
    }
}

impl std::str::FromStr for OldKey {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        [Self::Delete, Self::Block].into_iter().find(|old| old.as_str() == text).ok_or(())
    }
}

/// A key that was used within this time is in use.
const IN_USE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Milliseconds, 6 s in all. LiteLLM 1.68 shows a change after about 4 s.
const READ_BACK_PAUSES: [u64; 5] = [250, 500, 1_000, 2_000, 2_250];

impl Keys {
    /// Makes a key. A form with the same `token` makes only one.
    pub async fn create(&self, changes: &KeyChanges, token: Option<&str>, actor: &Actor) -> Result<Created> {
        let mut body = changes.to_json();
        // What a new key does not have is left out: an empty alias would be stored, and taken.
        body.retain(|_, value| !value.is_null());
        if changes.duration == Set::Clear {
            body.remove("duration");
        }
        let alias = match &changes.alias {
            Set::To(alias) => Some(alias.clone()),
            Set::Keep | Set::Clear => None,
        };
        let name = alias.as_deref().unwrap_or("new key");
        let mut entry = NewEntry::new(actor, Action::KeyCreate, name, "ok");
        entry.detail = alias.as_deref().map(labelled);
        entry.after = Some(changes.access.as_ref().unwrap_or(&Access::All).describe());
        let (inner, entry) = (&self.inner, entry);
        inner
            .once(token, async |made| {
                journaled(&inner.store, entry, async |record| {
                    let created = inner.generate(alias.as_deref(), &body, actor).await?;
                    record.entry.object = created.key.hash.to_string();
                    record.rows.extend(key_request(token, &created));
                    *made = Some(created);
                    Ok(())
                })
                .await
            })
            .await
    }

    /// Changes settings. `seen` is what the form showed ([`fingerprint`](Self::fingerprint)); a script may leave
    /// it out.
    pub async fn update(
        &self,
        hash: &KeyHash,
        mut changes: KeyChanges,
        seen: Option<&str>,
        actor: &Actor,
    ) -> Result<(VirtualKey, Vec<Difference>)> {
        let inner = &self.inner;
        let update = async |record: &mut Record| inner.update(hash, &mut changes, seen, actor, record).await;
        inner.journaled(Action::KeyUpdate, actor, hash, update).await
    }

    /// Tells whether a key's settings are still what they were.
    pub fn fingerprint(record: &KeyRecord) -> String {
        let KeyRecord { key, settings, .. } = record;
        let text = format!("{:?} {:?} {:?} {:?}", key.alias, key.expires, key.blocked, settings);
        let digest = KeyHash::of(&SecretString::from(text));
        digest.as_str()[..16].to_owned()
    }

    /// Lets a key call every model, now and later (`models: []`). Returns it as it is.
    pub async fn relax(&self, hash: &KeyHash, actor: &Actor) -> Result<VirtualKey> {
        self.set_access(hash, |_| Access::All, Action::KeyRelax, actor).await
    }

    /// Lets a key call these models alone, or none.
    pub async fn restrict(&self, hash: &KeyHash, access: Access, actor: &Actor) -> Result<VirtualKey> {
        self.set_access(hash, |_| access, Action::KeyRestrict, actor).await
    }

    pub async fn allow(&self, hash: &KeyHash, model: &str, actor: &Actor) -> Result<VirtualKey> {
        let with_model = |access| match access {
            Access::All => Access::All,
            Access::None => Access::List(vec![model.to_owned()]),
            Access::List(mut models) => {
                if !models.iter().any(|known| known == model) {
                    models.push(model.to_owned());
                }
                Access::List(models)
            }
        };
        self.set_access(hash, with_model, Action::KeyAllow, actor).await
    }

    /// Takes a model from a key's list. Without any the key may call none, since the proxy takes an empty list for all.
    pub async fn disallow(&self, hash: &KeyHash, model: &str, actor: &Actor) -> Result<VirtualKey> {
        let without_model = |access| match access {
            Access::List(mut models) => {
                models.retain(|known| known != model);
                if models.is_empty() { Access::None } else { Access::List(models) }
            }
            other => other,
        };
        self.set_access(hash, without_model, Action::KeyRestrict, actor).await
    }

    async fn set_access(
        &self,
        hash: &KeyHash,
        wanted: impl FnOnce(Access) -> Access,
        action: Action,
        actor: &Actor,
    ) -> Result<VirtualKey> {
        let inner = &self.inner;
        let set = async |record: &mut Record| inner.set_access(hash, wanted, actor, record).await;
        inner.journaled(action, actor, hash, set).await
    }

    pub async fn set_blocked(&self, hash: &KeyHash, blocked: bool, actor: &Actor) -> Result<VirtualKey> {
        let action = if blocked { Action::KeyBlock } else { Action::KeyUnblock };
        let inner = &self.inner;
        let set = async |record: &mut Record| inner.set_blocked(hash, blocked, actor, record).await;
        inner.journaled(action, actor, hash, set).await
    }

    /// Deletes a key. One that [is in use](Self::is_in_use) wants its name typed.
    pub async fn delete(&self, hash: &KeyHash, confirm: Option<&str>, actor: &Actor) -> Result<VirtualKey> {
        self.inner.delete(hash, confirm, actor).await
    }
}

impl Failure for KeyChangeError {
    fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::AliasTaken(_)
                | Self::Changed
                | Self::Sent(_)
                | Self::NotConfirmed
                | Self::Expired
                | Self::Busy(_)
                | Self::Fenced(_)
                | Self::CannotClear { .. }
        )
    }
}

impl Inner {
    /// Makes a change of one key by `work`, while no other change of it runs in Patchbay.
    pub(super) async fn journaled<T>(
        &self,
        action: Action,
        actor: &Actor,
        hash: &KeyHash,
        work: impl AsyncFnOnce(&mut Record) -> Result<T>,
    ) -> Result<T> {
        let lock = format!("key {hash}");
        journaled(&self.store, NewEntry::new(actor, action, hash.as_str(), "ok"), async |record| {
            record.held = Some(self.locks.take(lock, &actor.name).await?);
            work(record).await
        })
        .await
    }

    /// Makes a key and reads it back. What it may call, for whom and how long is all in `body`.
    pub(super) async fn generate(
        &self,
        alias: Option<&str>,
        body: &Map<String, serde_json::Value>,
        actor: &Actor,
    ) -> Result<Created> {
        if let Some(alias) = alias
            && let Some(other) = self.proxy.keys_by_alias(alias).await?.first()
        {
            return Err(KeyChangeError::AliasTaken(other.hash.clone()));
        }
        let new = match self.proxy.generate_key(body, &actor.name).await {
            Ok(new) => new,
            Err(error) => return Err(self.refusal(error, alias).await),
        };
        // The secret is known only now: it is shown even if a later step fails.
        let (key, problem) = match self.proxy.key(&new.hash).await {
            Ok(Some(key)) => (key, None),
            Ok(None) => (new.key, Some("the proxy does not know the key that it has made".to_owned())),
            Err(error) => (new.key, Some(format!("the new key could not be read back: {error}"))),
        };
        self.note(&new.hash, Some(&key));
        let mut duplicates = Vec::new();
        if let Some(alias) = alias {
            // The key is there whatever comes of this look.
            let all = self.proxy.keys_by_alias(alias).await.unwrap_or_default();
            duplicates = all.into_iter().map(|key| key.hash).filter(|hash| *hash != new.hash).collect();
        }
        Ok(Created { key, secret: new.secret, duplicates, problem })
    }

    /// What a failure is about: someone may have taken the alias since the look before, or the answer was lost.
    async fn refusal(&self, error: ClientError, alias: Option<&str>) -> KeyChangeError {
        let is_refused = error.meaning() == Some(Meaning::Invalid);
        if (is_refused || error.status().is_none())
            && let Some(alias) = alias
            && let Ok(others) = self.proxy.keys_by_alias(alias).await
            && let Some(other) = others.into_iter().next()
        {
            let hash = other.hash;
            return if is_refused { KeyChangeError::AliasTaken(hash) } else { KeyChangeError::Lost(hash) };
        }
        error.into()
    }

    pub(super) async fn known(&self, hash: &KeyHash, record: &mut Record) -> Result<VirtualKey> {
        // Without this look, 1.80 would answer a change of an unknown key with 401, and a deletion of it among
        // others with 200.
        let key = self.proxy.key(hash).await?.ok_or(KeyChangeError::Unknown)?;
        record.entry.detail = Some(labelled(key.label()));
        Ok(key)
    }

    /// Reads a key until it is as wanted, or the time is over: older releases show a change some seconds later.
    pub(super) async fn read_back(
        &self,
        hash: &KeyHash,
        is_so: impl Fn(&VirtualKey) -> bool,
    ) -> Result<VirtualKey> {
        let mut pauses = READ_BACK_PAUSES.into_iter();
        loop {
            let key = self.proxy.key(hash).await?;
            let pause = match &key {
                Some(key) if !is_so(key) => pauses.next(),
                _ => None,
            };
            let Some(pause) = pause else {
                self.note(hash, key.as_ref());
                return key.ok_or(KeyChangeError::Unknown);
            };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Releases before 1.80 ignore or refuse a cleared period or expiry, which is known before anything is sent.
    async fn check_clearable(&self, changes: &KeyChanges) -> Result<()> {
        let cleared = [("budget period", &changes.budget_duration), ("expiry", &changes.duration)];
        let settings: Vec<_> =
            cleared.into_iter().filter(|(_, set)| **set == Set::Clear).map(|(name, _)| name).collect();
        if settings.is_empty() {
            return Ok(());
        }
        match self.proxy.health().await?.version {
            Some(release) if release::cannot(&release, Feature::ClearKeyLimits).is_some() => {
                Err(KeyChangeError::CannotClear { settings, release })
            }
            _ => Ok(()),
        }
    }

    async fn update(
        &self,
        hash: &KeyHash,
        changes: &mut KeyChanges,
        seen: Option<&str>,
        actor: &Actor,
        record: &mut Record,
    ) -> Result<(VirtualKey, Vec<Difference>)> {
        let found = self.proxy.key_record(hash).await?.ok_or(KeyChangeError::Unknown)?;
        let entry = &mut record.entry;
        entry.detail = Some(labelled(found.key.label()));
        if seen.is_some_and(|seen| seen != Keys::fingerprint(&found)) {
            return Err(KeyChangeError::Changed);
        }
        let differences = changes.against(&found.key, &found.metadata, self.clock.now());
        let say = |of: fn(&Difference) -> &String| {
            let said = differences.iter().map(|d| format!("{}: {}", d.what.to_lowercase(), of(d)));
            said.collect::<Vec<_>>().join("; ")
        };
        (entry.before, entry.after) = (Some(say(|d| &d.before)), Some(say(|d| &d.after)));
        if differences.is_empty() {
            return Ok((found.key, differences));
        }
        if let Set::To(alias) = &changes.alias
            && let Some(other) = self.proxy.keys_by_alias(alias).await?.iter().find(|key| key.hash != *hash)
        {
            return Err(KeyChangeError::AliasTaken(other.hash.clone()));
        }
        self.check_clearable(changes).await?;
        record.check().await?;
        self.proxy.update_key(hash, &changes.to_json(), &actor.name).await?;
        // But for an expiry, which the proxy reckons itself, and metadata, to which it may add.
        let duration = if changes.duration == Set::Clear { Set::Clear } else { Set::Keep };
        let checked = KeyChanges { duration, metadata: None, ..changes.clone() };
        let left = |key: &VirtualKey| checked.clone().against(key, &Map::new(), self.clock.now());
        let key = self.read_back(hash, |key| left(key).is_empty()).await?;
        match left(&key) {
            left if left.is_empty() => Ok((key, differences)),
            left => {
                Err(KeyChangeError::NotTaken(left.into_iter().map(|difference| difference.what).collect()))
            }
        }
    }

    async fn set_access(
        &self,
        hash: &KeyHash,
        wanted: impl FnOnce(Access) -> Access,
        actor: &Actor,
        record: &mut Record,
    ) -> Result<VirtualKey> {
        let before = self.known(hash, record).await?.access;
        record.entry.before = Some(before.describe());
        let access = wanted(before);
        record.entry.after = Some(access.describe());
        let changes = KeyChanges { access: Some(access.clone()), ..KeyChanges::default() };
        record.check().await?;
        self.proxy.update_key(hash, &changes.to_json(), &actor.name).await?;
        let key = self.read_back(hash, |key| key.access == access).await?;
        if key.access != access {
            return Err(KeyChangeError::NotDone("the key may call other models than were sent"));
        }
        Ok(key)
    }

    pub(super) async fn set_blocked(
        &self,
        hash: &KeyHash,
        blocked: bool,
        actor: &Actor,
        record: &mut Record,
    ) -> Result<VirtualKey> {
        let word = |blocked| Some(if blocked { "blocked" } else { "not blocked" }.to_owned());
        record.entry.after = word(blocked);
        record.entry.before = word(self.known(hash, record).await?.blocked);
        record.check().await?;
        self.proxy.set_key_blocked(hash, blocked, &actor.name).await?;
        let key = self.read_back(hash, |key| key.blocked == blocked).await?;
        if key.blocked != blocked {
            return Err(KeyChangeError::NotDone("the key is as it was"));
        }
        Ok(key)
    }

    pub(super) async fn delete(
        &self,
        hash: &KeyHash,
        confirm: Option<&str>,
        actor: &Actor,
    ) -> Result<VirtualKey> {
        let delete = async |record: &mut Record| {
            let key = self.known(hash, record).await?;
            Self::check_name(self.is_in_use(&key), &key, confirm)?;
            record.entry.before = Some(format!("{}, {}", key.masked, key.access.describe()));
            record.check().await?;
            self.proxy.delete_key(hash, &actor.name).await?;
            let left = self.proxy.key(hash).await?;
            self.note(hash, left.as_ref());
            if left.is_some() {
                return Err(KeyChangeError::NotDone("the key is still there"));
            }
            record.rows.push(OwnRow::NoRetirement(hash.clone()));
            Ok(key)
        };
        self.journaled(Action::KeyDelete, actor, hash, delete).await
    }

    pub(super) fn is_agents(&self, hash: &KeyHash) -> bool {
        self.agents.as_ref().is_some_and(|agents| agents.uses(hash))
    }

    /// The name has to be typed where the change `is_dangerous`.
    pub(super) fn check_name(is_dangerous: bool, key: &VirtualKey, typed: Option<&str>) -> Result<()> {
        if is_dangerous && typed.map(str::trim) != Some(key.label()) {
            return Err(KeyChangeError::NotConfirmed);
        }
        Ok(())
    }

    /// Whether it is an agent's own, or was used in the last seven days.
    pub(super) fn is_in_use(&self, key: &VirtualKey) -> bool {
        let since = self.clock.now() - IN_USE;
        self.is_agents(&key.hash) || key.last_active.is_some_and(|at| at >= since)
    }
}
