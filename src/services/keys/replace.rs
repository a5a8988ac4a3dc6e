//! A new key in the place of an old one, without the proxy's own `regenerate`, which needs a licence.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::once::key_request;
use super::{Created, Inner, KeyChangeError, Keys, OldKey, Result, labelled};
use crate::clients::litellm::KeyRecord;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::key::KeyHash;
use crate::domain::key_changes::Set;
use crate::services::journal::Record;
use crate::store::{OwnRow, Retirement, StoreError};

/// How often due ends are looked for.
const TICK: Duration = Duration::from_secs(5);

/// When an end that failed is tried again.
const AGAIN: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug, Clone)]
pub struct Replacement {
    pub old: OldKey,
    /// After how long; on confirmation with none.
    pub grace: Option<SignedDuration>,
    /// How long the new one lives; with [`Set::Keep`] until the old one would have ended.
    pub duration: Set<String>,
    pub confirm: Option<String>,
}

impl Keys {
    /// Makes a key with the settings and the alias of an old one. The old one ends when its grace is over; without one
    /// when someone confirms that the new key is in use ([`Self::retire`]): until then either works, so that a lost
    /// answer costs nothing.
    ///
    /// The alias must be free before the new key can have it, so the old one is renamed first, and back again
    /// if no new one comes.
    pub async fn replace(
        &self,
        hash: &KeyHash,
        how: &Replacement,
        token: Option<&str>,
        actor: &Actor,
    ) -> Result<Created> {
        let inner = &self.inner;
        let replace = async |made: &mut Option<Created>| {
            let replace = async |record: &mut Record| {
                let created = inner.replace(hash, how, actor, record).await?;
                record.rows.extend(key_request(token, &created));
                *made = Some(created);
                Ok(())
            };
            inner.journaled(Action::KeyReplace, actor, hash, replace).await
        };
        inner.once(token, replace).await
    }

    /// Ends a replaced key now.
    pub async fn retire(&self, hash: &KeyHash, actor: &Actor) -> Result<bool> {
        let Some(due) = self.inner.store.retirement(hash).await? else { return Ok(false) };
        self.inner.end(hash, due.action.parse().unwrap_or(OldKey::Block), actor).await?;
        Ok(true)
    }

    /// When a key is to end, if it was replaced.
    pub async fn retirement(&self, hash: &KeyHash) -> Result<Option<Retirement>, StoreError> {
        self.inner.store.retirement(hash).await
    }

    pub async fn keep(&self, hash: &KeyHash, actor: &Actor) -> Result<bool> {
        let entry = NewEntry::new(actor, Action::KeyKeep, hash.as_str(), "ok");
        Ok(self.inner.store.drop_retirement(hash, Some(&entry)).await?)
    }

    /// Ends replaced keys when their time has come, for ever. What is due is in the database, so that it outlives
    /// a restart.
    pub async fn retire_when_due(self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.inner.store.lead("keys").await.is_some()
                && let Err(error) = self.inner.retire_due().await
            {
                tracing::warn!(%error, "replaced keys could not be ended");
            }
        }
    }
}

impl Inner {
    async fn replace(
        &self,
        hash: &KeyHash,
        how: &Replacement,
        actor: &Actor,
        record: &mut Record,
    ) -> Result<Created> {
        let old = self.proxy.key_record(hash).await?.ok_or(KeyChangeError::Unknown)?;
        record.entry.detail = Some(labelled(old.key.label()));
        Self::check_name(self.is_agents(hash), &old.key, how.confirm.as_deref())?;
        let now = self.clock.now();
        let body = body_for(&old, &how.duration, now)?;
        record.check().await?;
        let alias = old.key.alias.clone().filter(|alias| !alias.is_empty());
        if let Some(alias) = &alias {
            let aside = format!("{alias} (replaced {})", now.strftime("%Y-%m-%d %H:%M:%S"));
            self.rename(hash, &aside, actor).await?;
        }
        let created = self.generate(alias.as_deref(), &body, actor).await;
        let created = match (created, &alias) {
            (Ok(created), _) => created,
            (Err(error), Some(alias)) => {
                if let Err(second) = self.rename(hash, alias, actor).await {
                    tracing::warn!(error = %second, key = %hash, "the key could not be given its alias back");
                }
                return Err(error);
            }
            (Err(error), None) => return Err(error),
        };
        let created = self.compare_settings(created, &old).await;
        if let Ok(Some(now)) = self.proxy.key(hash).await {
            self.note(hash, Some(&now));
        }
        let due_at = how.grace.map(|grace| now + grace);
        record.rows.push(OwnRow::Retirement(Retirement {
            hash: hash.clone(),
            action: how.old.as_str().to_owned(),
            due_at,
            actor: actor.name.clone(),
            replaced_by: created.key.hash.clone(),
            problem: None,
        }));
        let when = due_at.map_or_else(
            || "on confirmation".to_owned(),
            |due| due.strftime("at %Y-%m-%d %H:%M:%S UTC").to_string(),
        );
        record.entry.before = Some(old.key.masked.clone());
        record.entry.after = Some(format!(
            "{} ({}); {} the old one {when}",
            created.key.masked,
            created.key.hash,
            how.old.as_str()
        ));
        Ok(created)
    }

    /// Names the settings of the old key that the new one does not have.
    async fn compare_settings(&self, mut created: Created, old: &KeyRecord) -> Created {
        let Ok(Some(new)) = self.proxy.key_record(&created.key.hash).await else { return created };
        let is_lost = |(name, value): &(&String, &Value)| new.settings.get(*name) != Some(*value);
        let lost: Vec<_> = old.settings.iter().filter(is_lost).map(|(name, _)| name.as_str()).collect();
        if !lost.is_empty() {
            created.problem = Some(format!("the new key differs from the old one in: {}", lost.join(", ")));
        }
        created
    }

    async fn rename(&self, hash: &KeyHash, alias: &str, actor: &Actor) -> Result<()> {
        let body = Map::from_iter([("key_alias".to_owned(), json!(alias))]);
        Ok(self.proxy.update_key(hash, &body, &actor.name).await?)
    }

    /// Deletes or blocks a key that was replaced; whoever asked for that has confirmed it.
    async fn end(&self, hash: &KeyHash, how: OldKey, actor: &Actor) -> Result<()> {
        match how {
            OldKey::Block => {
                let block = async |record: &mut Record| {
                    self.set_blocked(hash, true, actor, record).await?;
                    record.rows.push(OwnRow::NoRetirement(hash.clone()));
                    Ok(())
                };
                self.journaled(Action::KeyBlock, actor, hash, block).await
            }
            OldKey::Delete => {
                let label = self.proxy.key(hash).await?.map(|key| key.label().to_owned());
                self.delete(hash, label.as_deref(), actor).await.map(drop)
            }
        }
    }

    async fn retire_due(&self) -> Result<(), StoreError> {
        for due in self.store.due_retirements().await? {
            let actor = Actor::local(&due.actor);
            let how = due.action.parse().unwrap_or(OldKey::Block);
            match self.end(&due.hash, how, &actor).await {
                Ok(()) => {}
                Err(KeyChangeError::Unknown) => _ = self.store.drop_retirement(&due.hash, None).await?,
                Err(error) => {
                    tracing::warn!(%error, key = %due.hash, "a replaced key could not be ended yet");
                    let again = self.clock.now() + AGAIN;
                    self.store.put_off_retirement(&due.hash, again, &error.to_string()).await?;
                }
            }
        }
        Ok(())
    }
}

/// The new key's settings: those of the old one, and its end.
fn body_for(record: &KeyRecord, duration: &Set<String>, now: Timestamp) -> Result<Map<String, Value>> {
    let mut body = record.settings.clone();
    if let Some(alias) = record.key.alias.as_ref().filter(|alias| !alias.is_empty()) {
        body.insert("key_alias".to_owned(), json!(alias));
    }
    match (duration, record.key.expires) {
        (Set::To(duration), _) => _ = body.insert("duration".to_owned(), json!(duration)),
        (Set::Keep, Some(at)) => {
            let left = at.duration_since(now).as_secs();
            if left <= 0 {
                return Err(KeyChangeError::Expired);
            }
            body.insert("duration".to_owned(), json!(format!("{left}s")));
        }
        (Set::Clear, _) | (Set::Keep, None) => {}
    }
    Ok(body)
}
