//! Jobs and their items. Only the replica that holds a job's lease works on its items: whatever begins or ends one
//! names the lease, and does nothing where another replica has taken it since.

use std::collections::HashMap;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, FromRow, Row};
use uuid::Uuid;

use super::columns::{Json, Millis};
use super::{Result, Store, audit, placeholders, strip_nul};
use crate::domain::agent::AgentName;
use crate::domain::audit::{Actor, NewEntry};
use crate::domain::context::ContextId;
use crate::domain::job::{Counts, Item, ItemEnd, ItemRef, ItemState, Job, JobKind, JobState, Kind, Limits};
use crate::domain::lease::Lease;

const CHUNK: usize = 500;

const ITEM: &str = "n, subject, task, state, reference, why";

impl Store {
    pub async fn pins(&self, agent: &AgentName) -> Result<HashMap<ContextId, bool>> {
        let query = sqlx::query("select context, pinned from contexts where agent = $1").bind(agent.as_str());
        let rows = query.fetch_all(self.pool()?).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)? != 0))).collect()
    }

    /// Adds a job, and numbers its items. Of its kind the newest `keep` stay, beside those that run.
    pub async fn add_job(&self, job: &Job, items: &[Item], keep: u32) -> Result<()> {
        let kind: &str = Kind::from(&job.kind).into();
        let mut tx = self.writes()?.begin().await?;
        sqlx::query(
            "insert into jobs (id, kind, parameters, actor, address, request_id, created_by, state, upto, \
             concurrency, pace_ms, stop_after, holder, started_at) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        )
        .bind(&job.id)
        .bind(kind)
        .bind(Json(&job.kind))
        .bind(&job.actor.name)
        .bind(&job.actor.address)
        .bind(&job.actor.request_id)
        .bind(&job.created_by)
        .bind(job.state.as_str())
        .bind(i64::from(job.limits.upto))
        .bind(i64::from(job.limits.concurrency))
        .bind(i64::from(job.limits.pace_ms))
        .bind(i64::from(job.limits.stop_after))
        .bind(&job.holder)
        .bind(Millis(job.started_at))
        .execute(&mut *tx)
        .await?;
        insert(&mut tx, &job.id, items).await?;
        let old = "select id from jobs where kind = $1 and state <> 'running' and id not in \
                   (select id from jobs where kind = $1 order by id desc limit $2)";
        for delete in [
            format!("delete from job_items where job in ({old})"),
            format!("delete from jobs where id in ({old})"),
        ] {
            let query = sqlx::query(sqlx::AssertSqlSafe(delete)).bind(kind).bind(i64::from(keep));
            query.execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    pub async fn job(&self, id: &str) -> Result<Option<Job>> {
        let query = sqlx::query_as("select * from jobs where id = $1").bind(strip_nul(id));
        Ok(query.fetch_optional(self.pool()?).await?)
    }

    /// The newest jobs of a kind, at most `limit`.
    pub async fn jobs(&self, kind: Kind, limit: u32) -> Result<Vec<Job>> {
        let query = sqlx::query_as("select * from jobs where kind = $1 order by id desc limit $2");
        let kind: &str = kind.into();
        Ok(query.bind(kind).bind(i64::from(limit)).fetch_all(self.pool()?).await?)
    }

    /// The jobs that are to be worked on: those that run, and those with items that do. With each, whether it is held
    /// by another replica; then it is to be ended where that one is gone, though it may not have begun.
    pub async fn open_jobs(&self) -> Result<Vec<(String, bool)>> {
        let rows = sqlx::query(
            "select id, case when holder <> $1 then 1 else 0 end as elsewhere from jobs where ended_at is null and \
             (state = 'running' or (state = 'planned' and holder <> $1) \
             or exists (select 1 from job_items where job = jobs.id and state = 'running'))",
        )
        .bind(self.database.replica())
        .fetch_all(self.pool()?)
        .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)? != 0))).collect()
    }

    /// Ends a job whose secrets were in the memory of a replica that is gone, and writes `entry` with that.
    pub async fn fail_orphaned_job(&self, id: &str, why: &str, entry: &NewEntry) -> Result<()> {
        let statement = format!(
            "update jobs set state = 'failed', why = $2, ended_at = $3 \
             where id = $1 and ended_at is null and not ({})",
            self.database.lives("jobs.holder", "$4")
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(statement)).bind(id).bind(why).bind(self.now());
        self.change_job(query.bind(self.database.replica()), entry).await.map(drop)
    }

    /// Changes a job's state, if it is one of `from` now, and writes `entry` with that. Returns whether it did.
    pub async fn set_job(
        &self,
        id: &str,
        from: &[JobState],
        to: JobState,
        why: Option<&str>,
        entry: &NewEntry,
    ) -> Result<bool> {
        let marks: Vec<String> = (0..from.len()).map(|n| format!("${}", n + 5)).collect();
        let statement = format!(
            "update jobs set state = $2, why = $3, ended_at = $4 where id = $1 and state in ({})",
            marks.join(", ")
        );
        let ended_at = matches!(to, JobState::Done | JobState::Failed).then(|| self.now());
        let mut query =
            sqlx::query(sqlx::AssertSqlSafe(statement)).bind(id).bind(to.as_str()).bind(why).bind(ended_at);
        for state in from {
            query = query.bind(state.as_str());
        }
        self.change_job(query, entry).await
    }

    async fn change_job(&self, change: Query<'_, Any, AnyArguments>, entry: &NewEntry) -> Result<bool> {
        let mut tx = self.writes()?.begin().await?;
        let has_changed = change.execute(&mut *tx).await?.rows_affected() > 0;
        if has_changed {
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await?;
        if has_changed {
            self.tell_of_audit();
        }
        Ok(has_changed)
    }

    /// Goes on with all items of a job, the failed ones too where `again`, with its parameters and in the name of its
    /// actor as they are in `job`. Returns whether the job did not run.
    pub async fn resume_job(&self, job: &Job, again: bool) -> Result<bool> {
        let mut tx = self.pool()?.begin().await?;
        let resumed = sqlx::query(
            "update jobs set state = 'running', why = null, ended_at = null, upto = $2, parameters = $3, \
             actor = $4, address = $5, request_id = $6, forgiven = \
             (select count(*) from job_items where job = $1 and state = 'failed') \
             where id = $1 and state not in ('running', 'failed')",
        )
        .bind(&job.id)
        .bind(i64::from(u32::MAX))
        .bind(Json(&job.kind))
        .bind(&job.actor.name)
        .bind(&job.actor.address)
        .bind(&job.actor.request_id)
        .execute(&mut *tx)
        .await?;
        let has_resumed = resumed.rows_affected() > 0;
        if has_resumed && again {
            for statement in [
                "update job_items set state = 'waiting', why = null where job = $1 and state = 'failed'",
                "update jobs set forgiven = 0 where id = $1",
            ] {
                sqlx::query(statement).bind(&job.id).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        Ok(has_resumed)
    }

    /// Begins the next items; those of a bulk swap get the id that their swap will have. None where there are none to
    /// begin, or where the lease is lost.
    pub async fn claim_items(&self, lease: &Lease, job: &Job, limit: u32) -> Result<Vec<Item>> {
        let mut tx = self.writes()?.begin().await?;
        if let JobKind::Swap(swap) = &job.kind {
            // Someone may have pinned some since the job began.
            sqlx::query(
                "update job_items set state = 'skipped', why = 'pinned' where job = $1 and state = 'waiting' \
                 and subject in (select context from contexts where agent = $2 and pinned = 1)",
            )
            .bind(&job.id)
            .bind(swap.agent.as_str())
            .execute(&mut *tx)
            .await?;
        }
        let mut items: Vec<Item> = sqlx::query_as(
            "select * from job_items where job = $1 and state = 'waiting' and n <= \
             (select upto from jobs where id = $1 and state = 'running') order by n limit $2",
        )
        .bind(&job.id)
        .bind(i64::from(limit))
        .fetch_all(&mut *tx)
        .await?;
        if items.is_empty() {
            tx.commit().await?;
            return Ok(items);
        }
        let pair = |i: usize| format!("(cast(${} as bigint), cast(${} as text))", 2 * i + 4, 2 * i + 5);
        let statement = format!(
            "update job_items set state = 'running', reference = v.column2 from (values {}) as v \
             where job_items.job = $1 and job_items.n = v.column1 \
             and exists (select 1 from locks where name = $2 and token = $3)",
            (0..items.len()).map(pair).collect::<Vec<_>>().join(", ")
        );
        let mut query =
            sqlx::query(sqlx::AssertSqlSafe(statement)).bind(&job.id).bind(&lease.name).bind(lease.token);
        for item in &mut items {
            item.state = ItemState::Running;
            if matches!(job.kind, JobKind::Swap(_)) {
                item.reference = Some(Uuid::now_v7().to_string());
            }
            query = query.bind(i64::from(item.n)).bind(item.reference.clone());
        }
        let begun = query.execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        Ok(if begun == 0 { Vec::new() } else { items })
    }

    /// Notes how an item ended, or without a number how all that run did, and adds items to the job. Does nothing where
    /// the lease is lost.
    pub async fn end_item(
        &self,
        lease: &Lease,
        job: &str,
        n: Option<u32>,
        end: &ItemEnd,
        more: &[Item],
    ) -> Result<()> {
        let mut tx = self.writes()?.begin().await?;
        let ended = sqlx::query(
            "update job_items set state = $3, why = $4, reference = coalesce($5, reference) \
             where job = $1 and (n = $2 or ($2 is null and state = 'running')) \
             and exists (select 1 from locks where name = $6 and token = $7)",
        )
        .bind(job)
        .bind(n.map(i64::from))
        .bind(end.state.as_str())
        .bind(end.why.as_deref().map(strip_nul))
        .bind(&end.reference)
        .bind(&lease.name)
        .bind(lease.token)
        .execute(&mut *tx)
        .await?;
        if ended.rows_affected() > 0 {
            insert(&mut tx, job, more).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    pub async fn job_counts(&self, job: &str) -> Result<Counts> {
        let statement = "select state, count(*) as n from job_items where job = $1 group by state";
        let mut counts = Counts::default();
        for row in sqlx::query(statement).bind(job).fetch_all(self.writes()?).await? {
            let count = u64::try_from(row.try_get::<i64, _>("n")?).unwrap_or(0);
            match row.try_get::<ItemState, _>("state")? {
                ItemState::Waiting => counts.waiting = count,
                ItemState::Running => counts.running = count,
                ItemState::Done => counts.done = count,
                ItemState::Failed => counts.failed = count,
                ItemState::Skipped => counts.skipped = count,
            }
        }
        Ok(counts)
    }

    /// Items in `state`, or all, in the order of their numbers after `after`.
    pub async fn job_items(
        &self,
        job: &str,
        state: Option<ItemState>,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Item>> {
        self.items(ITEM, job, state, after, limit).await
    }

    /// The same of a bulk swap for people: an item has the id of its swap before that begins, and one that was refused
    /// then, or has not begun yet, has no receipt to link to.
    pub async fn job_items_shown(
        &self,
        job: &str,
        state: Option<ItemState>,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Item>> {
        let begun = "n, subject, task, state, why, \
                     (select id from swaps where swaps.id = job_items.reference) as reference";
        self.items(begun, job, state, after, limit).await
    }

    async fn items(
        &self,
        columns: &'static str,
        job: &str,
        state: Option<ItemState>,
        after: u32,
        limit: u32,
    ) -> Result<Vec<Item>> {
        let statement = format!(
            "select {columns} from job_items \
             where job = $1 and ($2 is null or state = $2) and n > $3 order by n limit $4"
        );
        let query = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(job)
            .bind(state.map(ItemState::as_str))
            .bind(i64::from(after))
            .bind(i64::from(limit));
        Ok(query.fetch_all(self.pool()?).await?)
    }
}

/// Adds items after those that the job has.
async fn insert(tx: &mut AnyConnection, job: &str, items: &[Item]) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let query = sqlx::query_scalar("select coalesce(max(n), 0) from job_items where job = $1").bind(job);
    let last: i64 = query.fetch_one(&mut *tx).await?;
    let mut numbers = last + 1..;
    for chunk in items.chunks(CHUNK) {
        let statement = format!(
            "insert into job_items (job, n, subject, task, state, why) values {}",
            placeholders(chunk.len(), 6)
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(statement)).persistent(false);
        for (item, n) in chunk.iter().zip(&mut numbers) {
            query = query
                .bind(job)
                .bind(n)
                .bind(strip_nul(&item.subject))
                .bind(item.task.as_deref().map(strip_nul))
                .bind(item.state.as_str())
                .bind(item.why.as_deref().map(strip_nul));
        }
        query.execute(&mut *tx).await?;
    }
    Ok(())
}

/// Notes how swaps of items ended, unless an item has got another swap since, or its job another holder.
pub(super) async fn end_items(tx: &mut AnyConnection, ended: &[(&ItemRef, ItemEnd)]) -> Result<()> {
    let row = |n: usize| {
        let mark = |column: usize| match column {
            2 | 7 => format!("cast(${} as bigint)", 7 * n + column),
            _ => format!("${}", 7 * n + column),
        };
        format!("({})", (1..=7).map(mark).collect::<Vec<_>>().join(", "))
    };
    let statement = format!(
        "update job_items set state = v.column4, why = v.column5 from (values {}) as v \
         where job_items.job = v.column1 and job_items.n = v.column2 and job_items.reference = v.column3 \
         and exists (select 1 from locks where name = v.column6 and token = v.column7)",
        (0..ended.len()).map(row).collect::<Vec<_>>().join(", ")
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
    for (ItemRef { job, n, swap, lease }, end) in ended {
        query = query.bind(job).bind(i64::from(*n)).bind(swap).bind(end.state.as_str());
        query = query.bind(end.why.as_deref().map(strip_nul)).bind(&lease.name).bind(lease.token);
    }
    query.execute(tx).await?;
    Ok(())
}

impl<'r> FromRow<'r, AnyRow> for Job {
    fn from_row(row: &'r AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            kind: row.try_get::<Json<JobKind>, _>("parameters")?.into_inner(),
            actor: Actor {
                name: row.try_get("actor")?,
                address: row.try_get("address")?,
                request_id: row.try_get("request_id")?,
            },
            created_by: row.try_get("created_by")?,
            state: row.try_get("state")?,
            why: row.try_get("why")?,
            limits: Limits {
                upto: number(row, "upto")?,
                concurrency: number(row, "concurrency")?,
                pace_ms: number(row, "pace_ms")?,
                stop_after: number(row, "stop_after")?,
            },
            forgiven: number(row, "forgiven")?,
            holder: row.try_get("holder")?,
            started_at: row.try_get::<Millis, _>("started_at")?.into(),
            ended_at: row.try_get::<Option<Millis>, _>("ended_at")?.map(Into::into),
        })
    }
}

impl<'r> FromRow<'r, AnyRow> for Item {
    fn from_row(row: &'r AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            n: number(row, "n")?,
            subject: row.try_get("subject")?,
            task: row.try_get("task")?,
            state: row.try_get("state")?,
            reference: row.try_get("reference")?,
            why: row.try_get("why")?,
        })
    }
}

fn number(row: &AnyRow, column: &str) -> Result<u32, sqlx::Error> {
    u32::try_from(row.try_get::<i64, _>(column)?).map_err(|error| sqlx::Error::Decode(error.into()))
}
