//! The registry as pages read it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;

use jiff::SignedDuration;
use memchr::memmem::Finder;
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::clients::ClientError;
use crate::clients::litellm::{LiteLlm, Registered};
use crate::domain::model::Deployment;
use crate::domain::permission::Target;
use crate::domain::routing::{Routing, pattern_routes, specificity};
use crate::services::snapshot::{Snapshot, Source};

pub type Registry = Snapshot<Deployments>;

/// The proxy's registry.
pub struct Deployments(pub LiteLlm);

impl Source for Deployments {
    type Fetched = Registered;
    type Copy = Catalog;
    type Error = ClientError;

    const TIME_TO_LIVE: SignedDuration = SignedDuration::from_secs(5);

    async fn fetch(&self) -> Result<Registered, ClientError> {
        self.0.registered().await
    }
}

/// All deployments, ordered by name, with what is derived from them.
#[derive(Debug, Default)]
pub struct Catalog {
    deployments: Vec<Deployment>,
    pub routing: Routing,
    /// What a search looks through, in lower case, for each deployment.
    texts: Vec<String>,
    names: HashMap<String, Name>,
    ids: HashMap<String, usize>,
    /// Wildcards, the most specific first.
    pub patterns: Vec<String>,
    /// Names that an agent can be switched to.
    pub callable: Vec<String>,
    /// For each column, ascending and descending.
    orders: HashMap<(Column, bool), Vec<usize>>,
    pub providers: Vec<String>,
    pub modes: Vec<String>,
}

/// The deployments of one name.
#[derive(Debug, Default)]
pub struct Name {
    rows: Vec<usize>,
    pub access_groups: Vec<String>,
}

/// What deployments can be ordered by, as it is called in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Column {
    Name,
    Provider,
    Source,
    Mode,
    #[strum(serialize = "context")]
    Window,
    #[strum(serialize = "input")]
    InputCost,
    #[strum(serialize = "output")]
    OutputCost,
}

impl Deref for Catalog {
    type Target = [Deployment];

    fn deref(&self) -> &[Deployment] {
        &self.deployments
    }
}

impl From<Registered> for Catalog {
    fn from(Registered { mut deployments, routing }: Registered) -> Self {
        deployments.sort_by_cached_key(|one| (one.name.to_lowercase(), one.name.clone(), one.id.clone()));
        let mut names: HashMap<String, Name> = HashMap::new();
        for (row, deployment) in deployments.iter().enumerate() {
            let name = names.entry(deployment.name.clone()).or_default();
            name.rows.push(row);
            name.access_groups.extend(deployment.access_groups.iter().cloned());
        }
        let orders = Column::VARIANTS.iter().flat_map(|&column| {
            [false, true].map(|descending| ((column, descending), order(&deployments, column, descending)))
        });
        let values = |field: fn(&Deployment) -> Option<&String>| {
            let values: BTreeSet<&String> = deployments.iter().filter_map(field).collect();
            values.into_iter().cloned().collect()
        };
        let patterns: BTreeSet<&String> =
            deployments.iter().filter(|one| one.is_pattern()).map(|one| &one.name).collect();
        let mut patterns: Vec<String> = patterns.into_iter().cloned().collect();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(specificity(pattern)));
        let mut catalog = Self {
            texts: deployments.iter().map(search_text).collect(),
            ids: deployments.iter().enumerate().map(|(row, one)| (one.id.clone(), row)).collect(),
            patterns,
            callable: Vec::new(),
            routing,
            names,
            orders: orders.collect(),
            providers: values(|one| one.provider.as_ref()),
            modes: values(|one| one.mode.as_ref()),
            deployments,
        };
        catalog.callable = catalog.find_callable();
        catalog
    }
}

impl Name {
    pub fn deployments(&self) -> usize {
        self.rows.len()
    }
}

impl Catalog {
    /// Of a name that is registered.
    pub fn name(&self, name: &str) -> Option<&Name> {
        self.names.get(name)
    }

    /// A name with what decides beside it which keys may call it.
    pub fn target<'a>(&'a self, name: &'a str) -> Target<'a> {
        let serving = self.serving(name);
        let is_free =
            |one: &&Deployment| [one.input_cost_per_token, one.output_cost_per_token] == [Some(0.0); 2];
        Target {
            name,
            alias_of: serving.alias_of,
            by_target_only: self.routing.alias_by_target_only,
            groups: serving
                .deployments
                .iter()
                .flat_map(|one| &one.access_groups)
                .map(String::as_str)
                .collect(),
            is_free: !serving.deployments.is_empty() && serving.deployments.iter().all(is_free),
        }
    }

    pub fn by_id(&self, id: &str) -> Option<&Deployment> {
        self.ids.get(id).map(|row| &self.deployments[*row])
    }

    /// The deployments of exactly this name.
    pub fn named(&self, name: &str) -> Vec<&Deployment> {
        let rows = self.names.get(name).into_iter().flat_map(|name| &name.rows);
        rows.map(|row| &self.deployments[*row]).collect()
    }

    /// The wildcard that the proxy takes for `name`.
    pub(super) fn wildcard_for(&self, name: &str) -> Option<&str> {
        self.patterns.iter().map(String::as_str).find(|pattern| pattern_routes(pattern, name))
    }

    /// The deployments that have `text` in a name, an id or a description and that fit, ordered by a column.
    pub fn find(
        &self,
        text: &str,
        fits: impl Fn(&Deployment) -> bool,
        (column, descending): (Column, bool),
    ) -> Vec<&Deployment> {
        let text = text.to_lowercase();
        let finder = Finder::new(&text);
        let order = self.orders.get(&(column, descending)).map_or(&[][..], Vec::as_slice);
        let found =
            order.iter().filter(|at| text.is_empty() || finder.find(self.texts[**at].as_bytes()).is_some());
        found.map(|at| &self.deployments[*at]).filter(|deployment| fits(deployment)).collect()
    }
}

fn search_text(deployment: &Deployment) -> String {
    let Deployment { name, upstream_model, id, description, .. } = deployment;
    [name, upstream_model, id, description.as_deref().unwrap_or_default()].join("\n").to_lowercase()
}

/// Deployments without a value come last in both directions.
fn order(all: &[Deployment], column: Column, descending: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    if column == Column::Name && !descending {
        return order;
    }
    order.sort_by(|a, b| (&all[*a].name, &all[*a].id).cmp(&(&all[*b].name, &all[*b].id)));
    let lower = |text: &Option<String>| text.as_ref().map(|text| text.to_lowercase());
    // Of finite numbers that are not negative, as prices are, the bits are in the order of the numbers.
    let bits = |cost: Option<f64>| cost.map(|cost| cost.max(0.0).to_bits());
    match column {
        Column::Name => sort(&mut order, descending, |at| Some(all[at].name.to_lowercase())),
        Column::Provider => sort(&mut order, descending, |at| lower(&all[at].provider)),
        Column::Source => sort(&mut order, descending, |at| Some(all[at].source.as_str())),
        Column::Mode => sort(&mut order, descending, |at| lower(&all[at].mode)),
        Column::Window => sort(&mut order, descending, |at| all[at].max_input_tokens),
        Column::InputCost => sort(&mut order, descending, |at| bits(all[at].input_cost_per_token)),
        Column::OutputCost => sort(&mut order, descending, |at| bits(all[at].output_cost_per_token)),
    }
    order
}

fn sort<K: Ord>(order: &mut [usize], descending: bool, key: impl Fn(usize) -> Option<K>) {
    if descending {
        order.sort_by_cached_key(|at| {
            let key = key(*at);
            (key.is_none(), std::cmp::Reverse(key))
        });
    } else {
        order.sort_by_cached_key(|at| {
            let key = key(*at);
            (key.is_none(), key)
        });
    }
}
