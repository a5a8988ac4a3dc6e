//! Agents of the proxy's own A2A gateway that are used here.

use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::{Result, Store, audit};
use crate::domain::agent::{AdoptedAgent, AgentName};
use crate::domain::audit::NewEntry;

/// Most of them that are read.
const MAX_ADOPTED: i64 = 200;

impl Store {
    /// By name.
    pub async fn adopted_agents(&self) -> Result<Vec<AdoptedAgent>> {
        let query = sqlx::query_as(
            "select name, gateway_id, key_variable from adopted_agents order by name limit $1",
        );
        Ok(query.bind(MAX_ADOPTED).fetch_all(self.pool()?).await?)
    }

    /// Writes the agent and the entry; false where its name or its id is taken.
    pub async fn adopt_agent(&self, agent: &AdoptedAgent, entry: &NewEntry) -> Result<bool> {
        let mut tx = self.writes()?.begin().await?;
        let added = sqlx::query(
            "insert into adopted_agents (name, gateway_id, key_variable, adopted_at) values ($1, $2, $3, $4) \
             on conflict do nothing",
        )
        .bind(agent.name.as_str())
        .bind(&agent.gateway_id)
        .bind(&agent.key_variable)
        .bind(self.now())
        .execute(&mut *tx)
        .await?;
        let is_added = added.rows_affected() > 0;
        if is_added {
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await?;
        self.tell_of_audit();
        Ok(is_added)
    }

    /// Deletes the row and writes the entry; false where there is none. What is known of its contexts stays.
    pub async fn release_agent(&self, name: &AgentName, entry: &NewEntry) -> Result<bool> {
        let mut tx = self.writes()?.begin().await?;
        let gone = sqlx::query("delete from adopted_agents where name = $1").bind(name.as_str());
        let was_there = gone.execute(&mut *tx).await?.rows_affected() > 0;
        if was_there {
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await?;
        self.tell_of_audit();
        Ok(was_there)
    }
}

impl FromRow<'_, AnyRow> for AdoptedAgent {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            name: row.try_get("name")?,
            gateway_id: row.try_get("gateway_id")?,
            key_variable: row.try_get("key_variable")?,
        })
    }
}
