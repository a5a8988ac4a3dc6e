//! Formatting of texts.

use std::borrow::Cow;

/// Longest text that is kept of what a request says about itself (path, name), in characters.
pub const MAX_REQUEST_TEXT: usize = 200;

/// The first `max` characters, with an ellipsis where something is left out.
pub fn cut(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Characters that have no width, or turn the direction of others.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

pub fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A number of things: `1 key`, `3 keys`.
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

pub fn sentence(of: &impl ToString) -> String {
    let text = of.to_string();
    let end = if text.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{}{end}", capitalised(&text))
}

/// A number of tokens: `272k`, `1.05M`.
#[expect(clippy::cast_precision_loss, reason = "rounded to three digits anyway")]
pub fn tokens(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => trimmed(count as f64 / 1e3, "k"),
        _ => trimmed(count as f64 / 1e6, "M"),
    }
}

fn trimmed(number: f64, unit: &str) -> String {
    let decimals = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    let text = format!("{number:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// Digits with thousands separated: `10,015`.
pub fn with_commas(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// US dollars; small sums keep two digits that say something.
pub fn money(dollars: f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_at_characters() {
        assert_eq!((cut("äöü", 3), cut("äöü", 2), cut("", 0)), ("äöü".into(), "äö…".into(), "".into()));
    }

    #[test]
    fn formats_counts_and_sentences() {
        assert_eq!((counted(1, "key"), counted(0, "key")), ("1 key".into(), "0 keys".into()));
        assert_eq!(sentence(&"the proxy is down"), "The proxy is down.");
        assert_eq!(sentence(&"Really?"), "Really?");
        assert_eq!(sentence(&""), ".");
    }
}
