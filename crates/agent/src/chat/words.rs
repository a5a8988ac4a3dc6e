//! Normalises addresses, model names and error texts.

use std::borrow::Cow;

use reqwest::Url;

use crate::StartError;

const DETAIL_LIMIT: usize = 500;

/// Removes a final `/` or `/v1`.
pub(super) fn base_url(text: &str) -> Result<String, StartError> {
    let url = Url::parse(text.trim()).map_err(|_| StartError::ProxyUrl)?;
    let plain = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https")
        || !plain
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(StartError::ProxyUrl);
    }
    let base = url.as_str().trim_end_matches('/');
    Ok(base.strip_suffix("/v1").unwrap_or(base).trim_end_matches('/').to_owned())
}

/// True if a listed name covers the alias: a proxy may list `openai/*`.
pub(super) fn covers(listed: &str, alias: &str) -> bool {
    listed == alias || listed.strip_suffix('*').is_some_and(|start| alias.starts_with(start))
}

/// A proxy's error text on one line, shortened and without keys.
pub(super) fn presentable(text: &str, key: Option<&str>) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = match key {
        Some(key) if !key.is_empty() => line.replace(key, "[redacted]"),
        _ => line,
    };
    let mut shown = String::new();
    let mut rest = line.as_str();
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c| is_wordy(c) != is_wordy(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        shown.push_str(&redacted(word));
        rest = after;
    }
    shown.retain(|c| !c.is_control());
    if shown.is_empty() {
        shown.push_str("it gave no reason");
    }
    match shown.char_indices().nth(DETAIL_LIMIT) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

fn is_wordy(c: char) -> bool {
    c.is_alphanumeric() || "-_.".contains(c)
}

/// LiteLLM quotes a part of a rejected key and its whole hash.
fn redacted(word: &str) -> Cow<'_, str> {
    let hash = word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    if hash || word.starts_with("sk-") { "[redacted]".into() } else { word.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_end_as_people_write_it() {
        for given in ["http://h:4000", "http://h:4000/", "http://h:4000/v1", " http://h:4000/v1/ "] {
            assert_eq!(base_url(given).unwrap(), "http://h:4000");
        }
        assert_eq!(base_url("https://h/llm/v1").unwrap(), "https://h/llm");
        for bad in ["", "h:4000", "ftp://h", "http://u:p@h", "http://h/?a=b"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_for_the_rest() {
        assert!(covers("openai/*", "openai/gpt-5") && covers("*", "a/b") && covers("a/b", "a/b"));
        assert!(!covers("openai/*", "anthropic/x") && !covers("openai/gpt-5", "openai/gpt-5-mini"));
    }

    #[test]
    fn keys_and_hashes_are_not_shown() {
        let hash = "0123456789abcdef".repeat(4);
        let text = format!("Key 'sk-...abcd' (hash={hash})\nor my-key? see\tdocs.");
        assert_eq!(
            presentable(&text, Some("my-key")),
            "Key '[redacted]' (hash=[redacted]) or [redacted]? see docs."
        );
        assert_eq!(presentable(&"ä ".repeat(1000), None).chars().count(), DETAIL_LIMIT + 1);
        assert_eq!(presentable(" ", None), "it gave no reason");
    }
}
