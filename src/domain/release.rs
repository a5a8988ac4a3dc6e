//! What releases of LiteLLM cannot do, as far as the release alone tells. What one harmless request tells is found out
//! so, since builds between releases differ: pages of the registry, the log of calls, the list of providers.

/// Tested against the genuine proxy.
pub const TESTED: &str = "1.74, 1.80, 1.109";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    BlockModels,
    ClearKeyLimits,
    /// The log of calls: ordered by cost, 1,000 rows a request instead of 100.
    SortCalls,
    /// A failed call's row has its key in a column, by which the log is filtered.
    FilterFailedByKey,
}

/// The first release with a feature, what those before cannot do, and what to do there.
const SINCE: [(Feature, (u32, u32), &str, &str); 4] = [
    (Feature::BlockModels, (1, 106), "set a deployment aside", "Until then, delete it."),
    (
        Feature::ClearKeyLimits,
        (1, 80),
        "clear a key's budget period or expiry",
        "Until then, issue a new key without it.",
    ),
    (
        Feature::SortCalls,
        (1, 109),
        "sort its log of calls by cost",
        "Until then, Patchbay sorts the newest 1,000 calls of a range.",
    ),
    (
        Feature::FilterFailedByKey,
        (1, 80),
        "find the failed calls of a key",
        "Until then, Patchbay looks for them in the newest 1,000 calls of a range.",
    ),
];

/// Whether a release surely has a feature: not where it cannot be read.
pub fn surely_can(version: Option<&str>, feature: Feature) -> bool {
    version.is_some_and(|version| parse(version).is_some() && cannot(version, feature).is_none())
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse::<u32>);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Why a release cannot do something, if it cannot. One that cannot be read may.
pub fn cannot(version: &str, feature: Feature) -> Option<String> {
    let release = parse(version)?;
    let (_, since, what, instead) = SINCE.iter().find(|(one, ..)| *one == feature)?;
    (release < *since).then(|| {
        let (major, minor) = since;
        format!("LiteLLM {version} cannot {what}; {major}.{minor} and later can. {instead}")
    })
}

/// All that a release cannot do.
pub fn missing(version: &str) -> Vec<String> {
    SINCE.iter().filter_map(|(feature, ..)| cannot(version, *feature)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_an_older_release_cannot_do() {
        let block = |version| cannot(version, Feature::BlockModels);
        assert!(block("1.80.17").is_some_and(|why| why.contains("1.106")));
        assert_eq!(block("1.106.0"), None);
        assert_eq!(block("1.109.1"), None);
        assert_eq!(block("2.0"), None);
        assert_eq!(block("main-stable"), None);
        let missing = |version| missing(version).len();
        assert_eq!(["1.74.3", "1.80.17", "1.109.1", "main"].map(missing), [4, 2, 0, 0]);
        let sorts = |version| surely_can(version, Feature::SortCalls);
        assert_eq!(
            [Some("1.80.17"), Some("1.109.1"), Some("main"), None].map(sorts),
            [false, true, false, false]
        );
    }
}
