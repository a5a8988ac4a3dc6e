//! Registers models with the plan of the dashboard's import.

use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::report::{Log, Outcome, Part, Step};
use super::{ApplyOptions, Bootstrap, Run};
use crate::clients::ClientError;
use crate::domain::audit::Actor;
use crate::domain::model::{ModelSpec, Source, SpecError};
use crate::services::registry::{
    self, Applied, By, CONCURRENCY, Catalog, Extra, Item, PlanError, has_model_list,
};

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
        let failed = |why| DefaultModelError { name: name.clone(), why };
        let spec: ModelSpec = name.parse().map_err(failed)?;
        let provider = spec.provider().ok_or_else(|| failed(SpecError::NoProvider))?;
        let secret = format!("os.environ/{}", secret_name(provider));
        Ok(json!({
            "model_name": name,
            "litellm_params": {
                "model": spec.model(), "custom_llm_provider": provider, "api_key": secret,
            },
            "model_info": { "provider": provider },
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
        let served = self.catalog().await?;
        let names = run.desired.default_models.iter().cloned();
        let (registered, missing): (Vec<_>, Vec<_>) =
            names.partition(|name| !matches!(served.serving(name).by, By::Nothing | By::Fallback(_)));
        for name in registered {
            run.log.add(Part::Model, &name, Outcome::Same, served.serving(&name).describe());
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

    pub(super) async fn catalog(&self) -> Result<Catalog, ClientError> {
        Ok(self.proxy.registered().await?.into())
    }

    async fn register_list(&self, list: &str, run: &mut Run<'_>) -> Result<(), PlanError> {
        let (options, actor) = (run.options, run.actor);
        let plan = self.models.plan(list).await?;
        let tries: Vec<_> = plan.items.iter().map(|item| self.apply_planned(item, options, actor)).collect();
        // In their order, each as soon as it is done.
        let mut applied = stream::iter(tries).buffered(CONCURRENCY as usize);
        for warning in &plan.warnings {
            run.log.add(Part::Model, "model_list", Outcome::Same, warning.clone());
        }
        for item in &plan.items {
            report(item, applied.next().await.flatten(), &mut run.log);
        }
        for extra in &plan.only_at_proxy {
            if options.prune {
                run.log.record(self.prune(extra, options, actor).await);
            } else if options.dry_run {
                run.log.add(Part::Model, &extra.name, Outcome::Same, "only at the proxy: it stays");
            }
        }
        Ok(())
    }

    async fn apply_planned(&self, item: &Item, options: ApplyOptions, actor: &Actor) -> Option<Applied> {
        if options.dry_run || !item.step.is_work() {
            return None;
        }
        Some(self.models.apply_item(item, None, options.raw_secrets, actor).await)
    }

    pub(super) async fn prune(&self, extra: &Extra, options: ApplyOptions, actor: &Actor) -> Step {
        let step = |outcome, detail: String| Step::new(Part::Model, &extra.name, outcome, detail);
        if extra.source == Source::Config {
            let why = "it stays: it is in the proxy's configuration file, which its API cannot change";
            return step(Outcome::Same, why.to_owned());
        }
        if options.dry_run {
            return step(Outcome::Planned, "delete".to_owned());
        }
        // A deletion is confirmed with the name, or with the id if there is no name.
        let confirm = if extra.name.trim().is_empty() { &extra.id } else { &extra.name };
        match self.models.delete(&extra.id, confirm, actor).await {
            Ok(_) => step(Outcome::Changed, "deleted".to_owned()),
            Err(error) => step(Outcome::Failed, format!("not deleted: {error}")),
        }
    }
}

fn report(item: &Item, applied: Option<Applied>, log: &mut Log<'_>) {
    let (planned, done, changes) = match &item.step {
        registry::Step::Add { siblings: 0 } => ("add", "added".to_owned(), Vec::new()),
        registry::Step::Add { siblings } => {
            ("add", format!("added beside {siblings} of its name, which share its calls"), Vec::new())
        }
        registry::Step::Change { changes } => ("change", "changed".to_owned(), changes.clone()),
        registry::Step::Same => ("same", "as it should be".to_owned(), Vec::new()),
        registry::Step::Refused { why } => ("refused", why.clone(), Vec::new()),
    };
    let (outcome, mut detail) = match (&item.step, applied) {
        (registry::Step::Refused { .. }, _) => (Outcome::Refused, done),
        (registry::Step::Same, _) => (Outcome::Same, done),
        (_, None) => (Outcome::Planned, planned.to_owned()),
        (_, Some(Applied::Done { .. })) => (Outcome::Changed, done),
        (_, Some(Applied::Dead { why, .. })) => (Outcome::Failed, format!("saved, and not live: {why}")),
        (_, Some(Applied::Failed { why })) => (Outcome::Failed, why),
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
