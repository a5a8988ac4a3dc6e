//! Applying an import, item by item.

use super::admin::{ModelError, Models, Outcome};
use super::change::Edit;
use super::plan::{Item, Step};
use crate::domain::audit::Actor;
use crate::domain::model_detail::{Draft, is_secret_name};

/// How many items are applied at a time.
pub const CONCURRENCY: u32 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    Done { id: String },
    Dead { id: String, why: String },
    Failed { why: String },
}

impl Models {
    /// Applies one item of a plan. `dead` is the deployment that an earlier try has saved and the proxy does not serve:
    /// it is changed, since another would stand beside it.
    pub async fn apply_item(
        &self,
        item: &Item,
        dead: Option<&str>,
        raw_secrets: bool,
        actor: &Actor,
    ) -> Applied {
        if !item.raw_secrets.is_empty() && !raw_secrets {
            let secrets = item.raw_secrets.join(", ");
            let why = format!("it holds a secret by value ({secrets}), which was not allowed");
            return Applied::Failed { why };
        }
        let edit = |draft: Draft| Edit { name: Some(item.name.clone()), draft, seen: None };
        let result = match (&item.step, dead, &item.id) {
            (_, Some(id), _) => self.edit(id, &edit(item.draft.clone()), actor).await,
            (Step::Change { changes }, None, Some(id)) => {
                let is_changed = |name: &String| {
                    changes.iter().any(|change| change.field.rsplit('.').next() == Some(name.as_str()))
                };
                let mut draft = item.draft.clone();
                // Another address or provider gets the secret that the list names, not the one that is stored.
                let moves = ["api_base", "base_url", "custom_llm_provider", "model"];
                let is_moved = moves.iter().any(|name| is_changed(&(*name).to_owned()));
                draft.params.retain(|name, _| is_changed(name) || (is_moved && is_secret_name(name)));
                draft.info.retain(|name, _| is_changed(name));
                self.edit(id, &edit(draft), actor).await
            }
            _ => self.register_as(&item.new_id, true, &item.draft, actor).await,
        };
        applied(result)
    }
}

fn applied(result: Result<Outcome, ModelError>) -> Applied {
    match result {
        Ok(Outcome { id, ghost: Some(why), .. }) => Applied::Dead { id, why },
        Ok(outcome) if !outcome.not_taken.is_empty() => {
            Applied::Failed { why: format!("the proxy did not take {}", outcome.not_taken.join(", ")) }
        }
        Ok(outcome) => Applied::Done { id: outcome.id },
        Err(error) => Applied::Failed { why: error.to_string() },
    }
}
