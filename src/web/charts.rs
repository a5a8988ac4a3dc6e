//! Charts as SVG that the server writes: no script, no inline style, and a table beside each.
//!
//! Places along the axis are per cent, so that a chart is as wide as its column and its words keep their size.

use jiff::civil::Date;

const BARS: f64 = 120.0;
const ABOVE: f64 = 14.0;
const BELOW: f64 = 22.0;

const TICKS: usize = 5;

#[derive(Debug)]
pub(crate) struct DayChart {
    pub(crate) label: String,
    pub(crate) most: String,
    pub(crate) bars: Vec<Bar>,
    pub(crate) ticks: Vec<Tick>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) x: String,
    pub(crate) width: String,
    pub(crate) y: String,
    pub(crate) height: String,
    pub(crate) tone: &'static str,
    pub(crate) title: String,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) x: String,
    pub(crate) anchor: &'static str,
    pub(crate) text: String,
}

/// A day of a chart: its parts from the bottom up, with the class of each, and what the pointer is told.
#[derive(Debug)]
pub(crate) struct Day {
    pub(crate) date: Date,
    pub(crate) parts: Vec<(&'static str, f64)>,
    pub(crate) title: String,
}

impl DayChart {
    /// The chart of `days`; `write` writes a value for people.
    pub(crate) fn new(label: &str, days: Vec<Day>, write: impl Fn(f64) -> String) -> Self {
        let sum = |day: &Day| day.parts.iter().map(|(_, value)| value).sum::<f64>();
        let most = days.iter().map(sum).fold(0.0, f64::max);
        let slot = 100.0 / as_f64(days.len().max(1));
        let mut bars = Vec::new();
        let mut ticks = Vec::new();
        let every = days.len().div_ceil(TICKS).max(1);
        let last = days.len().saturating_sub(1);
        for (at, day) in days.into_iter().enumerate() {
            let x = as_f64(at) * slot;
            if (last - at).is_multiple_of(every) {
                let (x, anchor) = if at == last { (100.0, "end") } else { (x + slot / 2.0, "middle") };
                ticks.push(Tick { x: percent(x), anchor, text: day.date.strftime("%-d %b").to_string() });
            }
            let mut top = ABOVE + BARS;
            for (tone, value) in day.parts {
                if value <= 0.0 || most <= 0.0 {
                    continue;
                }
                // A day with little shows as well.
                let height = (value / most * BARS).max(2.0);
                top -= height;
                bars.push(Bar {
                    x: percent(x + slot * 0.15),
                    width: percent(slot * 0.7),
                    y: pixels(top),
                    height: pixels(height),
                    tone,
                    title: day.title.clone(),
                });
            }
        }
        Self { label: label.to_owned(), most: write(most), bars, ticks }
    }

    #[expect(clippy::unused_self, reason = "templates call it on the chart")]
    pub(crate) fn height(&self) -> f64 {
        ABOVE + BARS + BELOW
    }

    #[expect(clippy::unused_self, reason = "templates call it on the chart")]
    pub(crate) fn base(&self) -> f64 {
        ABOVE + BARS
    }

    #[expect(clippy::unused_self, reason = "templates call it on the chart")]
    pub(crate) fn top(&self) -> f64 {
        ABOVE
    }
}

/// A part of a whole, for a bar in a table's row.
pub(crate) fn share(part: f64, whole: f64) -> String {
    percent(if whole > 0.0 { (part / whole * 100.0).clamp(0.0, 100.0) } else { 0.0 })
}

fn percent(value: f64) -> String {
    format!("{value:.2}%")
}

fn pixels(value: f64) -> String {
    format!("{value:.1}")
}

#[expect(clippy::cast_precision_loss, reason = "a count of days")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn day(number: i8, parts: &[(&'static str, f64)]) -> Day {
        Day { date: date(2026, 11, number), parts: parts.to_vec(), title: format!("day {number}") }
    }

    #[test]
    fn the_highest_day_is_as_high_as_the_chart_and_parts_stand_on_each_other() {
        let days =
            vec![day(1, &[("good", 3.0), ("bad", 1.0)]), day(2, &[("good", 0.0)]), day(3, &[("good", 1.0)])];
        let chart = DayChart::new("Swaps", days, |value| format!("{value:.0}"));
        assert_eq!(chart.most, "4");
        let bars: Vec<_> = chart.bars.iter().map(|bar| (bar.tone, &*bar.y, &*bar.height)).collect();
        assert_eq!(bars, [("good", "44.0", "90.0"), ("bad", "14.0", "30.0"), ("good", "104.0", "30.0")]);
        assert_eq!(chart.ticks.last().map(|tick| (&*tick.text, tick.anchor)), Some(("3 Nov", "end")));
    }

    #[test]
    fn nothing_and_no_days_draw_nothing() {
        assert!(DayChart::new("Spend", vec![day(1, &[("", 0.0)])], |_| String::new()).bars.is_empty());
        assert!(DayChart::new("Spend", Vec::new(), |_| String::new()).ticks.is_empty());
        assert_eq!(
            (share(1.0, 4.0), share(1.0, 0.0), share(9.0, 4.0)),
            ("25.00%".into(), "0.00%".into(), "100.00%".into())
        );
    }
}
