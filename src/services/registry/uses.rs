//! How many keys may call a model, counted once for each copy of the keys.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::key::{Access, wildcard_matches};
use crate::services::keys::index::Index;
use crate::services::registry::Models;

/// The last count, as long as the copy of the keys is the same.
#[derive(Default)]
pub(super) struct Uses(Mutex<Option<Arc<KeyCount>>>);

#[derive(Debug)]
pub struct KeyCount {
    of: Index,
    all: usize,
    by_entry: HashMap<String, Vec<u32>>,
    wildcards: Vec<String>,
    pub is_complete: bool,
}

impl KeyCount {
    fn new(of: Index, is_complete: bool) -> Self {
        let mut all = 0;
        let mut by_entry: HashMap<String, Vec<u32>> = HashMap::new();
        for (number, key) in of.iter().enumerate() {
            match &key.access {
                Access::All => all += 1,
                Access::None => {}
                Access::List(entries) => {
                    for entry in entries.iter().collect::<HashSet<_>>() {
                        let number = u32::try_from(number).unwrap_or(u32::MAX);
                        by_entry.entry(entry.clone()).or_default().push(number);
                    }
                }
            }
        }
        let wildcards = by_entry.keys().filter(|entry| entry.contains('*')).cloned().collect();
        Self { of, all, by_entry, wildcards, is_complete }
    }

    /// How many keys may call the model `name`, whose deployments are in `groups`.
    pub fn may_call(&self, name: &str, groups: &[&str]) -> usize {
        let wildcards = self.wildcards.iter().filter(|entry| wildcard_matches(entry, name));
        let entries: HashSet<&str> =
            groups.iter().copied().chain([name]).chain(wildcards.map(String::as_str)).collect();
        let lists: Vec<&Vec<u32>> = entries.iter().filter_map(|entry| self.by_entry.get(*entry)).collect();
        self.all
            + match lists.as_slice() {
                [] => 0,
                [one] => one.len(),
                several => several.iter().copied().flatten().collect::<HashSet<_>>().len(),
            }
    }
}

impl Models {
    /// The count of the keys that have been read; none where none were. Asks the proxy for nothing, so that
    /// the registry's first page costs one request; an old copy is renewed in the background.
    pub fn key_count(&self) -> Option<Arc<KeyCount>> {
        let view = self.inner.keys.peek();
        if !view.has_data() {
            return None;
        }
        let keys = self.inner.keys.clone();
        tokio::spawn(async move { keys.view().await });
        let mut last = self.inner.uses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = last.as_ref()
            && count.of.is(&view.keys)
            && count.is_complete == view.is_complete
        {
            return Some(Arc::clone(count));
        }
        let count = Arc::new(KeyCount::new(view.keys, view.is_complete));
        *last = Some(Arc::clone(&count));
        Some(count)
    }
}
