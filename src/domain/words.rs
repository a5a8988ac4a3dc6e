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
