//! Where the login leads on to.

/// `next`, if it is an address of this dashboard and nothing that a browser could read as another site's.
pub(super) fn local_next<'a>(next: &'a str, base: &str) -> Option<&'a str> {
    let below = next.strip_prefix(base)?;
    let is_local = below.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && !next.chars().any(char::is_control)
        && next.len() <= 2000;
    // The parser that browsers' rules were written down for decides in the end.
    let root: url::Url = "http://patchbay.invalid/".parse().ok()?;
    let joined = root.join(next).ok()?;
    let stays_below = joined.path().strip_prefix(base).is_some_and(|below| below.starts_with('/'));
    // A reader that resolves dots by itself must not find another host behind them.
    let is_plain = !joined.path().starts_with("//");
    let stays = joined.host_str() == Some("patchbay.invalid") && stays_below && is_plain;
    (is_local && stays).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_addresses_are_gone_to_after_the_login() {
        for good in ["/", "/models?q=a%20b&page=2", "/keys/abc#x", "/switch?agent=a"] {
            assert_eq!(local_next(good, ""), Some(good));
        }
        for bad in [
            "",
            "models",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil",
            "http://evil.example",
            "https:evil",
            "javascript:alert(1)",
            "/\tevil",
            "/\n/evil",
            "/%0a\r",
            " /x",
            "/a\\..\\b",
            "/.//evil.example",
            "/x/..//evil.example",
        ] {
            assert_eq!(local_next(bad, ""), None, "{bad:?}");
        }
        assert_eq!(local_next("/a/b/models", "/a/b"), Some("/a/b/models"));
        for bad in ["/models", "/a/bc", "/a/b/../../x", "/a/b/../bc", "/a/b//../../../x"] {
            assert_eq!(local_next(bad, "/a/b"), None, "{bad:?}");
        }
    }
}
