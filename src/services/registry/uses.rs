//! How many keys may call a model.

use std::sync::Arc;

use crate::domain::permission::{Rules, Target};
use crate::services::keys::KeysView;
use crate::services::registry::Models;

/// The keys that have been read, to be counted.
pub struct Callers {
    pub keys: KeysView,
    rules: Arc<Rules>,
    usable: Vec<usize>,
}

impl Callers {
    /// The keys that may call `name`, whose deployments are in `groups`.
    pub fn count(&self, name: &str, groups: Vec<&str>) -> usize {
        let target = Target { name, groups, ..Target::default() };
        self.keys.keys.count_callers(&self.rules, &target, &self.usable)
    }
}

impl Models {
    /// None where no keys were read. Waits for nothing, so that the registry's first page costs one request; an old copy
    /// is renewed in the background.
    pub fn callers(&self) -> Option<Callers> {
        let keys = self.inner.keys.clone();
        let view = keys.cached();
        if !view.has_data() {
            return None;
        }
        let (rules, usable) = (keys.cached_rules(), view.keys.usable_per_grant(keys.now()));
        tokio::spawn(async move {
            let view = keys.get().await;
            keys.rules(&view).await;
        });
        Some(Callers { keys: view, rules, usable })
    }
}
