//! Keys that were replaced and are to end later.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row as _};

use super::columns::Millis;
use super::{Result, Store, audit};
use crate::domain::audit::NewEntry;
use crate::domain::key::KeyHash;

/// The column `due_at` of a key that ends on confirmation.
const NEVER: i64 = i64::MAX;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

#[derive(Debug, Clone, Serialize)]
pub struct Retirement {
    pub hash: KeyHash,
    /// `delete` or `block`.
    pub action: String,
    /// None: when someone confirms that the new key is in use.
    pub due_at: Option<Timestamp>,
    pub actor: String,
    pub replaced_by: KeyHash,
    pub problem: Option<String>,
}

/// Whether a form that makes a key was sent before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRequest {
    New,
    /// The key that it made; none while that runs, or where its end is not known.
    Sent(Option<KeyHash>),
}

impl Store {
    /// Notes that a form is being worked on. Forgets those of the day before.
    pub async fn begin_key_request(&self, token: &str) -> Result<KeyRequest> {
        let (now, pool) = (self.now(), self.pool()?);
        sqlx::query("delete from key_requests where at < $1").bind(now - DAY_MS).execute(pool).await?;
        let insert = "insert into key_requests (token, at) values ($1, $2) on conflict (token) do nothing";
        let inserted = sqlx::query(insert).bind(token).bind(now).execute(pool).await?.rows_affected();
        if inserted > 0 {
            return Ok(KeyRequest::New);
        }
        let hash: Option<Option<String>> =
            sqlx::query_scalar("select hash from key_requests where token = $1")
                .bind(token)
                .fetch_optional(pool)
                .await?;
        Ok(KeyRequest::Sent(hash.flatten().and_then(|hash| hash.parse().ok())))
    }

    /// Lets a form be sent again that has made no key.
    pub async fn forget_key_request(&self, token: &str) -> Result<()> {
        sqlx::query("delete from key_requests where token = $1 and hash is null")
            .bind(token)
            .execute(self.pool()?)
            .await?;
        Ok(())
    }

    /// When a key is to end, if it is.
    pub async fn retirement(&self, hash: &KeyHash) -> Result<Option<Retirement>> {
        let query = sqlx::query_as("select * from key_retirements where hash = $1").bind(hash.as_str());
        Ok(query.fetch_optional(self.pool()?).await?)
    }

    /// Those whose time has come, at most a hundred.
    pub async fn due_retirements(&self) -> Result<Vec<Retirement>> {
        let query =
            sqlx::query_as("select * from key_retirements where due_at <= $1 order by due_at limit 100");
        Ok(query.bind(self.now()).fetch_all(self.pool()?).await?)
    }

    /// Lets a replaced key live on. Writes `entry` and returns true if it was to end.
    pub async fn drop_retirement(&self, hash: &KeyHash, entry: Option<&NewEntry>) -> Result<bool> {
        let mut tx = self.pool()?.begin().await?;
        let was_due = delete_retirement(&mut tx, hash).await?;
        if let Some(entry) = entry.filter(|_| was_due) {
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await?;
        self.tell_of_audit();
        Ok(was_due)
    }

    /// Tries a key's end again later.
    pub async fn put_off_retirement(&self, hash: &KeyHash, due_at: Timestamp, problem: &str) -> Result<()> {
        sqlx::query("update key_retirements set due_at = $2, problem = $3 where hash = $1")
            .bind(hash.as_str())
            .bind(Millis(due_at))
            .bind(problem)
            .execute(self.pool()?)
            .await?;
        Ok(())
    }
}

pub(super) async fn write_key_request(tx: &mut AnyConnection, token: &str, hash: &KeyHash) -> Result<()> {
    let update = sqlx::query("update key_requests set hash = $2 where token = $1");
    update.bind(token).bind(hash.as_str()).execute(tx).await?;
    Ok(())
}

pub(super) async fn write_retirement(
    tx: &mut AnyConnection,
    retirement: &Retirement,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "insert into key_retirements (hash, action, due_at, actor, replaced_by, asked_at) \
         values ($1, $2, $3, $4, $5, $6) on conflict (hash) do update set action = excluded.action, \
         due_at = excluded.due_at, actor = excluded.actor, replaced_by = excluded.replaced_by, \
         asked_at = excluded.asked_at, problem = null",
    )
    .bind(retirement.hash.as_str())
    .bind(&retirement.action)
    .bind(retirement.due_at.map_or(NEVER, Timestamp::as_millisecond))
    .bind(&retirement.actor)
    .bind(retirement.replaced_by.as_str())
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn delete_retirement(tx: &mut AnyConnection, hash: &KeyHash) -> Result<bool> {
    let done =
        sqlx::query("delete from key_retirements where hash = $1").bind(hash.as_str()).execute(tx).await?;
    Ok(done.rows_affected() > 0)
}

impl Retirement {
    pub fn ending(&self) -> &'static str {
        if self.action == "delete" { "deleted" } else { "blocked" }
    }
}

impl FromRow<'_, AnyRow> for Retirement {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            hash: row.try_get("hash")?,
            action: row.try_get("action")?,
            due_at: match row.try_get::<i64, _>("due_at")? {
                NEVER => None,
                _ => Some(row.try_get::<Millis, _>("due_at")?.into()),
            },
            actor: row.try_get("actor")?,
            replaced_by: row.try_get("replaced_by")?,
            problem: row.try_get("problem")?,
        })
    }
}
