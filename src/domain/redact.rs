//! Takes secrets out of texts that come from elsewhere, before they are shown, stored or logged.
//!
//! Proxies echo keys in errors: `User Key=sk-unknown-000000000` (`wire/litellm/1.80/key_update_unknown`).

/// Longest error text that is kept, in characters.
pub const MAX_ERROR_CHARS: usize = 400;

/// Replaces keys (`sk-…`), bearer tokens and `user:password@` in addresses.
#[must_use]
pub fn secrets(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = next_secret(rest) {
        let (start, end, put) = at;
        clean.push_str(&rest[..start]);
        clean.push_str(put);
        rest = &rest[end..];
    }
    clean.push_str(rest);
    clean
}

/// The same for an error: also without stack traces, in one paragraph, cut to [`MAX_ERROR_CHARS`].
#[must_use]
pub fn error_text(text: &str) -> String {
    let head = ["Traceback (most recent call last)", "stack trace:", "\nTraceback"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min()
        .map_or(text, |end| &text[..end]);
    let line = secrets(&head.split_whitespace().collect::<Vec<_>>().join(" "));
    if line.chars().count() <= MAX_ERROR_CHARS {
        return line;
    }
    let cut: String = line.chars().take(MAX_ERROR_CHARS).collect();
    format!("{cut}…")
}

/// The first secret in `text`: where it starts and ends, and what to put there.
fn next_secret(text: &str) -> Option<(usize, usize, &'static str)> {
    [key(text), bearer(text), credentials(text)].into_iter().flatten().min_by_key(|found| found.0)
}

fn token_len(text: &str) -> usize {
    text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(text.len())
}

fn key(text: &str) -> Option<(usize, usize, &'static str)> {
    text.match_indices("sk-")
        .find_map(|(start, _)| {
            let len = token_len(&text[start..]);
            // `sk-...abcd` is the proxy's own mask.
            let masked = text[start..].starts_with("sk-...");
            let inside_word = text[..start].ends_with(|c: char| c.is_ascii_alphanumeric());
            (len > 6 && !masked && !inside_word).then_some((start, start + len, "sk-[redacted]"))
        })
        .filter(|(start, end, _)| &text[*start..*end] != "sk-[redacted]")
}

fn bearer(text: &str) -> Option<(usize, usize, &'static str)> {
    let start = text.find("Bearer ").or_else(|| text.find("bearer "))? + "Bearer ".len();
    let len = token_len(&text[start..]);
    (len > 6).then_some((start, start + len, "[redacted]"))
}

fn credentials(text: &str) -> Option<(usize, usize, &'static str)> {
    text.match_indices("://").find_map(|(at, mark)| {
        let start = at + mark.len();
        let end =
            text[start..].find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\''));
        let authority = &text[start..end.map_or(text.len(), |end| start + end)];
        let user_info = authority.rfind('@')?;
        (&authority[..user_info] != "[redacted]").then_some((start, start + user_info, "[redacted]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tokens_and_passwords_are_taken_out() {
        assert_eq!(secrets("User Key=sk-unknown-000000000."), "User Key=sk-[redacted]");
        assert_eq!(secrets("I am gpt-5 (bearer sk-bed-task-agent)"), "I am gpt-5 (bearer sk-[redacted])");
        assert_eq!(
            secrets("Authorization: Bearer abcdefghij, next"),
            "Authorization: Bearer [redacted], next"
        );
        assert_eq!(secrets("http://u:p@host/x http://a:b@c"), "http://[redacted]@host/x http://[redacted]@c");
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in
            ["sk-...ab12", "task-agent-x1", "risk-averse words", "https://host/@me", "sk-", "Bearer of news"]
        {
            assert_eq!(secrets(text), text);
        }
    }

    #[test]
    fn a_stack_trace_is_cut_off() {
        let text = "Can't reach it\nTraceback (most recent call last):\n File \"/srv/x.py\"";
        assert_eq!(error_text(text), "Can't reach it");
        assert_eq!(error_text(&"x".repeat(500)).chars().count(), MAX_ERROR_CHARS + 1);
    }
}
