//! What Patchbay's own database adds to the registry, as pages read it.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::SignedDuration;

use super::admin::Models;
use crate::domain::model_note::{Note, TestResult};
use crate::services::snapshot::Source;
use crate::store::{Store, StoreError};

/// Most ghosts that are listed.
const GHOSTS: usize = 200;

pub(super) struct NotesSource(pub(super) Store);

#[derive(Debug, Default)]
pub struct Notes {
    /// How many contexts are on a model, by its name.
    pub contexts: HashMap<String, u64>,
    /// The last test of a deployment, by its id.
    pub tests: HashMap<String, TestResult>,
    ghosts: Vec<Note>,
}

impl Source for NotesSource {
    type Fetched = Notes;
    type Copy = Notes;
    type Error = Arc<StoreError>;

    /// Another process may write to the database, which the version does not tell.
    const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(1);

    async fn fetch(&self) -> Result<Notes, Arc<StoreError>> {
        let (contexts, mut noted) =
            tokio::try_join!(self.0.contexts_by_model(), self.0.tested_and_ghosts()).map_err(Arc::new)?;
        let test = |note: &mut Note| Some((note.id.clone(), note.test.take()?));
        let tests = noted.iter_mut().filter_map(test).collect();
        noted.retain(|note| note.ghost.is_some());
        noted.truncate(GHOSTS);
        Ok(Notes { contexts, tests, ghosts: noted })
    }

    fn version(&self) -> u64 {
        self.0.changes()
    }
}

impl Models {
    pub async fn notes(&self) -> Result<Arc<Notes>, Arc<StoreError>> {
        let view = self.inner.notes.refresh().await;
        match view.problem {
            Some(problem) => Err(problem),
            None => Ok(view.value.unwrap_or_default()),
        }
    }

    /// Deployments that were registered or changed here, are saved, and are not live. Those that have come to life, or
    /// are gone, are no longer among them.
    pub async fn ghosts(&self, notes: &Notes) -> Vec<Note> {
        if notes.ghosts.is_empty() {
            return Vec::new();
        }
        let live = self.inner.registry.refresh().await.value.unwrap_or_default();
        let is_live = |ghost: &Note| live.iter().any(|live| live.id == ghost.id);
        notes.ghosts.iter().filter(|ghost| !is_live(ghost)).cloned().collect()
    }
}
