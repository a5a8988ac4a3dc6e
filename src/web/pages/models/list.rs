//! The table.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Services;
use crate::domain::model::Deployment;
use crate::domain::model_note::{Note, TestResult};
use crate::domain::routing::Alias;
use crate::services::registry::{Callers, Catalog, Column as By, ModelError, Notes};
use crate::web::errors::Problem;
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::table::{Column, Pager, Query, columns};
use crate::web::ui::{Ui, Wants};

const FILTERS: [&str; 5] = ["q", "provider", "mode", "source", "blocked"];

#[derive(Serialize)]
struct ModelRow<'a> {
    #[serde(flatten)]
    deployment: &'a Deployment,
    siblings: usize,
    /// Keys that may call it; none where the keys have not been read.
    keys: Option<usize>,
    contexts: u64,
    test: Option<&'a TestResult>,
}

#[derive(Template)]
#[template(path = "models/list.html", blocks = ["results"])]
struct ModelsPage<'a> {
    ui: Ui,
    query: Query,
    columns: Vec<Column>,
    data: ModelsData<'a>,
    options: &'a Catalog,
}

#[derive(Serialize)]
struct ModelsData<'a> {
    deployments: Vec<ModelRow<'a>>,
    #[serde(flatten)]
    pager: Pager,
    registered: usize,
    aliases: &'a BTreeMap<String, Alias>,
    ghosts: Vec<Note>,
    /// Whether the keys were there to be counted; none where none were read.
    keys_are_complete: Option<bool>,
    as_of: AsOf,
    trouble: Option<Trouble>,
}

page!(['a] ModelsPage<'a>, ModelsData<'a>, as_results);

impl ModelsPage<'_> {
    fn is_filtered(&self) -> bool {
        self.query.has(&FILTERS)
    }

    /// The same page with the keys counted.
    fn with_keys(&self) -> String {
        self.query.link(&self.ui.paths.to(route::Models), &[("keys", "read")])
    }
}

pub(super) async fn list(State(state): State<Services>, ui: Ui, query: Query) -> Result<Response, Problem> {
    if query.has(&["keys"]) {
        state.keys.get().await;
    }
    // A script gets what is there now, and so does who asks for it.
    let view = if ui.wants == Wants::Json || query.is_fresh() {
        state.registry.refresh().await
    } else {
        state.registry.get().await
    };
    let trouble = view.problem.as_ref().map(Trouble::of);
    let status = Trouble::status(trouble.as_ref(), view.value.is_some());
    let catalog = view.value.unwrap_or_default();
    let notes = notes(&state, &ui).await?;
    let callers = state.models.callers();
    let path = ui.paths.to(route::Models);
    let order = match query.get("sort").parse() {
        Ok(column) => (column, query.get("dir") == "desc"),
        Err(_) => (By::Name, false),
    };
    let found = catalog.find(query.get("q"), fits(&query), order);
    let (pager, shown) = Pager::cut(&query, &path, found);
    let row = |deployment| row(deployment, &catalog, &notes, callers.as_ref());
    let data = ModelsData {
        deployments: shown.into_iter().map(row).collect(),
        pager,
        registered: catalog.len(),
        aliases: &catalog.routing.aliases,
        ghosts: state.models.ghosts(&notes).await,
        keys_are_complete: callers.as_ref().map(|callers| callers.keys.is_complete),
        as_of: AsOf { at: view.at, is_renewing: view.is_renewing },
        trouble,
    };
    let columns = columns(&query, &path, (order.0.into(), order.1), &COLUMNS);
    Ok(ModelsPage { ui, query, columns, data, options: &catalog }.respond(status))
}

/// Without the database the registry is shown all the same; the page says what is missing.
async fn notes(state: &Services, ui: &Ui) -> Result<Arc<Notes>, Problem> {
    if ui.has_no_database {
        return Ok(Arc::default());
    }
    match state.models.notes().await {
        Err(error) if error.is_outage() => Ok(Arc::default()),
        notes => Ok(notes.map_err(ModelError::from)?),
    }
}

fn row<'a>(
    deployment: &'a Deployment,
    catalog: &Catalog,
    notes: &'a Notes,
    callers: Option<&Callers>,
) -> ModelRow<'a> {
    let name = catalog.name(&deployment.name);
    let groups = || name.iter().flat_map(|name| &name.access_groups).map(String::as_str).collect::<Vec<_>>();
    ModelRow {
        siblings: if let Some(name) = name { name.deployments() } else { 1 },
        keys: callers.map(|callers| callers.count(&deployment.name, groups())),
        contexts: notes.contexts.get(&deployment.name).copied().unwrap_or(0),
        test: notes.tests.get(&deployment.id),
        deployment,
    }
}

const COLUMNS: [(&str, &str, &str, bool); 10] = [
    ("name", "Model name", "", false),
    ("provider", "Provider, upstream", "", false),
    ("source", "Source", "", false),
    ("mode", "Mode", "", false),
    ("context", "Window", "number", true),
    ("input", "In / 1M", "number", false),
    ("output", "Out / 1M", "number", false),
    ("", "Keys", "number", false),
    ("", "Contexts", "number", false),
    ("", "Last test", "", false),
];

/// Whether a deployment fits the filters, which are looked up once for all.
fn fits(query: &Query) -> impl Fn(&Deployment) -> bool {
    let wanted = |name: &str| Some(query.get(name)).filter(|value| !value.is_empty());
    let (provider, mode, source) = (wanted("provider"), wanted("mode"), wanted("source"));
    let blocked = wanted("blocked");
    move |deployment| {
        (provider.is_none() || provider == deployment.provider.as_deref())
            && (mode.is_none() || mode == deployment.mode.as_deref())
            && source.is_none_or(|source| source == deployment.source.as_str())
            && blocked.is_none_or(|blocked| blocked == if deployment.blocked { "yes" } else { "no" })
    }
}
