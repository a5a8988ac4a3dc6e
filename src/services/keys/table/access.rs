//! The distinct grants of a table's keys: many keys share one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::to_u32;
use crate::domain::key::Access;
use crate::domain::permission::{Grant, Rules, Target, pattern_covers};

/// The distinct grants, and where each model's name or pattern stands in them.
#[derive(Debug, Default, Clone)]
pub(super) struct GrantIndex {
    pub(super) grants: Vec<Arc<Grant>>,
    pub(super) positions: HashMap<Arc<Grant>, u32>,
    by_entry: HashMap<String, Vec<u32>>,
    patterns: Vec<String>,
    /// Grants that are not judged by a list of their own alone.
    others: Vec<u32>,
}

impl GrantIndex {
    pub(super) fn add(&mut self, grant: Grant) -> u32 {
        let (grant, position) = (Arc::new(grant), to_u32(self.grants.len()));
        match &grant.access {
            Access::List(entries) if grant.access_group_ids.is_empty() => {
                for entry in entries.iter().collect::<HashSet<_>>() {
                    if entry.contains('*') && !self.by_entry.contains_key(entry) {
                        self.patterns.push(entry.clone());
                    }
                    self.by_entry.entry(entry.clone()).or_default().push(position);
                }
            }
            Access::None if grant.access_group_ids.is_empty() => {}
            _ => self.others.push(position),
        }
        self.grants.push(Arc::clone(&grant));
        self.positions.insert(grant, position);
        position
    }

    pub(super) fn map(&self, question: impl Fn(&Grant) -> bool) -> Vec<bool> {
        self.grants.iter().map(|grant| question(grant)).collect()
    }

    /// The grants with which a model may be called. The index finds those to ask [`Rules`] about.
    pub(super) fn permitting(&self, rules: &Rules, target: &Target<'_>) -> Vec<u32> {
        let names = || [Some(target.name), target.alias_of].into_iter().flatten();
        let covers = |entry: &&str| names().any(|name| pattern_covers(entry, name));
        let patterns = self.patterns.iter().map(String::as_str).filter(covers);
        let entries = target.groups.iter().copied().chain(names()).chain(patterns).chain(EVERY);
        let lists = entries.filter_map(|entry| self.by_entry.get(entry)).flatten();
        let mut all: Vec<u32> = lists.chain(&self.others).copied().collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|position| rules.grants(&self.grants[*position as usize], target).is_allowed());
        all
    }
}

/// Entries that are neither names nor patterns.
const EVERY: [&str; 1] = ["all-team-models"];
