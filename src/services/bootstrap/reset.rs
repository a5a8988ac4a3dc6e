//! Emptying a proxy: what the guide does by deleting its volumes, through its API.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::{Log, Outcome, Part, Report, Step};
use super::{ApplyOptions, Bootstrap, BootstrapError, DesiredState};
use crate::clients::ClientError;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::model::{Deployment, Source};
use crate::domain::words::counted;
use crate::services::registry::Extra;
use crate::store::StoreError;

/// Most pages of keys that are read, a hundred each.
const PAGES: u32 = 1_000;

const NAMED: usize = 20;

#[derive(Debug, Clone, Default, Serialize)]
pub struct Stock {
    pub models: usize,
    pub model_names: Vec<String>,
    /// Models of the configuration file, which stay.
    pub config_models: Vec<String>,
    pub keys: u64,
    pub key_names: Vec<String>,
}

/// One thing that a reset deletes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deletion {
    Model(Extra),
    Key { hash: KeyHash, label: String },
}

impl Stock {
    pub fn of(models: &[Deployment], keys: u64, key_names: impl Iterator<Item = String>) -> Self {
        let (config, ours): (Vec<_>, Vec<_>) =
            models.iter().partition(|model| model.source == Source::Config);
        Self {
            models: ours.len(),
            model_names: ours.into_iter().map(|model| model.name.clone()).take(NAMED).collect(),
            config_models: config.into_iter().map(|model| model.name.clone()).collect(),
            keys,
            key_names: key_names.take(NAMED).collect(),
        }
    }
}

impl Bootstrap {
    pub async fn stock(&self) -> Result<Stock, ClientError> {
        let (models, keys) = tokio::try_join!(self.proxy.deployments(), self.proxy.keys(1))?;
        Ok(Stock::of(&models, keys.total, keys.keys.iter().map(|key| key.label().to_owned())))
    }

    /// Deletes the models of the database and all keys, and bootstraps again. The agent's key comes back with
    /// the secret that the env file holds, so that the agent need not know.
    pub async fn reset(
        &self,
        desired: &DesiredState,
        options: ApplyOptions,
        actor: &Actor,
        mut say: impl FnMut(&Step) + Send,
    ) -> Result<Report, BootstrapError> {
        let before = {
            let mut log = Log::new(&mut say);
            self.wait(options.patience, &mut log).await?;
            let (deletions, problems) = self.deletions().await;
            for step in problems {
                log.record(step);
            }
            for deletion in deletions {
                log.record(self.delete(&deletion, options, actor).await);
            }
            log.report()
        };
        if options.dry_run {
            return Ok(before);
        }
        self.note_reset(&before.steps, actor).await?;
        Ok(before.and(self.run(desired, options, actor, say).await?))
    }

    /// Waits until the proxy and its database answer.
    pub async fn until_up(
        &self,
        patience: Duration,
        say: impl FnMut(&Step) + Send,
    ) -> Result<(), BootstrapError> {
        self.wait(patience, &mut Log::new(say)).await
    }

    /// What a reset deletes, and what could not be listed.
    pub async fn deletions(&self) -> (Vec<Deletion>, Vec<Step>) {
        let (mut deletions, mut problems) = (Vec::new(), Vec::new());
        match self.proxy.deployments().await {
            Ok(models) => deletions.extend(models.into_iter().map(|model| {
                Deletion::Model(Extra { id: model.id, name: model.name, source: model.source })
            })),
            Err(error) => {
                problems.push(Step::new(Part::Model, "all models", Outcome::Failed, error.to_string()));
            }
        }
        match self.all_keys().await {
            Ok(keys) => deletions.extend(keys.into_iter().map(|key| {
                let label = key.label().to_owned();
                Deletion::Key { hash: key.hash, label }
            })),
            Err(error) => {
                problems.push(Step::new(Part::Key, "all keys", Outcome::Failed, error.to_string()));
            }
        }
        (deletions, problems)
    }

    pub async fn delete(&self, deletion: &Deletion, options: ApplyOptions, actor: &Actor) -> Step {
        let (hash, label) = match deletion {
            Deletion::Model(model) => return self.prune(model, options, actor).await,
            Deletion::Key { hash, label } => (hash, label),
        };
        let step = |outcome, detail: String| Step::new(Part::Key, label, outcome, detail);
        if options.dry_run {
            return step(Outcome::Planned, "delete".to_owned());
        }
        match self.keys.delete(hash, Some(label), actor).await {
            Ok(_) => step(Outcome::Changed, "deleted".to_owned()),
            Err(error) => step(Outcome::Failed, format!("not deleted: {error}")),
        }
    }

    /// Whether what was to be deleted is gone.
    pub async fn is_gone(&self, deletion: &Deletion) -> bool {
        match deletion {
            Deletion::Model(model) => matches!(self.proxy.deployment(&model.id).await, Ok(None)),
            Deletion::Key { hash, .. } => matches!(self.proxy.key(hash).await, Ok(None)),
        }
    }

    /// Notes in the audit what a reset has deleted.
    pub async fn note_reset(&self, steps: &[Step], actor: &Actor) -> Result<(), StoreError> {
        let outcome = if steps.iter().any(|step| step.outcome.is_bad()) { "failed" } else { "ok" };
        let count = |part| steps.iter().filter(|s| s.part == part && s.outcome == Outcome::Changed).count();
        let mut entry = NewEntry::new(actor, Action::ProxyReset, self.proxy.address(), outcome);
        let (models, keys) = (counted(count(Part::Model), "model"), counted(count(Part::Key), "key"));
        entry.detail = Some(format!("{models} and {keys} deleted"));
        self.store.audit(&entry).await
    }

    /// All keys, read before any is deleted: the pages move when one is.
    pub async fn all_keys(&self) -> Result<Vec<VirtualKey>, ClientError> {
        let mut all: Vec<VirtualKey> = Vec::new();
        let mut seen = std::collections::HashSet::<KeyHash>::new();
        for page in 1..=PAGES {
            let got = self.proxy.keys(page).await?;
            let is_last = got.keys.is_empty() || page >= got.pages;
            all.extend(got.keys.into_iter().filter(|key| seen.insert(key.hash.clone())));
            if is_last {
                break;
            }
        }
        Ok(all)
    }
}
