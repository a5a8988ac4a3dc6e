//! Contexts as last seen, and what was found out about agents.

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, FromRow, Row as _};

use super::columns::{Json, Millis};
use super::{Result, Store, audit, placeholders, strip_nul};
use crate::domain::agent::{AgentName, Scope};
use crate::domain::audit::NewEntry;
use crate::domain::context::{ContextChange, ContextId, Described, KnownContext, Served};
use crate::domain::control::AgentConfig;
use crate::domain::swap::{Outcome, Swap};

const SELECT: &str = "select c.*, s.outcome, s.actor, s.started_at, s.finished_at, r.due_at \
                      from contexts c left join swaps s on s.id = c.last_swap \
                      left join reverts r on r.agent = c.agent and r.context = c.context";

/// What was found out about an agent.
#[derive(Debug, Default)]
pub struct Noted {
    /// With the time when it was seen.
    pub scope: Option<(Scope, Timestamp)>,
    /// When it last took a control message for chat, if it has obeyed none since.
    pub chatted_at: Option<Timestamp>,
}

impl Store {
    /// The contexts known here, those swapped last first, at most `limit`.
    pub async fn contexts(&self, limit: u32) -> Result<Vec<KnownContext>> {
        let statement =
            format!("{SELECT} order by coalesce(c.last_swap, '') desc, c.agent, c.context limit $1");
        let query = sqlx::query_as(AssertSqlSafe(statement)).bind(i64::from(limit));
        Ok(query.fetch_all(self.pool()?).await?)
    }

    pub async fn context(&self, agent: &AgentName, context: &ContextId) -> Result<Option<KnownContext>> {
        let statement = format!("{SELECT} where c.agent = $1 and c.context = $2");
        let query = sqlx::query_as(AssertSqlSafe(statement)).bind(agent.as_str()).bind(context.as_str());
        Ok(query.fetch_optional(self.pool()?).await?)
    }

    pub async fn note_config(
        &self,
        agent: &AgentName,
        context: &ContextId,
        config: &AgentConfig,
    ) -> Result<()> {
        sqlx::query(
            "insert into contexts (agent, context, config, read_at) values ($1, $2, $3, $4) \
             on conflict (agent, context) do update set config = excluded.config, read_at = excluded.read_at",
        )
        .bind(agent.as_str())
        .bind(context.as_str())
        .bind(Json(config))
        .bind(self.now())
        .execute(self.pool()?)
        .await?;
        self.database.note_change();
        Ok(())
    }

    /// Changes the fields of `change` that are given, if what was seen of them is still so, and writes `entry`, whose
    /// outcome and detail say what came of it.
    pub async fn describe_context(
        &self,
        agent: &AgentName,
        context: &ContextId,
        change: &ContextChange,
        mut entry: NewEntry,
    ) -> Result<Described> {
        let ContextChange { label, is_pinned, is_kept } = change;
        let flag = |is: bool| i64::from(is);
        let mut tx = self.pool()?.begin().await?;
        let query = sqlx::query_as(
            "update contexts set label = nullif(coalesce($3, label), ''), pinned = coalesce($4, pinned), \
             keep = coalesce($5, keep) where agent = $1 and context = $2 \
             and coalesce(label, '') = coalesce($6, label, '') and pinned = coalesce($7, pinned) \
             and keep = coalesce($8, keep) returning label, pinned, keep",
        );
        let now: Option<(Option<String>, i64, i64)> = query
            .bind(agent.as_str())
            .bind(context.as_str())
            .bind(label.as_ref().map(|label| strip_nul(&label.to)))
            .bind(is_pinned.as_ref().map(|pinned| flag(pinned.to)))
            .bind(is_kept.as_ref().map(|kept| flag(kept.to)))
            .bind(label.as_ref().and_then(|label| label.seen.as_deref()))
            .bind(is_pinned.as_ref().and_then(|pinned| pinned.seen).map(flag))
            .bind(is_kept.as_ref().and_then(|kept| kept.seen).map(flag))
            .fetch_optional(&mut *tx)
            .await?;
        let described = match &now {
            Some((label, pinned, keep)) => {
                let flags =
                    [(*pinned, "pinned"), (*keep, "kept")].map(|(is, word)| (is != 0).then_some(word));
                let words: Vec<&str> =
                    label.as_deref().into_iter().chain(flags.into_iter().flatten()).collect();
                entry.after = Some(words.join(", "));
                Described::Done
            }
            None if is_known(&mut tx, agent, context).await? => Described::Changed,
            None => Described::Unknown,
        };
        if described != Described::Done {
            "refused".clone_into(&mut entry.outcome);
        }
        audit::write(&mut tx, self.now(), &[&entry]).await?;
        tx.commit().await?;
        self.tell_of_audit();
        Ok(described)
    }

    /// Forgets a context with its questions and answers, and writes `entry`; its swaps stay in the history. Returns whether
    /// there was one.
    pub async fn forget_context(
        &self,
        agent: &AgentName,
        context: &ContextId,
        mut entry: NewEntry,
    ) -> Result<bool> {
        let mut tx = self.pool()?.begin().await?;
        let was_known = is_known(&mut tx, agent, context).await?;
        for statement in [
            "delete from reverts where agent = $1 and context = $2",
            "delete from asks where agent = $1 and context = $2",
            "update swaps set proof = null where agent = $1 and context = $2",
            "delete from contexts where agent = $1 and context = $2",
        ] {
            sqlx::query(statement).bind(agent.as_str()).bind(context.as_str()).execute(&mut *tx).await?;
        }
        if !was_known {
            "refused".clone_into(&mut entry.outcome);
        }
        audit::write(&mut tx, self.now(), &[&entry]).await?;
        tx.commit().await?;
        self.tell_of_audit();
        Ok(was_known)
    }

    pub async fn noted(&self, agent: &AgentName) -> Result<Noted> {
        let query = sqlx::query_as("select scope, seen_at, chatted_at from agents where name = $1");
        let found: Option<(Option<Scope>, Millis, Option<Millis>)> =
            query.bind(agent.as_str()).fetch_optional(self.pool()?).await?;
        Ok(found.map_or_else(Noted::default, |(scope, Millis(seen_at), chatted_at)| Noted {
            scope: scope.map(|scope| (scope, seen_at)),
            chatted_at: chatted_at.map(Millis::into),
        }))
    }

    /// Notes whether the agent took a control message for chat just now.
    pub async fn note_chatted(&self, agent: &AgentName, chatted: bool) -> Result<()> {
        sqlx::query(
            "insert into agents (name, seen_at, chatted_at) values ($1, $2, $3) \
             on conflict (name) do update set chatted_at = excluded.chatted_at",
        )
        .bind(agent.as_str())
        .bind(self.now())
        .bind(chatted.then(|| self.now()))
        .execute(self.pool()?)
        .await?;
        Ok(())
    }

    pub async fn note_scope(&self, agent: &AgentName, scope: Scope) -> Result<()> {
        write_scope(&mut *self.pool()?.acquire().await?, agent, scope, self.now()).await
    }
}

async fn is_known(tx: &mut AnyConnection, agent: &AgentName, context: &ContextId) -> Result<bool> {
    let query = sqlx::query("select 1 from contexts where agent = $1 and context = $2");
    Ok(query.bind(agent.as_str()).bind(context.as_str()).fetch_optional(tx).await?.is_some())
}

pub(super) async fn write_scope(
    tx: &mut AnyConnection,
    agent: &AgentName,
    scope: Scope,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "insert into agents (name, scope, seen_at) values ($1, $2, $3) \
         on conflict (name) do update set scope = excluded.scope, seen_at = excluded.seen_at",
    )
    .bind(agent.as_str())
    .bind(scope.as_str())
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes swaps of different contexts that have ended. A refused one does not make a context known: nothing was sent
/// to it.
pub(super) async fn note_swaps(tx: &mut AnyConnection, now: i64, swaps: &[&Swap]) -> Result<()> {
    let swaps: Vec<&&Swap> = swaps.iter().filter(|swap| swap.outcome != Outcome::Refused).collect();
    if swaps.is_empty() {
        return Ok(());
    }
    let statement = format!(
        "insert into contexts (agent, context, last_swap, config, read_at, selected) values {} \
         on conflict (agent, context) do update set last_swap = excluded.last_swap, \
         config = coalesce(excluded.config, contexts.config), \
         read_at = coalesce(excluded.read_at, contexts.read_at), \
         selected = coalesce(excluded.selected, contexts.selected)",
        placeholders(swaps.len(), 6)
    );
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for swap in &swaps {
        let after = swap.after.as_ref();
        query = query
            .bind(swap.agent.as_str())
            .bind(swap.context.as_str())
            .bind(&swap.id)
            .bind(after.map(Json))
            .bind(after.map(|_| now))
            .bind(after.filter(|_| swap.outcome.is_success()).map(Json));
    }
    query.execute(&mut *tx).await?;
    for swap in swaps {
        if let Some(model) = swap.proof.as_ref().and_then(|proof| proof.served.as_deref()) {
            note_served(tx, &swap.agent, &swap.context, model, now).await?;
        }
    }
    Ok(())
}

/// Notes what a swap has made of all other contexts of its agent: one model for all, which nobody selected for them.
pub(super) async fn note_wide_swap(tx: &mut AnyConnection, now: i64, swap: &Swap) -> Result<()> {
    let Some(after) = swap.after.as_ref().filter(|_| swap.outcome.is_success()) else { return Ok(()) };
    sqlx::query(
        "update contexts set config = $3, read_at = $4, selected = null where agent = $1 and context <> $2",
    )
    .bind(swap.agent.as_str())
    .bind(swap.context.as_str())
    .bind(Json(after))
    .bind(now)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Notes the model of an answer that was asked for `at`.
pub(super) async fn note_served(
    tx: &mut AnyConnection,
    agent: &AgentName,
    context: &ContextId,
    model: &str,
    at: i64,
) -> Result<()> {
    sqlx::query("update contexts set served = $3, served_at = $4 where agent = $1 and context = $2")
        .bind(agent.as_str())
        .bind(context.as_str())
        .bind(model)
        .bind(at)
        .execute(&mut *tx)
        .await?;
    Ok(())
}

impl FromRow<'_, AnyRow> for KnownContext {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let time = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<Millis>, _>(column)?.map(Millis::into));
        let config =
            |column| row.try_get::<Option<Json<_>>, _>(column).map(|json| json.map(Json::into_inner));
        Ok(Self {
            agent: row.try_get("agent")?,
            context: row.try_get("context")?,
            config: config("config")?,
            selected: config("selected")?,
            label: row.try_get("label")?,
            is_pinned: row.try_get::<i64, _>("pinned")? != 0,
            is_kept: row.try_get::<i64, _>("keep")? != 0,
            reverts_at: time("due_at")?,
            read_at: time("read_at")?,
            last_swap: row.try_get("last_swap")?,
            last_outcome: row.try_get("outcome")?,
            last_actor: row.try_get("actor")?,
            last_swap_at: time("started_at")?,
            last_swap_end: time("finished_at")?,
            served: row
                .try_get::<Option<String>, _>("served")?
                .zip(time("served_at")?)
                .map(|(model, at)| Served { model, at }),
        })
    }
}
