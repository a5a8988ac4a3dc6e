//! How many keys may call a model.

use crate::services::keys::KeysView;
use crate::services::registry::Models;

impl Models {
    /// The keys that have been read, to be counted; none where none were. Waits for nothing, so that the registry's
    /// first page costs one request; an old copy is renewed in the background.
    pub fn key_count(&self) -> Option<KeysView> {
        let keys = self.inner.keys.clone();
        let view = keys.cached();
        if !view.has_data() {
            return None;
        }
        tokio::spawn(async move { keys.get().await });
        Some(view)
    }
}
