//! Swaps and their receipts.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::AnyConnection;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, audit, bulk, contexts, json, places, time, word};
use crate::domain::agent::AgentName;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::bulk::{Place, judge};
use crate::domain::context::ContextId;
use crate::domain::swap::{Outcome, Swap};

const COLUMNS: &str = "id, agent, context, actor, model, prompt, config_before, config_after, steps, proof, \
                       outcome, fault, started_at, finished_at";

impl Store {
    /// Writes a swap that begins. If Patchbay ends before it does, its outcome stays `unknown`.
    pub async fn begin_swap(&self, swap: &Swap) -> Result<(), StoreError> {
        write(&mut *self.writes()?.acquire().await?, &[swap], self.database.replica()).await
    }

    /// Writes, as one: swaps of different contexts that have ended, what they say of their contexts, when they are to
    /// be undone, what they make of a job's items, and their audit entries.
    pub async fn finish_swaps(&self, ended: &[&Ended]) -> Result<(), StoreError> {
        let swaps: Vec<&Swap> = ended.iter().map(|ended| &ended.swap).collect();
        let entries: Vec<&NewEntry> = ended.iter().map(|ended| &ended.entry).collect();
        let items: Vec<_> = ended
            .iter()
            .filter_map(|ended| {
                let (state, why) = judge(&ended.swap);
                Some((ended.place.as_ref()?, state, why))
            })
            .collect();
        let mut tx = self.writes()?.begin().await?;
        write(&mut tx, &swaps, self.database.replica()).await?;
        contexts::note_swaps(&mut tx, self.now(), &swaps).await?;
        for Ended { swap, .. } in ended.iter().filter(|ended| ended.is_agent_wide) {
            contexts::note_wide_swap(&mut tx, self.now(), swap).await?;
        }
        set_reverts(&mut tx, ended).await?;
        if !items.is_empty() {
            bulk::end_items(&mut tx, &items).await?;
        }
        audit::write(&mut tx, self.now(), &entries).await?;
        tx.commit().await?;
        self.tell_of_audit();
        Ok(())
    }

    pub async fn swap(&self, id: &str) -> Result<Option<Swap>, StoreError> {
        let statement = format!("select {COLUMNS} from swaps where id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(id).fetch_optional(self.pool()?).await?;
        row.as_ref().map(read).transpose()
    }

    /// The newest swaps of all contexts, at most `limit`.
    pub async fn recent_swaps(&self, limit: u32) -> Result<Vec<Swap>, StoreError> {
        let statement = format!("select {COLUMNS} from swaps order by id desc limit $1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(i64::from(limit))
            .fetch_all(self.pool()?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The newest swaps of one context, at most `limit`.
    pub async fn swaps_of(
        &self,
        agent: &AgentName,
        context: &ContextId,
        limit: u32,
    ) -> Result<Vec<Swap>, StoreError> {
        let statement = format!(
            "select {COLUMNS} from swaps where agent = $1 and context = $2 \
             order by started_at desc, id desc limit $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(agent.as_str())
            .bind(context.as_str())
            .bind(i64::from(limit))
            .fetch_all(self.pool()?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The newest swap that touched `context`, or with none given any context of the agent.
    pub async fn last_swap(
        &self,
        agent: &AgentName,
        context: Option<&ContextId>,
    ) -> Result<Option<Swap>, StoreError> {
        let statement = format!(
            "select {COLUMNS} from swaps where agent = $1 and ($2 is null or context = $2) \
             and outcome <> 'refused' order by started_at desc, id desc limit 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(agent.as_str())
            .bind(context.map(ContextId::as_str))
            .fetch_optional(self.pool()?)
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// Marks swaps whose replica is gone as ended with an unknown outcome, notes them at their contexts and in the
    /// audit. Returns how many there were.
    pub async fn close_unfinished_swaps(&self) -> Result<usize, StoreError> {
        self.close_swaps(
            &format!("(replica is null or not ({}))", self.database.lives("swaps.replica")),
            None,
        )
        .await
    }

    /// The same for one swap, which does not run, though its replica lives.
    pub async fn close_unfinished_swap(&self, id: &str) -> Result<(), StoreError> {
        self.close_swaps("id = $2", Some(id)).await.map(drop)
    }

    async fn close_swaps(&self, which: &str, id: Option<&str>) -> Result<usize, StoreError> {
        let mut tx = self.writes()?.begin().await?;
        let statement = format!(
            "update swaps set outcome = 'unknown', finished_at = $1 where finished_at is null and {which} \
             returning id, agent, context, actor, coalesce(model, 'same model')"
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(self.now());
        if let Some(id) = id {
            query = query.bind(id);
        }
        let rows = query.fetch_all(&mut *tx).await?;
        for row in &rows {
            let (id, agent, context): (String, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            sqlx::query(
                "insert into contexts (agent, context, last_swap) values ($1, $2, $3) \
                 on conflict (agent, context) do update set last_swap = excluded.last_swap \
                 where contexts.last_swap is null or contexts.last_swap < excluded.last_swap",
            )
            .bind(&agent)
            .bind(&context)
            .bind(&id)
            .execute(&mut *tx)
            .await?;
            let actor = Actor::local(&row.try_get::<String, _>(3)?);
            let mut entry =
                NewEntry::new(&actor, Action::Swap, format!("{agent}/{context}"), Outcome::Unknown.as_str());
            let asked: String = row.try_get(4)?;
            entry.detail = Some(format!("asked for {asked}: Patchbay was stopped before the swap had ended"));
            audit::write(&mut tx, self.now(), &[&entry]).await?;
        }
        tx.commit().await?;
        if !rows.is_empty() {
            self.tell_of_audit();
        }
        Ok(rows.len())
    }
}

#[derive(Debug)]
pub struct Ended {
    pub swap: Swap,
    pub is_agent_wide: bool,
    pub revert_at: Option<Timestamp>,
    pub place: Option<Place>,
    pub entry: NewEntry,
}

async fn write(tx: &mut AnyConnection, swaps: &[&Swap], replica: &str) -> Result<(), StoreError> {
    let statement = format!(
        "insert into swaps (id, agent, context, actor, model, prompt, config_before, config_after, steps, \
         proof, outcome, fault, started_at, finished_at, replica) values {} \
         on conflict (id) do update set config_before = excluded.config_before, \
         config_after = excluded.config_after, steps = excluded.steps, proof = excluded.proof, \
         outcome = excluded.outcome, fault = excluded.fault, finished_at = excluded.finished_at",
        places(swaps.len(), 15)
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
    for swap in swaps {
        query = query
            .bind(&swap.id)
            .bind(swap.agent.as_str())
            .bind(swap.context.as_str())
            .bind(&swap.actor)
            .bind(swap.model.as_ref().map(ToString::to_string))
            .bind(text(&swap.prompt))
            .bind(swap.before.as_ref().map(text))
            .bind(swap.after.as_ref().map(text))
            .bind(text(&swap.steps))
            .bind(swap.proof.as_ref().map(text))
            .bind(swap.outcome.as_str())
            .bind(swap.fault.as_ref().map(text))
            .bind(swap.started_at.as_millisecond())
            .bind(swap.finished_at.map(jiff::Timestamp::as_millisecond))
            .bind(replica);
    }
    query.execute(&mut *tx).await?;
    Ok(())
}

async fn set_reverts(tx: &mut AnyConnection, ended: &[&Ended]) -> Result<(), StoreError> {
    let done: Vec<&&Ended> = ended.iter().filter(|ended| ended.swap.outcome.is_success()).collect();
    if done.is_empty() {
        return Ok(());
    }
    let statement =
        format!("delete from reverts where (agent, context) in (values {})", places(done.len(), 2));
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
    for Ended { swap, .. } in &done {
        query = query.bind(swap.agent.as_str()).bind(swap.context.as_str());
    }
    query.execute(&mut *tx).await?;
    for Ended { swap, revert_at, .. } in done {
        let Some(at) = revert_at else { continue };
        sqlx::query("insert into reverts (agent, context, swap, due_at) values ($1, $2, $3, $4)")
            .bind(swap.agent.as_str())
            .bind(swap.context.as_str())
            .bind(&swap.id)
            .bind(at.as_millisecond())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// The types written here have text keys only, so that JSON can hold them.
fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn read(row: &AnyRow) -> Result<Swap, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let maybe = |column: &str| row.try_get::<Option<String>, _>(column);
    Ok(Swap {
        id: text("id")?,
        agent: word("agent name", &text("agent")?)?,
        context: word("context id", &text("context")?)?,
        actor: text("actor")?,
        model: maybe("model")?.map(|model| word("model", &model)).transpose()?,
        prompt: json("prompt", &text("prompt")?)?,
        before: maybe("config_before")?.map(|config| json("configuration", &config)).transpose()?,
        after: maybe("config_after")?.map(|config| json("configuration", &config)).transpose()?,
        steps: json("receipt", &text("steps")?)?,
        proof: maybe("proof")?.map(|proof| json("receipt", &proof)).transpose()?,
        outcome: word("outcome", &text("outcome")?)?,
        fault: maybe("fault")?.map(|fault| json("fault", &fault)).transpose()?,
        started_at: time(row.try_get("started_at")?)?,
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.map(time).transpose()?,
    })
}
