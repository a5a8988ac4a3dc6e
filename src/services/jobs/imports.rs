//! Imports of a `model_list`: planned, then applied item by item.
//!
//! A plan is kept without the secrets that its list holds by value. They are in the memory of the replica that took
//! the list, which alone can apply it.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Inner, Jobs, KEPT, to_json};
use crate::domain::audit::Actor;
use crate::domain::job::{Import, Item, ItemEnd, ItemState, Job, JobKind, JobState, Kind, Limits};
use crate::domain::model_detail::{Draft, shown};
use crate::services::registry::{self, Applied, CONCURRENCY, PlanError};
use crate::store::StoreError;

pub(super) const INTERRUPTED: &str = "interrupted: the list held secrets, import it again";

/// What is kept of an entry of the plan.
#[derive(Serialize, Deserialize)]
struct Task {
    item: registry::Item,
    draft: Draft,
    new_id: String,
}

/// An import as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct ImportJob {
    pub id: String,
    pub at: Timestamp,
    pub by: String,
    pub state: JobState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub plan: ImportPlan,
    pub results: Vec<ImportResult>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ImportPlan {
    pub items: Vec<registry::Item>,
    pub only_at_proxy: Vec<String>,
    pub keys: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ImportResult {
    /// `nothing`, `waiting`, `done`, `dead`, `failed`
    #[serde(rename = "result")]
    pub word: &'static str,
    /// The deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Jobs {
    /// Plans the import of a `model_list`. Nothing is sent to the proxy.
    pub async fn plan_import(&self, text: &str, actor: &Actor) -> Result<ImportJob, PlanError> {
        let plan = self.inner.models.plan(text).await?;
        let holder = plan.has_raw_secrets().then(|| self.inner.store.replica().to_owned());
        let mut items = Vec::new();
        let mut secrets = HashMap::new();
        for (n, item) in (1..).zip(plan.items) {
            if item.step.is_work() && !item.raw_secrets.is_empty() {
                secrets.insert(n, item.draft.clone());
            }
            let state = if item.step.is_work() { ItemState::Waiting } else { ItemState::Skipped };
            let subject = item.name.clone();
            let task = to_json(&Task::of(item)).map_err(registry::ModelError::from)?;
            items.push(Item { n, state, ..Item::waiting(subject, Some(task)) });
        }
        let only_at_proxy = plan.only_at_proxy.into_iter().map(|extra| extra.name).collect();
        let (keys, warnings) = (plan.keys, plan.warnings);
        let kind = JobKind::Import(Import { only_at_proxy, keys, raw_secrets: false, warnings });
        let limits = Limits::concurrent(CONCURRENCY);
        let added = self.inner.add(None, kind, limits, holder, &items, actor).await;
        let job = added.map_err(registry::ModelError::from)?;
        if !secrets.is_empty() {
            self.inner.keep_secrets(&job.id, secrets);
        }
        Ok(ImportJob::of(job, items).map_err(registry::ModelError::from)?)
    }

    /// An import as it stands; none for one that is not kept any more.
    pub async fn import(&self, id: &str) -> Result<Option<ImportJob>, StoreError> {
        let Some(job) = self.find(Kind::Import, id).await? else { return Ok(None) };
        let items = self.inner.all_items(id, None).await?;
        ImportJob::of(job, items).map(Some)
    }

    /// Applies a planned import, or what has failed of one. None if it is not kept any more; one that runs goes on as
    /// it is.
    pub async fn apply_import(
        &self,
        id: &str,
        raw_secrets: bool,
        actor: &Actor,
    ) -> Result<Option<ImportJob>, StoreError> {
        let Some(mut job) = self.find(Kind::Import, id).await? else { return Ok(None) };
        if let JobKind::Import(import) = &mut job.kind {
            import.raw_secrets = raw_secrets;
        }
        job.actor = actor.clone();
        self.resume(&job, true, actor).await?;
        self.import(id).await
    }
}

impl ImportJob {
    fn of(job: Job, items: Vec<Item>) -> Result<Self, StoreError> {
        let JobKind::Import(Import { only_at_proxy, keys, warnings, .. }) = job.kind else {
            return Err(StoreError::unreadable("it is not an import"));
        };
        let planned =
            items.iter().map(|item| Ok(Task::read(item)?.item)).collect::<Result<_, StoreError>>()?;
        let result = |item: Item| {
            let word = match (item.state, &item.reference) {
                (ItemState::Skipped, _) => "nothing",
                (ItemState::Waiting | ItemState::Running, _) => "waiting",
                (ItemState::Done, _) => "done",
                (ItemState::Failed, Some(_)) => "dead",
                (ItemState::Failed, None) => "failed",
            };
            let id = item.reference.filter(|_| word != "waiting");
            ImportResult { word, id, why: item.why }
        };
        Ok(Self {
            id: job.id,
            at: job.started_at,
            by: job.created_by,
            state: job.state,
            why: job.why,
            plan: ImportPlan { items: planned, only_at_proxy, keys, warnings },
            results: items.into_iter().map(result).collect(),
        })
    }

    fn count(&self, words: &[&str]) -> usize {
        self.results.iter().filter(|result| words.contains(&result.word)).count()
    }

    /// Items that had something to do, and are done with.
    pub fn finished(&self) -> usize {
        self.count(&["done", "dead", "failed"])
    }

    pub fn work(&self) -> usize {
        self.results.len() - self.count(&["nothing"])
    }

    /// Items that can be tried again.
    pub fn failed(&self) -> usize {
        self.count(&["dead", "failed"])
    }

    pub fn has_raw_secrets(&self) -> bool {
        self.plan.items.iter().any(|item| item.step.is_work() && !item.raw_secrets.is_empty())
    }
}

impl Task {
    fn of(mut item: registry::Item) -> Self {
        let draft = std::mem::take(&mut item.draft).without_secrets();
        let new_id = std::mem::take(&mut item.new_id);
        item.upstream = shown("model", &item.upstream.into());
        Self { item, draft, new_id }
    }

    fn read(item: &Item) -> Result<Self, StoreError> {
        serde_json::from_str(item.task.as_deref().unwrap_or("null")).map_err(StoreError::unreadable)
    }
}

impl Inner {
    fn secrets(&self) -> MutexGuard<'_, HashMap<String, HashMap<u32, Draft>>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_secrets(&self, job: &str, drafts: HashMap<u32, Draft>) {
        let mut secrets = self.secrets();
        // Ids sort by time.
        if secrets.len() >= KEPT as usize
            && let Some(oldest) = secrets.keys().min().cloned()
        {
            secrets.remove(&oldest);
        }
        secrets.insert(job.to_owned(), drafts);
    }

    pub(super) async fn import_item(&self, job: &Job, import: &Import, item: &Item) -> ItemEnd {
        let Ok(Task { item: planned, draft, new_id }) = Task::read(item) else {
            return ItemEnd::failed("The plan cannot be read.");
        };
        let whole = match (planned.raw_secrets.is_empty(), import.raw_secrets) {
            // Without leave to store the secrets it is refused before it needs them.
            (true, _) | (_, false) => Some(draft),
            (false, true) => self.secrets().get(&job.id).and_then(|drafts| drafts.get(&item.n)).cloned(),
        };
        let Some(draft) = whole else { return ItemEnd::failed(INTERRUPTED) };
        let planned = registry::Item { draft, new_id, ..planned };
        let dead = item.reference.as_deref();
        match self.models.apply_item(&planned, dead, import.raw_secrets, &job.actor).await {
            Applied::Done { id } => ItemEnd { reference: Some(id), ..ItemEnd::done() },
            Applied::Dead { id, why } => ItemEnd { reference: Some(id), ..ItemEnd::failed(why) },
            Applied::Failed { why } => ItemEnd::failed(why),
        }
    }
}
