//! The audit: written, never changed. The schema refuses updates and deletions.

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::{Store, StoreError, time};
use crate::domain::audit::{Entry, NewEntry};

impl Store {
    /// Writes an entry.
    pub async fn audit(&self, entry: &NewEntry) -> Result<(), StoreError> {
        write(&mut *self.pool.acquire().await?, self.now(), entry).await
    }

    /// The newest entries before entry `before` (all with none), at most `limit`.
    pub async fn audit_entries(&self, before: Option<i64>, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query("select * from audit where $1 is null or id < $1 order by id desc limit $2")
            .bind(before)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The newest entries about one object, at most `limit`.
    pub async fn audit_of(&self, object: &str, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query("select * from audit where object = $1 order by id desc limit $2")
            .bind(object)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }
}

pub(super) async fn write(tx: &mut SqliteConnection, now: i64, entry: &NewEntry) -> Result<(), StoreError> {
    sqlx::query(
        "insert into audit (at, actor, address, action, object, outcome, before, after, detail, request_id) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(now)
    .bind(&entry.actor.name)
    .bind(&entry.actor.address)
    .bind(entry.action.as_str())
    .bind(&entry.object)
    .bind(&entry.outcome)
    .bind(&entry.before)
    .bind(&entry.after)
    .bind(&entry.detail)
    .bind(&entry.actor.request_id)
    .execute(tx)
    .await?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        id: row.try_get("id")?,
        at: time(row.try_get("at")?)?,
        actor: row.try_get("actor")?,
        address: row.try_get("address")?,
        action: row.try_get("action")?,
        object: row.try_get("object")?,
        outcome: row.try_get("outcome")?,
        before: row.try_get("before")?,
        after: row.try_get("after")?,
        detail: row.try_get("detail")?,
        request_id: row.try_get("request_id")?,
    })
}
