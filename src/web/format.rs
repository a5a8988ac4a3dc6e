//! How values are written for people.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use crate::domain::key::KeyHash;
use crate::domain::words::{money, tokens, with_commas};
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
        tokens(*count)
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
