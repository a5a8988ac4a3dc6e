//! Messages asked in contexts, and their answers.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, contexts, json, time, word};
use crate::domain::agent::AgentName;
use crate::domain::context::{Ask, ContextId};

/// Asks kept for each context; older ones are deleted.
const KEPT: u32 = 50;

impl Store {
    pub async fn write_ask(&self, ask: &Ask) -> Result<(), StoreError> {
        let mut tx = self.pool()?.begin().await?;
        sqlx::query(
            "insert into asks (id, agent, context, actor, proof, problem, at) values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&ask.id)
        .bind(ask.agent.as_str())
        .bind(ask.context.as_str())
        .bind(&ask.actor)
        .bind(serde_json::to_string(&ask.proof).unwrap_or_default())
        .bind(&ask.problem)
        .bind(ask.at.as_millisecond())
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "delete from asks where agent = $1 and context = $2 and id not in \
             (select id from asks where agent = $1 and context = $2 order by id desc limit $3)",
        )
        .bind(ask.agent.as_str())
        .bind(ask.context.as_str())
        .bind(i64::from(KEPT))
        .execute(&mut *tx)
        .await?;
        if let (None, Some(model)) = (&ask.problem, &ask.proof.served) {
            let at = ask.at.as_millisecond();
            contexts::note_served(&mut tx, &ask.agent, &ask.context, model, at).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The last questions in a context, the oldest first.
    pub async fn asks_of(&self, agent: &AgentName, context: &ContextId) -> Result<Vec<Ask>, StoreError> {
        let rows = sqlx::query("select * from asks where agent = $1 and context = $2 order by id")
            .bind(agent.as_str())
            .bind(context.as_str())
            .fetch_all(self.pool()?)
            .await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &AnyRow) -> Result<Ask, StoreError> {
    let at: Timestamp = time(row.try_get("at")?)?;
    Ok(Ask {
        id: row.try_get("id")?,
        agent: word("agent name", &row.try_get::<String, _>("agent")?)?,
        context: word("context id", &row.try_get::<String, _>("context")?)?,
        actor: row.try_get("actor")?,
        proof: json("answer", &row.try_get::<String, _>("proof")?)?,
        problem: row.try_get("problem")?,
        at,
    })
}
