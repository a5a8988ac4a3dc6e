//! One swap at a time, across replicas too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::store::{LockError, Store};

/// How long a second swap waits for the first.
const WAIT: Duration = Duration::from_secs(10);

/// How often another replica's lock is tried for.
const POLL: Duration = Duration::from_millis(100);

/// Locks by name. A lock that nobody holds or waits for takes no memory.
#[derive(Debug, Default)]
pub(super) struct Locks {
    by_name: Mutex<HashMap<String, Arc<Lock>>>,
    store: Option<Store>,
}

#[derive(Debug, Default)]
struct Lock {
    gate: Arc<tokio::sync::Mutex<()>>,
    holder: Mutex<String>,
}

/// Holds a lock until dropped.
#[derive(Debug)]
pub(super) struct Held {
    guard: Option<OwnedMutexGuard<()>>,
    shared: Option<(Store, String)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let (guard, shared) = (self.guard.take(), self.shared.take());
        let Some((store, name)) = shared else { return };
        tokio::spawn(async move {
            // While the database is away nobody else can take it either.
            while store.give_lock(&name).await.is_err() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            drop(guard);
        });
    }
}

impl Locks {
    /// Locks among those who use `store`.
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.is_shared().then(|| store.clone()), ..Self::default() }
    }

    /// Takes the lock `name` for `holder`; after ten seconds in vain, says who holds it.
    pub(super) async fn take(&self, name: String, holder: &str) -> Result<Held, LockError> {
        let until = Instant::now() + WAIT;
        let lock = {
            let mut locks = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1 || Arc::strong_count(&lock.gate) > 1);
            Arc::clone(locks.entry(name.clone()).or_default())
        };
        let gate = Arc::clone(&lock.gate);
        let Ok(guard) = tokio::time::timeout_at(until, gate.lock_owned()).await else {
            let holder = lock.holder.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Err(LockError::HeldBy(holder));
        };
        let mut held = Held { guard: Some(guard), shared: None };
        if let Some(store) = &self.store {
            // Before it is taken, so that it is given back although nobody may wait for this any more.
            held.shared = Some((store.clone(), name.clone()));
            while let Err(error) = store.take_lock(&name, holder).await {
                if matches!(error, LockError::Store(_)) || Instant::now() >= until {
                    return Err(error);
                }
                tokio::time::sleep(POLL).await;
            }
        }
        holder.clone_into(&mut lock.holder.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_second_waits_and_is_told_who_holds_it() {
        let locks = Locks::default();
        let held = locks.take("a".into(), "anna").await.unwrap();
        assert!(locks.take("b".into(), "ben").await.is_ok());
        let refused = locks.take("a".into(), "ben").await.unwrap_err();
        assert!(matches!(refused, LockError::HeldBy(holder) if holder == "anna"));
        drop(held);
        assert!(locks.take("a".into(), "ben").await.is_ok());
    }

    #[tokio::test]
    async fn locks_that_nobody_holds_are_forgotten() {
        let locks = Locks::default();
        for name in 0..100 {
            drop(locks.take(name.to_string(), "x").await.unwrap());
        }
        assert_eq!(locks.by_name.lock().unwrap().len(), 1);
    }
}
