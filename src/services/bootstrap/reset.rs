//! Emptying a proxy: what the guide does by deleting its volumes, through its API.

use serde::Serialize;

use super::report::{Log, Outcome, Part, Report, Step};
use super::{ApplyOptions, Bootstrap, BootstrapError, DesiredState};
use crate::clients::ClientError;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::key::{KeyHash, VirtualKey};
use crate::domain::model::{Deployment, Source};
use crate::domain::words::counted;

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
            self.empty(options, actor, &mut log).await;
            log.report()
        };
        if options.dry_run {
            return Ok(before);
        }
        let outcome = if before.failed == 0 { "ok" } else { "failed" };
        let mut entry = NewEntry::new(actor, Action::ProxyReset, self.proxy.address(), outcome);
        entry.detail = Some(before_text(&before));
        self.store.audit(&entry).await?;
        Ok(before.and(self.run(desired, options, actor, say).await?))
    }

    async fn empty(&self, options: ApplyOptions, actor: &Actor, log: &mut Log<'_>) {
        match self.proxy.deployments().await {
            Ok(models) => {
                for model in models {
                    self.prune(&model.id, &model.name, model.source, options, actor, log).await;
                }
            }
            Err(error) => log.add(Part::Model, "all models", Outcome::Failed, error.to_string()),
        }
        match self.all_keys().await {
            Ok(keys) => {
                for key in keys {
                    self.delete_key(&key, options, actor, log).await;
                }
            }
            Err(error) => log.add(Part::Key, "all keys", Outcome::Failed, error.to_string()),
        }
    }

    async fn delete_key(&self, key: &VirtualKey, options: ApplyOptions, actor: &Actor, log: &mut Log<'_>) {
        let label = key.label();
        if options.dry_run {
            log.add(Part::Key, label, Outcome::Planned, "delete");
            return;
        }
        match self.keys.delete(&key.hash, Some(label), actor).await {
            Ok(_) => log.add(Part::Key, label, Outcome::Changed, "deleted"),
            Err(error) => log.add(Part::Key, label, Outcome::Failed, format!("not deleted: {error}")),
        }
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

fn before_text(report: &Report) -> String {
    let count =
        |part| report.steps.iter().filter(|s| s.part == part && s.outcome == Outcome::Changed).count();
    format!("{} and {} deleted", counted(count(Part::Model), "model"), counted(count(Part::Key), "key"))
}
