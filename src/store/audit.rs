//! The audit: written, never changed. The schema refuses updates and deletions.

use sqlx::AnyConnection;
use sqlx::Row;
use sqlx::any::AnyRow;
use tokio::sync::watch;

use super::{Store, StoreError, plain, time};
use crate::domain::audit::{Entry, NewEntry};

impl Store {
    /// Writes an entry.
    pub async fn audit(&self, entry: &NewEntry) -> Result<(), StoreError> {
        write(&mut *self.pool()?.acquire().await?, self.now(), entry).await?;
        self.tell_of_audit();
        Ok(())
    }

    /// Changes whenever an entry may have been written: here at once, elsewhere as soon as Postgres tells.
    #[must_use]
    pub fn audited(&self) -> watch::Receiver<()> {
        self.database.audited().subscribe()
    }

    pub(super) fn tell_of_audit(&self) {
        self.database.audited().send_replace(());
    }

    /// The newest entries before entry `before` (all with none), at most `limit`.
    pub async fn audit_entries(&self, before: Option<i64>, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query("select * from audit where $1 is null or id < $1 order by id desc limit $2")
            .bind(before)
            .bind(i64::from(limit))
            .fetch_all(self.pool()?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The oldest entries after entry `after`, at most `limit`.
    pub async fn audit_after(&self, after: i64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query("select * from audit where id > $1 order by id limit $2")
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(self.pool()?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The newest entries about one object, at most `limit`.
    pub async fn audit_of(&self, object: &str, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query("select * from audit where object = $1 order by id desc limit $2")
            .bind(plain(object))
            .bind(i64::from(limit))
            .fetch_all(self.pool()?)
            .await?;
        rows.iter().map(read).collect()
    }
}

pub(super) async fn write(tx: &mut AnyConnection, now: i64, entry: &NewEntry) -> Result<(), StoreError> {
    sqlx::query(
        "insert into audit (at, actor, address, action, object, outcome, before, after, detail, request_id) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(now)
    .bind(plain(&entry.actor.name))
    .bind(&entry.actor.address)
    .bind(entry.action.as_str())
    .bind(plain(&entry.object))
    .bind(&entry.outcome)
    .bind(entry.before.as_deref().map(plain))
    .bind(entry.after.as_deref().map(plain))
    .bind(entry.detail.as_deref().map(plain))
    .bind(&entry.actor.request_id)
    .execute(tx)
    .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Entry, StoreError> {
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
