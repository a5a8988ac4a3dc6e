//! One swap at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

/// How long a second swap waits for the first.
const WAIT: Duration = Duration::from_secs(10);

/// Locks by name. A lock that nobody holds or waits for takes no memory.
#[derive(Debug, Default)]
pub(super) struct Locks {
    by_name: Mutex<HashMap<String, Arc<Lock>>>,
}

#[derive(Debug, Default)]
struct Lock {
    gate: Arc<tokio::sync::Mutex<()>>,
    holder: Mutex<String>,
}

/// Holds a lock until dropped.
#[derive(Debug)]
pub(super) struct Held {
    _guard: OwnedMutexGuard<()>,
}

impl Locks {
    /// Takes the lock `name` for `holder`; after ten seconds in vain, says who holds it.
    pub(super) async fn take(&self, name: String, holder: &str) -> Result<Held, String> {
        let lock = {
            let mut locks = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1 || Arc::strong_count(&lock.gate) > 1);
            Arc::clone(locks.entry(name).or_default())
        };
        let gate = Arc::clone(&lock.gate);
        let Ok(guard) = tokio::time::timeout(WAIT, gate.lock_owned()).await else {
            return Err(lock.holder.lock().unwrap_or_else(PoisonError::into_inner).clone());
        };
        holder.clone_into(&mut lock.holder.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Held { _guard: guard })
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
        assert_eq!(locks.take("a".into(), "ben").await.unwrap_err(), "anna");
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
