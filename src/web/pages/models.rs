//! The proxy's model registry.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;

use crate::domain::key::{Access, Permission, VirtualKey};
use crate::domain::model::{Deployment, Source};
use crate::web::errors::Problem;
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::route;
use crate::web::respond::Page;
use crate::web::state::AppState;
use crate::web::table::{Column, Pager, Query, columns};
use crate::web::ui::Ui;

/// Most keys that are named on a model's page.
const KEYS_SHOWN: usize = 20;

/// Parameters that leave rows out.
const FILTERS: [&str; 5] = ["q", "provider", "mode", "source", "blocked"];

pub(crate) fn router() -> Router<AppState> {
    Router::new().route(route::MODELS, get(list)).route(route::MODEL, get(show))
}

/// One row of the table.
#[derive(Serialize)]
struct ModelRow {
    #[serde(flatten)]
    deployment: Deployment,
    /// Deployments of the same name, this one included.
    siblings: usize,
}

#[derive(Template)]
#[template(path = "models/list.html", blocks = ["results"])]
struct ModelsPage {
    ui: Ui,
    query: Query,
    columns: Vec<Column>,
    data: ModelsData,
    options: Options,
}

#[derive(Serialize)]
struct ModelsData {
    deployments: Vec<ModelRow>,
    #[serde(flatten)]
    pager: Pager,
    /// Deployments without any filter.
    registered: usize,
    as_of: AsOf,
    trouble: Option<Trouble>,
}

/// What the filters offer.
struct Options {
    providers: Vec<String>,
    modes: Vec<String>,
}

impl Page for ModelsPage {
    type Data = ModelsData;

    fn ui(&self) -> &Ui {
        &self.ui
    }

    fn data(&self) -> &ModelsData {
        &self.data
    }

    fn fragment(&self) -> askama::Result<String> {
        self.as_results().render()
    }
}

impl ModelsPage {
    fn is_filtered(&self) -> bool {
        self.query.has(&FILTERS)
    }
}

async fn list(State(state): State<AppState>, ui: Ui, query: Query) -> Response {
    let view = state.registry.deployments().await;
    let trouble = view.problem.as_ref().map(Trouble::of);
    let status = Trouble::status(trouble.as_ref(), view.value.is_some());
    let all = view.value.as_deref().map_or(&[][..], Vec::as_slice);
    let path = ui.paths.models();
    let sorted = query.sort(&["name", "provider", "context", "input", "output"], ("name", false));
    let mut rows: Vec<&Deployment> = all.iter().filter(|deployment| fits(deployment, &query)).collect();
    rows.sort_by(|a, b| compare(a, b, sorted));
    let siblings = siblings(all);
    let (pager, rows) = Pager::cut(&query, &path, rows);
    let row = |d: &Deployment| ModelRow { siblings: siblings[d.name.as_str()], deployment: d.clone() };
    let columns = columns(&query, &path, sorted, &COLUMNS);
    let data = ModelsData {
        deployments: rows.into_iter().map(row).collect(),
        pager,
        registered: all.len(),
        as_of: AsOf { at: view.at },
        trouble,
    };
    let options = Options::of(all);
    ModelsPage { ui, query, columns, data, options }.respond(status)
}

const COLUMNS: [(&str, &str, &str, bool); 7] = [
    ("name", "Model name", "", false),
    ("provider", "Provider and upstream model", "", false),
    ("", "Source", "", false),
    ("", "Mode", "", false),
    ("context", "Context", "number", true),
    ("input", "In / 1M", "number", false),
    ("output", "Out / 1M", "number", false),
];

fn siblings(all: &[Deployment]) -> HashMap<&str, usize> {
    let mut count = HashMap::new();
    for deployment in all {
        *count.entry(deployment.name.as_str()).or_insert(0) += 1;
    }
    count
}

fn fits(deployment: &Deployment, query: &Query) -> bool {
    let is = |name: &str, value: Option<&str>| {
        let wanted = query.get(name);
        wanted.is_empty() || value == Some(wanted)
    };
    let text = query.get("q").to_lowercase();
    let found = |field: &str| field.to_lowercase().contains(&text);
    let is_found = text.is_empty()
        || found(&deployment.name)
        || found(&deployment.upstream_model)
        || found(&deployment.id)
        || deployment.description.as_deref().is_some_and(found);
    is_found
        && is("provider", deployment.provider.as_deref())
        && is("mode", deployment.mode.as_deref())
        && is("source", Some(deployment.source.as_str()))
        && is("blocked", Some(if deployment.blocked { "yes" } else { "no" }))
}

/// Rows without a value come last, whichever way the column is sorted.
fn compare(a: &Deployment, b: &Deployment, (column, downwards): (&str, bool)) -> Ordering {
    let text =
        |a: &str, b: &str| -> Ordering { directed(a.to_lowercase().cmp(&b.to_lowercase()), downwards) };
    let first = match column {
        "provider" => missing_last(a.provider.as_deref(), b.provider.as_deref(), text),
        "context" => {
            missing_last(a.max_input_tokens, b.max_input_tokens, |a, b| directed(a.cmp(&b), downwards))
        }
        "input" => missing_last(a.input_cost_per_token, b.input_cost_per_token, |a, b| {
            directed(a.total_cmp(&b), downwards)
        }),
        "output" => missing_last(a.output_cost_per_token, b.output_cost_per_token, |a, b| {
            directed(a.total_cmp(&b), downwards)
        }),
        _ => text(&a.name, &b.name),
    };
    first.then_with(|| a.name.cmp(&b.name)).then_with(|| a.id.cmp(&b.id))
}

fn directed(order: Ordering, downwards: bool) -> Ordering {
    if downwards { order.reverse() } else { order }
}

/// Orders what is there by `order`, and what is missing behind it.
pub(crate) fn missing_last<T>(a: Option<T>, b: Option<T>, order: impl Fn(T, T) -> Ordering) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => order(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

impl Options {
    fn of(all: &[Deployment]) -> Self {
        let set = |field: fn(&Deployment) -> Option<&String>| {
            all.iter().filter_map(field).collect::<BTreeSet<_>>().into_iter().cloned().collect()
        };
        Self { providers: set(|d| d.provider.as_ref()), modes: set(|d| d.mode.as_ref()) }
    }
}

#[derive(Template)]
#[template(path = "models/show.html", blocks = ["content"])]
struct ModelPage {
    ui: Ui,
    data: ModelData,
}

#[derive(Serialize)]
struct ModelData {
    deployment: Deployment,
    /// Other deployments of the same name.
    siblings: Vec<Deployment>,
    /// Keys that may call it, at most twenty.
    keys: Vec<VirtualKey>,
    /// How many may, of those that have been read.
    keys_total: usize,
    keys_are_complete: bool,
    as_of: AsOf,
    trouble: Option<Trouble>,
}

impl Page for ModelPage {
    type Data = ModelData;

    fn ui(&self) -> &Ui {
        &self.ui
    }

    fn data(&self) -> &ModelData {
        &self.data
    }

    fn fragment(&self) -> askama::Result<String> {
        self.as_content().render()
    }
}

async fn show(State(state): State<AppState>, ui: Ui, Path(id): Path<String>) -> Result<Response, Problem> {
    let (registry, keys) = tokio::join!(state.registry.deployments(), state.keys.view());
    let all = match (&registry.value, &registry.problem) {
        (Some(all), _) => all,
        (None, Some(problem)) => return Err(Problem::of_client(problem)),
        (None, None) => return Err(Problem::not_found("The deployment")),
    };
    let found = all.iter().find(|deployment| deployment.id == id);
    let deployment = found.ok_or_else(|| Problem::not_found("The deployment"))?.clone();
    let same: Vec<&Deployment> = all.iter().filter(|other| other.name == deployment.name).collect();
    let may = |access: &Access| access.permits(&deployment.name, &same) == Permission::Allowed;
    let (keys_total, callers) = keys.keys.callers(&may, KEYS_SHOWN);
    let data = ModelData {
        siblings: same.iter().filter(|other| other.id != deployment.id).map(|&other| other.clone()).collect(),
        keys: callers,
        keys_total,
        keys_are_complete: keys.is_complete,
        as_of: AsOf { at: registry.at },
        trouble: registry.problem.as_ref().map(Trouble::of),
        deployment,
    };
    Ok(ModelPage { ui, data }.respond(StatusCode::OK))
}

impl Deployment {
    /// The name, or words that can be clicked on where it has none.
    fn label(&self) -> &str {
        if self.name.trim().is_empty() { "(no name)" } else { &self.name }
    }

    /// Why it cannot be changed, if it cannot.
    fn read_only_reason(&self) -> Option<&'static str> {
        (self.source == Source::Config).then_some(
            "It is defined in the proxy's configuration file, so only whoever owns that file can change it.",
        )
    }
}
