//! The audit: written, never changed. The schema refuses deletions, and updates of anything but a refusal's count.

use std::fmt::Write as _;

use jiff::Timestamp;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, AnyConnection, Arguments as _, AssertSqlSafe, Encode, FromRow, Row as _, Type};
use tokio::sync::watch;

use super::columns::Millis;
use super::{Result, Store, placeholders, strip_nul};
use crate::domain::audit::{Entry, Filter, NewEntry};

impl Store {
    pub async fn audit(&self, entry: &NewEntry) -> Result<()> {
        write(&mut *self.writes()?.acquire().await?, self.now(), &[entry]).await?;
        self.tell_of_audit();
        Ok(())
    }

    /// Writes an entry and returns its id, under which [`Self::audit_again`] counts repetitions.
    pub async fn audit_refusal(&self, entry: &NewEntry) -> Result<i64> {
        let (sql, arguments) = insert(self.now(), &[entry])?;
        let query = sqlx::query_scalar_with(AssertSqlSafe(sql + " returning id"), arguments);
        let id = query.fetch_one(&mut *self.writes()?.acquire().await?).await?;
        self.tell_of_audit();
        Ok(id)
    }

    pub async fn audit_again(&self, id: i64, more: i64) -> Result<()> {
        let query = sqlx::query("update audit set count = count + $1 where id = $2").bind(more).bind(id);
        query.execute(self.writes()?).await?;
        Ok(())
    }

    /// Changes whenever an entry may have been written: here at once, elsewhere as soon as Postgres tells.
    pub fn audited(&self) -> watch::Receiver<()> {
        self.database.audited().subscribe()
    }

    pub(super) fn tell_of_audit(&self) {
        self.database.tell_of_audit();
    }

    /// The oldest entries after entry `after`, at most `limit`.
    pub async fn audit_after(&self, after: i64, limit: u32) -> Result<Vec<Entry>> {
        let query = sqlx::query_as("select * from audit where id > $1 order by id limit $2").bind(after);
        Ok(query.bind(i64::from(limit)).fetch_all(self.pool()?).await?)
    }

    /// The newest entries about one object, at most `limit`.
    pub async fn audit_of(&self, object: &str, limit: u32) -> Result<Vec<Entry>> {
        let query = sqlx::query_as("select * from audit where object = $1 order by id desc limit $2");
        Ok(query.bind(strip_nul(object)).bind(i64::from(limit)).fetch_all(self.pool()?).await?)
    }

    /// The newest entries that match, before entry `before` (all with none), at most `limit`.
    pub async fn audit_entries(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let Conditions { sql, arguments } =
            Conditions::of(filter, before.unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX))?;
        let sql = format!("select * from audit where id < $1{sql} order by id desc limit $2");
        Ok(sqlx::query_as_with(AssertSqlSafe(sql), arguments).fetch_all(self.pool()?).await?)
    }

    /// How many entries match from entry `from` on (all with none). Counts up to `limit`: counting a million would
    /// take too long.
    pub async fn audit_count(&self, filter: &Filter, from: Option<i64>, limit: u32) -> Result<u64> {
        let Conditions { sql, arguments } =
            Conditions::of(filter, from.unwrap_or(i64::MIN), i64::from(limit))?;
        let sql = format!("select count(*) from (select 1 from audit where id >= $1{sql} limit $2) as found");
        let count: i64 =
            sqlx::query_scalar_with(AssertSqlSafe(sql), arguments).fetch_one(self.pool()?).await?;
        Ok(count.cast_unsigned())
    }

    pub async fn audit_entry(&self, id: i64) -> Result<Option<Entry>> {
        let query = sqlx::query_as("select * from audit where id = $1").bind(id);
        Ok(query.fetch_optional(self.pool()?).await?)
    }

    /// Deletes entries from before `end`, some thousand at a time, and says how many. The schema lets no
    /// others be deleted.
    pub async fn end_audit_before(&self, end: Timestamp) -> Result<u64> {
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

/// The conditions of a filter, which follow others that take `$1` and `$2`. What people type is bound.
struct Conditions {
    sql: String,
    arguments: AnyArguments,
}

impl Conditions {
    fn of(filter: &Filter, id: i64, limit: i64) -> Result<Self, sqlx::Error> {
        let mut all = Self { sql: String::new(), arguments: AnyArguments::default() };
        all.arguments.add(id).and_then(|()| all.arguments.add(limit)).map_err(sqlx::Error::Encode)?;
        let text = |text: &Option<String>| text.as_deref().map(strip_nul);
        all.and("actor = ?", text(&filter.who))?;
        all.and("(action = ? or action like ? || '.%')", text(&filter.what))?;
        all.on(filter)?;
        all.and("outcome = ?", text(&filter.outcome))?;
        all.and("at >= ?", filter.from.map(Millis))?;
        all.and("at < ?", filter.to.map(Millis))?;
        all.and(
            "(action not in ('login', 'logout', 'access', 'session.end') or actor = ?)",
            text(&filter.logins_of),
        )?;
        if filter.without_logins {
            all.sql += " and action not in ('login', 'logout', 'access', 'session.end')";
        }
        Ok(all)
    }

    fn on(&mut self, filter: &Filter) -> Result<(), sqlx::Error> {
        let Some(part) = &filter.object else { return Ok(()) };
        self.arguments.add(escape_like(strip_nul(part).as_ref())).map_err(sqlx::Error::Encode)?;
        let _ = write!(self.sql, r" and (object like '%' || ${} || '%' escape '\'", self.arguments.len());
        for object in &filter.objects {
            self.arguments.add(object.clone()).map_err(sqlx::Error::Encode)?;
            let _ = write!(self.sql, " or object = ${}", self.arguments.len());
        }
        self.sql.push(')');
        Ok(())
    }

    fn and<'v, T>(&mut self, condition: &'static str, value: Option<T>) -> Result<(), sqlx::Error>
    where
        T: Encode<'v, Any> + Type<Any>,
    {
        let Some(value) = value else { return Ok(()) };
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        self.sql += " and ";
        self.sql += &condition.replace('?', &format!("${}", self.arguments.len()));
        Ok(())
    }
}

/// Makes a text match itself in a `like`.
fn escape_like(text: &str) -> String {
    text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_")
}

pub(super) async fn write(tx: &mut AnyConnection, now: i64, entries: &[&NewEntry]) -> Result<()> {
    let (sql, arguments) = insert(now, entries)?;
    sqlx::query_with(AssertSqlSafe(sql), arguments).execute(tx).await?;
    Ok(())
}

fn insert(now: i64, entries: &[&NewEntry]) -> Result<(String, AnyArguments), sqlx::Error> {
    let sql = format!(
        "insert into audit (at, actor, address, action, object, outcome, before, after, detail, request_id) \
         values {}",
        placeholders(entries.len(), 10)
    );
    let mut arguments = AnyArguments::default();
    for entry in entries {
        let text = |text: &Option<String>| text.as_deref().map(strip_nul);
        arguments.add(now).map_err(sqlx::Error::Encode)?;
        for value in [
            Some(strip_nul(&entry.actor.name)),
            entry.actor.address.clone(),
            Some(entry.action.as_str().to_owned()),
            Some(strip_nul(&entry.object)),
            Some(entry.outcome.clone()),
            text(&entry.before),
            text(&entry.after),
            text(&entry.detail),
            entry.actor.request_id.clone(),
        ] {
            arguments.add(value).map_err(sqlx::Error::Encode)?;
        }
    }
    Ok((sql, arguments))
}

impl FromRow<'_, AnyRow> for Entry {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            at: row.try_get::<Millis, _>("at")?.into(),
            actor: row.try_get("actor")?,
            address: row.try_get("address")?,
            action: row.try_get("action")?,
            object: row.try_get("object")?,
            outcome: row.try_get("outcome")?,
            before: row.try_get("before")?,
            after: row.try_get("after")?,
            detail: row.try_get("detail")?,
            request_id: row.try_get("request_id")?,
            count: row.try_get("count")?,
        })
    }
}
