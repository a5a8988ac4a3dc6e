//! The table.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use futures_util::future::{Either, select};
use serde::Serialize;

use super::KeyRow;
use super::Services;
use super::filter::{self, DEFAULT_SORT, FILTERS, SORTS};
use crate::clients::Meaning;
use crate::domain::model::Deployment;
use crate::domain::permission::Rules;
use crate::services::keys::KeysView;
use crate::services::registry::Catalog;
use crate::web::errors::Problem;
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::table::{Column, Pager, Query, columns};
use crate::web::ui::Ui;

/// How long the table waits for the registry when it has the keys and no filter needs it.
const FOR_CHOICES: Duration = Duration::from_millis(50);

#[derive(Template)]
#[template(path = "keys/list.html", blocks = ["results"])]
struct KeysPage {
    ui: Ui,
    query: Query,
    columns: Vec<Column>,
    data: KeysData,
    models: Vec<String>,
    has_no_database: bool,
}

#[derive(Serialize)]
struct KeysData {
    keys: Vec<KeyRow>,
    #[serde(flatten)]
    pager: Pager,
    issued: u64,
    read: usize,
    is_complete: bool,
    as_of: AsOf,
    trouble: Option<Trouble>,
}

page!(KeysPage, KeysData, as_results);

impl KeysPage {
    fn is_filtered(&self) -> bool {
        self.query.has(&FILTERS)
    }

    /// The same page again, for the progress of a copy that is not whole yet.
    fn here(&self) -> String {
        self.query.link(&self.ui.paths.to(route::Keys), &[])
    }

    /// The same keys in a file.
    fn csv(&self) -> String {
        self.query.link(&self.ui.paths.to(route::KeysCsv), &[("page", ""), ("size", "")])
    }

    /// The same keys against models.
    fn matrix(&self) -> String {
        self.query.link(&self.ui.paths.to(route::KeysMatrix), &[("page", ""), ("size", ""), ("model", "")])
    }

    fn filter_text(&self) -> String {
        let link = self.query.link("", &[("page", ""), ("size", ""), ("sort", ""), ("dir", "")]);
        link.trim_start_matches('?').to_owned()
    }
}

const COLUMNS: [(&str, &str, &str, bool); 7] = [
    ("alias", "Key", "", false),
    ("", "State", "", false),
    ("", "May call", "", false),
    ("spend", "Spend", "", true),
    ("expires", "Expires", "", false),
    ("", "Owner", "", false),
    ("used", "Last used", "", true),
];

pub(super) async fn list(State(state): State<Services>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let (view, deployments, rules) = load(&state, &query).await;
    let trouble = view.problem.as_ref().map(Trouble::of);
    let status = Trouble::status(trouble.as_ref(), view.has_data());
    let path = ui.paths.to(route::Keys);
    let found = filter::find(&query, &view, (&deployments, &rules), ui.now);
    let (pager, shown) = Pager::of(&query, &path, found.len());
    let data = KeysData {
        keys: found.range(shown).map(|key| KeyRow::of(key, &ui, &state)).collect(),
        pager,
        issued: view.total,
        read: view.keys.len(),
        is_complete: view.is_complete,
        as_of: AsOf::of(view.at),
        trouble,
    };
    let has_no_database = view.problem.and_then(|problem| problem.meaning()) == Some(Meaning::NoDatabase);
    let columns = columns(&query, &path, query.sort(&SORTS, DEFAULT_SORT), &COLUMNS);
    let models = names(&deployments);
    Ok(KeysPage { ui, query, columns, data, models, has_no_database }.respond(status))
}

/// Keys and registry. A page that only lists keys waits for one answer of the proxy, the first page of keys: the
/// registry, of which it takes the choices of a filter, is asked at the same time and must be quick.
pub(super) async fn load(state: &Services, query: &Query) -> (KeysView, Arc<Catalog>, Arc<Rules>) {
    let keys = pin!(state.keys.search(query.get("q")));
    let registry = pin!(state.registry.get());
    let (view, registry) = match select(keys, registry).await {
        Either::Right((registry, keys)) => (keys.await, Some(registry)),
        Either::Left((view, registry)) if query.has(&["q", "model"]) => (view, Some(registry.await)),
        Either::Left((view, registry)) => (view, tokio::time::timeout(FOR_CHOICES, registry).await.ok()),
    };
    let rules = if query.has(&["q", "model"]) { state.keys.rules(&view).await } else { Arc::default() };
    (view, registry.and_then(|registry| registry.value).unwrap_or_default(), rules)
}

/// The names of the registered models, each once.
pub(super) fn names(deployments: &[Deployment]) -> Vec<String> {
    let mut names: Vec<String> = deployments.iter().map(|deployment| deployment.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
