//! How agents called the proxy.

use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::columns::Millis;
use super::{Result, Store};
use crate::domain::agent::AgentName;
use crate::domain::calls::ObservedCall;

/// Most calls that are kept of one agent.
const MAX_CALLS: i64 = 50;

impl Store {
    /// The newest first.
    pub async fn agent_calls(&self, agent: &AgentName) -> Result<Vec<ObservedCall>> {
        let query = sqlx::query_as(
            "select model, endpoint, name, seen_at from agent_calls where agent = $1 order by seen_at desc, model",
        );
        Ok(query.bind(agent.as_str()).fetch_all(self.pool()?).await?)
    }

    pub async fn note_agent_call(&self, agent: &AgentName, call: &ObservedCall) -> Result<()> {
        let mut tx = self.pool()?.begin().await?;
        sqlx::query(
            "insert into agent_calls (agent, model, endpoint, name, seen_at) values ($1, $2, $3, $4, $5) \
             on conflict (agent, model) do update set endpoint = excluded.endpoint, name = excluded.name, \
             seen_at = excluded.seen_at",
        )
        .bind(agent.as_str())
        .bind(call.model.as_str())
        .bind(call.endpoint.as_str())
        .bind(&call.name)
        .bind(Millis(call.at))
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "delete from agent_calls where agent = $1 and model not in \
             (select model from agent_calls where agent = $1 order by seen_at desc limit $2)",
        )
        .bind(agent.as_str())
        .bind(MAX_CALLS)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

impl FromRow<'_, AnyRow> for ObservedCall {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            model: row.try_get("model")?,
            endpoint: row.try_get("endpoint")?,
            name: row.try_get("name")?,
            at: row.try_get::<Millis, _>("seen_at")?.into(),
        })
    }
}
