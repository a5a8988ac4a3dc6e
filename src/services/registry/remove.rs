//! Deleting deployments, and what that would hit.

use serde::Serialize;

use super::admin::{ModelError, Models, Outcome, Result};
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::context::KnownContext;
use crate::domain::key::{Access, VirtualKey};
use crate::domain::model::{Deployment, Source};
use crate::domain::model_detail::Detail;
use crate::domain::permission::Grant;
use crate::services::journal::journaled;
use crate::store::OwnRow;

/// Most keys, and most contexts, that are named.
const NAMED: usize = 20;

/// Most contexts that are looked through.
const CONTEXTS: u32 = 10_000;

#[derive(Debug, Clone, Default, Serialize)]
pub struct Radius {
    pub keys: Vec<VirtualKey>,
    pub keys_total: usize,
    pub keys_are_complete: bool,
    pub contexts: Vec<KnownContext>,
    pub contexts_total: usize,
    /// Other deployments of its name, which go on answering.
    pub siblings: Vec<Deployment>,
    /// Aliases that lead to its name.
    pub aliases: Vec<String>,
    /// Names that fall back to its name.
    pub fallback_for: Vec<String>,
}

impl Radius {
    /// Whether to ask for its name before it is deleted. Keys that could not all be read count as some.
    pub fn wants_confirmation(&self) -> bool {
        let is_used = self.keys_total > 0 || self.contexts_total > 0 || !self.keys_are_complete;
        is_used || !self.aliases.is_empty() || !self.fallback_for.is_empty()
    }
}

/// What to type to confirm: the name, or the id where there is none. Blanks count alike.
pub fn is_confirmed(detail: &Detail, typed: &str) -> bool {
    let folded = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let asked = if detail.name.trim().is_empty() { &detail.id } else { &detail.name };
    folded(asked) == folded(typed)
}

impl Models {
    pub async fn radius(&self, id: &str, name: &str) -> Result<Radius> {
        let (registry, keys) = tokio::join!(self.inner.registry.refresh(), self.inner.keys.get());
        let contexts = self.inner.store.contexts(CONTEXTS).await?;
        let catalog = registry.value.unwrap_or_default();
        // By its name, or by one that leads here: an alias, or a model that its wildcard covers.
        let serves =
            |model: &str| model == name || catalog.serving(model).deployments.iter().any(|one| one.id == id);
        let names =
            |grant: &Grant| matches!(&grant.access, Access::List(models) if models.iter().any(|m| serves(m)));
        let naming = keys.keys.with_grant(&names);
        let on_it = |context: &&KnownContext| {
            context.config.as_ref().is_some_and(|config| serves(&config.spec_text()))
        };
        let siblings = catalog.named(name).into_iter().filter(|other| other.id != id);
        let falls_back = catalog.routing.fallbacks.iter().flatten();
        let falls_back = falls_back.filter(|one| one.to.iter().any(|to| to == name));
        Ok(Radius {
            keys: naming.range(0..NAMED).collect(),
            keys_total: naming.len(),
            keys_are_complete: keys.is_complete,
            contexts_total: contexts.iter().filter(on_it).count(),
            contexts: contexts.iter().filter(on_it).take(NAMED).cloned().collect(),
            siblings: siblings.cloned().collect(),
            aliases: catalog.aliases_of(name).into_iter().map(str::to_owned).collect(),
            fallback_for: falls_back.map(|one| one.name.clone()).collect(),
        })
    }

    /// Deletes a deployment, live or not, and sees that it is gone. `confirm` is its name, which is asked for
    /// where something depends on it.
    pub async fn delete(&self, id: &str, confirm: &str, actor: &Actor) -> Result<Outcome> {
        let found = self.find(id).await?.ok_or(ModelError::Unknown)?;
        let radius = self.radius(id, &found.detail.name).await?;
        if found.ghost.is_none() && radius.wants_confirmation() && !is_confirmed(&found.detail, confirm) {
            return Err(ModelError::Unconfirmed);
        }
        self.delete_now(&found.detail, actor).await
    }

    pub(super) async fn delete_now(&self, detail: &Detail, actor: &Actor) -> Result<Outcome> {
        let mut entry = NewEntry::new(actor, Action::ModelDelete, &detail.id, "ok");
        entry.detail = Some(detail.name.clone());
        entry.before = Some(detail.param("model"));
        journaled(&self.inner.store, entry, async |record| {
            let outcome = self.delete_and_see(detail, actor).await?;
            record.rows.push(OwnRow::NoDeployment(detail.id.clone()));
            Ok(outcome)
        })
        .await
    }

    async fn delete_and_see(&self, detail: &Detail, actor: &Actor) -> Result<Outcome> {
        if detail.source == Source::Config {
            return Err(ModelError::ReadOnly);
        }
        let id = &detail.id;
        let was_there = self.inner.proxy.delete_deployment(id, &actor.name).await;
        self.inner.registry.invalidate();
        // Where the answer is lost, and where another was faster, the look decides.
        let gone = self.inner.proxy.deployment(id).await?.is_none();
        if !gone {
            was_there?;
            return Err(ModelError::NotTaken("it still there".to_owned()));
        }
        if let Err(error) = was_there
            && !super::admin::is_open(&error)
        {
            return Err(error.into());
        }
        Ok(Outcome { id: id.clone(), name: detail.name.clone(), ghost: None, not_taken: Vec::new() })
    }
}
