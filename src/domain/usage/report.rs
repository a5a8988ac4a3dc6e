//! Calls as bars: by time, and each bar by model or by key.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use strum::{EnumString, IntoStaticStr};

use super::{Call, DayParts, Series, Sums};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, EnumString, IntoStaticStr)]
pub enum Range {
    #[strum(serialize = "1h")]
    #[serde(rename = "1h")]
    Hour,
    #[default]
    #[strum(serialize = "24h")]
    #[serde(rename = "24h")]
    Day,
    #[strum(serialize = "7d")]
    #[serde(rename = "7d")]
    Week,
    #[strum(serialize = "30d")]
    #[serde(rename = "30d")]
    Month,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Measure {
    #[default]
    Cost,
    Calls,
    Errors,
    Tokens,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum By {
    #[default]
    Model,
    Key,
}

/// How a report is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View {
    pub range: Range,
    pub measure: Measure,
    pub by: By,
    /// The viewer's zone, in minutes east of UTC.
    pub offset: i32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The oldest first.
    pub bars: Vec<Bar>,
    /// The largest first, by the measure.
    pub series: Vec<Total>,
    pub total: Sums,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bar {
    pub from: Timestamp,
    /// Exclusive.
    pub to: Timestamp,
    /// One for each series, in their order.
    pub parts: Vec<Sums>,
    pub total: Sums,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Total {
    #[serde(flatten)]
    pub series: Series,
    #[serde(flatten)]
    pub sums: Sums,
}

impl Range {
    pub const ALL: [(Self, &str); 4] =
        [(Self::Hour, "1 hour"), (Self::Day, "24 hours"), (Self::Week, "7 days"), (Self::Month, "30 days")];

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// How long a bar is, and how many there are.
    fn steps(self) -> (SignedDuration, i32) {
        match self {
            Self::Hour => (SignedDuration::from_mins(5), 12),
            Self::Day => (SignedDuration::from_hours(1), 24),
            Self::Week => (SignedDuration::from_hours(24), 7),
            Self::Month => (SignedDuration::from_hours(24), 30),
        }
    }

    /// Whether its bars are days.
    pub fn is_by_day(self) -> bool {
        matches!(self, Self::Week | Self::Month)
    }

    /// The first moment of the range, and the end of its last bar, in a zone `offset` minutes east of UTC.
    pub fn bounds(self, now: Timestamp, offset: i32) -> (Timestamp, Timestamp) {
        let (step, count) = self.steps();
        let shift = i64::from(offset) * 60;
        let local = now.as_second() + shift;
        let end = (local.div_euclid(step.as_secs()) + 1) * step.as_secs() - shift;
        let end = Timestamp::from_second(end).unwrap_or(now);
        (end.saturating_sub(step * count).unwrap_or(Timestamp::UNIX_EPOCH), end)
    }
}

impl Measure {
    pub const ALL: [(Self, &str); 4] =
        [(Self::Cost, "Cost"), (Self::Calls, "Calls"), (Self::Errors, "Errors"), (Self::Tokens, "Tokens")];

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    #[expect(clippy::cast_precision_loss, reason = "for the height of a bar")]
    pub fn of(self, sums: &Sums) -> f64 {
        match self {
            Self::Cost => sums.spend,
            Self::Calls => sums.calls as f64,
            Self::Errors => sums.failed as f64,
            Self::Tokens => sums.tokens as f64,
        }
    }
}

impl By {
    pub const ALL: [(Self, &str); 2] = [(Self::Model, "By model"), (Self::Key, "By key")];

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn series(self, call: &Call) -> Series {
        match self {
            Self::Model => Series { label: call.served.clone().unwrap_or_default(), key: None },
            Self::Key => {
                let hash = call.key.as_ref().map(ToString::to_string);
                Series { label: call.key_alias.clone().or(hash).unwrap_or_default(), key: call.key.clone() }
            }
        }
    }
}

impl Report {
    pub fn of_calls(calls: &[Call], view: View, now: Timestamp) -> Self {
        let parts = calls.iter().map(|call| (call.at, view.by.series(call), call.sums()));
        Self::of(parts, view, now)
    }

    /// Of days of UTC, whatever zone the view asks for.
    pub fn of_days(days: &[DayParts], view: View, now: Timestamp) -> Self {
        let parts = days.iter().flat_map(|day| {
            let at = day.date.to_zoned(TimeZone::UTC).map_or(Timestamp::UNIX_EPOCH, |day| day.timestamp());
            let parts = if view.by == By::Model { &day.models } else { &day.keys };
            parts.iter().map(move |(series, sums)| (at, series.clone(), *sums))
        });
        Self::of(parts, View { offset: 0, ..view }, now)
    }

    fn of(parts: impl Iterator<Item = (Timestamp, Series, Sums)>, view: View, now: Timestamp) -> Self {
        let (step, count) = view.range.steps();
        let (first, _) = view.range.bounds(now, view.offset);
        let count = usize::try_from(count).unwrap_or_default();
        let mut by_series = BTreeMap::<Series, Vec<Sums>>::new();
        for (at, series, sums) in parts {
            let seconds = at.as_second() - first.as_second();
            let Ok(bar) = usize::try_from(seconds.div_euclid(step.as_secs())) else { continue };
            if bar < count {
                by_series.entry(series).or_insert_with(|| vec![Sums::default(); count])[bar].add(&sums);
            }
        }
        let mut columns: Vec<(Total, Vec<Sums>)> =
            by_series.into_iter().map(|(series, bars)| (Total { series, sums: sum(&bars) }, bars)).collect();
        let measured = |column: &(Total, Vec<Sums>)| view.measure.of(&column.0.sums);
        columns.sort_by(|a, b| measured(b).total_cmp(&measured(a)).then(b.0.sums.calls.cmp(&a.0.sums.calls)));
        let bar = |at: usize| {
            let from = first + step * i32::try_from(at).unwrap_or_default();
            let parts: Vec<Sums> = columns.iter().map(|(_, bars)| bars[at]).collect();
            Bar { from, to: from + step, total: sum(&parts), parts }
        };
        let bars: Vec<Bar> = (0..count).map(bar).collect();
        let series: Vec<Total> = columns.into_iter().map(|(total, _)| total).collect();
        let totals: Vec<Sums> = bars.iter().map(|bar| bar.total).collect();
        Self { total: sum(&totals), bars, series }
    }
}

fn sum(parts: &[Sums]) -> Sums {
    let mut total = Sums::default();
    for part in parts {
        total.add(part);
    }
    total
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn call(at: &str, served: &str, spend: f64, has_failed: bool) -> Call {
        let served = Some(served.to_owned());
        Call { at: at.parse().unwrap(), served, spend, has_failed, prompt_tokens: 7, ..Call::default() }
    }

    #[test]
    fn days_begin_at_midnight_of_the_viewer() {
        let now = "2026-11-27T22:40:00Z".parse().unwrap();
        let bounds = |range: Range, offset| {
            let (from, to) = range.bounds(now, offset);
            (from.to_string(), to.to_string())
        };
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(bounds(Range::Week, 0), pair("2026-11-21T00:00:00Z", "2026-11-28T00:00:00Z"));
        assert_eq!(bounds(Range::Week, 600), pair("2026-11-21T14:00:00Z", "2026-11-28T14:00:00Z"));
        assert_eq!(bounds(Range::Day, 330), pair("2026-11-26T23:30:00Z", "2026-11-27T23:30:00Z"));
        assert_eq!(bounds(Range::Hour, -60), pair("2026-11-27T21:45:00Z", "2026-11-27T22:45:00Z"));
    }

    #[test]
    fn bars_are_split_by_what_costs_most_and_leave_out_what_is_older() {
        let calls = [
            call("2026-11-27T22:39:00Z", "a", 1.0, false),
            call("2026-11-27T22:38:00Z", "b", 3.0, true),
            call("2026-11-27T22:20:00Z", "b", 0.0, false),
            call("2026-11-27T20:00:00Z", "b", 9.0, false),
        ];
        let view = View { range: Range::Hour, ..View::default() };
        let report = Report::of_calls(&calls, view, "2026-11-27T22:40:00Z".parse().unwrap());
        let names: Vec<_> =
            report.series.iter().map(|total| (&*total.series.label, total.sums.calls)).collect();
        assert_eq!(names, [("b", 2), ("a", 1)]);
        assert_eq!((report.bars.len(), report.total.calls, report.total.failed), (12, 3, 1));
        let last = report.bars.iter().rev().find(|bar| bar.total.calls > 0).unwrap();
        assert_eq!((last.from.to_string(), last.parts[0].spend), ("2026-11-27T22:35:00Z".to_owned(), 3.0));
    }

    #[test]
    fn daily_sums_stay_days_of_utc() {
        let series = |label: &str| Series { label: label.to_owned(), key: None };
        let sums = Sums { spend: 2.0, calls: 5, failed: 1, tokens: 9 };
        let days =
            [DayParts { date: date(2026, 11, 27), models: vec![(series("a"), sums)], keys: Vec::new() }];
        let view = View { range: Range::Week, offset: 600, ..View::default() };
        let report = Report::of_days(&days, view, "2026-11-27T22:40:00Z".parse().unwrap());
        assert_eq!(
            report.bars.last().map(|bar| (bar.from.to_string(), bar.total.calls)),
            Some(("2026-11-27T00:00:00Z".to_owned(), 5))
        );
    }
}
