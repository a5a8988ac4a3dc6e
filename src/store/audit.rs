//! The audit: written, never changed. The schema refuses updates and deletions.

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};
use tokio::sync::watch;

use super::{Store, StoreError, plain, time};
use crate::domain::audit::{Entry, Filter, NewEntry};

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
        self.audit_found(&Filter::default(), before, limit as usize).await
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

    /// The newest entries that fit, before entry `before` (all with none), at most `limit`.
    pub async fn audit_found(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let found = conditions(filter);
        // The text is made of what stands in this file; what people type is bound.
        let mut sql = "select * from audit where id < $1".to_owned();
        for (place, (condition, _)) in found.iter().enumerate() {
            sql.push_str(" and ");
            sql.push_str(&condition.replace('?', &format!("${}", place + 3)));
        }
        sql.push_str(" order by id desc limit $2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(before.unwrap_or(i64::MAX)).bind(limit);
        for (_, value) in found {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Time(at) => query.bind(at.as_millisecond()),
            };
        }
        query.fetch_all(self.pool()?).await?.iter().map(read).collect()
    }

    /// One entry.
    pub async fn audit_entry(&self, id: i64) -> Result<Option<Entry>, StoreError> {
        let row =
            sqlx::query("select * from audit where id = $1").bind(id).fetch_optional(self.pool()?).await?;
        row.as_ref().map(read).transpose()
    }

    /// Deletes entries from before `end`, some thousand at a time, and says how many. The schema lets no
    /// others be deleted.
    pub async fn end_audit_before(&self, end: Timestamp) -> Result<u64, StoreError> {
        sqlx::query("update audit_retention set ended_at = $1 where ended_at < $1")
            .bind(end.as_millisecond())
            .execute(self.pool()?)
            .await?;
        let mut deleted = 0;
        loop {
            let done = sqlx::query(
                "delete from audit where id in (select id from audit where at < $1 order by at limit 5000)",
            )
            .bind(end.as_millisecond())
            .execute(self.pool()?)
            .await?
            .rows_affected();
            if done == 0 {
                return Ok(deleted);
            }
            deleted += done;
        }
    }
}

enum Value {
    Text(String),
    Time(Timestamp),
}

/// Conditions with a `?` for the value of each.
fn conditions(filter: &Filter) -> Vec<(&'static str, Value)> {
    let text = |condition, text: &Option<String>| Some((condition, Value::Text(plain(text.as_ref()?))));
    let time = |condition, at: Option<Timestamp>| Some((condition, Value::Time(at?)));
    let all = [
        text("actor = ?", &filter.who),
        text("(action = ? or action like ? || '.%')", &filter.what),
        text(r"object like '%' || ? || '%' escape '\'", &filter.object.as_deref().map(literally)),
        text("outcome = ?", &filter.outcome),
        time("at >= ?", filter.from),
        time("at < ?", filter.to),
        text("(action not in ('login', 'logout', 'access') or actor = ?)", &filter.logins_of),
    ];
    all.into_iter().flatten().collect()
}

/// A text that stands for itself in a `like`.
fn literally(text: &str) -> String {
    text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_")
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
