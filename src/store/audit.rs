//! The audit: written, never changed. The schema refuses updates and deletions.

use jiff::Timestamp;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};
use tokio::sync::watch;

use super::{Store, StoreError, places, plain, time};
use crate::domain::audit::{Entry, Filter, NewEntry};

impl Store {
    pub async fn audit(&self, entry: &NewEntry) -> Result<(), StoreError> {
        write(&mut *self.writes()?.acquire().await?, self.now(), &[entry]).await?;
        self.tell_of_audit();
        Ok(())
    }

    /// Changes whenever an entry may have been written: here at once, elsewhere as soon as Postgres tells.
    pub fn audited(&self) -> watch::Receiver<()> {
        self.database.audited().subscribe()
    }

    pub(super) fn tell_of_audit(&self) {
        self.database.tell_of_audit();
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
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (conditions, values) = conditions(filter);
        let sql = format!("select * from audit where id < $1{conditions} order by id desc limit $2");
        let query = sqlx::query(AssertSqlSafe(sql)).bind(before.unwrap_or(i64::MAX)).bind(limit);
        bind(query, values).fetch_all(self.pool()?).await?.iter().map(read).collect()
    }

    /// How many entries fit from entry `from` on (all with none). Counted up to `most`: a million are not waited
    /// for.
    pub async fn audit_count(
        &self,
        filter: &Filter,
        from: Option<i64>,
        most: u32,
    ) -> Result<u64, StoreError> {
        let (conditions, values) = conditions(filter);
        let sql = format!(
            "select count(*) from (select 1 from audit where id >= $1{conditions} limit $2) as found"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(from.unwrap_or(i64::MIN)).bind(i64::from(most));
        let count: i64 = bind(query, values).fetch_one(self.pool()?).await?.try_get(0)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

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

type Query<'q> = sqlx::query::Query<'q, Any, AnyArguments>;

enum Value {
    Text(String),
    Time(Timestamp),
}

/// The conditions of a filter, to stand after others that take `$1` and `$2`, and their values. The text is made of
/// what stands in this file; what people type is bound.
fn conditions(filter: &Filter) -> (String, Vec<Value>) {
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
    let (conditions, values): (Vec<_>, Vec<_>) = all.into_iter().flatten().unzip();
    let numbered = conditions.iter().zip(3..).map(|(condition, n): (&&str, u32)| {
        let condition = condition.replace('?', &format!("${n}"));
        format!(" and {condition}")
    });
    (numbered.collect(), values)
}

fn bind(query: Query<'_>, values: Vec<Value>) -> Query<'_> {
    values.into_iter().fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text),
        Value::Time(at) => query.bind(at.as_millisecond()),
    })
}

/// A text that stands for itself in a `like`.
fn literally(text: &str) -> String {
    text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_")
}

pub(super) async fn write(tx: &mut AnyConnection, now: i64, entries: &[&NewEntry]) -> Result<(), StoreError> {
    let statement = format!(
        "insert into audit (at, actor, address, action, object, outcome, before, after, detail, request_id) \
         values {}",
        places(entries.len(), 10)
    );
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for entry in entries {
        query = query
            .bind(now)
            .bind(plain(&entry.actor.name))
            .bind(&entry.actor.address)
            .bind(entry.action.as_str())
            .bind(plain(&entry.object))
            .bind(&entry.outcome)
            .bind(entry.before.as_deref().map(plain))
            .bind(entry.after.as_deref().map(plain))
            .bind(entry.detail.as_deref().map(plain))
            .bind(&entry.actor.request_id);
    }
    query.execute(tx).await?;
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
