//! Imports: planned, then applied item by item. They are kept in memory, since a list may hold secrets.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::admin::{ModelError, Models};
use super::change::Edit;
use super::plan::{Item, Plan, PlanError, Step};
use crate::domain::audit::Actor;
use crate::domain::model_detail::Draft;

/// Imports that are kept; an older one makes place.
const KEPT: usize = 20;

const AT_ONCE: usize = 4;

#[derive(Default)]
pub(super) struct Imports(Mutex<HashMap<String, Import>>);

#[derive(Debug, Clone, Serialize)]
pub struct Import {
    pub id: String,
    pub at: Timestamp,
    pub by: String,
    pub state: JobState,
    pub plan: Plan,
    pub results: Vec<ItemState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    Planned,
    Running,
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum ItemState {
    Nothing,
    Waiting,
    Done { id: String },
    Dead { id: String, why: String },
    Failed { why: String },
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Apply {
    pub with_raw_secrets: bool,
}

impl Import {
    /// Items that are done with: all that had something to do, but those that wait.
    pub fn finished(&self) -> usize {
        let is_finished = |state: &&ItemState| !matches!(state, ItemState::Waiting | ItemState::Nothing);
        self.results.iter().filter(is_finished).count()
    }

    pub fn work(&self) -> usize {
        self.results.iter().filter(|state| **state != ItemState::Nothing).count()
    }

    /// Items that failed or are dead, and can be tried again.
    pub fn failed(&self) -> usize {
        self.results.iter().filter(|state| state.is_failed()).count()
    }
}

impl ItemState {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Waiting => "waiting",
            Self::Done { .. } => "done",
            Self::Dead { .. } => "dead",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether it can be tried again.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Dead { .. } | Self::Failed { .. })
    }
}

impl Imports {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Import>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, import: Import) {
        let mut all = self.all();
        if all.len() >= KEPT {
            let idle = all.values().filter(|import| import.state != JobState::Running);
            if let Some(oldest) = idle.min_by_key(|import| import.at).map(|import| import.id.clone()) {
                all.remove(&oldest);
            }
        }
        all.insert(import.id.clone(), import);
    }

    fn set(&self, id: &str, place: usize, state: ItemState) {
        if let Some(import) = self.all().get_mut(id) {
            import.results[place] = state;
        }
    }
}

impl Models {
    /// Plans the import of a `model_list`. Nothing is sent to the proxy.
    pub async fn plan_import(&self, text: &str, actor: &Actor) -> Result<Import, PlanError> {
        let plan = self.plan(text).await?;
        let results = plan
            .items
            .iter()
            .map(|item| if item.step.is_work() { ItemState::Waiting } else { ItemState::Nothing })
            .collect();
        let import = Import {
            id: Uuid::new_v4().to_string(),
            at: self.inner.clock.now(),
            by: actor.name.clone(),
            state: JobState::Planned,
            plan,
            results,
        };
        self.inner.imports.keep(import.clone());
        Ok(import)
    }

    /// An import as it stands; none for one that is not kept any more.
    pub fn import(&self, id: &str) -> Option<Import> {
        self.inner.imports.all().get(id).cloned()
    }

    /// Applies a planned import, or what has failed of one, in the background. None if it is not kept any
    /// more; one that runs goes on as it is.
    pub fn apply_import(&self, id: &str, how: Apply, actor: &Actor) -> Option<Import> {
        let mut all = self.inner.imports.all();
        let import = all.get_mut(id)?;
        if import.state == JobState::Running {
            return Some(import.clone());
        }
        let mut work = Vec::new();
        for (place, (item, state)) in import.plan.items.iter().zip(&mut import.results).enumerate() {
            let dead = match state {
                ItemState::Waiting | ItemState::Failed { .. } => None,
                ItemState::Dead { id, .. } => Some(id.clone()),
                ItemState::Nothing | ItemState::Done { .. } => continue,
            };
            *state = ItemState::Waiting;
            work.push((place, item.clone(), dead));
        }
        import.state = JobState::Running;
        let now = import.clone();
        drop(all);
        let (models, actor) = (self.clone(), actor.clone());
        tokio::spawn(async move { models.run_import(&now.id, work, how, &actor).await });
        self.import(id)
    }

    async fn run_import(
        &self,
        id: &str,
        work: Vec<(usize, Item, Option<String>)>,
        how: Apply,
        actor: &Actor,
    ) {
        stream::iter(work)
            .for_each_concurrent(AT_ONCE, |(place, item, dead)| async move {
                let state = self.apply_item(&item, dead, how, actor).await;
                self.inner.imports.set(id, place, state);
            })
            .await;
        if let Some(import) = self.inner.imports.all().get_mut(id) {
            import.state = JobState::Done;
        }
    }

    async fn apply_item(&self, item: &Item, dead: Option<String>, how: Apply, actor: &Actor) -> ItemState {
        if !item.raw_secrets.is_empty() && !how.with_raw_secrets {
            let why = format!(
                "it holds a secret by value ({}), which was not allowed",
                item.raw_secrets.join(", ")
            );
            return ItemState::Failed { why };
        }
        let edit = |draft: Draft| Edit { name: Some(item.name.clone()), draft, seen: None };
        let result = match (&item.step, dead, &item.id) {
            // A row that is saved and dead is changed; another would stand beside it.
            (_, Some(id), _) => self.edit(&id, &edit(item.draft.clone()), actor).await,
            (Step::Change { changes }, None, Some(id)) => {
                let is_changed = |name: &String| {
                    changes.iter().any(|change| change.field.rsplit('.').next() == Some(name.as_str()))
                };
                let mut draft = item.draft.clone();
                draft.params.retain(|name, _| is_changed(name));
                draft.info.retain(|name, _| is_changed(name));
                self.edit(id, &edit(draft), actor).await
            }
            _ => self.register_as(&item.new_id, true, &item.draft, actor).await,
        };
        outcome(result)
    }
}

fn outcome(result: Result<super::Outcome, ModelError>) -> ItemState {
    match result {
        Ok(super::Outcome { id, ghost: Some(why), .. }) => ItemState::Dead { id, why },
        Ok(outcome) if !outcome.not_taken.is_empty() => {
            ItemState::Failed { why: format!("the proxy did not take {}", outcome.not_taken.join(", ")) }
        }
        Ok(outcome) => ItemState::Done { id: outcome.id },
        Err(error) => ItemState::Failed { why: error.to_string() },
    }
}
