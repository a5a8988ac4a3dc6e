//! What is read for the page of usage: single calls, or the proxy's daily sums where there are too many.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{LEEWAY, Log};
use crate::clients::ClientError;
use crate::clients::litellm::{LogPage, LogQuery};
use crate::domain::usage::report::{Range, Report, View};
use crate::domain::usage::{Call, DayParts};
use crate::services::snapshot::Source;

/// By how much earlier than in UTC a range may begin in other zones: by a day where its bars are days, by less than an
/// hour where they are hours.
fn margin(range: Range) -> SignedDuration {
    match range {
        Range::Hour => SignedDuration::ZERO,
        Range::Day => SignedDuration::from_hours(1),
        Range::Week | Range::Month => SignedDuration::from_hours(24),
    }
}

/// What the proxy says of a range.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The newest first.
    calls: Vec<Call>,
    /// Of the log; more than `calls` where it was cut.
    logged: u64,
    days: Option<Vec<DayParts>>,
    has_log: bool,
    /// The oldest call that was read, if older ones were not.
    cut_at: Option<Timestamp>,
}

pub(super) struct UsageSource {
    pub(super) log: Log,
    pub(super) range: Range,
}

impl Source for UsageSource {
    type Fetched = Measured;
    type Copy = Measured;
    type Error = ClientError;

    /// The proxy books calls with a delay of 10 to 20 s.
    const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(30);

    async fn fetch(&self) -> Result<Measured, ClientError> {
        let now = self.log.clock.now();
        let (from, to) = self.range.bounds(now, 0);
        let from = from - margin(self.range);
        let limits = self.log.limits().await;
        let query = LogQuery::between(from, now + LEEWAY);
        let first = self.log.proxy.log(&query, 1, limits.size).await?;
        let most = u64::from(limits.size * limits.pages);
        let is_too_long = first.as_ref().is_none_or(|first| first.total > most);
        if self.range.is_by_day() && is_too_long {
            let date = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
            let days = self.log.proxy.daily_parts(date(from), date(to)).await?;
            return Ok(Measured {
                calls: Vec::new(),
                logged: first.as_ref().map_or(0, |first| first.total),
                days: Some(days),
                has_log: first.is_some(),
                cut_at: None,
            });
        }
        let has_log = first.is_some();
        let LogPage { calls, total: logged } = match first {
            Some(first) => self.log.rest(&query, first, limits).await?,
            None => LogPage::default(),
        };
        let cut_at = calls.last().filter(|_| (calls.len() as u64) < logged).map(|call| call.at);
        Ok(Measured { calls, logged, days: None, has_log, cut_at })
    }
}

impl Measured {
    pub fn report(&self, view: View, now: Timestamp) -> Report {
        match &self.days {
            Some(days) => Report::of_days(days, view, now),
            None => Report::of_calls(&self.calls, view, now),
        }
    }

    /// The dearest calls of the range, of those that were read.
    pub fn dearest(&self, view: View, now: Timestamp, count: usize) -> Vec<Call> {
        let (from, _) = view.range.bounds(now, view.offset);
        let mut calls: Vec<&Call> =
            self.calls.iter().filter(|call| call.at >= from && call.spend > 0.0).collect();
        calls.sort_by(|a, b| b.spend.total_cmp(&a.spend).then(b.at.cmp(&a.at)));
        calls.into_iter().take(count).cloned().collect()
    }

    /// Whether it is the proxy's daily sums, which are by day of UTC.
    pub fn is_by_utc_day(&self) -> bool {
        self.days.is_some()
    }

    pub fn has_log(&self) -> bool {
        self.has_log
    }

    /// How many of how many calls were read, and since when, if not all were.
    pub fn cut(&self) -> Option<(u64, u64, Timestamp)> {
        self.cut_at.map(|at| (self.calls.len() as u64, self.logged, at))
    }

    /// Calls of the log in the range.
    pub fn logged(&self) -> u64 {
        self.logged
    }
}
