//! Numbers, times and secrets in the proxy's Python formats.

use jiff::{SignedDuration, Timestamp};

/// A float as Python's `repr` prints it: `1e-06`, `0.0`, `1000.018`.
pub(super) fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if value != 0.0 && !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.abs())
        }
        _ => {
            let plain = value.to_string();
            if plain.contains('.') { plain } else { format!("{plain}.0") }
        }
    }
}

pub(super) fn list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("'{item}'")).collect();
    format!("[{}]", quoted.join(", "))
}

/// A time as JSON shows it: `…Z` in lists and new rows, `…+00:00` in `/key/info`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Zone {
    Letter,
    Offset,
}

/// `2026-11-22T08:14:11.954000Z`; the database keeps milliseconds.
pub(super) fn stamp(time: Timestamp, zone: Zone) -> String {
    let zone = match zone {
        Zone::Letter => "Z",
        Zone::Offset => "+00:00",
    };
    let millis = time.as_millisecond().rem_euclid(1000);
    if millis == 0 {
        return format!("{}{zone}", time.strftime("%Y-%m-%dT%H:%M:%S"));
    }
    format!("{}.{millis:03}000{zone}", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// `2026-11-22 08:14:13.726000+00:00`, as inside messages.
pub(super) fn spoken(time: Timestamp) -> String {
    stamp(time, Zone::Offset).replace('T', " ")
}

/// The first and the last four characters with stars between, one for each hidden character.
pub(super) fn masked(secret: &str) -> String {
    let characters: Vec<char> = secret.chars().collect();
    let Some(hidden) = characters.len().checked_sub(8).filter(|hidden| *hidden > 0) else {
        return "*".repeat(characters.len());
    };
    let (first, last) = (&characters[..4], &characters[characters.len() - 4..]);
    format!("{}{}{}", first.iter().collect::<String>(), "*".repeat(hidden), last.iter().collect::<String>())
}

/// As [`masked`], always with four stars: a rejected key in a message of 1.109.
pub(super) fn masked_key(key: &str) -> String {
    let characters: Vec<char> = key.chars().collect();
    if characters.len() < 9 {
        return "****".to_owned();
    }
    let (first, last) = (&characters[..4], &characters[characters.len() - 4..]);
    format!("{}****{}", first.iter().collect::<String>(), last.iter().collect::<String>())
}

/// `sk-...` and the last four characters.
pub(super) fn short_key(key: &str) -> String {
    let skip = key.chars().count().saturating_sub(4);
    format!("sk-...{}", key.chars().skip(skip).collect::<String>())
}

/// `30s`, `15m`, `12h`, `90d`, `2w` or `1mo`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Option<SignedDuration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let seconds: i64 = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "mo" => 30 * 86_400,
        _ => return None,
    };
    count.parse::<i64>().ok()?.checked_mul(seconds).map(SignedDuration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_floats_as_python_does() {
        let printed: Vec<String> =
            [1e-6, 0.0, 1000.018, 0.0001, 0.00001, 2.5e-7, 1e16, 12.0, -1.0].into_iter().map(float).collect();
        assert_eq!(
            printed,
            ["1e-06", "0.0", "1000.018", "0.0001", "1e-05", "2.5e-07", "1e+16", "12.0", "-1.0"]
        );
    }

    #[test]
    fn hides_the_middle_of_a_secret() {
        assert_eq!(masked("aad-secret"), "aad-**cret");
        assert_eq!(masked("Bearer hdr-secret"), "Bear*********cret");
        assert_eq!(masked("short"), "*****");
        assert_eq!(masked_key("not-a-key"), "not-****-key");
        assert_eq!(short_key("sk-abujJ-V_43BQB1_KrtjAxg"), "sk-...jAxg");
    }

    #[test]
    fn reads_durations() {
        assert_eq!(duration("90d"), Some(SignedDuration::from_secs(90 * 86_400)));
        assert_eq!(duration("1mo"), Some(SignedDuration::from_secs(30 * 86_400)));
        assert_eq!(duration("abc"), None);
        assert_eq!(duration("d"), None);
        assert_eq!(duration("-1"), None);
        assert_eq!(duration("99999999999999999999d"), None);
    }

    #[test]
    fn prints_milliseconds_as_the_database_does() {
        let time: Timestamp = "2026-11-22T08:14:11.954Z".parse().unwrap();
        assert_eq!(stamp(time, Zone::Letter), "2026-11-22T08:14:11.954000Z");
        assert_eq!(spoken(time), "2026-11-22 08:14:11.954000+00:00");
        let whole: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        assert_eq!(stamp(whole, Zone::Offset), "2026-12-01T00:00:00+00:00");
    }
}
