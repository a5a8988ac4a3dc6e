//! The proxy's virtual keys.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::domain::permission::Grant;

/// SHA-256 of a virtual key in lower-case hex: the name by which the proxy and Patchbay know a key without
/// holding it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's hash has 64 hexadecimal digits")]
pub struct KeyHashError;

impl KeyHash {
    pub fn of(key: &SecretString) -> Self {
        Self(hex(&Sha256::digest(key.expose_secret().as_bytes())))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, KeyHashError> {
        let good = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if good { Ok(Self(text.to_owned())) } else { Err(KeyHashError) }
    }
}

impl TryFrom<String> for KeyHash {
    type Error = KeyHashError;

    fn try_from(text: String) -> Result<Self, KeyHashError> {
        text.parse()
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.0
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({})", self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "access", content = "models")]
pub enum Access {
    /// `models: []` or `["all-proxy-models"]`: whatever is registered, now and later.
    All,
    /// `["no-default-models"]`: nothing.
    None,
    List(Vec<String>),
}

impl Access {
    /// Reads the proxy's `models` list.
    pub fn from_models(models: Vec<String>) -> Self {
        if models.is_empty() || models.iter().any(|m| m == "all-proxy-models") {
            Self::All
        } else if models.iter().all(|m| m == "no-default-models") {
            Self::None
        } else {
            Self::List(models)
        }
    }

    /// The proxy's `models` list.
    pub fn to_models(&self) -> Vec<String> {
        match self {
            Self::All => Vec::new(),
            Self::None => vec!["no-default-models".to_owned()],
            Self::List(models) => models.clone(),
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Self::All => "all models".to_owned(),
            Self::None => "no models".to_owned(),
            Self::List(models) => models.join(", "),
        }
    }
}

/// Whether a wildcard, such as `openai/*` or `*`, covers `name`. A pattern without a star covers nothing.
pub fn wildcard_matches(pattern: &str, name: &str) -> bool {
    pattern.contains('*') && glob(pattern, name, false)
}

/// Whether `pattern` matches all of `name`. A star stands for any characters and, where `any_dot`, a dot for one.
pub(super) fn glob(pattern: &str, name: &str, any_dot: bool) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // The last star, and how far into the name it reaches.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(&c) if c == name[in_name] || (any_dot && c == '.') => (at, in_name) = (at + 1, in_name + 1),
            _ => match &mut star {
                None => return false,
                Some((from, reach)) => {
                    *reach += 1;
                    (at, in_name) = (*from + 1, *reach);
                }
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum KeyState {
    Active,
    Blocked,
    Expired,
    OverBudget,
}

impl KeyState {
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The proxy checks in this order.
    pub fn of(is_blocked: bool, is_expired: bool, max_budget: Option<f64>, spend: f64) -> Self {
        if is_blocked {
            Self::Blocked
        } else if is_expired {
            Self::Expired
        } else if max_budget.is_some_and(|budget| spend >= budget) {
            Self::OverBudget
        } else {
            Self::Active
        }
    }

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::OverBudget => "over budget",
            other => other.as_str(),
        }
    }
}

/// A budget of a time window, beside which there may be others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetWindow {
    /// `1d`
    pub budget_duration: String,
    /// US dollars.
    pub max_budget: f64,
    /// US dollars spent in the window, where the proxy reports it.
    #[serde(default)]
    pub spend: Option<f64>,
}

/// One virtual key, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VirtualKey {
    pub hash: KeyHash,
    pub alias: Option<String>,
    /// `sk-...abcd`, as the proxy masks it.
    pub masked: String,
    #[serde(flatten)]
    pub access: Access,
    /// US dollars spent in the budget period.
    pub spend: f64,
    /// Most US dollars in the budget period.
    pub max_budget: Option<f64>,
    /// The budget period, such as `30d`.
    pub budget_duration: Option<String>,
    pub expires: Option<Timestamp>,
    /// Most requests per minute.
    pub rpm_limit: Option<u64>,
    /// Most tokens per minute.
    pub tpm_limit: Option<u64>,
    pub max_parallel_requests: Option<u64>,
    pub blocked: bool,
    pub user_id: Option<String>,
    pub team_id: Option<String>,
    pub created_at: Option<Timestamp>,
    /// Budgets of several time windows (1.109).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budget_limits: Vec<BudgetWindow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access_group_ids: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
    /// It brings its own router configuration.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_custom: bool,
    /// When it was last used; only newer proxies know (`wire/litellm/1.109/key_info_by_hash`).
    pub last_active: Option<Timestamp>,
}

impl VirtualKey {
    pub fn state(&self, now: Timestamp) -> KeyState {
        KeyState::of(self.blocked, self.expires.is_some_and(|at| at <= now), self.max_budget, self.spend)
    }

    pub fn grant(&self) -> Grant {
        Grant {
            access: self.access.clone(),
            team_id: self.team_id.clone(),
            access_group_ids: self.access_group_ids.clone(),
            aliases: self.aliases.clone(),
            is_custom: self.is_custom,
        }
    }

    /// The alias, or the masked name where there is none.
    pub fn label(&self) -> &str {
        self.alias.as_deref().filter(|alias| !alias.is_empty()).unwrap_or(&self.masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_proxys() {
        let hash = KeyHash::of(&SecretString::from("sk-seed-1"));
        assert_eq!(hash.as_str(), "aee9598acbeb803414e58f480d9f5c759ff5ac098fbe2a3eb1abf90cc6f04fae");
        assert!(hash.as_str().parse::<KeyHash>().is_ok());
        assert!("ABC".parse::<KeyHash>().is_err());
    }

    #[test]
    fn empty_list_is_all_and_marker_none() {
        assert_eq!(Access::from_models(vec![]), Access::All);
        assert_eq!(Access::from_models(vec!["no-default-models".into()]), Access::None);
    }

    #[test]
    fn wildcards_do_not_overlap_themselves() {
        assert!(wildcard_matches("*", ""));
        assert!(wildcard_matches("a*a", "aba"));
        assert!(!wildcard_matches("a*a", "a"));
        assert!(!wildcard_matches("plain", "plain"));
        assert!(wildcard_matches("*/gpt-*-mini", "openai/gpt-5-mini"));
        assert!(!wildcard_matches("*/gpt-*-mini", "openai/gpt-5"));
        assert!(wildcard_matches("**a*b*", "xaab"));
        assert!(!wildcard_matches("a.*", "abc"));
    }
}
