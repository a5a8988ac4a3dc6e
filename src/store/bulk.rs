//! Jobs that swap many contexts. Only the replica that holds a job's lock works on its items, and every
//! statement that begins some looks whether it still does.

use std::collections::HashMap;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use uuid::Uuid;

use super::{Store, StoreError, placeholders};
use crate::domain::agent::AgentName;
use crate::domain::audit::Actor;
use crate::domain::bulk::{Counts, Item, ItemState, Job, JobState, Place};
use crate::domain::context::ContextId;

const CHUNK: usize = 500;

pub fn job_lock(id: &str) -> String {
    format!("bulk/{id}")
}

impl Store {
    pub async fn pins(&self, agent: &AgentName) -> Result<HashMap<ContextId, bool>, StoreError> {
        let query = sqlx::query("select context, pinned from contexts where agent = $1").bind(agent.as_str());
        let rows = query.fetch_all(self.pool()?).await?;
        let read = |row: &AnyRow| {
            Ok((word("context id", &row.try_get::<String, _>("context")?)?, flag(row, "pinned")?))
        };
        rows.iter().map(read).collect()
    }

    pub async fn add_bulk(&self, job: &Job, items: &[Item]) -> Result<(), StoreError> {
        let mut tx = self.pool()?.begin().await?;
        sqlx::query(
            "insert into bulk_jobs (id, agent, model, prompt, undoes, actor, address, request_id, state, upto, \
             at_once, pace_ms, stop_after, started_at) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        )
        .bind(&job.id)
        .bind(job.agent.as_str())
        .bind(job.model.as_ref().map(ToString::to_string))
        .bind(serde_json::to_string(&job.prompt).unwrap_or_default())
        .bind(&job.undoes)
        .bind(&job.actor.name)
        .bind(&job.actor.address)
        .bind(&job.actor.request_id)
        .bind(job.state.as_str())
        .bind(i64::from(job.upto))
        .bind(i64::from(job.at_once))
        .bind(i64::from(job.pace_ms))
        .bind(i64::from(job.stop_after))
        .bind(job.started_at.as_millisecond())
        .execute(&mut *tx)
        .await?;
        for chunk in items.chunks(CHUNK) {
            let statement = format!(
                "insert into bulk_items (job, n, context, back_to, state, why) values {}",
                placeholders(chunk.len(), 6)
            );
            let mut query = sqlx::query(sqlx::AssertSqlSafe(statement)).persistent(false);
            for item in chunk {
                query = query
                    .bind(&job.id)
                    .bind(i64::from(item.n))
                    .bind(item.context.as_str())
                    .bind(&item.back_to)
                    .bind(item.state.as_str())
                    .bind(&item.why);
            }
            query.execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    pub async fn bulk(&self, id: &str) -> Result<Option<Job>, StoreError> {
        let query = sqlx::query("select * from bulk_jobs where id = $1").bind(super::strip_nul(id));
        query.fetch_optional(self.pool()?).await?.as_ref().map(read).transpose()
    }

    /// The newest jobs, at most `limit`.
    pub async fn bulks(&self, limit: u32) -> Result<Vec<Job>, StoreError> {
        let query = sqlx::query("select * from bulk_jobs order by id desc limit $1").bind(i64::from(limit));
        query.fetch_all(self.pool()?).await?.iter().map(read).collect()
    }

    /// The jobs that are to be worked on: those that run, and those with items that do.
    pub async fn open_bulks(&self) -> Result<Vec<String>, StoreError> {
        let statement = "select id from bulk_jobs where ended_at is null and (state = 'running' or exists \
                         (select 1 from bulk_items where job = bulk_jobs.id and state = 'running'))";
        let rows = sqlx::query(statement).fetch_all(self.pool()?).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Changes how a job stands, if it stands as one of `from` now. Returns whether it did.
    pub async fn set_bulk(
        &self,
        id: &str,
        from: &[JobState],
        to: JobState,
        why: Option<&str>,
    ) -> Result<bool, StoreError> {
        let from: Vec<String> = from.iter().map(|state| format!("'{}'", state.as_str())).collect();
        let statement = format!(
            "update bulk_jobs set state = $2, why = $3, ended_at = $4 where id = $1 and state in ({})",
            from.join(", ")
        );
        let ended_at = (to == JobState::Done).then(|| self.now());
        let done = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(id)
            .bind(to.as_str())
            .bind(why)
            .bind(ended_at)
            .execute(self.pool()?)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Goes on with all items, the failed ones again where `again`. Returns whether the job did not run.
    pub async fn go_on_with_bulk(&self, id: &str, again: bool) -> Result<bool, StoreError> {
        let mut tx = self.pool()?.begin().await?;
        let done = sqlx::query(
            "update bulk_jobs set state = 'running', why = null, ended_at = null, upto = $2, forgiven = \
             (select count(*) from bulk_items where job = $1 and state = 'failed') \
             where id = $1 and state <> 'running'",
        )
        .bind(id)
        .bind(i64::from(u32::MAX))
        .execute(&mut *tx)
        .await?;
        let went_on = done.rows_affected() > 0;
        if went_on && again {
            for statement in [
                "update bulk_items set state = 'waiting', why = null where job = $1 and state = 'failed'",
                "update bulk_jobs set forgiven = 0 where id = $1",
            ] {
                sqlx::query(statement).bind(id).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        Ok(went_on)
    }

    /// Begins the next items: each gets the id that its swap will have. None where there are none to begin, or
    /// where another replica took the job over.
    pub async fn claim_bulk_items(&self, job: &Job, limit: u32) -> Result<Vec<Item>, StoreError> {
        let mut tx = self.writes()?.begin().await?;
        // Someone may have pinned some since the job began.
        sqlx::query(
            "update bulk_items set state = 'skipped', why = 'pinned' where job = $1 and state = 'waiting' \
             and context in (select context from contexts where agent = $2 and pinned = 1)",
        )
        .bind(&job.id)
        .bind(job.agent.as_str())
        .execute(&mut *tx)
        .await?;
        let rows = sqlx::query(
            "select * from bulk_items where job = $1 and state = 'waiting' and n <= \
             (select upto from bulk_jobs where id = $1 and state = 'running') order by n limit $2",
        )
        .bind(&job.id)
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        let mut items: Vec<Item> = rows.iter().map(read_item).collect::<Result<_, _>>()?;
        if items.is_empty() {
            tx.commit().await?;
            return Ok(items);
        }
        let pairs: Vec<String> =
            (0..items.len()).map(|i| format!("(cast(${} as bigint), ${})", 2 * i + 4, 2 * i + 5)).collect();
        let statement = format!(
            "update bulk_items set state = 'running', swap = v.column2 from (values {}) as v \
             where bulk_items.job = $1 and bulk_items.n = v.column1 \
             and exists (select 1 from locks where name = $2 and replica = $3)",
            pairs.join(", ")
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(&job.id)
            .bind(job_lock(&job.id))
            .bind(self.database.replica());
        for item in &mut items {
            let swap = Uuid::now_v7().to_string();
            query = query.bind(i64::from(item.n)).bind(swap.clone());
            (item.swap, item.state) = (Some(swap), ItemState::Running);
        }
        let begun = query.execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        Ok(if begun == 0 { Vec::new() } else { items })
    }

    pub async fn set_bulk_item(
        &self,
        job: &str,
        n: u32,
        state: ItemState,
        why: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query("update bulk_items set state = $3, why = $4 where job = $1 and n = $2")
            .bind(job)
            .bind(i64::from(n))
            .bind(state.as_str())
            .bind(why)
            .execute(self.writes()?)
            .await?;
        Ok(())
    }

    pub async fn bulk_counts(&self, job: &str) -> Result<Counts, StoreError> {
        let statement = "select state, count(*) from bulk_items where job = $1 group by state";
        let mut counts = Counts::default();
        for row in sqlx::query(statement).bind(job).fetch_all(self.writes()?).await? {
            let count = u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0);
            match word("state", &row.try_get::<String, _>(0)?)? {
                ItemState::Waiting => counts.waiting = count,
                ItemState::Running => counts.running = count,
                ItemState::Done => counts.done = count,
                ItemState::Failed => counts.failed = count,
                ItemState::Skipped => counts.skipped = count,
            }
        }
        Ok(counts)
    }

    /// Items that stand as `state`, or all, in the order of their numbers after `after`.
    pub async fn bulk_items(
        &self,
        job: &str,
        state: Option<ItemState>,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Item>, StoreError> {
        self.items("swap", job, state, after, limit).await
    }

    /// The same for people: an item has the id of its swap before that begins, and one that was refused then, or has
    /// not begun yet, leads to no receipt.
    pub async fn bulk_items_shown(
        &self,
        job: &str,
        state: Option<ItemState>,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Item>, StoreError> {
        let begun = "(select id from swaps where swaps.id = bulk_items.swap) as swap";
        self.items(begun, job, state, after, limit).await
    }

    async fn items(
        &self,
        swap: &'static str,
        job: &str,
        state: Option<ItemState>,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Item>, StoreError> {
        let statement = format!(
            "select n, context, back_to, state, why, {swap} from bulk_items \
             where job = $1 and ($2 is null or state = $2) and n > $3 order by n limit $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(job)
            .bind(state.map(ItemState::as_str))
            .bind(i64::from(after))
            .bind(i64::from(limit))
            .fetch_all(self.pool()?)
            .await?;
        rows.iter().map(read_item).collect()
    }
}

/// Notes how swaps of items ended, unless an item has got another one since.
pub(super) async fn end_items(
    tx: &mut AnyConnection,
    ended: &[(&Place, ItemState, Option<&str>)],
) -> Result<(), StoreError> {
    let row =
        |n: usize| format!("(${}, cast(${} as bigint), ${}, ${}, ${})", n + 1, n + 2, n + 3, n + 4, n + 5);
    let rows: Vec<String> = (0..ended.len()).map(|n| row(5 * n)).collect();
    let statement = format!(
        "update bulk_items set state = v.column4, why = v.column5 from (values {}) as v \
         where bulk_items.job = v.column1 and bulk_items.n = v.column2 and bulk_items.swap = v.column3",
        rows.join(", ")
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
    for (place, state, why) in ended {
        let Place { job, n, swap } = place;
        query = query.bind(job).bind(i64::from(*n)).bind(swap).bind(state.as_str()).bind(*why);
    }
    query.execute(tx).await?;
    Ok(())
}

fn unreadable(what: &str) -> StoreError {
    sqlx::Error::Decode(format!("the database holds an unreadable {what}").into()).into()
}

fn word<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| unreadable(what))
}

fn json<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| unreadable(what))
}

fn time(milliseconds: i64) -> Result<jiff::Timestamp, StoreError> {
    jiff::Timestamp::from_millisecond(milliseconds).map_err(|_| unreadable("time"))
}

fn flag(row: &AnyRow, column: &str) -> Result<bool, StoreError> {
    Ok(row.try_get::<i64, _>(column)? != 0)
}

fn number(row: &AnyRow, column: &str) -> Result<u32, StoreError> {
    u32::try_from(row.try_get::<i64, _>(column)?).map_err(|_| unreadable("number"))
}

fn read(row: &AnyRow) -> Result<Job, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let maybe = |column: &str| row.try_get::<Option<String>, _>(column);
    Ok(Job {
        id: text("id")?,
        agent: word("agent name", &text("agent")?)?,
        model: maybe("model")?.map(|model| word("model", &model)).transpose()?,
        prompt: json("prompt", &text("prompt")?)?,
        undoes: maybe("undoes")?,
        actor: Actor { name: text("actor")?, address: maybe("address")?, request_id: maybe("request_id")? },
        state: word("state", &text("state")?)?,
        why: maybe("why")?,
        upto: number(row, "upto")?,
        at_once: number(row, "at_once")?,
        pace_ms: number(row, "pace_ms")?,
        stop_after: number(row, "stop_after")?,
        forgiven: number(row, "forgiven")?,
        started_at: time(row.try_get("started_at")?)?,
        ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(time).transpose()?,
    })
}

fn read_item(row: &AnyRow) -> Result<Item, StoreError> {
    Ok(Item {
        n: number(row, "n")?,
        context: word::<ContextId>("context id", &row.try_get::<String, _>("context")?)?,
        back_to: row.try_get("back_to")?,
        state: word("state", &row.try_get::<String, _>("state")?)?,
        swap: row.try_get("swap")?,
        why: row.try_get("why")?,
    })
}
