//! Deployments: the stored rows and what the router serves of them.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::catalog;
use super::router::{specificity, stars};

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    /// `litellm_params`, secrets included.
    pub(super) params: Map<String, Value>,
    /// `model_info` without the fields the proxy adds.
    pub(super) info: Map<String, Value>,
    pub(super) blocked: bool,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    /// The `model_info.id` that answers show once a patch named none (`model_patch_model_info`).
    pub(super) shown_id: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Served {
    Current,
    Old { row: Box<Row>, until: Timestamp },
}

#[derive(Clone, Debug)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) db_model: bool,
    pub(super) row: Row,
    pub(super) served: Served,
}

impl Row {
    /// The provider and the model's name there; nothing for a ghost.
    pub(super) fn upstream(&self) -> Option<(&str, &str)> {
        catalog::provider(&self.params)
    }

    pub(super) fn text(&self, param: &str) -> &str {
        self.params.get(param).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether this deployment is in the access group `group`.
    fn in_group(&self, group: &str) -> bool {
        self.info
            .get("access_groups")
            .and_then(Value::as_array)
            .is_some_and(|groups| groups.iter().any(|item| item == group))
    }

    /// Whether a key limited to `allowed` may call this deployment.
    pub(super) fn is_open_to(&self, allowed: &[String]) -> bool {
        listed(allowed, &self.name) || allowed.iter().any(|group| self.in_group(group))
    }

    pub(super) fn is_pattern(&self) -> bool {
        self.name.contains('*')
    }

    /// The upstream model that answers `asked`; a pattern hands its stars on (`x_chat_wildcard`).
    pub(super) fn upstream_model(&self, asked: &str) -> Option<String> {
        let (_, model) = self.upstream()?;
        let Some(stars) = stars(&self.name, asked).filter(|_| model.contains('*')) else {
            return Some(model.to_owned());
        };
        if stars.len() > model.matches('*').count() {
            return Some(asked.to_owned());
        }
        Some(stars.into_iter().fold(model.to_owned(), |model, star| model.replacen('*', star, 1)))
    }
}

impl Deployment {
    /// What the router serves at `now`. A ghost is stored and never served.
    pub(super) fn live(&self, now: Timestamp) -> Option<&Row> {
        Some(self.seen(now)).filter(|row| row.upstream().is_some())
    }

    /// What the router saw of the row when it last looked, a ghost or not.
    fn seen(&self, now: Timestamp) -> &Row {
        match &self.served {
            Served::Old { row, until } if now < *until => row,
            Served::Old { .. } | Served::Current => &self.row,
        }
    }
}

/// All deployments in the order of their creation.
#[derive(Default)]
pub(super) struct Deployments {
    rows: BTreeMap<u64, Deployment>,
    ids: HashMap<String, u64>,
    next: u64,
    turn: usize,
}

impl Deployments {
    pub(super) fn from_config(models: &[(String, String)], now: Timestamp) -> Self {
        let mut deployments = Self::default();
        for (name, model) in models {
            let params = json!({ "model": model });
            let row = Row {
                name: name.clone(),
                params: params.as_object().cloned().unwrap_or_default(),
                info: Map::new(),
                blocked: false,
                created_at: now,
                updated_at: now,
                shown_id: None,
            };
            // The real id is a hash over the parameters too; what matters is that it stays the same.
            let id = hash(&format!("{name}\0{model}"));
            deployments.insert(Deployment { id, db_model: false, row, served: Served::Current });
        }
        deployments
    }

    /// False if the id is taken.
    pub(super) fn insert(&mut self, deployment: Deployment) -> bool {
        if self.ids.contains_key(&deployment.id) {
            return false;
        }
        self.ids.insert(deployment.id.clone(), self.next);
        self.rows.insert(self.next, deployment);
        self.next += 1;
        true
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Deployment> {
        self.rows.get(self.ids.get(id)?)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Deployment> {
        self.rows.get_mut(self.ids.get(id)?)
    }

    /// Removes a row of the database; those of the configuration file stay.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some(number) = self.ids.get(id).copied() else { return false };
        if !self.rows.get(&number).is_some_and(|deployment| deployment.db_model) {
            return false;
        }
        self.ids.remove(id);
        self.rows.remove(&number).is_some()
    }

    /// What the router serves, in the order of creation.
    pub(super) fn live(&self, now: Timestamp) -> impl Iterator<Item = (&Deployment, &Row)> {
        self.rows.values().filter_map(move |deployment| Some((deployment, deployment.live(now)?)))
    }

    /// Whether a key limited to `allowed` may call `name`.
    pub(super) fn allows(&self, allowed: &[String], name: &str, now: Timestamp) -> bool {
        listed(allowed, name)
            || self.find(now, |row| row.name == name).any(|(_, row)| row.is_open_to(allowed))
    }

    /// The deployments that serve `name`: by id, by name, by the most specific pattern, or by their upstream model.
    pub(super) fn serving(&self, name: &str, now: Timestamp) -> Vec<(&Deployment, &Row)> {
        let by_id = self.get(name).and_then(|deployment| Some((deployment, deployment.live(now)?)));
        if let Some(found) = by_id {
            return vec![found];
        }
        let exact: Vec<_> = self.find(now, |row| row.name == name).collect();
        if !exact.is_empty() {
            return exact;
        }
        // The first of several that are as specific.
        let matching = self.find(now, |row| stars(&row.name, name).is_some());
        let best = matching
            .map(|(_, row)| row.name.as_str())
            .reduce(|best, pattern| if specificity(pattern) > specificity(best) { pattern } else { best });
        match best {
            Some(best) => self.find(now, |row| row.name == best).collect(),
            None => self.find(now, |row| row.text("model") == name).collect(),
        }
    }

    /// The live rows that satisfy `wanted`, which is asked first since placing a row takes longer.
    fn find(
        &self,
        now: Timestamp,
        wanted: impl Fn(&Row) -> bool,
    ) -> impl Iterator<Item = (&Deployment, &Row)> {
        self.rows
            .values()
            .filter(move |deployment| wanted(deployment.seen(now)))
            .filter_map(move |deployment| Some((deployment, deployment.live(now)?)))
    }

    pub(super) fn take_turn(&mut self) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }
}

/// Whether a key's models name `name`. No entry means every model; an entry is a name, a pattern,
/// `all-proxy-models`, or an access group, which is looked up elsewhere.
fn listed(allowed: &[String], name: &str) -> bool {
    allowed.is_empty()
        || allowed.iter().any(|entry| {
            entry == name
                || entry == "all-proxy-models"
                || entry.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix))
        })
}

/// SHA-256 as the proxy writes it.
pub(super) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        hex
    })
}
