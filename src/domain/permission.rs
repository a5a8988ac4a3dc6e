//! May a virtual key call a model? As the proxy decides it (`proxy/auth/auth_checks.py` of LiteLLM 1.74, 1.80 and
//! 1.109): the key must allow the name, and so must its team. `tests/it/live/permission.rs` compares the answers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::key::{Access, KeyState, VirtualKey, glob};

/// The part of a key that decides which names it may call. Many keys share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    #[serde(flatten)]
    pub access: Access,
    pub team_id: Option<String>,
    /// Groups of models that are kept apart from deployments (1.109).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_group_ids: Vec<String>,
    /// Names that the proxy replaces in calls with this key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
    /// The key brings its own router configuration, which is not interpreted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_custom: bool,
}

impl From<Access> for Grant {
    fn from(access: Access) -> Self {
        Self {
            access,
            team_id: None,
            access_group_ids: Vec::new(),
            aliases: BTreeMap::new(),
            is_custom: false,
        }
    }
}

impl Grant {
    /// Whether anything beside the key decides: its team or access groups.
    pub fn needs_rules(&self) -> bool {
        self.team_id.is_some() || !self.access_group_ids.is_empty()
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Team {
    /// Empty allows everything.
    pub models: Vec<String>,
    pub access_group_ids: Vec<String>,
    /// Names that the team's own aliases replace.
    pub aliases: Vec<String>,
    pub blocked: bool,
    pub spend: f64,
    pub max_budget: Option<f64>,
    /// The smallest budget of a time window.
    pub least_window: Option<f64>,
}

/// What the answer depends on beside key and name. None: it could not be read.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub teams: Option<HashMap<String, Team>>,
    /// The models of `access_group_ids`.
    pub groups: Option<HashMap<String, Vec<String>>>,
}

/// A name that clients ask for, as the registry knows it.
#[derive(Debug, Clone, Default)]
pub struct Target<'a> {
    pub name: &'a str,
    pub alias_of: Option<&'a str>,
    /// The proxy checks the target of an alias alone.
    pub by_target_only: bool,
    /// Access groups of the deployments that serve it.
    pub groups: Vec<&'a str>,
    /// Its deployments cost nothing. 1.109 lets them be called with a used-up budget.
    pub is_free: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "answer", content = "reason")]
pub enum Verdict {
    Allowed,
    Denied(Denial),
    NotKnown(Doubt),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Denial {
    #[error("the key is blocked")]
    Blocked,
    #[error("the key has expired")]
    Expired,
    #[error("the key's budget is used up")]
    OverBudget,
    #[error("the model is not among those of the key")]
    NotListed,
    #[error("the key's team is blocked")]
    TeamBlocked,
    #[error("the budget of the key's team is used up")]
    TeamOverBudget,
    #[error("the model is not among those of the key's team")]
    NotInTeam,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    #[error("the key's team could not be read")]
    Team,
    #[error("the key's access groups could not be read")]
    Groups,
    #[error("a wildcard matches the name only with the provider that the proxy finds for it")]
    Provider,
    #[error("one of the key's budgets may be used up")]
    Budget,
    #[error("the key has aliases or a router configuration of its own")]
    Custom,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => f.write_str("allowed"),
            Self::Denied(why) => why.fmt(f),
            Self::NotKnown(why) => why.fmt(f),
        }
    }
}

impl Verdict {
    pub fn is_allowed(self) -> bool {
        self == Self::Allowed
    }

    /// Both must allow.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Denied(_), _) | (Self::NotKnown(_), Self::Allowed | Self::NotKnown(_)) => self,
            _ => other,
        }
    }

    /// One is enough.
    fn or(self, other: impl FnOnce() -> Self) -> Self {
        match (self, self.is_allowed()) {
            (_, true) => self,
            (Self::NotKnown(_), _) => {
                if other().is_allowed() {
                    Self::Allowed
                } else {
                    self
                }
            }
            _ => match other() {
                Self::Denied(_) => self,
                other => other,
            },
        }
    }
}

impl Rules {
    /// The one answer to "may this key call this model?".
    pub fn may_call(&self, key: &VirtualKey, target: &Target<'_>, now: Timestamp) -> Verdict {
        let state = match key.state(now) {
            KeyState::Active => Verdict::Allowed,
            KeyState::Blocked => Verdict::Denied(Denial::Blocked),
            KeyState::Expired => Verdict::Denied(Denial::Expired),
            KeyState::OverBudget if target.is_free => Verdict::NotKnown(Doubt::Budget),
            KeyState::OverBudget => Verdict::Denied(Denial::OverBudget),
        };
        let windows = key.budget_limits.iter().map(|window| match window.spend {
            Some(spend) if spend >= window.max_budget && !target.is_free => {
                Verdict::Denied(Denial::OverBudget)
            }
            Some(spend) if spend < window.max_budget => Verdict::Allowed,
            // It is at most what was spent in all.
            None if key.spend < window.max_budget => Verdict::Allowed,
            _ => Verdict::NotKnown(Doubt::Budget),
        });
        windows.fold(state.and(self.grants(&key.grant(), target)), Verdict::and)
    }

    /// The same without the key's state and budgets.
    pub fn grants(&self, grant: &Grant, target: &Target<'_>) -> Verdict {
        self.key_grants(grant, target).and(self.team_grants(grant, target))
    }

    pub fn key_grants(&self, grant: &Grant, target: &Target<'_>) -> Verdict {
        if grant.is_custom || grant.aliases.contains_key(target.name) {
            return Verdict::NotKnown(Doubt::Custom);
        }
        let own = match &grant.access {
            Access::All => return Verdict::Allowed,
            Access::None => Verdict::Denied(Denial::NotListed),
            // Left to the team. Without one, nothing is checked.
            Access::List(models) if models.iter().any(|model| model == "all-team-models") => {
                return Verdict::Allowed;
            }
            Access::List(models) => Self::lists(models, target, Denial::NotListed),
        };
        own.or(|| self.groups_grant(&grant.access_group_ids, target, Denial::NotListed))
    }

    fn team_grants(&self, grant: &Grant, target: &Target<'_>) -> Verdict {
        let Some(id) = &grant.team_id else { return Verdict::Allowed };
        let Some(team) = self.teams.as_ref().and_then(|teams| teams.get(id)) else {
            return Verdict::NotKnown(Doubt::Team);
        };
        if team.blocked {
            return Verdict::Denied(Denial::TeamBlocked);
        }
        let not_in_team = Denial::NotInTeam;
        let names = if team.models.is_empty() || team.aliases.iter().any(|alias| alias == target.name) {
            Verdict::Allowed
        } else if team.models.iter().any(|model| model == "all-team-models") {
            Verdict::NotKnown(Doubt::Team)
        } else {
            Self::lists(&team.models, target, not_in_team)
        };
        let names = names.or(|| self.groups_grant(&team.access_group_ids, target, not_in_team)).or(|| {
            // A group of the key that is assigned to key or team is enough; whether it is, is not looked up.
            match self.groups_grant(&grant.access_group_ids, target, not_in_team) {
                Verdict::Allowed => Verdict::NotKnown(Doubt::Groups),
                other => other,
            }
        });
        // Unlike a key, a team may spend its budget to the last cent.
        let is_over = team.max_budget.is_some_and(|budget| team.spend > budget);
        let may_be_over = is_over || team.least_window.is_some_and(|budget| team.spend >= budget);
        let budget = if is_over && !target.is_free {
            Verdict::Denied(Denial::TeamOverBudget)
        } else if may_be_over {
            Verdict::NotKnown(Doubt::Budget)
        } else {
            Verdict::Allowed
        };
        names.and(budget)
    }

    fn groups_grant(&self, ids: &[String], target: &Target<'_>, denial: Denial) -> Verdict {
        if ids.is_empty() {
            return Verdict::Denied(denial);
        }
        let Some(groups) = &self.groups else { return Verdict::NotKnown(Doubt::Groups) };
        let models: Vec<String> = ids.iter().filter_map(|id| groups.get(id)).flatten().cloned().collect();
        // Groups without a model grant nothing, although an empty list elsewhere means everything.
        Self::lists(&models, target, denial)
    }

    fn lists(models: &[String], target: &Target<'_>, denial: Denial) -> Verdict {
        let names = match target.alias_of {
            Some(aliased) if target.by_target_only => [Some(aliased), None],
            aliased => [Some(target.name), aliased],
        };
        let names = || names.into_iter().flatten();
        let covers = |entry: &String| {
            entry == "all-proxy-models"
                || target.groups.contains(&entry.as_str())
                || names().any(|name| entry == name || pattern_covers(entry, name))
        };
        // The proxy also puts before a name without a provider the one that its own tables have for it.
        let may_cover = |entry: &String| {
            entry.split_once('/').is_some_and(|(provider, rest)| {
                let is_pattern = provider.contains('*') || rest.contains('*');
                is_pattern
                    && names().any(|name| !name.contains('/') && pattern_covers(&format!("*{rest}"), name))
            })
        };
        if models.iter().any(covers) {
            Verdict::Allowed
        } else if models.iter().any(may_cover) {
            Verdict::NotKnown(Doubt::Provider)
        } else {
            Verdict::Denied(denial)
        }
    }
}

/// Whether a list's entry such as `openai/*` covers a name. The proxy makes a regular expression of it without escaping
/// the rest, so that a dot stands for any character.
pub fn pattern_covers(entry: &str, name: &str) -> bool {
    entry.contains('*') && glob(entry, name, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Access {
        Access::from_models(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn target(name: &str) -> Target<'_> {
        Target { name, ..Target::default() }
    }

    fn rules(models: &[&str]) -> Rules {
        let models = models.iter().map(|&name| name.to_owned()).collect();
        let team = Team { models, ..Team::default() };
        Rules { teams: Some(HashMap::from([("t".to_owned(), team)])), ..Rules::default() }
    }

    #[test]
    fn key_allows_names_wildcards_and_groups() {
        let rules = Rules::default();
        let grants = |models: &[&str], name| rules.grants(&list(models).into(), &target(name));
        let denied = Verdict::Denied(Denial::NotListed);
        for (models, name, expected) in [
            (&[][..], "x", Verdict::Allowed),
            (&["all-proxy-models"], "x", Verdict::Allowed),
            (&["no-default-models"], "x", denied),
            (&["no-default-models", "x"], "x", Verdict::Allowed),
            (&["*"], "x", Verdict::Allowed),
            (&["openai/gpt-5"], "openai/gpt-5", Verdict::Allowed),
            (&["openai/gpt-5"], "openai/gpt-5-mini", denied),
            (&["openai/*"], "openai/gpt-5-mini", Verdict::Allowed),
            (&["openai/*"], "anthropic/x", denied),
            (&["*/gpt-*-mini"], "openai/gpt-5-mini", Verdict::Allowed),
            (&["*/gpt-*-mini"], "openai/gpt-5", denied),
            (&["openai/gpt-4.*"], "openai/gpt-4x1", Verdict::Allowed),
            (&["openai/gpt-4.1"], "openai/gpt-4x1", denied),
            (&["openai/*"], "gpt-5", Verdict::NotKnown(Doubt::Provider)),
            (&["openai/o*"], "gpt-5", denied),
            (&["all-team-models"], "x", Verdict::Allowed),
        ] {
            assert_eq!(grants(models, name), expected, "{models:?} {name}");
        }
        let grouped = Target { groups: vec!["fast"], ..target("x") };
        assert_eq!(rules.grants(&list(&["fast"]).into(), &grouped), Verdict::Allowed);
    }

    #[test]
    fn team_must_allow_too() {
        let of_team = |access: Access| Grant { team_id: Some("t".to_owned()), ..access.into() };
        let team = rules(&["openai/*"]);
        let denied = Verdict::Denied(Denial::NotInTeam);
        for access in [Access::All, list(&["all-team-models"]), list(&["anthropic/x", "openai/gpt-5"])] {
            assert_eq!(team.grants(&of_team(access.clone()), &target("openai/gpt-5")), Verdict::Allowed);
            assert_eq!(team.grants(&of_team(access), &target("anthropic/x")), denied);
        }
        assert_eq!(rules(&[]).grants(&of_team(Access::All), &target("x")), Verdict::Allowed);
        let unread = Rules::default().grants(&of_team(Access::All), &target("x"));
        assert_eq!(unread, Verdict::NotKnown(Doubt::Team));
        let denied_by_key = Rules::default().grants(&of_team(Access::None), &target("x"));
        assert_eq!(denied_by_key, Verdict::Denied(Denial::NotListed));
    }

    #[test]
    fn alias_is_checked_by_both_names_from_1_80_on() {
        let alias = Target { alias_of: Some("openai/gpt-5"), ..target("smart") };
        let old = Target { by_target_only: true, ..alias.clone() };
        let rules = Rules::default();
        for (models, now, then) in
            [(["smart"], true, false), (["openai/gpt-5"], true, true), (["other"], false, false)]
        {
            let grant = list(&models).into();
            assert_eq!(rules.grants(&grant, &alias).is_allowed(), now, "{models:?}");
            assert_eq!(rules.grants(&grant, &old).is_allowed(), then, "{models:?}");
        }
    }

    #[test]
    fn access_groups_of_a_key_add_models() {
        let groups = Some(HashMap::from([("g".to_owned(), vec!["openai/*".to_owned()])]));
        let rules = Rules { groups, ..Rules::default() };
        let grant = |id: &str| Grant { access_group_ids: vec![id.to_owned()], ..Access::None.into() };
        assert_eq!(rules.grants(&grant("g"), &target("openai/gpt-5")), Verdict::Allowed);
        assert_eq!(
            rules.grants(&grant("other"), &target("openai/gpt-5")),
            Verdict::Denied(Denial::NotListed)
        );
        let unread = Rules::default().grants(&grant("g"), &target("openai/gpt-5"));
        assert_eq!(unread, Verdict::NotKnown(Doubt::Groups));
    }
}
