//! The proxy's model registry, from a background copy, and what an admin does with it.

mod admin;
mod catalog;
mod change;
mod export;
mod import;
mod notes;
mod plan;
mod remove;
mod trial;
mod uses;
mod yaml;

pub use admin::{Found, ModelError, Models, Outcome, Parts};
pub use catalog::{Catalog, Column, Deployments, Registry};
pub use change::{Edit, changes};
pub use import::{Applied, CONCURRENCY};
pub use notes::Notes;
pub use plan::{Extra, Item, Plan, PlanError, Step};
pub use remove::{Radius, is_confirmed};
pub use trial::cannot_test;
pub use yaml::{YamlError, has_model_list, read_document, read_mapping, write_document};

use crate::domain::key::wildcard_matches;
use crate::domain::model::Deployment;

/// The deployments that answer calls of the model `name`: those of that name, or else a wildcard's.
pub fn serving<'a>(deployments: &'a [Deployment], name: &str) -> Vec<&'a Deployment> {
    let exact: Vec<_> = deployments.iter().filter(|deployment| deployment.name == name).collect();
    if exact.is_empty() {
        deployments.iter().filter(|deployment| wildcard_matches(&deployment.name, name)).collect()
    } else {
        exact
    }
}
