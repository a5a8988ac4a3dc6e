//! Changes at the proxy that are under way. The audit is written once it is known how they ended; whoever is
//! killed before leaves a row, and from that an entry that says so.

use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::columns::Millis;
use super::{Store, StoreError, audit, strip_nul};
use crate::domain::audit::NewEntry;

#[derive(Debug)]
#[must_use = "a change that is not ended counts as unknown at the next start"]
pub struct Begun(String);

impl Store {
    /// Notes that a change begins; `entry` is what is known of it.
    pub async fn begin_write(&self, entry: &NewEntry) -> Result<Begun, StoreError> {
        let id = Uuid::now_v7().to_string();
        sqlx::query(
            "insert into writes (id, replica, begun_at, actor, address, action, object, detail, request_id) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(&id)
        .bind(self.database.replica())
        .bind(self.now())
        .bind(strip_nul(&entry.actor.name))
        .bind(&entry.actor.address)
        .bind(entry.action.as_str())
        .bind(strip_nul(&entry.object))
        .bind(entry.detail.as_deref().map(strip_nul))
        .bind(&entry.actor.request_id)
        .execute(self.pool()?)
        .await?;
        Ok(Begun(id))
    }

    pub async fn end_write(&self, begun: Begun, entry: &NewEntry) -> Result<(), StoreError> {
        let mut tx = self.pool()?.begin().await?;
        audit::write(&mut tx, self.now(), &[entry]).await?;
        sqlx::query("delete from writes where id = $1").bind(begun.0).execute(&mut *tx).await?;
        tx.commit().await?;
        self.tell_of_audit();
        Ok(())
    }

    /// Writes into the audit that it is not known how the changes ended whose replica is gone. Returns how many
    /// there were.
    pub async fn close_unfinished_writes(&self) -> Result<usize, StoreError> {
        let mut tx = self.pool()?.begin().await?;
        let statement = format!(
            "delete from writes where not ({}) \
             returning begun_at, actor, address, action, object, detail, request_id",
            self.database.lives("writes.replica", "$1")
        );
        let query = sqlx::query(AssertSqlSafe(statement)).bind(self.database.replica());
        let rows = query.fetch_all(&mut *tx).await?;
        for row in &rows {
            let maybe = |column: &str| row.try_get::<Option<String>, _>(column);
            let Millis(begun_at) = row.try_get("begun_at")?;
            let why = format!("begun at {begun_at}: Patchbay was stopped before it had ended");
            let detail = match maybe("detail")? {
                Some(detail) => format!("{detail}: {why}"),
                None => why,
            };
            sqlx::query(
                "insert into audit (at, actor, address, action, object, outcome, detail, request_id) \
                 values ($1, $2, $3, $4, $5, 'unknown', $6, $7)",
            )
            .bind(self.now())
            .bind(row.try_get::<String, _>("actor")?)
            .bind(maybe("address")?)
            .bind(row.try_get::<String, _>("action")?)
            .bind(row.try_get::<String, _>("object")?)
            .bind(detail)
            .bind(maybe("request_id")?)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        if !rows.is_empty() {
            self.tell_of_audit();
        }
        Ok(rows.len())
    }
}
