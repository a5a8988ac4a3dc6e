//! One swap at a time, across replicas too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::domain::lease::Lease;
use crate::store::{Fenced, LockError, Store};

/// How long a second swap waits for the first.
const WAIT: Duration = Duration::from_secs(10);

/// How often another replica's lock, or a database that does not answer, is tried again.
const POLL: Duration = Duration::from_millis(100);

/// Oldest check that lets a message go, counted from before the database was asked.
const FRESH: Duration = Duration::from_millis(50);

/// Oldest check that lets the next message go without another one.
const REUSE: Duration = Duration::from_millis(20);

/// How long a check waits for a database that does not answer.
const OUTAGE: Duration = Duration::from_secs(5);

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
    shared: Option<Shared>,
    outer: Option<Box<Held>>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    name: String,
    /// The lock's own, and those of the work that it is part of.
    leases: Vec<Lease>,
    checked: Mutex<Option<Stamp>>,
}

/// A moment. A suspended machine's monotonic clock stands still, so the wall clock is read as well.
#[derive(Debug, Clone, Copy)]
struct Stamp(std::time::Instant, SystemTime);

impl Stamp {
    #[expect(clippy::disallowed_methods, reason = "it is compared with itself alone")]
    fn now() -> Self {
        Self(std::time::Instant::now(), SystemTime::now())
    }

    fn age(self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or(Duration::MAX))
    }
}

impl Held {
    /// Makes the lock part of work that has a lease of its own, such as a job.
    pub(super) fn within(mut self, lease: Option<Lease>) -> Self {
        if let Some(shared) = &mut self.shared {
            shared.leases.extend(lease);
        }
        self
    }

    /// Holds another lock as well.
    pub(super) fn and(mut self, outer: Self) -> Self {
        if let Some(shared) = &mut self.shared {
            shared.leases.extend(outer.leases());
        }
        self.outer = Some(Box::new(outer));
        self
    }

    /// The leases that have to be held where an outcome is written.
    pub(super) fn leases(&self) -> Vec<Lease> {
        self.shared.as_ref().map(|shared| shared.leases.clone()).unwrap_or_default()
    }

    /// Succeeds where the database said less than 50 ms ago that the lock is still held. To be called directly before
    /// each message to an agent.
    pub(super) async fn check(&self) -> Result<(), Fenced> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let last = *shared.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.age() < REUSE) {
            return Ok(());
        }
        let until = Instant::now() + OUTAGE;
        loop {
            let began = Stamp::now();
            let checked = shared.store.check(&shared.leases).await;
            match checked {
                Ok(()) if began.age() < FRESH => {
                    *shared.checked.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
                    return Ok(());
                }
                Err(gone @ Fenced::Lost(_)) => return Err(gone),
                Err(error) if Instant::now() >= until => return Err(error),
                Ok(()) if Instant::now() >= until => return Err(Fenced::Unsure),
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (guard, shared) = (self.guard.take(), self.shared.take());
        let Some(Shared { store, name, .. }) = shared else { return };
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
        let mut held = Held { guard: Some(guard), shared: None, outer: None };
        if let Some(store) = &self.store {
            // Before it is taken, so that it is given back although nobody may wait for this any more.
            let shared = held.shared.insert(Shared {
                store: store.clone(),
                name: name.clone(),
                leases: Vec::new(),
                checked: Mutex::default(),
            });
            let lease = loop {
                match store.take_lock(&name, holder).await {
                    Ok(lease) => break lease,
                    Err(error) if matches!(error, LockError::Store(_)) || Instant::now() >= until => {
                        return Err(error);
                    }
                    Err(_) => tokio::time::sleep(POLL).await,
                }
            };
            shared.leases.push(lease);
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
