//! Changes that are under way upstream. Each has a row, its intent, until its audit entry is written.

use sqlx::{AnyConnection, AssertSqlSafe};
use uuid::Uuid;

use super::columns::Millis;
use super::{Result, Retirement, Store, audit, contexts, keys, models, strip_nul};
use crate::domain::agent::{AgentName, Scope};
use crate::domain::audit::NewEntry;
use crate::domain::key::KeyHash;
use crate::domain::model_detail::Draft;
use crate::domain::model_note::TestResult;

#[derive(Debug)]
#[must_use = "a change that is not ended counts as unknown at the next start"]
pub struct Intent(String);

/// A row of our own that is committed with the end of a change.
#[derive(Debug)]
pub enum OwnRow {
    /// What was sent of a deployment, and whether it is live.
    Deployment {
        id: String,
        draft: Draft,
        ghost: Option<String>,
    },
    NoDeployment(String),
    Test {
        id: String,
        name: String,
        result: TestResult,
    },
    Retirement(Retirement),
    NoRetirement(KeyHash),
    /// The form with this token made this key.
    KeyRequest(String, KeyHash),
    Scope(AgentName, Scope),
}

impl OwnRow {
    async fn write(&self, tx: &mut AnyConnection, now: i64) -> Result<()> {
        match self {
            Self::Deployment { id, draft, ghost } => {
                models::write_draft(tx, id, draft, ghost.as_deref()).await
            }
            Self::NoDeployment(id) => models::delete_note(tx, id).await,
            Self::Test { id, name, result } => models::write_test(tx, id, name, result).await,
            Self::Retirement(retirement) => keys::write_retirement(tx, retirement, now).await,
            Self::NoRetirement(hash) => keys::delete_retirement(tx, hash).await.map(drop),
            Self::KeyRequest(token, hash) => keys::write_key_request(tx, token, hash).await,
            Self::Scope(agent, scope) => contexts::write_scope(tx, agent, *scope, now).await,
        }
    }
}

impl Store {
    /// Notes that a change begins; `entry` is what is known of it.
    pub async fn begin_write(&self, entry: &NewEntry) -> Result<Intent> {
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
        Ok(Intent(id))
    }

    /// Ends a change: writes its audit entry and our own rows, and deletes its intent, all or nothing.
    pub async fn end_write(&self, Intent(id): Intent, entry: &NewEntry, rows: &[OwnRow]) -> Result<()> {
        let mut tx = self.pool()?.begin().await?;
        for row in rows {
            row.write(&mut tx, self.now()).await?;
        }
        audit::write(&mut tx, self.now(), &[entry]).await?;
        sqlx::query("delete from writes where id = $1").bind(id).execute(&mut *tx).await?;
        tx.commit().await?;
        self.tell_of_audit();
        Ok(())
    }

    /// Writes an audit entry with the outcome `unknown` for each change whose replica is gone. Returns how many there
    /// were.
    pub async fn close_unfinished_writes(&self) -> Result<usize> {
        let mut tx = self.pool()?.begin().await?;
        let statement = format!(
            "delete from writes where not ({}) \
             returning begun_at, actor, address, action, object, detail, request_id",
            self.database.lives("writes.replica", "$1")
        );
        let query = sqlx::query_as(AssertSqlSafe(statement)).bind(self.database.replica());
        let unfinished: Vec<Unfinished> = query.fetch_all(&mut *tx).await?;
        for (Millis(begun_at), actor, address, action, object, detail, request_id) in &unfinished {
            let why = format!("begun at {begun_at}: Patchbay was stopped before it had ended");
            sqlx::query(
                "insert into audit (at, actor, address, action, object, outcome, detail, request_id) \
                 values ($1, $2, $3, $4, $5, 'unknown', $6, $7)",
            )
            .bind(self.now())
            .bind(actor)
            .bind(address)
            .bind(action)
            .bind(object)
            .bind(detail.iter().chain([&why]).map(String::as_str).collect::<Vec<_>>().join(": "))
            .bind(request_id)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        if !unfinished.is_empty() {
            self.tell_of_audit();
        }
        Ok(unfinished.len())
    }
}

/// Begun at, actor, address, action, object, detail, request id.
type Unfinished = (Millis, String, Option<String>, String, String, Option<String>, Option<String>);
