//! Forms that come back with what was wrong beside its field.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(super) struct FieldErrors(BTreeMap<&'static str, String>);

impl FieldErrors {
    /// Notes what is wrong with a field; the first error stays.
    pub(super) fn add(&mut self, field: &'static str, error: impl Into<String>) {
        self.0.entry(field).or_insert_with(|| error.into());
    }

    pub(super) fn at(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
