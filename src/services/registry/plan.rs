//! What an import would do, item by item.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::admin::{Found, ModelError, Models};
use super::change::{Edit, changes, not_for_providers};
use super::yaml::{Entry, YamlError, count_keys, read_model_list};
use super::yaml_versions::differences;
use crate::domain::model::Source;
use crate::domain::model_detail::{Change, Detail, Draft, is_hidden};

#[derive(Debug, Clone)]
pub struct Plan {
    pub items: Vec<Item>,
    /// Deployments that the proxy has and the list has not. They stay, unless they are pruned.
    pub only_at_proxy: Vec<Extra>,
    /// Virtual keys that the list has as well. They are no part of this plan: their secrets belong into an env file.
    pub keys: usize,
    /// What LiteLLM would read differently.
    pub warnings: Vec<String>,
}

/// A deployment that the list does not have.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Extra {
    pub id: String,
    pub name: String,
    pub source: Source,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Item {
    pub name: String,
    pub upstream: String,
    #[serde(flatten)]
    pub step: Step,
    pub id: Option<String>,
    pub raw_secrets: Vec<String>,
    pub remarks: Vec<String>,
    #[serde(skip)]
    pub draft: Draft,
    /// The id that it gets where it is added: the same at each run, so that one that was killed cannot leave
    /// two behind.
    #[serde(skip)]
    pub new_id: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    Add {
        siblings: usize,
    },
    Change {
        changes: Vec<Change>,
    },
    /// Nothing: it is there as it should be.
    Same,
    /// Nothing: it cannot be done.
    Refused {
        why: String,
    },
}

/// An import could not be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl Plan {
    pub fn has_raw_secrets(&self) -> bool {
        self.items.iter().any(|item| item.step.is_work() && !item.raw_secrets.is_empty())
    }
}

impl Step {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Add { .. } => "add",
            Self::Change { .. } => "change",
            Self::Same => "same",
            Self::Refused { .. } => "refused",
        }
    }

    pub fn is_work(&self) -> bool {
        matches!(self, Self::Add { .. } | Self::Change { .. })
    }
}

impl Models {
    /// Compares a `model_list` with what is live. Nothing is sent to the proxy.
    pub async fn plan(&self, text: &str) -> Result<Plan, PlanError> {
        let text = text.to_owned();
        let read = move || (read_model_list(&text), count_keys(&text), differences(&text));
        let (entries, keys, warnings) = aside(read).await;
        Ok(Plan { keys, warnings, ..self.compare(entries?).await? })
    }

    async fn compare(&self, entries: Vec<Entry>) -> Result<Plan, PlanError> {
        let details = self.inner.proxy.details().await.map_err(ModelError::from)?;
        let ids: Vec<&str> = details.iter().map(|detail| detail.id.as_str()).collect();
        let mut notes = self.inner.store.deployment_notes(&ids).await.map_err(ModelError::from)?;
        let live =
            details.into_iter().map(|detail| Found { note: notes.remove(&detail.id), ghost: None, detail });
        let all_notes = self.notes().await.map_err(ModelError::from)?;
        let ghosts = self.ghosts(&all_notes).await.into_iter().filter_map(Found::of_ghost);
        let known: Vec<Found> = live.into_iter().chain(ghosts).collect();
        Ok(aside(move || plan(entries, &known)).await)
    }
}

/// Long lists take seconds, in which the runtime's own threads would answer nothing else.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn plan(entries: Vec<Entry>, live: &[Found]) -> Plan {
    let matched = match_all(&entries, live);
    let used: HashSet<usize> = matched.iter().flatten().copied().collect();
    let ids = live.iter().map(|found| found.detail.id.clone()).collect();
    let mut ids = Ids { taken: ids, equal: HashMap::new() };
    let items = entries.into_iter().zip(&matched).map(|(entry, place)| match entry {
        Ok(draft) => item(draft, place.map(|place| &live[place]), live, &mut ids),
        Err(why) => refused(&why),
    });
    let items = items.collect();
    let is_only = |(place, found): &(usize, &Found)| found.ghost.is_none() && !used.contains(place);
    let extra = |(_, found): (usize, &Found)| {
        let Detail { id, name, source, .. } = found.detail.clone();
        Extra { id, name, source }
    };
    Plan {
        items,
        only_at_proxy: live.iter().enumerate().filter(is_only).map(extra).collect(),
        keys: 0,
        warnings: Vec::new(),
    }
}

/// Ids for new entries.
struct Ids {
    taken: HashSet<String>,
    /// How many ids were derived from what equal entries say, by its digest.
    equal: HashMap<[u8; 32], u32>,
}

impl Ids {
    /// An entry's own id, or one that follows from what it says. Never one that is taken.
    fn take(&mut self, draft: &Draft) -> String {
        let own = draft.info.get("id").and_then(serde_json::Value::as_str).map(str::to_owned);
        let harmless = draft.without_secrets();
        let said = |nth: u32| {
            let said = serde_json::json!([harmless.name, harmless.params, harmless.info, nth]);
            <[u8; 32]>::from(Sha256::digest(said.to_string().as_bytes()))
        };
        let next = self.equal.entry(said(0)).or_default();
        let derived = std::iter::from_fn(|| {
            let digest = said(*next);
            *next += 1;
            let bytes = std::array::from_fn(|place| digest[place]);
            Some(uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string())
        });
        let free = own.into_iter().chain(derived).find(|id| !self.taken.contains(id)).unwrap_or_default();
        self.taken.insert(free.clone());
        free
    }
}

/// Which live deployment each entry means: that of its id; or of its name, upstream model and address; or the
/// only one of its name that no other entry means.
fn match_all(entries: &[Entry], live: &[Found]) -> Vec<Option<usize>> {
    let mut matched = vec![None; entries.len()];
    let mut used = HashSet::new();
    let (mut by_id, mut by_name) = (HashMap::new(), HashMap::<&str, Vec<usize>>::new());
    for (place, found) in live.iter().enumerate() {
        by_id.entry(found.detail.id.as_str()).or_insert(place);
        by_name.entry(found.detail.name.as_str()).or_default().push(place);
    }
    let mut entries_of = HashMap::<&str, usize>::new();
    for draft in entries.iter().flatten() {
        *entries_of.entry(draft.name.as_str()).or_default() += 1;
    }
    let of_name = |draft: &Draft| by_name.get(draft.name.as_str()).map_or(&[][..], Vec::as_slice);
    for (slot, entry) in matched.iter_mut().zip(entries) {
        let Ok(draft) = entry else { continue };
        let id = draft.info.get("id").and_then(serde_json::Value::as_str);
        *slot = id.and_then(|id| by_id.get(id).copied()).filter(|place| used.insert(*place));
    }
    let mut pass = |fits: &dyn Fn(&Draft, &Found, &HashSet<usize>) -> bool| {
        for (slot, entry) in matched.iter_mut().zip(entries) {
            let (None, Ok(draft)) = (&slot, entry) else { continue };
            let mut places = of_name(draft).iter().copied();
            let place = places.find(|place| !used.contains(place) && fits(draft, &live[*place], &used));
            if let Some(place) = place {
                used.insert(place);
                *slot = Some(place);
            }
        }
    };
    let is_twin = |draft: &Draft, found: &Found| {
        placed(&draft.params) == placed(&found.detail.params)
            && address(draft) == found.detail.param("api_base").trim_end_matches('/')
    };
    // Of several alike, the one that needs no change.
    pass(&|draft, found, _| is_twin(draft, found) && compare(draft, found, &mut Vec::new()) == Step::Same);
    pass(&|draft, found, _| is_twin(draft, found));
    pass(&|draft, _, used| {
        let free = || of_name(draft).iter().filter(|place| !used.contains(place)).count();
        entries_of.get(draft.name.as_str()) == Some(&1) && free() == 1
    });
    matched
}

/// Provider and model, however the two are written.
fn placed(params: &serde_json::Map<String, serde_json::Value>) -> (String, String) {
    let text = |name: &str| params.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let (provider, model) = (text("custom_llm_provider"), text("model"));
    match model.split_once('/') {
        Some((prefix, rest)) if provider.is_empty() || provider == prefix => {
            (prefix.to_owned(), rest.to_owned())
        }
        _ => (provider.to_owned(), model.to_owned()),
    }
}

fn address(draft: &Draft) -> String {
    let base = draft.params.get("api_base").and_then(serde_json::Value::as_str).unwrap_or_default();
    base.trim_end_matches('/').to_owned()
}

fn refused(why: &str) -> Item {
    Item {
        name: String::new(),
        upstream: String::new(),
        step: Step::Refused { why: format!("The entry {why}.") },
        id: None,
        raw_secrets: Vec::new(),
        remarks: Vec::new(),
        draft: Draft::default(),
        new_id: String::new(),
    }
}

fn item(mut draft: Draft, found: Option<&Found>, live: &[Found], ids: &mut Ids) -> Item {
    let new_id = if found.is_none() { ids.take(&draft) } else { String::new() };
    for computed in ["id", "db_model", "blocked"] {
        draft.info.remove(computed);
    }
    let mut remarks = Vec::new();
    let proxy_secret = draft.proxy_secret().map(|(_, variable)| not_for_providers(variable));
    let step = match found {
        _ if proxy_secret.is_some() => Step::Refused { why: proxy_secret.unwrap_or_default() },
        None => Step::Add {
            siblings: live
                .iter()
                .filter(|other| other.ghost.is_none() && other.detail.name == draft.name)
                .count(),
        },
        Some(found) => compare(&draft, found, &mut remarks),
    };
    let upstream = draft.params.get("model").and_then(serde_json::Value::as_str).unwrap_or_default();
    Item {
        name: draft.name.clone(),
        upstream: upstream.to_owned(),
        step,
        id: found.map(|found| found.detail.id.clone()),
        raw_secrets: draft.raw_secret_names(),
        remarks,
        draft,
        new_id,
    }
}

fn compare(draft: &Draft, found: &Found, remarks: &mut Vec<String>) -> Step {
    let given = found.as_given();
    let edit = Edit { name: Some(draft.name.clone()), draft: draft.clone(), seen: None };
    let mut changes = changes(found, &edit);
    changes.retain(|change| {
        let name = change.field.rsplit('.').next().unwrap_or_default();
        let was_given_here = found.note.as_ref().is_some_and(|note| note.references.contains_key(name));
        // Whether they differ cannot be known.
        let is_open = draft.params.get(name).is_some_and(|value| is_hidden(name, value)) && !was_given_here;
        if is_open {
            remarks.push(format!("{name} cannot be compared, since the proxy does not show it"));
        }
        !is_open
    });
    let stays: Vec<&str> = given
        .own_params(&[])
        .map(|(name, _)| name.as_str())
        .filter(|name| !draft.params.contains_key(*name))
        .collect();
    if !stays.is_empty() {
        remarks.push(format!("not in the list, and stays: {}", stays.join(", ")));
    }
    match (changes.is_empty(), found.detail.source) {
        (true, _) if found.ghost.is_some() => Step::Refused {
            why: "The proxy has saved it already, and does not serve it: fix it, or delete it.".to_owned(),
        },
        (true, _) => Step::Same,
        (false, Source::Config) => Step::Refused {
            why: "It is in the proxy's configuration file, which the proxy's API cannot change.".to_owned(),
        },
        (false, Source::Database) => Step::Change { changes },
    }
}
