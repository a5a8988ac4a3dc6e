//! Removes secrets from texts of other servers before they are shown, stored or logged.
//!
//! Proxies echo keys in errors: `User Key=sk-unknown-000000000` (`wire/litellm/1.80/key_update_unknown`).

use super::words::cut;

const REDACTED: &str = "[redacted]";

/// Most passes over a text: a replacement can bring a new match about.
const MAX_PASSES: usize = 8;

/// Longest error text that is kept, in characters.
pub const MAX_ERROR_CHARS: usize = 400;

/// Replaces keys (`sk-…`, `AIza…`, the text after "key provided:"), bearer tokens, `?key=…` and
/// `user:password@` in addresses.
pub fn secrets(text: &str) -> String {
    let mut clean = redact_once(text).unwrap_or_else(|| text.to_owned());
    for _ in 1..MAX_PASSES {
        match redact_once(&clean) {
            Some(cleaner) if cleaner != clean => clean = cleaner,
            _ => break,
        }
    }
    clean
}

/// None where nothing was found.
fn redact_once(text: &str) -> Option<String> {
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    // Each finder's next match is kept until it is passed, so that the cost stays linear for a text full of keys.
    let mut ahead = FINDERS.map(|find| find(text, 0));
    while let Some(found) = ahead.iter().flatten().min_by_key(|found| found.start).copied() {
        clean.push_str(&text[done..found.start]);
        clean.push_str(found.put);
        done = found.end;
        for (next, find) in ahead.iter_mut().zip(FINDERS) {
            if next.is_some_and(|next| next.start < done) {
                *next = find(text, done);
            }
        }
    }
    clean.push_str(&text[done..]);
    (done > 0).then_some(clean)
}

/// Replaces a known secret of any form, unless it is so short that it occurs in ordinary words.
pub fn known(text: &str, secret: &str) -> String {
    if secret.chars().count() < 6 { text.to_owned() } else { text.replace(secret, REDACTED) }
}

/// Like [`secrets`], also without stack traces and control characters, on one line, cut to [`MAX_ERROR_CHARS`].
pub fn error_text(text: &str) -> String {
    let head = ["Traceback (most recent call last)", "stack trace:", "\nTraceback"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min()
        .map_or(text, |end| &text[..end]);
    let line = head.split_whitespace().collect::<Vec<_>>().join(" ");
    // An escape sequence must reach neither a terminal nor a page.
    let line = secrets(&line.replace(char::is_control, "\u{fffd}"));
    cut(&line, MAX_ERROR_CHARS).into_owned()
}

#[derive(Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    put: &'static str,
}

/// Finds the first secret of one kind from an offset on.
type Finder = fn(&str, usize) -> Option<Found>;

const FINDERS: [Finder; 10] = [
    credentials,
    key,
    google_key,
    |text, from| after(text, from, "Bearer ", 7),
    |text, from| after(text, from, "bearer ", 7),
    // A provider quotes a rejected key (`wire/litellm/1.80/chat_upstream_401`).
    |text, from| after(text, from, "key provided: ", 1),
    |text, from| after(text, from, "?key=", 1),
    |text, from| after(text, from, "&key=", 1),
    |text, from| after(text, from, "api_key=", 1),
    |text, from| after(text, from, "access_token=", 1),
];

fn token_len(text: &str) -> usize {
    text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(text.len())
}

fn offsets<'t>(text: &'t str, from: usize, mark: &'t str) -> impl Iterator<Item = usize> + 't {
    text[from..].match_indices(mark).map(move |(at, _)| from + at)
}

fn key(text: &str, from: usize) -> Option<Found> {
    offsets(text, from, "sk-").find_map(|start| {
        let len = token_len(&text[start..]);
        // `sk-...abcd` is the proxy's own mask.
        let masked = text[start..].starts_with("sk-...");
        let inside_word = text[..start].ends_with(|c: char| c.is_ascii_alphanumeric());
        (len > 6 && !masked && !inside_word).then_some(Found {
            start,
            end: start + len,
            put: "sk-[redacted]",
        })
    })
}

fn google_key(text: &str, from: usize) -> Option<Found> {
    offsets(text, from, "AIza").find_map(|start| {
        let len = token_len(&text[start..]);
        (len > 20).then_some(Found { start, end: start + len, put: REDACTED })
    })
}

/// The first token of at least `min` characters that follows `mark`, without a full stop at its end.
fn after(text: &str, from: usize, mark: &str, min: usize) -> Option<Found> {
    offsets(text, from, mark).find_map(|at| {
        let start = at + mark.len();
        let rest = &text[start..];
        let end = rest.find(|c: char| !c.is_ascii_graphic() || "\"'`,;&<>()[]{}".contains(c));
        let token = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
        // `key` handles these.
        let is_key = token.starts_with("sk-");
        (!is_key && token.len() >= min).then_some(Found { start, end: start + token.len(), put: REDACTED })
    })
}

fn credentials(text: &str, from: usize) -> Option<Found> {
    offsets(text, from, "://").find_map(|at| {
        let start = at + "://".len();
        let end =
            text[start..].find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\''));
        let authority = &text[start..end.map_or(text.len(), |end| start + end)];
        let end = start + authority.rfind('@')?;
        // An empty match would be found again forever.
        (end > start && &text[start..end] != REDACTED).then_some(Found { start, end, put: REDACTED })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_secrets() {
        let google = format!("AIza{}", "x".repeat(35));
        for (text, clean) in [
            ("User Key=sk-unknown-000000000.", "User Key=sk-[redacted]"),
            ("I am gpt-5 (bearer sk-bed-task-agent)", "I am gpt-5 (bearer sk-[redacted])"),
            ("Authorization: Bearer abcdefghij, next", "Authorization: Bearer [redacted], next"),
            ("a `Bearer ` prefix, not Bearer aGVsbG8/d29y+A==", "a `Bearer ` prefix, not Bearer [redacted]"),
            ("Incorrect API key provided: bad-key.. See", "Incorrect API key provided: [redacted].. See"),
            (&format!("GET /v1?key={google}&a=b"), "GET /v1?key=[redacted]&a=b"),
            (&google, "[redacted]"),
            ("http://u:p@host/x http://a:b@c", "http://[redacted]@host/x http://[redacted]@c"),
            ("http://@host and sk-abcdefgh", "http://@host and sk-[redacted]"),
            ("://@://@a:b@", "://@://[redacted]@"),
            // The question mark ends the authority until it is removed with the key.
            ("u://me&key=a?b,sk-@host", "u://[redacted]@host"),
            (
                "http://u:p@h sk-aaaaaaa Bearer bbbbbbbb sk-ccccccc ?key=d http://sk-eeeeeee@h sk-fffffff",
                "http://[redacted]@h sk-[redacted] Bearer [redacted] sk-[redacted] ?key=[redacted] \
                 http://[redacted]@h sk-[redacted]",
            ),
        ] {
            assert_eq!(secrets(text), clean);
            assert_eq!(secrets(clean), clean, "nothing is left to redact");
        }
    }

    #[test]
    fn keeps_other_text() {
        for text in [
            "sk-...ab12",
            "Authorization: Bearer [redacted]",
            "key provided: sk-[redacted]",
            "AIza",
            "task-agent-x1",
            "risk-averse words",
            "https://host/@me",
            "sk-",
            "Bearer of news",
        ] {
            assert_eq!(secrets(text), text);
        }
    }

    #[test]
    fn replaces_known_secret_of_any_form() {
        assert_eq!(known("Received=not-a-key, expected", "not-a-key"), "Received=[redacted], expected");
        assert_eq!(known("a text", "a"), "a text");
    }

    #[test]
    fn error_text_has_no_control_characters_and_stack_traces() {
        assert_eq!(error_text("a\u{1b}[31mb\0c\r\nd"), "a\u{fffd}[31mb\u{fffd}c d");
        let text = "Can't reach it\nTraceback (most recent call last):\n File \"/srv/x.py\"";
        assert_eq!(error_text(text), "Can't reach it");
        assert_eq!(error_text(&"x".repeat(500)).chars().count(), MAX_ERROR_CHARS + 1);
    }
}
