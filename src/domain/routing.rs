//! How the proxy finds what answers a name that is no deployment's: aliases, wildcards, fallbacks.

use std::collections::BTreeMap;

use serde::Serialize;

/// Aliases of aliases that the proxy follows: once when it checks a call, once when it looks for deployments.
const MAX_ALIASES: usize = 2;

/// `router_settings`, as far as they decide who answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Routing {
    /// `model_group_alias`: what each alias leads to.
    pub aliases: BTreeMap<String, Alias>,
    /// None if the proxy does not report it.
    pub fallbacks: Option<Vec<Fallback>>,
    /// Keys are checked for the target of an alias alone, not for the alias (before 1.80).
    #[serde(skip)]
    pub alias_by_target_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alias {
    pub target: String,
    /// It can be called, and is not listed.
    pub hidden: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// The name that is called; `*` for any name without fallbacks of its own.
    pub name: String,
    /// What is tried instead, in this order.
    pub to: Vec<String>,
    pub when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    Failure,
    ContextWindow,
    ContentPolicy,
}

impl When {
    pub fn describe(self) -> &'static str {
        match self {
            Self::Failure => "when a call fails",
            Self::ContextWindow => "when the conversation is too long",
            Self::ContentPolicy => "when the provider's content policy refuses",
        }
    }
}

impl Routing {
    /// What is looked up where `name` is called.
    pub fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        let next = |name: &&'a str| self.aliases.get(*name).map(|alias| alias.target.as_str());
        std::iter::successors(Some(name), next).take(MAX_ALIASES + 1).last().unwrap_or(name)
    }

    /// What answers where `name` does not, by cause. An alias does not inherit the fallbacks of its target.
    pub fn fallbacks_of(&self, name: &str) -> Vec<&Fallback> {
        let all = || self.fallbacks.iter().flatten();
        let of = |when| {
            let named = |key: &'static str| all().find(move |one| one.when == when && one.name == key);
            all().find(|one| one.when == when && one.name == name).or_else(|| named("*"))
        };
        [When::Failure, When::ContextWindow, When::ContentPolicy].into_iter().filter_map(of).collect()
    }

    /// The name that answers calls of names which nothing serves.
    pub fn default_fallback(&self) -> Option<&str> {
        let default = self.fallbacks.iter().flatten();
        let default = default.filter(|one| one.when == When::Failure && one.name == "*");
        default.flat_map(|one| &one.to).next().map(String::as_str)
    }
}

pub fn is_pattern(name: &str) -> bool {
    name.contains('*')
}

/// Whether the proxy routes calls of `name` to deployments called `pattern`, such as `openai/*`. As with Python's
/// `re.match`, text after the last part of the pattern does no harm: `a*b` covers `axbc`.
pub fn pattern_routes(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return false };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    rest.split('*').all(|part| match left.find(part) {
        Some(at) => {
            left = &left[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Of several patterns that match, the proxy takes the greatest: its regular expression is the longest.
pub fn specificity(pattern: &str) -> (usize, usize) {
    let is_escaped = |c: char| "()[]{}?+-|^$\\.&~# \t".contains(c);
    let sizes = pattern.chars().map(|c| match c {
        '*' => (4, 3),
        '+' | '?' | '\\' | '^' | '$' | '|' | '(' | ')' => (2, 2),
        c if is_escaped(c) => (2, 1),
        _ => (1, 0),
    });
    sizes.fold((0, 0), |(length, marks), (more, complex)| (length + more, marks + complex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_route_as_the_proxy_does() {
        // Each answered, or refused, by genuine proxies 1.74, 1.80 and 1.109.
        for (pattern, name) in
            [("openai/*", "openai/gpt-99"), ("openai/*", "openai/a/b"), ("openai/*", "openai/"), ("*", "")]
        {
            assert!(pattern_routes(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("openai/*", "xopenai/a"), ("openai/*", "OPENAI/a"), ("openai/*", "openai"), ("plain", "plain")]
        {
            assert!(!pattern_routes(pattern, name), "{pattern} {name}");
        }
        assert!(pattern_routes("a*b*c", "a1b2c") && pattern_routes("a*b", "axbc"));
        assert!(!pattern_routes("a*b*c", "a1c2b") && !pattern_routes("a*a", "a"));
        assert!(specificity("openai/gpt-*") > specificity("openai/*"));
        assert!(specificity("openai/*") > specificity("*"));
    }

    #[test]
    fn aliases_are_followed_twice_and_never_in_circles() {
        let alias =
            |name: &str, target: &str| (name.to_owned(), Alias { target: target.to_owned(), hidden: false });
        let aliases =
            [alias("a", "b"), alias("b", "c"), alias("c", "d"), alias("x", "x")].into_iter().collect();
        let routing = Routing { aliases, ..Routing::default() };
        assert_eq!(["a", "b", "c", "d", "x"].map(|name| routing.resolve(name)), ["c", "d", "d", "d", "x"]);
    }
}
