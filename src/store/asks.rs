//! Messages asked in contexts, and their answers.

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::columns::{Json, Millis};
use super::{Result, Store, contexts};
use crate::domain::agent::AgentName;
use crate::domain::context::{Ask, ContextId};
use crate::domain::control::Tokens;
use crate::domain::swap::Proof;

/// Asks kept for each context; older ones are deleted.
const KEPT: u32 = 50;

impl Store {
    pub async fn write_ask(&self, ask: &Ask) -> Result<()> {
        let mut tx = self.pool()?.begin().await?;
        sqlx::query(
            "insert into asks (id, agent, context, actor, proof, problem, at) values ($1, $2, $3, $4, $5, $6, $7) \
             on conflict (id) do update set proof = excluded.proof, problem = excluded.problem",
        )
        .bind(&ask.id)
        .bind(ask.agent.as_str())
        .bind(ask.context.as_str())
        .bind(&ask.actor)
        .bind(Json(&ask.proof))
        .bind(&ask.problem)
        .bind(Millis(ask.at))
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

    /// Deletes questions and answers from before `end`, those of swaps included, some thousand at a time, and says how many.
    pub async fn end_conversations_before(&self, end: Timestamp) -> Result<u64> {
        let mut ended = 0;
        for statement in [
            "delete from asks where id in (select id from asks where at < $1 limit 5000)",
            "update swaps set proof = null where id in \
             (select id from swaps where proof is not null and started_at < $1 limit 5000)",
        ] {
            loop {
                let query = sqlx::query(statement).bind(Millis(end));
                let done = query.execute(self.pool()?).await?.rows_affected();
                if done == 0 {
                    break;
                }
                ended += done;
            }
        }
        Ok(ended)
    }

    /// The tokens of the last answer in a context that reports them, and when it was asked for.
    pub async fn last_tokens(
        &self,
        agent: &AgentName,
        context: &ContextId,
    ) -> Result<Option<(Tokens, Timestamp)>> {
        let mut found = Vec::new();
        for statement in [
            "select proof, at from asks where agent = $1 and context = $2 order by id desc limit 5",
            "select proof, started_at as at from swaps where agent = $1 and context = $2 and proof is not null \
             order by id desc limit 5",
        ] {
            let query = sqlx::query_as(statement).bind(agent.as_str()).bind(context.as_str());
            let rows: Vec<(Json<Proof>, Millis)> = query.fetch_all(self.pool()?).await?;
            found.extend(
                rows.into_iter().filter_map(|(proof, Millis(at))| Some((proof.into_inner().tokens?, at))),
            );
        }
        Ok(found.into_iter().max_by_key(|(_, at)| *at))
    }

    /// The last questions in a context, the oldest first.
    pub async fn asks_of(&self, agent: &AgentName, context: &ContextId) -> Result<Vec<Ask>> {
        let asks = sqlx::query_as("select * from asks where agent = $1 and context = $2 order by id")
            .bind(agent.as_str())
            .bind(context.as_str())
            .fetch_all(self.pool()?)
            .await?;
        Ok(asks)
    }
}

impl FromRow<'_, AnyRow> for Ask {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            agent: row.try_get("agent")?,
            context: row.try_get("context")?,
            actor: row.try_get("actor")?,
            proof: row.try_get::<Json<_>, _>("proof")?.into_inner(),
            problem: row.try_get("problem")?,
            at: row.try_get::<Millis, _>("at")?.into(),
        })
    }
}
