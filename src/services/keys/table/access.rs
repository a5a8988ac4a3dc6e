//! The distinct accesses of a table's keys: many keys share one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::to_u32;
use crate::domain::key::{Access, wildcard_matches};

/// The distinct accesses, and where each model's name or pattern stands in them.
#[derive(Debug, Default, Clone)]
pub(super) struct AccessIndex {
    pub(super) accesses: Vec<Arc<Access>>,
    pub(super) positions: HashMap<Arc<Access>, u32>,
    by_entry: HashMap<String, Vec<u32>>,
    patterns: Vec<String>,
}

impl AccessIndex {
    pub(super) fn add(&mut self, access: &Access) -> u32 {
        let (access, position) = (Arc::new(access.clone()), to_u32(self.accesses.len()));
        if let Access::List(entries) = &*access {
            for entry in entries.iter().collect::<HashSet<_>>() {
                if entry.contains('*') && !self.by_entry.contains_key(entry) {
                    self.patterns.push(entry.clone());
                }
                self.by_entry.entry(entry.clone()).or_default().push(position);
            }
        }
        self.accesses.push(Arc::clone(&access));
        self.positions.insert(access, position);
        position
    }

    pub(super) fn map(&self, question: impl Fn(&Access) -> bool) -> Vec<bool> {
        self.accesses.iter().map(|access| question(access)).collect()
    }

    /// The accesses with which the model `name`, whose deployments are in `groups`, may be called.
    pub(super) fn permitting(&self, name: &str, groups: &[&str]) -> Vec<u32> {
        let patterns = self.patterns.iter().map(String::as_str).filter(|entry| wildcard_matches(entry, name));
        let entries = groups.iter().copied().chain([name]).chain(patterns);
        let lists = entries.filter_map(|entry| self.by_entry.get(entry)).flatten();
        let mut all: Vec<u32> = lists.chain(self.positions.get(&Access::All)).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
