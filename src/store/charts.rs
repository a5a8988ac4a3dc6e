//! Sums over what is kept, for charts.

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::columns::Millis;
use super::{Result, Store};
use crate::domain::swap::Outcome;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwapDay {
    pub date: Date,
    pub succeeded: u64,
    pub failed: u64,
}

impl Store {
    /// How the swaps since then ended, for each day that has some, the oldest first.
    pub async fn swaps_by_day(&self, since: Timestamp) -> Result<Vec<SwapDay>> {
        let counts: Vec<(Millis, Outcome, i64)> = sqlx::query_as(
            "select min(started_at), outcome, count(*) from swaps where started_at >= $1 \
             group by started_at / 86400000, outcome order by started_at / 86400000",
        )
        .bind(Millis(since))
        .fetch_all(self.pool()?)
        .await?;
        let mut days: Vec<SwapDay> = Vec::new();
        for (Millis(at), outcome, swaps) in counts {
            let date = at.to_zoned(TimeZone::UTC).date();
            if days.last().is_none_or(|last| last.date != date) {
                days.push(SwapDay { date, succeeded: 0, failed: 0 });
            }
            if let Some(last) = days.last_mut() {
                let count = if outcome.is_success() { &mut last.succeeded } else { &mut last.failed };
                *count += swaps.cast_unsigned();
            }
        }
        Ok(days)
    }
}
