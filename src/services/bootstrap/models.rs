//! Registers models with the plan of the dashboard's import.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::report::{Log, Outcome, Part};
use super::{ApplyOptions, Bootstrap, Run};
use crate::clients::ClientError;
use crate::domain::audit::Actor;
use crate::domain::model::{ModelSpec, Source, SpecError};
use crate::services::registry::{Apply, Item, ItemState, JobState, PlanError, Step, has_model_list};

/// How often a running import is polled.
const TICK: Duration = Duration::from_millis(50);

pub fn secret_name(provider: &str) -> String {
    let upper: String = provider
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    format!("LITELLM_{upper}_API_KEY")
}

#[derive(Debug, thiserror::Error)]
#[error("{name}: {why}")]
pub struct DefaultModelError {
    name: String,
    why: SpecError,
}

/// A `model_list` of names such as `openai/gpt-5`, with the provider's secret by reference.
pub fn default_list(names: &[String]) -> Result<Value, DefaultModelError> {
    let entry = |name: &String| {
        let spec: ModelSpec = name.parse().map_err(|why| DefaultModelError { name: name.clone(), why })?;
        let secret = format!("os.environ/{}", secret_name(spec.provider()));
        Ok(json!({
            "model_name": name,
            "litellm_params": {
                "model": spec.model(), "custom_llm_provider": spec.provider(), "api_key": secret,
            },
            "model_info": { "provider": spec.provider() },
        }))
    };
    Ok(json!({ "model_list": names.iter().map(entry).collect::<Result<Vec<_>, _>>()? }))
}

#[derive(Debug, thiserror::Error)]
enum RegisterError {
    #[error(transparent)]
    Name(#[from] DefaultModelError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Proxy(#[from] ClientError),
}

impl Bootstrap {
    pub(super) async fn register(&self, run: &mut Run<'_>) {
        let desired = run.desired;
        if let Some(list) = desired.list.as_deref().filter(|list| has_model_list(list))
            && let Err(error) = self.register_list(list, run).await
        {
            run.log.add(Part::Model, "model_list", Outcome::Failed, error.to_string());
        }
        if !desired.default_models.is_empty()
            && let Err(error) = self.register_defaults(run).await
        {
            run.log.add(Part::Model, "LITELLM_DEFAULT_MODELS", Outcome::Failed, error.to_string());
        }
    }

    /// Skips names that the proxy serves already.
    async fn register_defaults(&self, run: &mut Run<'_>) -> Result<(), RegisterError> {
        let served = self.served().await?;
        let names = run.desired.default_models.iter().cloned();
        let (registered, missing): (Vec<_>, Vec<_>) = names.partition(|name| served.contains(name));
        for name in registered {
            run.log.add(Part::Model, &name, Outcome::Same, "it is registered");
        }
        if missing.is_empty() {
            return Ok(());
        }
        let list = default_list(&missing)?.to_string();
        let prune = std::mem::take(&mut run.options.prune);
        let result = self.register_list(&list, run).await;
        run.options.prune = prune;
        Ok(result?)
    }

    pub(super) async fn served(&self) -> Result<HashSet<String>, ClientError> {
        let live = self.proxy.deployments().await?;
        Ok(live.into_iter().map(|deployment| deployment.name).filter(|name| !name.is_empty()).collect())
    }

    async fn register_list(&self, list: &str, run: &mut Run<'_>) -> Result<(), PlanError> {
        let (options, actor) = (run.options, run.actor);
        let import = self.models.plan_import(list, actor).await?;
        let plan = &import.plan;
        if options.dry_run {
            for item in &plan.items {
                report(item, None, &mut run.log);
            }
        } else {
            let apply = Apply { with_raw_secrets: options.raw_secrets };
            let mut now = self.models.apply_import(&import.id, apply, actor);
            let mut next = 0;
            // Reports items in their order, each as soon as it is done.
            while let Some(import) = now {
                while let Some(state) = import.results.get(next).filter(|state| **state != ItemState::Waiting)
                {
                    report(&plan.items[next], Some(state), &mut run.log);
                    next += 1;
                }
                if import.state == JobState::Done {
                    break;
                }
                tokio::time::sleep(TICK).await;
                now = self.models.import(&import.id);
            }
        }
        for extra in &plan.only_at_proxy {
            if options.prune {
                self.prune(&extra.id, &extra.name, extra.source, options, actor, &mut run.log).await;
            } else if options.dry_run {
                run.log.add(Part::Model, &extra.name, Outcome::Same, "only at the proxy: it stays");
            }
        }
        Ok(())
    }

    pub(super) async fn prune(
        &self,
        id: &str,
        name: &str,
        source: Source,
        options: ApplyOptions,
        actor: &Actor,
        log: &mut Log<'_>,
    ) {
        if source == Source::Config {
            let why = "it stays: it is in the proxy's configuration file, which its API cannot change";
            log.add(Part::Model, name, Outcome::Same, why);
            return;
        }
        if options.dry_run {
            log.add(Part::Model, name, Outcome::Planned, "delete");
            return;
        }
        // A deletion is confirmed with the name, or with the id if there is no name.
        let confirm = if name.trim().is_empty() { id } else { name };
        match self.models.delete(id, confirm, actor).await {
            Ok(_) => log.add(Part::Model, name, Outcome::Changed, "deleted"),
            Err(error) => log.add(Part::Model, name, Outcome::Failed, format!("not deleted: {error}")),
        }
    }
}

fn report(item: &Item, state: Option<&ItemState>, log: &mut Log<'_>) {
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
    fn default_list_has_the_guides_entries() {
        let list = default_list(&["openai/gpt-5".to_owned(), "x-ai/grok/4".to_owned()]).unwrap();
        assert_eq!(list["model_list"][0]["litellm_params"]["api_key"], "os.environ/LITELLM_OPENAI_API_KEY");
        assert_eq!(list["model_list"][0]["litellm_params"]["model"], "gpt-5");
        assert_eq!(list["model_list"][1]["litellm_params"]["api_key"], "os.environ/LITELLM_X_AI_API_KEY");
        assert_eq!(list["model_list"][1]["litellm_params"]["model"], "grok/4");
        assert!(default_list(&["gpt-5".to_owned()]).unwrap_err().to_string().starts_with("gpt-5: "));
    }
}
