//! The viewer's time zone, for what cannot be a `<time>` that the script rewrites: where a day begins, and the words of
//! a chart.

use axum::http::HeaderMap;
use axum_extra::extract::cookie::{Cookie, CookieJar};
use jiff::tz::Offset;
use jiff::{Span, Timestamp};

use crate::web::ui::Ui;

/// Set by `static/app.js`.
const COOKIE: &str = "patchbay_utc_offset";

/// Zones are at most so far from UTC, in minutes.
const MOST: i32 = 14 * 60;

/// Minutes east of UTC; 0 where no script has said so.
pub(super) fn offset(headers: &HeaderMap) -> i32 {
    let jar = CookieJar::from_headers(headers);
    let minutes = jar.get(COOKIE).map(Cookie::value).and_then(|minutes| minutes.parse().ok());
    minutes.filter(|minutes: &i32| minutes.abs() <= MOST).unwrap_or(0)
}

impl Ui {
    /// When the day began in that zone that is so many days before today, in UTC.
    pub(super) fn day_begins(&self, back: i64) -> Option<Timestamp> {
        let zone = Offset::from_seconds(self.offset * 60).unwrap_or(Offset::UTC);
        let day = zone.to_datetime(self.now).date().checked_sub(Span::new().days(back)).ok()?;
        zone.to_timestamp(day.at(0, 0, 0, 0)).ok()
    }

    /// The name of the zone: `UTC`, `UTC+05:30`.
    pub(super) fn zone(&self) -> String {
        match self.offset {
            0 => "UTC".to_owned(),
            minutes => {
                let sign = if minutes < 0 { '−' } else { '+' };
                format!("UTC{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
            }
        }
    }
}

/// A moment in the zone `offset` minutes east of UTC.
pub(super) fn local(at: &Timestamp, offset: i32, format: &str) -> String {
    let zone = Offset::from_seconds(offset * 60).unwrap_or(Offset::UTC);
    zone.to_datetime(*at).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use axum::http::header;

    use super::*;

    #[test]
    fn nonsense_is_utc() {
        for (cookie, minutes) in [
            ("a=b; patchbay_utc_offset=330", 330),
            ("patchbay_utc_offset=-840", -840),
            ("patchbay_utc_offset=99999", 0),
            ("patchbay_utc_offset=Europe/Berlin", 0),
            ("a=b", 0),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            assert_eq!(offset(&headers), minutes, "{cookie}");
        }
    }

    #[test]
    fn zones_are_named_by_their_distance() {
        let at = |offset| {
            let mut ui = Ui::at(Timestamp::UNIX_EPOCH);
            ui.offset = offset;
            ui
        };
        assert_eq!([0, 330, -60].map(|offset| at(offset).zone()), ["UTC", "UTC+05:30", "UTC−01:00"]);
        assert_eq!(local(&Timestamp::UNIX_EPOCH, 330, "%H:%M"), "05:30");
        let began = |offset, back| at(offset).day_begins(back).unwrap().to_string();
        assert_eq!(began(0, 1), "1969-12-31T00:00:00Z");
        assert_eq!(began(330, 0), "1969-12-31T18:30:00Z");
        assert_eq!(began(-60, 0), "1969-12-31T01:00:00Z");
    }
}
