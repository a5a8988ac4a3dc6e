//! Removes secrets from texts of other servers before they are shown, stored or logged.
//!
//! Proxies echo keys in errors: `User Key=sk-unknown-000000000` (`wire/litellm/1.80/key_update_unknown`).

mod escapes;
mod finders;
mod names;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use serde_json::Value;

use self::escapes::View;
use self::finders::{FINDERS, Finder, Found};
pub use self::names::is_secret_name;
use super::words::cut;

const REDACTED: &str = "[redacted]";

/// Most passes over a text: a replacement can bring a new match about.
const MAX_PASSES: usize = 16;

/// Most levels of escapes that are looked through: JSON in JSON in an address.
const MAX_LEVELS: usize = 3;

/// Longest error text that is kept, in characters.
pub const MAX_ERROR_CHARS: usize = 400;

/// Of an error text, what is searched for secrets, in bytes.
const MAX_ERROR_BYTES: usize = 8 * 1024;

/// Replaces keys, tokens and passwords: by their form (`sk-…`, `AIza…`, JWT, private keys), by the name before them
/// (`password=`, `"api_key": `), in addresses (`user:password@`), and behind escapes and base64.
pub fn secrets(text: &str) -> String {
    redact(text, &FINDERS)
}

/// Like [`secrets`], with scheme, host and path alone of each address.
pub fn addresses(text: &str) -> String {
    let mut finders = FINDERS.to_vec();
    finders.push(finders::tail);
    redact(text, &finders)
}

/// Whether a text is an address of which a part is not shown.
pub fn is_private_address(text: &str) -> bool {
    let is_scheme =
        |(scheme, _): (&str, &str)| !scheme.is_empty() && scheme.bytes().all(|c| c.is_ascii_alphanumeric());
    text.trim().split_once("://").is_some_and(is_scheme) && addresses(text) != text
}

/// A JSON value with secrets replaced, by their form and by the name of their field.
pub fn json(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let clean = |(name, value): (&String, &Value)| match value {
                Value::String(text) if is_secret_name(name) && !text.is_empty() => {
                    (name.clone(), Value::String(REDACTED.to_owned()))
                }
                value => (name.clone(), json(value)),
            };
            Value::Object(fields.iter().map(clean).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(json).collect()),
        other => other.clone(),
    }
}

fn redact(text: &str, finders: &[Finder]) -> String {
    let mut clean = text.to_owned();
    for _ in 0..MAX_PASSES {
        match redact_once(&clean, finders) {
            Some(cleaner) if cleaner != clean => clean = cleaner,
            _ => return clean,
        }
    }
    clean
}

/// None where nothing was found, as it stands and behind escapes.
fn redact_once(text: &str, finders: &[Finder]) -> Option<String> {
    let found = find_all(text, finders);
    if !found.is_empty() {
        return Some(replaced(text, &found));
    }
    if !text.contains(['%', '\\', '&']) {
        return None;
    }
    let mut view = View::of(text).resolved()?;
    for _ in 0..MAX_LEVELS {
        let mut found = find_all(&view.text, finders);
        if !found.is_empty() {
            for one in &mut found {
                (one.start, one.end) = (view.offsets[one.start], view.offsets[one.end]);
            }
            return Some(replaced(text, &found));
        }
        view = view.resolved()?;
    }
    None
}

fn replaced(text: &str, found: &[Found]) -> String {
    let (mut clean, mut done) = (String::with_capacity(text.len()), 0);
    for one in found {
        clean.push_str(&text[done..one.start]);
        clean.push_str(one.put);
        done = one.end;
    }
    clean.push_str(&text[done..]);
    clean
}

fn find_all(text: &str, finders: &[Finder]) -> Vec<Found> {
    let mut all = Vec::new();
    // Each finder's next match is kept until it is passed, so that the cost stays linear for a text full of keys.
    let mut ahead: Vec<_> = finders.iter().map(|find| find(text, 0)).collect();
    while let Some(found) = ahead.iter().flatten().min_by_key(|found| found.start).copied() {
        all.push(found);
        let done = found.end;
        for (next, find) in ahead.iter_mut().zip(finders) {
            if next.is_some_and(|next| next.start < done) {
                *next = find(text, done);
            }
        }
    }
    all
}

/// Replaces a known secret of any form, also behind escapes and within base64, unless it is so short that it occurs in
/// ordinary words.
pub fn known(text: &str, secret: &str) -> String {
    if secret.chars().count() < 6 {
        return text.to_owned();
    }
    let mut forms = vec![secret.to_owned()];
    for before in 0..3 {
        // What stands before and after shares the first and the last characters.
        let bytes = [&b"   "[..before], secret.as_bytes()].concat();
        let own = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
        forms.push(STANDARD_NO_PAD.encode(&bytes)[own.clone()].to_owned());
        forms.push(URL_SAFE_NO_PAD.encode(&bytes)[own].to_owned());
    }
    let mut clean = text.to_owned();
    for form in forms {
        clean = clean.replace(&form, REDACTED);
    }
    let mut view = View::of(&clean);
    for _ in 0..MAX_LEVELS {
        let Some(resolved) = view.resolved() else { break };
        view = resolved;
        let found = view.text.match_indices(secret).map(|(at, _)| Found {
            start: view.offsets[at],
            end: view.offsets[at + secret.len()],
            put: REDACTED,
        });
        let found: Vec<_> = found.collect();
        if !found.is_empty() {
            clean = replaced(&clean, &found);
            view = View::of(&clean);
        }
    }
    clean
}

/// Like [`addresses`], also without stack traces and control characters, on one line, cut to [`MAX_ERROR_CHARS`].
pub fn error_text(text: &str) -> String {
    // Of what is shown, some has to be looked at beyond the end.
    let text = &text[..text.floor_char_boundary(MAX_ERROR_BYTES)];
    let head = ["Traceback (most recent call last)", "stack trace:", "\nTraceback"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min()
        .map_or(text, |end| &text[..end]);
    let line = head.split_whitespace().collect::<Vec<_>>().join(" ");
    // An escape sequence must reach neither a terminal nor a page.
    let line = addresses(&line.replace(char::is_control, "\u{fffd}"));
    cut(&line, MAX_ERROR_CHARS).into_owned()
}
