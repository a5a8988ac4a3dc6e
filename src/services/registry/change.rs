//! Changing deployments: edit, replace, block.

use serde_json::{Map, Value};

use super::admin::{ModelError, Models, NOT_LIVE, Outcome, Result, describe, is_open, is_saved, record_sent};
use crate::clients::Meaning;
use crate::domain::audit::{Action, Actor, NewEntry};
use crate::domain::model::Source;
use crate::domain::model_detail::{Change, Detail, Draft, destination, is_hidden, same, shown};
use crate::domain::release::{self, Feature};
use crate::services::journal::{Record, journaled};
use crate::services::registry::Found;

/// A wish to change a deployment; what is not in it stays.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    pub name: Option<String>,
    pub draft: Draft,
    /// The fingerprint of what its author has seen; without one there is no guard against another's change.
    pub seen: Option<String>,
}

impl Models {
    pub async fn edit(&self, id: &str, edit: &Edit, actor: &Actor) -> Result<Outcome> {
        let held = self.inner.locks.take(format!("model {id}"), &actor.name).await?;
        let found = self.find(id).await;
        let mut entry = NewEntry::new(actor, Action::ModelEdit, id, "ok");
        entry.after = Some(describe_edit(edit));
        journaled(&self.inner.store, entry, async |record| {
            record.held = Some(held);
            let found = found?.ok_or(ModelError::Unknown)?;
            record.entry.detail = Some(found.detail.name.clone());
            record.entry.before = Some(former(&found, edit));
            let outcome = self.edit_found(&found, edit, actor, record).await?;
            record_sent(record, merged(&found, edit), &outcome);
            Ok(outcome)
        })
        .await
    }

    async fn edit_found(
        &self,
        found: &Found,
        edit: &Edit,
        actor: &Actor,
        record: &Record,
    ) -> Result<Outcome> {
        let detail = &found.detail;
        if detail.source == Source::Config {
            return Err(ModelError::ReadOnly);
        }
        if edit.seen.as_ref().is_some_and(|seen| *seen != detail.fingerprint()) {
            return Err(ModelError::Changed);
        }
        check_proxy_secrets(&edit.draft)?;
        if !moved_secrets(found, &edit.draft).is_empty() {
            return Err(ModelError::MovesSecret);
        }
        let id = &detail.id;
        record.check().await?;
        let sent = self.inner.proxy.patch(id, edit.name.as_deref(), &edit.draft, &actor.name).await;
        self.inner.registry.invalidate();
        if let Err(error) = &sent
            && !is_open(error)
        {
            return Err(error.clone().into());
        }
        let seen = match &sent {
            Err(error) if is_saved(error) => self.inner.proxy.deployment(id).await,
            _ => self.inner.see_edit(id, |now| differences(now, edit).is_empty()).await,
        };
        let (ghost, not_taken) = match (sent, seen) {
            (Ok(()), Ok(Some(now))) => (None, differences(&now, edit)),
            (Err(error), Ok(Some(now))) => match differences(&now, edit) {
                not_taken if not_taken.is_empty() && is_saved(&error) => (None, not_taken),
                _ => return Err(error.into()),
            },
            (Err(error), _) if !is_saved(&error) => return Err(error.into()),
            (Err(_), _) | (Ok(()), Ok(None)) => (Some(NOT_LIVE.to_owned()), Vec::new()),
            (Ok(()), Err(error)) => return Err(error.into()),
        };
        Ok(Outcome { id: id.clone(), name: merged(found, edit).name, ghost, not_taken })
    }

    /// Registers `draft` and, once it is live, deletes the deployment `id`: the way to clear what the proxy
    /// cannot clear. The old one stays where the new one is dead.
    pub async fn replace(&self, id: &str, draft: &Draft, actor: &Actor) -> Result<Outcome> {
        let found = self.find(id).await?.ok_or(ModelError::Unknown)?;
        if found.detail.source == Source::Config {
            return Err(ModelError::ReadOnly);
        }
        let outcome = self.register(draft, actor).await?;
        if outcome.ghost.is_some() {
            return Ok(outcome);
        }
        if found.detail.blocked {
            self.set_blocked(&outcome.id, true, actor).await?;
        }
        self.delete_now(&found.detail, actor).await?;
        Ok(outcome)
    }

    /// Why deployments cannot be blocked, if they cannot: 1.106 and later can.
    pub async fn cannot_block(&self) -> Option<String> {
        let health = self.inner.health.health().await.value;
        let version = health.and_then(|health| health.version.clone())?;
        release::cannot(&version, Feature::BlockModels)
    }

    pub async fn set_blocked(&self, id: &str, blocked: bool, actor: &Actor) -> Result<Outcome> {
        let action = if blocked { Action::ModelBlock } else { Action::ModelUnblock };
        journaled(&self.inner.store, NewEntry::new(actor, action, id, "ok"), async |record| {
            let outcome = self.block_and_see(id, blocked, actor).await?;
            record.entry.detail = Some(outcome.name.clone());
            Ok(outcome)
        })
        .await
    }

    async fn block_and_see(&self, id: &str, blocked: bool, actor: &Actor) -> Result<Outcome> {
        let found = self.find(id).await?.ok_or(ModelError::Unknown)?;
        if found.detail.source == Source::Config {
            return Err(ModelError::ReadOnly);
        }
        if let Some(why) = self.cannot_block().await {
            return Err(ModelError::Unsupported(why));
        }
        let sent = self.inner.proxy.set_blocked(id, blocked, &actor.name).await;
        self.inner.registry.invalidate();
        match sent {
            Err(error) if error.meaning() == Some(Meaning::NotFound) => {
                let why = "This proxy has no way to set a deployment aside; LiteLLM 1.106 and later have.";
                return Err(ModelError::Unsupported(why.to_owned()));
            }
            other => other?,
        }
        let now = self.inner.see(id, |now| now.blocked == blocked).await?;
        match now {
            Some(now) if now.blocked == blocked => {
                Ok(Outcome { id: id.to_owned(), name: now.name, ghost: None, not_taken: Vec::new() })
            }
            _ => Err(ModelError::NotTaken("it unchanged".to_owned())),
        }
    }
}

pub(super) fn not_for_providers(variable: &str) -> String {
    format!(
        "{variable} is, or may hide, a secret of the proxy itself, which providers do not get. Refer to another variable."
    )
}

pub(super) fn check_proxy_secrets(draft: &Draft) -> Result<()> {
    match draft.proxy_secret() {
        Some((_, variable)) => Err(ModelError::Unsupported(not_for_providers(variable))),
        None => Ok(()),
    }
}

/// What a change would send to another address or provider, since the proxy has it stored and the change does not give it
/// again.
pub fn moved_secrets(found: &Found, draft: &Draft) -> Vec<String> {
    let before = found.as_given().params;
    let mut after = before.clone();
    after.extend(draft.params.clone());
    // One that is not live is sent nowhere until it is fixed.
    let moves = found.ghost.is_none() && destination(&before) != destination(&after);
    if moves { draft.not_given(&before) } else { Vec::new() }
}

pub fn changes(found: &Found, edit: &Edit) -> Vec<Change> {
    let given = found.as_given();
    let mut changes = Vec::new();
    if let Some(name) = edit.name.as_ref().filter(|name| **name != given.name) {
        changes.push(Change {
            field: "model_name".to_owned(),
            before: Some(given.name.clone()),
            after: name.clone(),
        });
    }
    let of =
        |area: &str, now: &Map<String, Value>, wished: &Map<String, Value>, changes: &mut Vec<Change>| {
            for (name, after) in wished {
                let before = now.get(name);
                if before.is_some_and(|before| same(before, after)) {
                    continue;
                }
                let field = format!("{area}.{name}");
                changes.push(Change {
                    field,
                    before: before.map(|before| shown(name, before)),
                    after: shown(name, after),
                });
            }
        };
    of("litellm_params", &given.params, &edit.draft.params, &mut changes);
    of("model_info", &given.info, &edit.draft.info, &mut changes);
    changes
}

/// Fields that are not as was asked. What the proxy hides or resolves cannot be compared.
fn differences(now: &Detail, edit: &Edit) -> Vec<String> {
    let mut found = Vec::new();
    if edit.name.as_ref().is_some_and(|name| *name != now.name) {
        found.push("model_name".to_owned());
    }
    for (name, wished) in &edit.draft.params {
        if !is_hidden(name, wished)
            && !wished.is_object()
            && !now.params.get(name).is_some_and(|now| same(now, wished))
        {
            found.push(format!("litellm_params.{name}"));
        }
    }
    for (name, wished) in &edit.draft.info {
        if !now.info.get(name).is_some_and(|now| same(now, wished)) {
            found.push(format!("model_info.{name}"));
        }
    }
    found
}

/// The deployment as it is after the edit, as far as it is known.
fn merged(found: &Found, edit: &Edit) -> Draft {
    let given = found.as_given();
    let mut draft = Draft {
        name: edit.name.clone().unwrap_or(given.name.clone()),
        info: given.own_info(),
        params: given.params,
    };
    draft.params.extend(edit.draft.params.clone());
    draft.info.extend(edit.draft.info.clone());
    draft
}

fn describe_edit(edit: &Edit) -> String {
    let name = edit.name.as_ref().map(|name| format!("model_name={name}"));
    let rest = Some(describe(&edit.draft)).filter(|rest| !rest.is_empty());
    name.into_iter().chain(rest).collect::<Vec<_>>().join(", ")
}

fn former(found: &Found, edit: &Edit) -> String {
    let part = |change: Change| {
        let field = change.field.rsplit('.').next().unwrap_or_default().to_owned();
        format!("{field}={}", change.before.unwrap_or_else(|| "not shown".to_owned()))
    };
    changes(found, edit).into_iter().map(part).collect::<Vec<_>>().join(", ")
}
