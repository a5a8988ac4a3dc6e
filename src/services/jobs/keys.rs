//! One change of many keys.

use super::{Inner, Jobs, KEPT};
use crate::domain::audit::Actor;
use crate::domain::job::{Item, ItemEnd, ItemState, Job, JobKind, JobState, KeyChange, Kind, Limits};
use crate::domain::key::KeyHash;
use crate::domain::key_changes::KeyChanges;
use crate::services::keys::KeyChangeError;
use crate::store::StoreError;

const CONCURRENCY: u32 = 4;

/// Why a change of many keys did not begin.
#[derive(Debug, thiserror::Error)]
pub enum TooMany {
    #[error("too many changes of many keys run")]
    Running,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Jobs {
    /// Begins a change of keys, which are given with their labels.
    pub async fn change_keys(
        &self,
        change: KeyChange,
        keys: Vec<(KeyHash, String)>,
        actor: &Actor,
    ) -> Result<Job, TooMany> {
        let known = self.newest(Kind::Keys, 2 * KEPT).await?;
        if known.iter().filter(|job| job.state == JobState::Running).count() >= KEPT as usize {
            return Err(TooMany::Running);
        }
        let items: Vec<Item> =
            keys.into_iter().map(|(hash, label)| Item::waiting(hash, Some(label))).collect();
        let (kind, limits) = (JobKind::Keys { change }, Limits::concurrent(CONCURRENCY));
        Ok(self.inner.add(None, kind, limits, None, &items, actor).await?)
    }

    /// The first `limit` items, what failed before the rest.
    pub async fn failed_first(&self, id: &str, limit: u32) -> Result<Vec<Item>, StoreError> {
        let store = &self.inner.store;
        let mut items = store.job_items(id, Some(ItemState::Failed), 0, limit).await?;
        let rest = store.job_items(id, None, 0, 2 * limit).await?;
        items.extend(rest.into_iter().filter(|item| item.state != ItemState::Failed));
        items.truncate(limit as usize);
        Ok(items)
    }
}

impl Inner {
    pub(super) async fn change_key(&self, change: &KeyChange, item: &Item, actor: &Actor) -> ItemEnd {
        let Ok(hash) = item.subject.parse::<KeyHash>() else { return ItemEnd::failed("This is not a key.") };
        match self.apply(change, &hash, actor).await {
            Ok(()) => ItemEnd::done(),
            Err(error) => ItemEnd::failed(error.to_string()),
        }
    }

    async fn apply(&self, change: &KeyChange, hash: &KeyHash, actor: &Actor) -> Result<(), KeyChangeError> {
        let keys = &self.keys;
        let settings = match change {
            KeyChange::Relax => return keys.relax(hash, actor).await.map(drop),
            KeyChange::Restrict(access) => return keys.restrict(hash, access.clone(), actor).await.map(drop),
            KeyChange::Block => return keys.set_blocked(hash, true, actor).await.map(drop),
            KeyChange::Unblock => return keys.set_blocked(hash, false, actor).await.map(drop),
            // The agent's own key is refused: it is deleted on its own page, by its name.
            KeyChange::Delete => return keys.delete(hash, None, actor).await.map(drop),
            KeyChange::Budget(budget, period) => KeyChanges {
                max_budget: budget.clone(),
                budget_duration: period.clone(),
                ..KeyChanges::default()
            },
            KeyChange::Expiry(duration) => KeyChanges { duration: duration.clone(), ..KeyChanges::default() },
        };
        keys.update(hash, settings, None, actor).await.map(drop)
    }

    /// A deletion that was done is not failed for being asked for again.
    pub(super) async fn settle_key(&self, change: &KeyChange, item: &Item) -> ItemEnd {
        if let (KeyChange::Delete, Ok(hash)) = (change, item.subject.parse::<KeyHash>())
            && matches!(self.keys.key(&hash).await, Ok(None))
        {
            return ItemEnd::done();
        }
        ItemEnd::again()
    }
}
