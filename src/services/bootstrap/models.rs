//! Registering models: the same plan, and the same application of it, as the dashboard's import.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::report::{Log, Outcome, Part};
use super::{Bootstrap, How, Wishes};
use crate::domain::audit::Actor;
use crate::domain::model::{ModelSpec, Source};
use crate::services::registry::{Apply, Item, ItemState, JobState, PlanError, Step, has_model_list};

/// How often a running import is looked at.
const TICK: Duration = Duration::from_millis(50);

pub fn secret_name(provider: &str) -> String {
    let upper: String = provider
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    format!("LITELLM_{upper}_API_KEY")
}

/// A `model_list` of names such as `openai/gpt-5`, with the provider's secret by reference.
///
/// # Errors
/// Names a text that is no `provider/model`.
pub fn default_list(names: &[String]) -> Result<Value, String> {
    let entry = |name: &String| {
        let spec: ModelSpec = name.parse().map_err(|why| format!("{name}: {why}"))?;
        let secret = format!("os.environ/{}", secret_name(spec.provider()));
        Ok(json!({
            "model_name": name,
            "litellm_params": {
                "model": spec.model(), "custom_llm_provider": spec.provider(), "api_key": secret,
            },
            "model_info": { "provider": spec.provider() },
        }))
    };
    let list: Result<Vec<Value>, String> = names.iter().map(entry).collect();
    Ok(json!({ "model_list": list? }))
}

impl Bootstrap {
    pub(super) async fn register(&self, wishes: &Wishes, how: How, actor: &Actor, log: &mut Log<'_>) {
        if let Some(list) = &wishes.list
            && has_model_list(list)
            && let Err(error) = self.register_list(list, how, actor, log).await
        {
            log.add(Part::Model, "model_list", Outcome::Failed, error.to_string());
        }
        if let Err(error) = self.register_defaults(wishes, how, actor, log).await {
            log.add(Part::Model, "LITELLM_DEFAULT_MODELS", Outcome::Failed, error);
        }
    }

    /// A name that the proxy serves already is left as it is, however it is served.
    async fn register_defaults(
        &self,
        wishes: &Wishes,
        how: How,
        actor: &Actor,
        log: &mut Log<'_>,
    ) -> Result<(), String> {
        if wishes.default_models.is_empty() {
            return Ok(());
        }
        let served = self.served().await.map_err(|error| error.to_string())?;
        let (there, missing): (Vec<_>, Vec<_>) =
            wishes.default_models.iter().cloned().partition(|name| served.contains(name));
        for name in there {
            log.add(Part::Model, &name, Outcome::Same, "it is registered");
        }
        if missing.is_empty() {
            return Ok(());
        }
        let list = default_list(&missing)?.to_string();
        let how = How { prune: false, ..how };
        self.register_list(&list, how, actor, log).await.map_err(|error| error.to_string())
    }

    pub(super) async fn served(&self) -> Result<HashSet<String>, crate::clients::ClientError> {
        let live = self.proxy.deployments().await?;
        Ok(live.into_iter().map(|deployment| deployment.name).filter(|name| !name.is_empty()).collect())
    }

    async fn register_list(
        &self,
        list: &str,
        how: How,
        actor: &Actor,
        log: &mut Log<'_>,
    ) -> Result<(), PlanError> {
        let import = self.models.plan_import(list, actor).await?;
        let plan = &import.plan;
        if how.dry_run {
            for item in &plan.items {
                told(item, None, log);
            }
        } else {
            let apply = Apply { with_raw_secrets: how.raw_secrets };
            let mut now = self.models.apply_import(&import.id, apply, actor);
            let mut next = 0;
            // Items are told in their order, each as soon as it is done.
            while let Some(import) = now {
                let is_done = import.state == JobState::Done;
                while let Some(state) = import.results.get(next).filter(|state| **state != ItemState::Waiting)
                {
                    told(&plan.items[next], Some(state), log);
                    next += 1;
                }
                if is_done {
                    break;
                }
                tokio::time::sleep(TICK).await;
                now = self.models.import(&import.id);
            }
        }
        if how.prune {
            for extra in &plan.only_at_proxy {
                self.prune(&extra.id, &extra.name, extra.source, how, actor, log).await;
            }
        } else if how.dry_run {
            for extra in &plan.only_at_proxy {
                log.add(Part::Model, &extra.name, Outcome::Same, "only at the proxy: it stays");
            }
        }
        Ok(())
    }

    pub(super) async fn prune(
        &self,
        id: &str,
        name: &str,
        source: Source,
        how: How,
        actor: &Actor,
        log: &mut Log<'_>,
    ) {
        if source == Source::Config {
            let why = "it stays: it is in the proxy's configuration file, which its API cannot change";
            log.add(Part::Model, name, Outcome::Same, why);
            return;
        }
        if how.dry_run {
            log.add(Part::Model, name, Outcome::Planned, "delete");
            return;
        }
        // Whoever asked for that has confirmed it; a deployment without a name is confirmed by its id.
        let confirm = if name.trim().is_empty() { id } else { name };
        match self.models.delete(id, confirm, actor).await {
            Ok(_) => log.add(Part::Model, name, Outcome::Changed, "deleted"),
            Err(error) => log.add(Part::Model, name, Outcome::Failed, format!("not deleted: {error}")),
        }
    }
}

fn told(item: &Item, state: Option<&ItemState>, log: &mut Log<'_>) {
    let (planned, done, changes) = match &item.step {
        Step::Add { siblings: 0 } => ("add", "added".to_owned(), Vec::new()),
        Step::Add { siblings } => {
            ("add", format!("added beside {siblings} of its name, which share its calls"), Vec::new())
        }
        Step::Change { changes } => ("change", "changed".to_owned(), changes.clone()),
        Step::Same => ("same", "as it should be".to_owned(), Vec::new()),
        Step::Refused { why } => ("refused", why.clone(), Vec::new()),
    };
    let (outcome, mut detail) = match (&item.step, state) {
        (Step::Refused { .. }, _) => (Outcome::Refused, done),
        (Step::Same, _) => (Outcome::Same, done),
        (_, None | Some(ItemState::Nothing | ItemState::Waiting)) => (Outcome::Planned, planned.to_owned()),
        (_, Some(ItemState::Done { .. })) => (Outcome::Changed, done),
        (_, Some(ItemState::Dead { why, .. })) => (Outcome::Failed, format!("saved, and not live: {why}")),
        (_, Some(ItemState::Failed { why })) => (Outcome::Failed, why.clone()),
    };
    for remark in &item.remarks {
        detail = format!("{detail}; {remark}");
    }
    log.add_with(Part::Model, &item.name, outcome, detail, changes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_guides_entries() {
        let list = default_list(&["openai/gpt-5".to_owned(), "x-ai/grok/4".to_owned()]).unwrap();
        assert_eq!(list["model_list"][0]["litellm_params"]["api_key"], "os.environ/LITELLM_OPENAI_API_KEY");
        assert_eq!(list["model_list"][0]["litellm_params"]["model"], "gpt-5");
        assert_eq!(list["model_list"][1]["litellm_params"]["api_key"], "os.environ/LITELLM_X_AI_API_KEY");
        assert_eq!(list["model_list"][1]["litellm_params"]["model"], "grok/4");
        assert!(default_list(&["gpt-5".to_owned()]).unwrap_err().starts_with("gpt-5: "));
    }
}
