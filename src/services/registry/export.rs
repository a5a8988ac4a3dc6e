//! Writing the registry as LiteLLM's `model_list`.

use serde_json::{Map, Value, json};

use super::admin::{Found, ModelError, Models};
use super::yaml::{ModelList, Written, YamlError, write_document};
use crate::domain::model::Source;
use crate::domain::model_detail::{Draft, REFERENCE, is_added};

const HEAD: &str = "# Deployments of a LiteLLM proxy, for the model_list of another or the same one.\n\
                    # Secrets are not in here: the proxy does not tell them. References (os.environ/NAME) are given\n\
                    # where they are known; add the others as api_key before you use this as a configuration.\n";

impl Models {
    /// The live deployments as YAML, those of the configuration file only if asked for. Holds no secret.
    pub async fn export(&self, with_config: bool) -> Result<Result<String, YamlError>, ModelError> {
        let details = self.inner.proxy.details().await?;
        let ids: Vec<&str> = details.iter().map(|detail| detail.id.as_str()).collect();
        let mut notes = self.inner.store.deployment_notes(&ids).await?;
        let model_list: Vec<Written> = details
            .into_iter()
            .filter(|detail| with_config || detail.source == Source::Database)
            .map(|detail| Found { note: notes.remove(&detail.id), ghost: None, detail })
            .map(|found| written(&found))
            .collect();
        Ok(write_document(&ModelList { model_list }).map(|list| format!("{HEAD}{list}")))
    }
}

fn written(found: &Found) -> Written {
    let given = found.as_given();
    let params = given.params.clone().into_iter().filter(|(name, value)| !is_added(name, value));
    let draft = Draft { name: given.name.clone(), params: params.collect(), info: given.own_info() };
    let mut draft = draft.without_secrets();
    draft.params.retain(|_, value| !is_mask(value));
    let mut info = Map::new();
    if given.source == Source::Database {
        info.insert("id".to_owned(), json!(given.id));
    }
    let harmless = Draft { params: draft.info, ..Draft::default() }.without_secrets().params;
    info.extend(harmless);
    Written { model_name: draft.name, litellm_params: draft.params, model_info: info }
}

fn is_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("**") && !text.starts_with(REFERENCE),
        Value::Object(map) => map.values().any(is_mask),
        _ => false,
    }
}
