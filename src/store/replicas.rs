//! Replicas on one database: which of them live, and what only one may do at a time.
//!
//! A replica says every second that it lives. What it held when it was killed (locks, running swaps, jobs) is
//! free a few seconds later. Times are the database's own, so that replicas' clocks need not agree.

use std::time::Duration;

use tokio::sync::broadcast;

use super::{Result, Store, StoreError};
use crate::domain::lease::Lease;

/// A replica that could not say for so long that it lives begins nothing: soon the others will think it gone.
const UNSURE_AFTER: Duration = Duration::from_secs(5);

/// Longest text that a replica says to the others, in bytes. Postgres takes 8,000, with who says it.
const LONGEST: usize = 7800;

/// A lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("it is held by {0}")]
    HeldBy(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for LockError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub replica: String,
    pub text: String,
}

impl Said {
    /// From the payload of a notification; none where it is of another schema.
    pub(super) fn read(payload: &str, schema: &str) -> Option<Self> {
        let (replica, text) = payload.strip_prefix(schema)?.strip_prefix(' ')?.split_once(' ')?;
        Some(Self { replica: replica.to_owned(), text: text.to_owned() })
    }
}

impl Store {
    /// Says something to the other replicas that run at this moment. What is too long is not said.
    pub async fn say(&self, text: &str) -> Result<()> {
        if !self.is_shared() || text.len() > LONGEST {
            return Ok(());
        }
        sqlx::query(
            "select cast(pg_notify('patchbay_live', coalesce(current_schema(), '') || ' ' || $1 || ' ' || $2) as text)",
        )
        .bind(self.database.replica())
        .bind(text)
        .execute(self.pool()?)
        .await?;
        Ok(())
    }

    pub fn said(&self) -> broadcast::Receiver<Said> {
        self.database.said().subscribe()
    }

    /// Takes the lock `name` in the name of `holder`. One lock within a replica is for its services to keep apart: the
    /// same replica takes it anew, and its former lease ends.
    pub async fn take_lock(&self, name: &str, holder: &str) -> Result<Lease, LockError> {
        let statement = format!(
            "insert into locks (name, replica, holder, token) values ($1, $2, $3, 1) on conflict (name) do update \
             set replica = excluded.replica, holder = excluded.holder, token = locks.token + 1 \
             where locks.replica = excluded.replica or not ({}) returning token",
            self.database.lives("locks.replica", "$2")
        );
        let taken = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .bind(name)
            .bind(self.database.replica())
            .bind(super::strip_nul(holder))
            .fetch_optional(self.pool()?)
            .await?;
        if let Some(token) = taken {
            return Ok(Lease { name: name.to_owned(), token });
        }
        let holder = sqlx::query_scalar("select holder from locks where name = $1").bind(name);
        Err(LockError::HeldBy(holder.fetch_optional(self.pool()?).await?.unwrap_or_default()))
    }

    /// Whether nobody else has taken the lock since.
    pub async fn check(&self, lease: &Lease) -> Result<bool> {
        let found = sqlx::query("select 1 from locks where name = $1 and token = $2 and replica = $3")
            .bind(&lease.name)
            .bind(lease.token)
            .bind(self.database.replica())
            .fetch_optional(self.pool()?)
            .await?;
        Ok(found.is_some())
    }

    /// Frees the lock. Its row stays, so that its tokens never begin again.
    pub async fn give_lock(&self, name: &str) -> Result<()> {
        sqlx::query("update locks set replica = '' where name = $1 and replica = $2")
            .bind(name)
            .bind(self.database.replica())
            .execute(self.pool()?)
            .await?;
        Ok(())
    }

    /// The name of this process among those that use the database, new at each start.
    pub fn replica(&self) -> &str {
        self.database.replica()
    }

    /// Whether this replica does what is done in the background for all: timed swaps, drift, ends of keys,
    /// cleaning. Another one takes over where it is gone.
    pub async fn leads(&self) -> bool {
        !self.is_shared() || self.take_lock("background", "patchbay").await.is_ok()
    }

    /// Whether other replicas may work on the same database.
    pub fn is_shared(&self) -> bool {
        self.database.is_postgres()
    }

    pub fn is_sure(&self) -> bool {
        !self.is_shared() || self.database.heard().elapsed() < UNSURE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_another_schema_is_not_heard() {
        let said = Said { replica: "r1".to_owned(), text: "{\"a b\": 1}".to_owned() };
        assert_eq!(Said::read("public r1 {\"a b\": 1}", "public"), Some(said));
        for payload in ["public2 r1 x", "other r1 x", "public", "public r1", ""] {
            assert_eq!(Said::read(payload, "public"), None, "{payload}");
        }
    }
}
