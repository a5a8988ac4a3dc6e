//! Contexts as last seen, and what was found out about agents.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, json, time, word};
use crate::domain::agent::{AgentName, Scope};
use crate::domain::context::{ContextId, KnownContext};
use crate::domain::control::AgentConfig;
use crate::domain::swap::Swap;

const SELECT: &str = "select c.agent, c.context, c.config, c.read_at, c.last_swap, s.outcome, s.actor, s.started_at \
                      from contexts c left join swaps s on s.id = c.last_swap";

impl Store {
    /// The contexts known here, those swapped last first, at most `limit`.
    pub async fn contexts(&self, limit: u32) -> Result<Vec<KnownContext>, StoreError> {
        let statement =
            format!("{SELECT} order by coalesce(c.last_swap, '') desc, c.agent, c.context limit $1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(limit).fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// One context.
    pub async fn context(
        &self,
        agent: &AgentName,
        context: &ContextId,
    ) -> Result<Option<KnownContext>, StoreError> {
        let statement = format!("{SELECT} where c.agent = $1 and c.context = $2");
        let row = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(agent.as_str())
            .bind(context.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Notes the configuration that was read back from a context.
    pub async fn note_config(
        &self,
        agent: &AgentName,
        context: &ContextId,
        config: &AgentConfig,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into contexts (agent, context, config, read_at) values ($1, $2, $3, $4) \
             on conflict (agent, context) do update set config = excluded.config, read_at = excluded.read_at",
        )
        .bind(agent.as_str())
        .bind(context.as_str())
        .bind(serde_json::to_string(config).unwrap_or_default())
        .bind(self.now())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes a swap that has ended. A refused one does not make a context known: nothing was sent to it.
    pub(super) async fn note_swap(&self, swap: &Swap) -> Result<(), StoreError> {
        if swap.outcome == crate::domain::swap::Outcome::Refused {
            return Ok(());
        }
        sqlx::query(
            "insert into contexts (agent, context, last_swap) values ($1, $2, $3) \
             on conflict (agent, context) do update set last_swap = excluded.last_swap",
        )
        .bind(swap.agent.as_str())
        .bind(swap.context.as_str())
        .bind(&swap.id)
        .execute(&self.pool)
        .await?;
        match &swap.after {
            Some(config) => self.note_config(&swap.agent, &swap.context, config).await,
            None => Ok(()),
        }
    }

    /// The scope found out for an agent.
    pub async fn scope(&self, agent: &AgentName) -> Result<Option<Scope>, StoreError> {
        let row = sqlx::query("select scope from agents where name = $1")
            .bind(agent.as_str())
            .fetch_optional(&self.pool)
            .await?;
        let text: Option<String> = row.map(|row| row.try_get(0)).transpose()?.flatten();
        text.map(|text| word("scope", &text)).transpose()
    }

    /// Notes the scope found out for an agent.
    pub async fn note_scope(&self, agent: &AgentName, scope: Scope) -> Result<(), StoreError> {
        sqlx::query(
            "insert into agents (name, scope, seen_at) values ($1, $2, $3) \
             on conflict (name) do update set scope = excluded.scope, seen_at = excluded.seen_at",
        )
        .bind(agent.as_str())
        .bind(scope.as_str())
        .bind(self.now())
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Result<KnownContext, StoreError> {
    let text = |column: &str| row.try_get::<Option<String>, _>(column);
    let at = |column: &str| row.try_get::<Option<i64>, _>(column)?.map(time).transpose();
    Ok(KnownContext {
        agent: word("agent name", &row.try_get::<String, _>("agent")?)?,
        context: word("context id", &row.try_get::<String, _>("context")?)?,
        config: text("config")?.map(|config| json("configuration", &config)).transpose()?,
        read_at: at("read_at")?,
        last_swap: text("last_swap")?,
        last_outcome: text("outcome")?.map(|outcome| word("outcome", &outcome)).transpose()?,
        last_actor: text("actor")?,
        last_swap_at: at("started_at")?,
    })
}
