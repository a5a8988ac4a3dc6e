//! Formatting of texts.

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
    fn formats_counts_and_sentences() {
        assert_eq!((counted(1, "key"), counted(0, "key")), ("1 key".into(), "0 keys".into()));
        assert_eq!(sentence(&"the proxy is down"), "The proxy is down.");
        assert_eq!(sentence(&"Really?"), "Really?");
        assert_eq!(sentence(&""), ".");
    }
}
