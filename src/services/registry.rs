//! The proxy's model registry, from a background copy, and what an admin does with it.

mod admin;
mod catalog;
mod change;
mod export;
mod import;
mod notes;
mod plan;
mod remove;
mod serving;
mod trial;
mod uses;
mod yaml;
mod yaml_versions;

pub use admin::{Found, ModelError, Models, Outcome, Parts};
pub use catalog::{Catalog, Column, Deployments, Registry};
pub use change::{Edit, changes, moved_secrets};
pub use import::{Applied, CONCURRENCY};
pub use notes::Notes;
pub use plan::{Extra, Item, Plan, PlanError, Step};
pub use remove::{Radius, is_confirmed};
pub use serving::{By, Serving};
pub use trial::cannot_test;
pub use uses::Callers;
pub use yaml::{YamlError, has_model_list, read_document, read_mapping, write_document};

use crate::domain::model::Deployment;
use crate::domain::routing::pattern_routes;

/// The deployments called `name`, or else those of wildcards. [`Catalog::serving`] knows aliases as well.
pub fn serving<'a>(deployments: &'a [Deployment], name: &str) -> Vec<&'a Deployment> {
    let exact: Vec<_> = deployments.iter().filter(|deployment| deployment.name == name).collect();
    if exact.is_empty() {
        deployments.iter().filter(|deployment| pattern_routes(&deployment.name, name)).collect()
    } else {
        exact
    }
}
