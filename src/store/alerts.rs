//! The outbox of alerts, filled from the audit, and what was up when it was polled last.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::columns::{Json, Millis};
use super::{Result, Store, audit};
use crate::domain::alert::{Alert, AlertKind};
use crate::domain::audit::NewEntry;

/// How long alerts that were sent, or given up, stay in the list.
const KEPT_MS: i64 = 7 * 24 * 3_600 * 1_000;

/// An alert in the outbox.
#[derive(Debug, Clone, Serialize)]
pub struct Outgoing {
    pub alert: Alert,
    pub attempts: i64,
    /// None while it is to be sent.
    pub sent_at: Option<Timestamp>,
    pub problem: Option<String>,
}

impl Store {
    /// Up to which entry the audit was looked at. At first that is all there is: what happened before is no news.
    pub async fn alert_progress(&self) -> Result<i64> {
        sqlx::query(
            "insert into alert_progress (only_row, audit_id) select 1, coalesce(max(id), 0) from audit where 1 = 1 \
             on conflict (only_row) do nothing",
        )
        .execute(self.writes()?)
        .await?;
        Ok(sqlx::query_scalar("select audit_id from alert_progress").fetch_one(self.pool()?).await?)
    }

    /// Puts alerts into the outbox and notes how far the audit was read, all or nothing. False where another replica was
    /// first.
    pub async fn add_alerts(&self, alerts: &[Alert], from: i64, to: i64) -> Result<bool> {
        let mut tx = self.writes()?.begin().await?;
        let moved =
            sqlx::query("update alert_progress set audit_id = $2 where audit_id = $1").bind(from).bind(to);
        if moved.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        for alert in alerts {
            insert(&mut tx, alert, self.now()).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    pub async fn add_alert(&self, alert: &Alert, entry: &NewEntry) -> Result<()> {
        let mut tx = self.writes()?.begin().await?;
        insert(&mut tx, alert, self.now()).await?;
        audit::write(&mut tx, self.now(), &[entry]).await?;
        tx.commit().await?;
        self.tell_of_audit();
        Ok(())
    }

    /// Those whose time has come, the oldest first.
    pub async fn due_alerts(&self, limit: u32) -> Result<Vec<Outgoing>> {
        let query = sqlx::query_as(
            "select * from alerts where sent_at is null and next_at <= $1 order by next_at, id limit $2",
        );
        Ok(query.bind(self.now()).bind(i64::from(limit)).fetch_all(self.pool()?).await?)
    }

    /// The newest first.
    pub async fn last_alerts(&self, limit: u32) -> Result<Vec<Outgoing>> {
        let query = sqlx::query_as("select * from alerts order by created_at desc, id desc limit $1");
        Ok(query.bind(i64::from(limit)).fetch_all(self.pool()?).await?)
    }

    /// Notes how an attempt ended: `problem` and the next attempt, or that it was the last one.
    pub async fn end_attempt(&self, id: &str, problem: Option<&str>, next: Option<Timestamp>) -> Result<()> {
        sqlx::query(
            "update alerts set attempts = attempts + 1, problem = $2, next_at = coalesce($3, next_at), \
             sent_at = case when $3 is null then $4 else sent_at end where id = $1",
        )
        .bind(id)
        .bind(problem)
        .bind(next.map(Timestamp::as_millisecond))
        .bind(self.now())
        .execute(self.writes()?)
        .await?;
        Ok(())
    }

    pub async fn delete_old_alerts(&self) -> Result<()> {
        let query = sqlx::query("delete from alerts where sent_at < $1").bind(self.now() - KEPT_MS);
        query.execute(self.writes()?).await?;
        Ok(())
    }

    /// The kinds that an admin has chosen, if one has.
    pub async fn alert_kinds(&self) -> Result<Option<Vec<AlertKind>>> {
        let kinds: Option<Option<String>> =
            sqlx::query_scalar("select kinds from alert_progress").fetch_optional(self.pool()?).await?;
        let parse = |kinds: String| kinds.split(',').filter_map(|kind| kind.parse().ok()).collect();
        Ok(kinds.flatten().map(parse))
    }

    pub async fn choose_alert_kinds(&self, kinds: &[AlertKind], entry: &NewEntry) -> Result<()> {
        self.alert_progress().await?;
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let mut tx = self.writes()?.begin().await?;
        sqlx::query("update alert_progress set kinds = $1").bind(kinds.join(",")).execute(&mut *tx).await?;
        audit::write(&mut tx, self.now(), &[entry]).await?;
        tx.commit().await?;
        self.tell_of_audit();
        Ok(())
    }

    /// What did not answer when it was polled last: `proxy`, `agent/…`.
    pub async fn down(&self) -> Result<Vec<String>> {
        let query = sqlx::query_scalar("select name from health where is_up = 0 order by name");
        Ok(query.fetch_all(self.pool()?).await?)
    }

    /// Notes whether something answers, and writes `entry` where that has changed. What is up at the first look is no
    /// change.
    pub async fn note_health(&self, name: &str, is_up: bool, entry: &NewEntry) -> Result<bool> {
        let mut tx = self.writes()?.begin().await?;
        let changed = sqlx::query("update health set is_up = $2, since = $3 where name = $1 and is_up <> $2")
            .bind(name)
            .bind(i64::from(is_up))
            .bind(self.now())
            .execute(&mut *tx)
            .await?;
        let first = sqlx::query(
            "insert into health (name, is_up, since) values ($1, $2, $3) on conflict (name) do nothing",
        )
        .bind(name)
        .bind(i64::from(is_up))
        .bind(self.now())
        .execute(&mut *tx)
        .await?;
        let is_news = changed.rows_affected() > 0 || (first.rows_affected() > 0 && !is_up);
        if is_news {
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await?;
        if is_news {
            self.tell_of_audit();
        }
        Ok(is_news)
    }
}

async fn insert(tx: &mut sqlx::AnyConnection, alert: &Alert, now: i64) -> Result<()> {
    sqlx::query("insert into alerts (id, kind, payload, created_at, next_at) values ($1, $2, $3, $4, $4)")
        .bind(&alert.id)
        .bind(alert.kind.as_str())
        .bind(Json(alert))
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

impl FromRow<'_, AnyRow> for Outgoing {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            alert: row.try_get::<Json<_>, _>("payload")?.into_inner(),
            attempts: row.try_get("attempts")?,
            sent_at: row.try_get::<Option<Millis>, _>("sent_at")?.map(Timestamp::from),
            problem: row.try_get("problem")?,
        })
    }
}
