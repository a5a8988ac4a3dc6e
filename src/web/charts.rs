//! Charts as SVG that the server writes: no script, no inline style, and a table beside each.
//!
//! Places along the axis are per cent, so that a chart is as wide as its column and its words keep their size.

const BARS: f64 = 120.0;
const ABOVE: f64 = 14.0;
const BELOW: f64 = 22.0;

const TICKS: usize = 5;

#[derive(Debug)]
pub(crate) struct BarChart {
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
    pub(crate) tone: String,
    pub(crate) title: String,
    /// Where it leads; empty for nowhere.
    pub(crate) href: String,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) x: String,
    pub(crate) anchor: &'static str,
    pub(crate) text: String,
}

/// A time of a chart: its parts from the bottom up.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) label: String,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug)]
pub(crate) struct Part {
    /// A class of the style sheet.
    pub(crate) tone: String,
    pub(crate) value: f64,
    /// Shown under the pointer.
    pub(crate) title: String,
    pub(crate) href: String,
}

impl BarChart {
    /// The chart of `slots`; `write` writes a value for people.
    pub(crate) fn new(label: &str, slots: Vec<Slot>, write: impl Fn(f64) -> String) -> Self {
        let sum = |slot: &Slot| slot.parts.iter().map(|part| part.value).sum::<f64>();
        let most = slots.iter().map(sum).fold(0.0, f64::max);
        let width = 100.0 / as_f64(slots.len().max(1));
        let mut bars = Vec::new();
        let mut ticks = Vec::new();
        let every = slots.len().div_ceil(TICKS).max(1);
        let last = slots.len().saturating_sub(1);
        for (at, slot) in slots.into_iter().enumerate() {
            let x = as_f64(at) * width;
            if (last - at).is_multiple_of(every) {
                let (x, anchor) = if at == last { (100.0, "end") } else { (x + width / 2.0, "middle") };
                ticks.push(Tick { x: percent(x), anchor, text: slot.label });
            }
            let mut top = ABOVE + BARS;
            for part in slot.parts.into_iter().filter(|part| part.value > 0.0 && most > 0.0) {
                // A time with little shows as well.
                let height = (part.value / most * BARS).max(2.0);
                top -= height;
                bars.push(Bar {
                    x: percent(x + width * 0.15),
                    width: percent(width * 0.7),
                    y: pixels(top),
                    height: pixels(height),
                    tone: part.tone,
                    title: part.title,
                    href: part.href,
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
    use super::*;

    fn slot(number: u8, parts: &[(&str, f64)]) -> Slot {
        let part = |(tone, value): &(&str, f64)| Part {
            tone: (*tone).to_owned(),
            value: *value,
            title: String::new(),
            href: String::new(),
        };
        Slot { label: format!("{number} Nov"), parts: parts.iter().map(part).collect() }
    }

    #[test]
    fn the_highest_bar_is_as_high_as_the_chart_and_parts_stand_on_each_other() {
        let slots = vec![
            slot(1, &[("good", 3.0), ("bad", 1.0)]),
            slot(2, &[("good", 0.0)]),
            slot(3, &[("good", 1.0)]),
        ];
        let chart = BarChart::new("Swaps", slots, |value| format!("{value:.0}"));
        assert_eq!(chart.most, "4");
        let bars: Vec<_> = chart.bars.iter().map(|bar| (&*bar.tone, &*bar.y, &*bar.height)).collect();
        assert_eq!(bars, [("good", "44.0", "90.0"), ("bad", "14.0", "30.0"), ("good", "104.0", "30.0")]);
        assert_eq!(chart.ticks.last().map(|tick| (&*tick.text, tick.anchor)), Some(("3 Nov", "end")));
    }

    #[test]
    fn nothing_and_no_slots_draw_nothing() {
        assert!(BarChart::new("Spend", vec![slot(1, &[("", 0.0)])], |_| String::new()).bars.is_empty());
        assert!(BarChart::new("Spend", Vec::new(), |_| String::new()).ticks.is_empty());
        assert_eq!(
            (share(1.0, 4.0), share(1.0, 0.0), share(9.0, 4.0)),
            ("25.00%".into(), "0.00%".into(), "100.00%".into())
        );
    }
}
