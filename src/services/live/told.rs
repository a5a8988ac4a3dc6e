//! Which audit entries were told.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long an entry may stay invisible after one with a higher number. Postgres gives a number before the write
/// is committed, and takes it for good where the write is undone.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) up_to: i64,
    beyond: BTreeMap<i64, Instant>,
}

impl Told {
    pub(super) fn up_to(up_to: i64) -> Self {
        Self { up_to, beyond: BTreeMap::new() }
    }

    pub(super) fn newest(&self) -> i64 {
        self.beyond.last_key_value().map_or(self.up_to, |(id, _)| *id)
    }

    /// Marks an entry as told; false where it was told before.
    pub(super) fn take(&mut self, id: i64) -> bool {
        let is_new = id > self.up_to && !self.beyond.contains_key(&id);
        if is_new {
            self.beyond.insert(id, Instant::now());
        }
        while let Some(first) = self.beyond.first_entry() {
            if *first.key() != self.up_to + 1 && first.get().elapsed() < PATIENCE {
                break;
            }
            self.up_to = first.remove_entry().0;
        }
        is_new
    }

    /// Counts what is missing between those told as never to come.
    pub(super) fn give_up_gaps(&mut self) {
        self.up_to = self.newest();
        self.beyond.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_shows_up_late_is_told_and_none_is_told_twice() {
        let mut told = Told::up_to(5);
        assert!(!told.take(5));
        assert!(told.take(8) && told.take(6) && !told.take(8));
        assert_eq!((told.up_to, told.newest()), (6, 8));
        assert!(told.take(7), "seven was late");
        assert_eq!((told.up_to, told.newest()), (8, 8));

        assert!(told.take(10));
        tokio::time::advance(PATIENCE).await;
        assert!(told.take(11));
        assert_eq!(told.up_to, 11, "nine never came");
        assert!(!told.take(9));
    }
}
