//! Sums over what is kept, for charts.

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use sqlx::Row;

use super::{Store, StoreError, time, word};
use crate::domain::swap::Outcome;

const DAY: i64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwapDay {
    pub date: Date,
    pub succeeded: u64,
    pub failed: u64,
}

impl Store {
    /// How the swaps since then ended, for each day that has some, the oldest first.
    pub async fn swaps_by_day(&self, since: Timestamp) -> Result<Vec<SwapDay>, StoreError> {
        let rows = sqlx::query(
            "select started_at / 86400000 as day, outcome, count(*) as swaps from swaps \
             where started_at >= $1 group by started_at / 86400000, outcome order by 1",
        )
        .bind(since.as_millisecond())
        .fetch_all(self.pool()?)
        .await?;
        let mut days: Vec<SwapDay> = Vec::new();
        for row in rows {
            let date = time(row.try_get::<i64, _>("day")? * DAY)?.to_zoned(TimeZone::UTC).date();
            let outcome: Outcome = word("outcome", &row.try_get::<String, _>("outcome")?)?;
            let swaps = u64::try_from(row.try_get::<i64, _>("swaps")?).unwrap_or_default();
            if days.last().is_none_or(|last| last.date != date) {
                days.push(SwapDay { date, succeeded: 0, failed: 0 });
            }
            if let Some(last) = days.last_mut() {
                if outcome.is_success() { last.succeeded += swaps } else { last.failed += swaps }
            }
        }
        Ok(days)
    }
}
