//! Timed swaps: which contexts go back by themselves, and when.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::columns::Millis;
use super::{Result, Store};
use crate::domain::agent::AgentName;
use crate::domain::context::ContextId;
use crate::domain::swap::TIMER;

/// How long the end of a timed swap is tried again.
pub(super) const GIVES_UP_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// A timed swap whose time is up.
#[derive(Debug)]
pub struct DueRevert {
    pub agent: AgentName,
    pub context: ContextId,
    /// The swap that is to end.
    pub swap: String,
    /// What it was on before this one is what it goes back to: the first of several timed swaps.
    pub goes_to: String,
    /// After this it is not tried again.
    pub gives_up_at: Timestamp,
}

/// What became of a job's contexts that were switched for a time.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct TimedEnds {
    /// Still on the job's model.
    pub waiting: usize,
    /// When the last of them goes back.
    pub until: Option<Timestamp>,
    pub back: usize,
    /// Left as they are, since they were switched again meanwhile.
    pub switched: usize,
    /// Not back, although their time is up.
    pub stuck: usize,
}

impl Store {
    /// The contexts of an agent that go back by themselves at a set time.
    pub async fn timed_contexts(&self, agent: &AgentName) -> Result<HashSet<ContextId>> {
        let query = sqlx::query("select context from reverts where agent = $1").bind(agent.as_str());
        query.fetch_all(self.pool()?).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Timed swaps whose time is up, at most 100.
    pub async fn due_reverts(&self) -> Result<Vec<DueRevert>> {
        let statement = "select agent, context, swap, coalesce(goes_to, swap) as goes_to, gives_up_at \
                         from reverts where due_at <= $1 \
                         order by due_at limit 100";
        Ok(sqlx::query_as(statement).bind(self.now()).fetch_all(self.pool()?).await?)
    }

    /// Writes down that an interrupted swap is undone after `minutes`, if what it changed is known.
    pub async fn add_revert(
        &self,
        agent: &AgentName,
        context: &ContextId,
        swap: &str,
        minutes: u32,
    ) -> Result<()> {
        let due_at = self.clock.now() + SignedDuration::from_mins(minutes.into());
        let statement = "insert into reverts (agent, context, swap, due_at, gives_up_at) \
                         select $1, $2, id, $4, $5 from swaps where id = $3 and config_before is not null \
                         on conflict (agent, context) do nothing";
        sqlx::query(statement)
            .bind(agent.as_str())
            .bind(context.as_str())
            .bind(swap)
            .bind(Millis(due_at))
            .bind(Millis(due_at + GIVES_UP_AFTER))
            .execute(self.pool()?)
            .await?;
        Ok(())
    }

    /// Puts a timed swap's end off to `due_at`, or takes it back.
    pub async fn move_revert(
        &self,
        agent: &AgentName,
        context: &ContextId,
        due_at: Option<Timestamp>,
    ) -> Result<()> {
        let statement = match due_at {
            Some(_) => "update reverts set due_at = $3 where agent = $1 and context = $2",
            None => "delete from reverts where agent = $1 and context = $2 and $3 is null",
        };
        sqlx::query(statement)
            .bind(agent.as_str())
            .bind(context.as_str())
            .bind(due_at.map(Millis))
            .execute(self.pool()?)
            .await?;
        Ok(())
    }

    /// What became of the contexts that a job switched for a time.
    pub async fn timed_ends(&self, job: &str, agent: &AgentName) -> Result<TimedEnds> {
        let statement = "select r.due_at, (select s.actor from swaps s where s.agent = $2 and s.context = i.subject \
                         and s.id > i.reference and s.outcome in ('accepted', 'verified', 'proven') \
                         order by s.id limit 1) as next from job_items i left join reverts r on r.swap = i.reference \
                         where i.job = $1 and i.state = 'done' and i.reference is not null";
        let query = sqlx::query_as(statement).bind(job).bind(agent.as_str());
        let rows: Vec<(Option<Millis>, Option<String>)> = query.fetch_all(self.pool()?).await?;
        let mut ends = TimedEnds::default();
        for (due_at, next) in rows {
            match (due_at, next.as_deref()) {
                (Some(Millis(due_at)), _) => {
                    ends.waiting += 1;
                    ends.until = ends.until.max(Some(due_at));
                }
                (None, Some(TIMER)) => ends.back += 1,
                (None, Some(_)) => ends.switched += 1,
                (None, None) => ends.stuck += 1,
            }
        }
        Ok(ends)
    }
}

impl FromRow<'_, AnyRow> for DueRevert {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            agent: row.try_get("agent")?,
            context: row.try_get("context")?,
            swap: row.try_get("swap")?,
            goes_to: row.try_get("goes_to")?,
            gives_up_at: row.try_get::<Millis, _>("gives_up_at")?.0,
        })
    }
}
