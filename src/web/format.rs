//! How values are written for people.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use crate::domain::key::KeyHash;
use crate::web::ui::Ui;

#[expect(
    clippy::unused_self,
    clippy::trivially_copy_pass_by_ref,
    reason = "templates call these on `ui`, with the references that matching on an option gives them"
)]
impl Ui {
    /// How long ago, or until: `3 min ago`, `in 2 days`.
    pub(super) fn ago(&self, at: &Timestamp) -> String {
        let since = self.now.duration_since(*at);
        let text = span(since.abs());
        match (text.as_str(), since.is_negative()) {
            ("now", _) => "just now".to_owned(),
            (text, true) => format!("in {text}"),
            (text, false) => format!("{text} ago"),
        }
    }

    /// The same moment in UTC, to the second.
    pub(super) fn utc(&self, at: &Timestamp) -> String {
        at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    }

    /// The same to the minute, where a column of them is looked through.
    pub(super) fn minute(&self, at: &Timestamp) -> String {
        at.strftime("%Y-%m-%d %H:%M UTC").to_string()
    }

    /// US dollars; small sums keep two digits that say something.
    pub(super) fn money(&self, dollars: &f64) -> String {
        money(*dollars)
    }

    /// A price per token as US dollars per million tokens.
    pub(super) fn per_million(&self, per_token: &f64) -> String {
        money(per_token * 1e6)
    }

    /// A number of tokens: `272k`, `1.05M`.
    pub(super) fn tokens(&self, count: &u64) -> String {
        match *count {
            0..1_000 => count.to_string(),
            #[expect(clippy::cast_precision_loss, reason = "rounded to three digits anyway")]
            1_000..1_000_000 => trimmed(*count as f64 / 1e3, "k"),
            #[expect(clippy::cast_precision_loss, reason = "rounded to three digits anyway")]
            _ => trimmed(*count as f64 / 1e6, "M"),
        }
    }

    /// A whole number with thousands separated: `10,015`.
    pub(super) fn count(&self, number: &u64) -> String {
        with_commas(&number.to_string())
    }

    /// A text; of a key's hash the beginning alone, by which people tell it from others.
    pub(super) fn short<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match text.parse::<KeyHash>() {
            Ok(_) => format!("{}…", &text[..12]).into(),
            Err(_) => text.into(),
        }
    }

    /// Milliseconds: `4.2 ms`, `350 ms`, `1.2 s`.
    pub(super) fn ms(&self, milliseconds: &f64) -> String {
        match *milliseconds {
            ms if ms < 10.0 => format!("{ms:.1} ms"),
            ms if ms < 1000.0 => format!("{ms:.0} ms"),
            ms => format!("{:.1} s", ms / 1000.0),
        }
    }
}

fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..5 => "now".to_owned(),
        5..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400..172_800 => "1 day".to_owned(),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn with_commas(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn money(dollars: f64) -> String {
    let size = dollars.abs();
    if size == 0.0 || size >= 0.1 {
        let text = format!("{dollars:.2}");
        let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
        format!("${}.{cents}", with_commas(whole))
    } else if size >= 0.0001 {
        let text = format!("${dollars:.4}");
        text.trim_end_matches('0').to_owned()
    } else if size >= 1e-9 {
        // Two digits that say something, however small.
        let places = (1..=11).find(|places| size * 10_f64.powi(*places) >= 10.0).unwrap_or(11);
        format!("${dollars:.*}", usize::try_from(places).unwrap_or(11)).trim_end_matches('0').to_owned()
    } else {
        "under $0.000000001".to_owned()
    }
}

fn trimmed(number: f64, unit: &str) -> String {
    let text = format!("{number:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ui() -> Ui {
        Ui::at(Timestamp::from_second(1_000_000).unwrap())
    }

    #[test]
    fn times_are_told_as_people_tell_them() {
        let ui = ui();
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        for (offset, text) in [
            (0, "just now"),
            (-59, "59 s ago"),
            (-60, "1 min ago"),
            (-7_200, "2 h ago"),
            (-90_000, "1 day ago"),
            (864_000, "in 10 days"),
        ] {
            assert_eq!(ui.ago(&at(offset)), text);
        }
    }

    #[test]
    fn numbers_are_short_and_true() {
        let ui = ui();
        for (dollars, text) in [
            (0.0, "$0.00"),
            (1.25, "$1.25"),
            (1001.168, "$1,001.17"),
            (0.0031, "$0.0031"),
            (0.000_002_5, "$0.0000025"),
            (0.000_02, "$0.00002"),
        ] {
            assert_eq!(ui.money(&dollars), text);
        }
        assert_eq!(ui.per_million(&1.25e-6), "$1.25");
        assert_eq!(
            (ui.tokens(&272_000), ui.tokens(&1_047_576), ui.tokens(&999)),
            ("272k".into(), "1.05M".into(), "999".into())
        );
        assert_eq!(
            (ui.count(&10_015), ui.count(&999), ui.count(&1_000_000)),
            ("10,015".into(), "999".into(), "1,000,000".into())
        );
        assert_eq!(
            (ui.ms(&4.24), ui.ms(&350.4), ui.ms(&1234.0)),
            ("4.2 ms".into(), "350 ms".into(), "1.2 s".into())
        );
    }
}
