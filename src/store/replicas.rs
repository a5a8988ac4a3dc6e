//! Replicas on one database: which of them live, and what only one may do at a time.
//!
//! A replica says every second that it lives. What it held when it was killed (locks, running swaps, jobs) is
//! free a few seconds later. Times are the database's own, so that replicas' clocks need not agree.

use std::time::Duration;

use tokio::sync::broadcast;

use super::{Result, Store};

/// A replica that could not say for so long that it lives begins nothing: soon the others will think it gone.
const UNSURE_AFTER: Duration = Duration::from_secs(5);

/// Longest text that a replica says to the others, in bytes. Postgres takes 8,000, with who says it.
const LONGEST: usize = 7800;

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

    /// Takes the lock `name` in the name of `holder`. Says who holds it where another replica does; one lock
    /// within a replica is for its services to keep apart.
    pub async fn take_lock(&self, name: &str, holder: &str) -> Result<Result<(), String>> {
        let statement = format!(
            "insert into locks (name, replica, holder) values ($1, $2, $3) on conflict (name) do update \
             set replica = excluded.replica, holder = excluded.holder \
             where locks.replica = excluded.replica or not ({})",
            self.database.lives("locks.replica", "$2")
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(name)
            .bind(self.database.replica())
            .bind(super::strip_nul(holder))
            .execute(self.pool()?)
            .await?;
        if done.rows_affected() > 0 {
            return Ok(Ok(()));
        }
        let query = sqlx::query_scalar("select holder from locks where name = $1").bind(name);
        let holder: Option<String> = query.fetch_optional(self.pool()?).await?;
        Ok(Err(holder.unwrap_or_default()))
    }

    pub async fn give_lock(&self, name: &str) -> Result<()> {
        sqlx::query("delete from locks where name = $1 and replica = $2")
            .bind(name)
            .bind(self.database.replica())
            .execute(self.pool()?)
            .await?;
        Ok(())
    }

    /// Whether this replica does what is done in the background for all: timed swaps, drift, ends of keys,
    /// cleaning. Another one takes over where it is gone.
    pub async fn leads(&self) -> bool {
        !self.is_shared() || matches!(self.take_lock("background", "patchbay").await, Ok(Ok(())))
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
