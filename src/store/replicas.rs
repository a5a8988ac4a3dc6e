//! Replicas on one database: which of them live, and what only one may do at a time.
//!
//! A replica sends a heartbeat every second. What it held when it was killed (locks, running swaps, jobs) is free 8
//! seconds later, and a replica that was silent for so long frees what it held itself before it goes on. Times are the
//! database's own, so that replicas' clocks need not agree.

use sqlx::{AnyConnection, AssertSqlSafe};
use tokio::sync::broadcast;

use super::database::NOW;
use super::{Result, Store, StoreError};
use crate::domain::lease::Lease;

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

/// Why work that needs a lock may not go on.
#[derive(Debug, thiserror::Error)]
pub enum Fenced {
    #[error("another replica took over while this one did not answer{}", .0.as_ref().map(|holder| format!(" ({holder} has the lock now)")).unwrap_or_default())]
    Lost(Option<String>),
    /// No other replica can take the lock yet, but soon: the last heartbeat is too old.
    #[error("this replica has not reached the database for some seconds")]
    Unsure,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for Fenced {
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

    /// Whether all of these are still held, and cannot be taken in the next 3 seconds.
    pub async fn check(&self, leases: &[Lease]) -> Result<(), Fenced> {
        let is_sure = if self.is_shared() {
            format!("exists (select 1 from replicas where id = $2 and seen_at > {NOW} - 5000)")
        } else {
            "$2 = $2".to_owned()
        };
        let statement = format!(
            "select token, replica, holder, cast(case when {is_sure} then 1 else 0 end as bigint) \
             from locks where name = $1"
        );
        for lease in leases {
            let query = sqlx::query_as(AssertSqlSafe(statement.as_str())).bind(&lease.name);
            let found: Option<(i64, String, String, i64)> =
                query.bind(self.replica()).fetch_optional(self.pool()?).await?;
            match found {
                Some((token, replica, _, is_sure)) if token == lease.token && replica == self.replica() => {
                    if is_sure == 0 {
                        return Err(Fenced::Unsure);
                    }
                }
                found => return Err(lost(found.map(|(_, replica, holder, _)| (replica, holder)))),
            }
        }
        Ok(())
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

    /// The lease of the replica that does a background `task` for all. None where another one does it.
    pub async fn lead(&self, task: &str) -> Option<Lease> {
        self.take_lock(&format!("background/{task}"), "patchbay").await.ok()
    }

    /// Whether other replicas may work on the same database.
    pub fn is_shared(&self) -> bool {
        self.database.is_postgres()
    }
}

/// Fails unless all of these are held, and keeps others from taking one until the transaction ends.
pub(super) async fn hold(tx: &mut AnyConnection, replica: &str, leases: &[Lease]) -> Result<(), Fenced> {
    for lease in leases {
        let held =
            sqlx::query("update locks set token = token where name = $1 and token = $2 and replica = $3")
                .bind(&lease.name)
                .bind(lease.token)
                .bind(replica)
                .execute(&mut *tx)
                .await?;
        if held.rows_affected() == 0 {
            let now = sqlx::query_as("select replica, holder from locks where name = $1").bind(&lease.name);
            return Err(lost(now.fetch_optional(&mut *tx).await?));
        }
    }
    Ok(())
}

/// The replica and the holder of a lock that was lost; it may be free.
fn lost(now: Option<(String, String)>) -> Fenced {
    Fenced::Lost(now.filter(|(replica, _)| !replica.is_empty()).map(|(_, holder)| holder))
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
