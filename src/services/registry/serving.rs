//! What answers calls of a name.

use super::catalog::Catalog;
use crate::domain::model::{Deployment, ModelSpec, chats};
use crate::domain::routing::is_pattern;

/// What answers calls of a name, as the proxy would look for it.
#[derive(Debug, Clone)]
pub struct Serving<'a> {
    pub name: &'a str,
    /// What the name is an alias of.
    pub alias_of: Option<&'a str>,
    pub by: By<'a>,
    pub deployments: Vec<&'a Deployment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By<'a> {
    /// Deployments of the name.
    Name,
    /// One deployment, whose id the name is.
    Id,
    /// Deployments of a team, for its keys.
    Team,
    Wildcard(&'a str),
    /// Deployments that ask their provider for a model of this name.
    Upstream,
    /// The deployments of the proxy's default fallback.
    Fallback(&'a str),
    Nothing,
}

impl Serving<'_> {
    pub fn is_served(&self) -> bool {
        self.by != By::Nothing
    }

    pub fn is_blocked(&self) -> bool {
        self.is_served() && self.deployments.iter().all(|deployment| deployment.blocked)
    }

    /// The mode of its deployments, where none of them answers chat completions.
    pub fn other_mode(&self) -> Option<&str> {
        let chats = |one: &&Deployment| chats(one.mode.as_deref());
        if self.deployments.iter().any(chats) { None } else { self.deployments.first()?.mode.as_deref() }
    }

    /// In words, such as “acme/smart is an alias of openai/gpt-5.”
    pub fn describe(&self) -> String {
        let Self { name, alias_of, by, .. } = self;
        let looked_up = alias_of.unwrap_or(name);
        let how = match by {
            By::Name | By::Id if alias_of.is_some() => String::new(),
            By::Name => format!("{name} is registered."),
            By::Id => format!("{name} is the id of a deployment."),
            By::Team => format!("{looked_up} is registered for a team."),
            By::Wildcard(pattern) => format!("{looked_up} is served by the wildcard {pattern}."),
            By::Upstream => format!("{looked_up} is what a deployment asks its provider for."),
            By::Fallback(to) => format!("Nothing serves {looked_up}: the default fallback {to} answers."),
            By::Nothing => format!("Nothing serves {looked_up}."),
        };
        match alias_of {
            Some(target) => format!("{name} is an alias of {target}. {how}").trim_end().to_owned(),
            None => how,
        }
    }
}

impl Catalog {
    /// Finds what answers calls of `name`: a deployment's id, an alias, deployments of the name, the most specific
    /// wildcard, a deployment's upstream model, the default fallback.
    pub fn serving<'a>(&'a self, name: &'a str) -> Serving<'a> {
        if let Some(one) = self.by_id(name) {
            return Serving { name, alias_of: None, by: By::Id, deployments: vec![one] };
        }
        let looked_up = self.routing.resolve(name);
        let (mut by, mut deployments) = self.without_alias(looked_up);
        if by == By::Nothing
            && let Some(fallback) = self.routing.default_fallback()
        {
            let (found, of_fallback) = self.without_alias(self.routing.resolve(fallback));
            if found != By::Nothing {
                (by, deployments) = (By::Fallback(fallback), of_fallback);
            }
        }
        Serving { name, alias_of: (looked_up != name).then_some(looked_up), by, deployments }
    }

    fn without_alias<'a>(&'a self, name: &str) -> (By<'a>, Vec<&'a Deployment>) {
        let named = self.named(name);
        if !named.is_empty() {
            return (By::Name, named);
        }
        let of_team = |one: &&Deployment| one.team.as_ref().is_some_and(|team| team.name == name);
        let upstream = |one: &&Deployment| one.upstream_model == name;
        if let Some(pattern) = self.wildcard_for(name) {
            return (By::Wildcard(pattern), self.named(pattern));
        }
        let mut found: Vec<_> = self.iter().filter(of_team).collect();
        if !found.is_empty() {
            return (By::Team, found);
        }
        found.extend(self.iter().filter(upstream));
        if found.is_empty() { (By::Nothing, found) } else { (By::Upstream, found) }
    }

    /// The names that an agent can be switched to: deployments' and aliases', without wildcards, names without a
    /// provider, blocked ones and those that do not answer chat completions.
    pub(super) fn find_callable(&self) -> Vec<String> {
        let own = self.iter().filter(|one| !one.is_pattern() && one.team.is_none()).map(|one| &one.name);
        let aliases = self.routing.aliases.iter().filter(|(_, alias)| !alias.hidden).map(|(name, _)| name);
        let is_spec = |name: &str| name.parse().is_ok_and(|spec: ModelSpec| spec.as_str() == name);
        let is_callable = |name: &&String| is_spec(name) && !is_pattern(name) && self.can_call(name);
        let mut names: Vec<String> = own.chain(aliases).filter(is_callable).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether something that answers chat completions and is not blocked serves `name`.
    pub fn can_call(&self, name: &str) -> bool {
        let serving = self.serving(name);
        let answers = |one: &&Deployment| !one.blocked && chats(one.mode.as_deref());
        serving.deployments.iter().any(answers)
    }

    /// The aliases that lead to `name`.
    pub fn aliases_of(&self, name: &str) -> Vec<&str> {
        let all = self.routing.aliases.keys().map(String::as_str);
        all.filter(|alias| *alias != name && self.routing.resolve(alias) == name).collect()
    }
}
