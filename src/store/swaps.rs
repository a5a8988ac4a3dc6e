//! Swaps and their receipts.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, FromRow, Row as _};

use super::columns::{Json, Millis};
use super::timers::GIVES_UP_AFTER;
use super::{Fenced, Result, Store, audit, contexts, jobs, placeholders, replicas};
use crate::domain::agent::AgentName;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::ContextId;
use crate::domain::job::{ItemEnd, ItemRef};
use crate::domain::lease::Lease;
use crate::domain::swap::{Outcome, Swap};

const COLUMNS: &str = "id, agent, context, actor, model, prompt, config_before, config_after, steps, proof, assessment, \
                       outcome, fault, started_at, finished_at";

impl Store {
    /// Writes a swap that begins. If Patchbay ends before it does, its outcome stays `unknown`.
    pub async fn begin_swap(&self, swap: &Swap) -> Result<()> {
        write(&mut *self.writes()?.acquire().await?, &[swap], self.database.replica()).await
    }

    /// Writes, as one: swaps of different contexts that have ended, what they say of their contexts, when they are to
    /// be undone, what they make of a job's items, and their audit entries.
    ///
    /// Nothing is written where a lease of one of them was lost.
    pub async fn finish_swaps(&self, ended: &[&Ended]) -> Result<(), Fenced> {
        let swaps: Vec<&Swap> = ended.iter().map(|ended| &ended.swap).collect();
        let entries: Vec<&NewEntry> = ended.iter().map(|ended| &ended.entry).collect();
        let items: Vec<_> = ended
            .iter()
            .filter_map(|ended| Some((ended.item.as_ref()?, ItemEnd::of_swap(&ended.swap))))
            .collect();
        let mut tx = self.writes()?.begin().await?;
        for Ended { leases, .. } in ended {
            replicas::hold(&mut tx, self.replica(), leases).await?;
        }
        write(&mut tx, &swaps, self.replica()).await?;
        contexts::note_swaps(&mut tx, self.now(), &swaps).await?;
        for Ended { swap, .. } in ended.iter().filter(|ended| ended.is_agent_wide) {
            contexts::note_wide_swap(&mut tx, self.now(), swap).await?;
        }
        set_reverts(&mut tx, ended).await?;
        if !items.is_empty() {
            jobs::end_items(&mut tx, &items).await?;
        }
        audit::write(&mut tx, self.now(), &entries).await?;
        tx.commit().await?;
        self.tell_of_audit();
        Ok(())
    }

    /// Writes a swap whose lock was lost: its outcome is `unknown`, and nothing else is touched. Another replica may have
    /// marked it so before, with an audit entry.
    pub async fn finish_lost_swap(&self, swap: &Swap, entry: &NewEntry) -> Result<()> {
        let mut tx = self.writes()?.begin().await?;
        let unfinished =
            sqlx::query("update swaps set finished_at = $2 where id = $1 and finished_at is null");
        let is_first =
            unfinished.bind(&swap.id).bind(self.now()).execute(&mut *tx).await?.rows_affected() > 0;
        write(&mut tx, &[swap], self.replica()).await?;
        if is_first {
            contexts::note_swaps(&mut tx, self.now(), &[swap]).await?;
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await?;
        self.tell_of_audit();
        Ok(())
    }

    /// Notes that a verified swap is proven, with its steps. Another replica may have noted it before.
    pub async fn prove_swap(&self, swap: &Swap, entry: &NewEntry) -> Result<()> {
        let mut tx = self.writes()?.begin().await?;
        let query = sqlx::query(
            "update swaps set outcome = 'proven', steps = $2 where id = $1 and outcome = 'verified'",
        );
        let done = query.bind(&swap.id).bind(Json(&swap.steps)).execute(&mut *tx).await?.rows_affected();
        if done == 0 {
            return Ok(());
        }
        audit::write(&mut tx, self.now(), &[entry]).await?;
        tx.commit().await?;
        self.tell_of_audit();
        Ok(())
    }

    pub async fn swap(&self, id: &str) -> Result<Option<Swap>> {
        let statement = format!("select {COLUMNS} from swaps where id = $1");
        Ok(sqlx::query_as(AssertSqlSafe(statement)).bind(id).fetch_optional(self.pool()?).await?)
    }

    /// The newest swaps of all contexts, at most `limit`.
    pub async fn recent_swaps(&self, limit: u32) -> Result<Vec<Swap>> {
        let statement = format!("select {COLUMNS} from swaps order by id desc limit $1");
        let query = sqlx::query_as(AssertSqlSafe(statement)).bind(i64::from(limit));
        Ok(query.fetch_all(self.pool()?).await?)
    }

    /// The newest swaps of one context, at most `limit`.
    pub async fn swaps_of(&self, agent: &AgentName, context: &ContextId, limit: u32) -> Result<Vec<Swap>> {
        let statement = format!(
            "select {COLUMNS} from swaps where agent = $1 and context = $2 \
             order by started_at desc, id desc limit $3"
        );
        let query = sqlx::query_as(AssertSqlSafe(statement)).bind(agent.as_str()).bind(context.as_str());
        Ok(query.bind(i64::from(limit)).fetch_all(self.pool()?).await?)
    }

    /// The newest swap that touched `context`, or with none given any context of the agent.
    pub async fn last_swap(&self, agent: &AgentName, context: Option<&ContextId>) -> Result<Option<Swap>> {
        let statement = format!(
            "select {COLUMNS} from swaps where agent = $1 and ($2 is null or context = $2) \
             and outcome <> 'refused' order by started_at desc, id desc limit 1"
        );
        let query = sqlx::query_as(AssertSqlSafe(statement)).bind(agent.as_str());
        Ok(query.bind(context.map(ContextId::as_str)).fetch_optional(self.pool()?).await?)
    }

    /// Marks swaps whose replica is gone as ended with an unknown outcome, notes them at their contexts and in the
    /// audit. Returns how many there were.
    pub async fn close_unfinished_swaps(&self) -> Result<usize> {
        let lives = self.database.lives("swaps.replica", "$2");
        self.close_swaps(&format!("(replica is null or not ({lives}))"), self.database.replica()).await
    }

    /// The same for one swap, which does not run, though its replica lives.
    pub async fn close_unfinished_swap(&self, id: &str) -> Result<()> {
        self.close_swaps("id = $2", id).await.map(drop)
    }

    async fn close_swaps(&self, condition: &str, value: &str) -> Result<usize> {
        let mut tx = self.writes()?.begin().await?;
        let statement = format!(
            "update swaps set outcome = 'unknown', finished_at = $1 where finished_at is null and {condition} \
             returning id, agent, context, actor, coalesce(model, 'same model')"
        );
        let closed: Vec<(String, String, String, String, String)> =
            sqlx::query_as(AssertSqlSafe(statement)).bind(self.now()).bind(value).fetch_all(&mut *tx).await?;
        for (id, agent, context, actor, asked) in &closed {
            sqlx::query(
                "insert into contexts (agent, context, last_swap) values ($1, $2, $3) \
                 on conflict (agent, context) do update set last_swap = excluded.last_swap \
                 where contexts.last_swap is null or contexts.last_swap < excluded.last_swap",
            )
            .bind(agent)
            .bind(context)
            .bind(id)
            .execute(&mut *tx)
            .await?;
            let (actor, object) = (Actor::local(actor), format!("{agent}/{context}"));
            let mut entry = NewEntry::new(&actor, Action::Swap, object, Outcome::Unknown.as_str());
            entry.detail = Some(format!("asked for {asked}: Patchbay was stopped before the swap had ended"));
            audit::write(&mut tx, self.now(), &[&entry]).await?;
        }
        tx.commit().await?;
        if !closed.is_empty() {
            self.tell_of_audit();
        }
        Ok(closed.len())
    }
}

#[derive(Debug)]
pub struct Ended {
    pub swap: Swap,
    pub is_agent_wide: bool,
    pub revert_at: Option<Timestamp>,
    pub item: Option<ItemRef>,
    /// Have to be held still.
    pub leases: Vec<Lease>,
    pub entry: NewEntry,
}

async fn write(tx: &mut AnyConnection, swaps: &[&Swap], replica: &str) -> Result<()> {
    let statement = format!(
        "insert into swaps (id, agent, context, actor, model, prompt, config_before, config_after, steps, \
         proof, outcome, fault, started_at, finished_at, replica, assessment) values {} \
         on conflict (id) do update set config_before = excluded.config_before, \
         config_after = excluded.config_after, steps = excluded.steps, proof = excluded.proof, \
         outcome = excluded.outcome, fault = excluded.fault, finished_at = excluded.finished_at, \
         assessment = excluded.assessment",
        placeholders(swaps.len(), 16)
    );
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for swap in swaps {
        query = query
            .bind(&swap.id)
            .bind(swap.agent.as_str())
            .bind(swap.context.as_str())
            .bind(&swap.actor)
            .bind(swap.model.as_ref().map(ToString::to_string))
            .bind(Json(&swap.prompt))
            .bind(swap.before.as_ref().map(Json))
            .bind(swap.after.as_ref().map(Json))
            .bind(Json(&swap.steps))
            .bind(swap.proof.as_ref().map(Json))
            .bind(swap.outcome.as_str())
            .bind(swap.fault.as_ref().map(Json))
            .bind(Millis(swap.started_at))
            .bind(swap.finished_at.map(Millis))
            .bind(replica)
            .bind(Json(&swap.assessment));
    }
    query.execute(&mut *tx).await?;
    Ok(())
}

async fn set_reverts(tx: &mut AnyConnection, ended: &[&Ended]) -> Result<()> {
    let done: Vec<&&Ended> = ended.iter().filter(|ended| ended.swap.outcome.is_success()).collect();
    if done.is_empty() {
        return Ok(());
    }
    let former = former_reverts(tx, &done).await?;
    let statement =
        format!("delete from reverts where (agent, context) in (values {})", placeholders(done.len(), 2));
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for Ended { swap, .. } in &done {
        query = query.bind(swap.agent.as_str()).bind(swap.context.as_str());
    }
    query.execute(&mut *tx).await?;
    for Ended { swap, .. } in done.iter().filter(|ended| ended.is_agent_wide) {
        let all = sqlx::query("delete from reverts where agent = $1").bind(swap.agent.as_str());
        all.execute(&mut *tx).await?;
    }
    for Ended { swap, revert_at, .. } in done {
        let Some(at) = revert_at else { continue };
        let statement = "insert into reverts (agent, context, swap, due_at, gives_up_at, goes_to) values ($1, $2, $3, $4, $5, $6)";
        sqlx::query(statement)
            .bind(swap.agent.as_str())
            .bind(swap.context.as_str())
            .bind(&swap.id)
            .bind(Millis(*at))
            .bind(Millis(*at + GIVES_UP_AFTER))
            .bind(former.get(swap.id.as_str()))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// By their ids, for timed swaps of contexts that were on a model for a time already: the swap that made that begin. Such a
/// context goes back to what it was on before, and not to what was meant for a time.
async fn former_reverts(tx: &mut AnyConnection, done: &[&&Ended]) -> Result<HashMap<String, String>> {
    let mut former = HashMap::new();
    for Ended { swap, is_agent_wide, .. } in done.iter().filter(|ended| ended.revert_at.is_some()) {
        let statement = "select coalesce(goes_to, swap) from reverts where agent = $1 and (context = $2 or $3 = 1) \
                         order by due_at limit 1";
        let query = sqlx::query_scalar(statement).bind(swap.agent.as_str()).bind(swap.context.as_str());
        if let Some(first) = query.bind(i64::from(*is_agent_wide)).fetch_optional(&mut *tx).await? {
            former.insert(swap.id.clone(), first);
        }
    }
    Ok(former)
}

impl FromRow<'_, AnyRow> for Swap {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let config =
            |column| row.try_get::<Option<Json<_>>, _>(column).map(|json| json.map(Json::into_inner));
        Ok(Self {
            id: row.try_get("id")?,
            agent: row.try_get("agent")?,
            context: row.try_get("context")?,
            actor: row.try_get("actor")?,
            model: row.try_get("model")?,
            prompt: row.try_get::<Json<_>, _>("prompt")?.into_inner(),
            before: config("config_before")?,
            after: config("config_after")?,
            steps: row.try_get::<Json<_>, _>("steps")?.into_inner(),
            proof: row.try_get::<Option<Json<_>>, _>("proof")?.map(Json::into_inner),
            assessment: row
                .try_get::<Option<Json<_>>, _>("assessment")?
                .map(Json::into_inner)
                .unwrap_or_default(),
            outcome: row.try_get("outcome")?,
            fault: row.try_get::<Option<Json<_>>, _>("fault")?.map(Json::into_inner),
            started_at: row.try_get::<Millis, _>("started_at")?.into(),
            finished_at: row.try_get::<Option<Millis>, _>("finished_at")?.map(Millis::into),
        })
    }
}
