//! Writing the registry as LiteLLM's `model_list`.

use serde_json::{Map, Value, json};

use super::admin::{Found, ModelError, Models};
use super::yaml::{ModelList, Written, YamlError, write_document};
use crate::domain::model::Source;
use crate::domain::model_detail::{Draft, REFERENCE, is_added};

const HEAD: &str = "# Deployments of a LiteLLM proxy, for the model_list of another or the same one.\n\
                    # Secrets are not in here: the proxy never returns them. References (os.environ/NAME) are given\n\
                    # where they are known; add the others as api_key before you use this as a configuration.\n";

const LEFT_OUT: &str = "# Left out, since each is or may hold a secret (in an address all but scheme, host and path). An import keeps\n\
                        # what the proxy has for them:\n";

impl Models {
    /// The live deployments as YAML, those of the configuration file only if asked for. Holds no secret.
    pub async fn export(&self, with_config: bool) -> Result<Result<String, YamlError>, ModelError> {
        let details = self.inner.proxy.details().await?;
        let ids: Vec<&str> = details.iter().map(|detail| detail.id.as_str()).collect();
        let mut notes = self.inner.store.deployment_notes(&ids).await?;
        let (model_list, left_out): (Vec<_>, Vec<_>) = details
            .into_iter()
            .filter(|detail| with_config || detail.source == Source::Database)
            .map(|detail| Found { note: notes.remove(&detail.id), ghost: None, detail })
            .map(|found| written(&found))
            .unzip();
        let left_out: Vec<String> = left_out.into_iter().flatten().collect();
        let head = if left_out.is_empty() {
            HEAD.to_owned()
        } else {
            format!("{HEAD}{LEFT_OUT}{}", left_out.concat())
        };
        Ok(write_document(&ModelList { model_list }).map(|list| head + &list))
    }
}

/// An entry, and a comment about the settings that are not in it.
fn written(found: &Found) -> (Written, Option<String>) {
    let given = found.as_given();
    let params = given.params.clone().into_iter().filter(|(name, value)| !is_added(name, value));
    let draft = Draft { name: given.name.clone(), params: params.collect(), info: given.own_info() };
    let all: Vec<String> = draft.params.keys().chain(draft.info.keys()).cloned().collect();
    let mut draft = draft.without_secrets();
    draft.params.retain(|_, value| !is_mask(value));
    let mut info = Map::new();
    if given.source == Source::Database {
        info.insert("id".to_owned(), json!(given.id));
    }
    let harmless = Draft { params: draft.info, ..Draft::default() }.without_secrets().params;
    let is_left_out = |name: &&String| !draft.params.contains_key(*name) && !harmless.contains_key(*name);
    let left_out: Vec<_> =
        all.iter().filter(is_left_out).map(|name| name.escape_debug().to_string()).collect();
    let comment =
        format!("#   {} ({}): {}\n", draft.name.escape_debug(), given.id.escape_debug(), left_out.join(", "));
    info.extend(harmless);
    let entry = Written { model_name: draft.name, litellm_params: draft.params, model_info: info };
    (entry, Some(comment).filter(|_| !left_out.is_empty()))
}

fn is_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("**") && !text.starts_with(REFERENCE),
        Value::Object(map) => map.values().any(is_mask),
        _ => false,
    }
}
