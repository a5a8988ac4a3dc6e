//! The table.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::Services;
use crate::domain::model::Deployment;
use crate::domain::model_note::{Note, TestResult};
use crate::services::registry::KeyCount;
use crate::store::StoreError;
use crate::web::errors::Problem;
use crate::web::pages::{AsOf, Trouble};
use crate::web::respond::{Page, page};
use crate::web::table::{Column, Pager, Query, columns};
use crate::web::ui::{Ui, Wants};

const FILTERS: [&str; 5] = ["q", "provider", "mode", "source", "blocked"];

#[derive(Serialize)]
struct ModelRow {
    #[serde(flatten)]
    deployment: Deployment,
    siblings: usize,
    /// Keys that may call it; none where the keys have not been read.
    keys: Option<usize>,
    contexts: u64,
    test: Option<TestResult>,
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
    registered: usize,
    ghosts: Vec<Note>,
    /// Whether the keys were there to be counted; none where none were read.
    keys_are_complete: Option<bool>,
    as_of: AsOf,
    trouble: Option<Trouble>,
}

struct Options {
    providers: Vec<String>,
    modes: Vec<String>,
}

page!(ModelsPage, ModelsData, as_results);

impl ModelsPage {
    fn is_filtered(&self) -> bool {
        self.query.has(&FILTERS)
    }

    /// The same page with the keys counted.
    fn with_keys(&self) -> String {
        self.query.link(&self.ui.paths.models(), &[("keys", "read")])
    }
}

pub(super) async fn list(State(state): State<Services>, ui: Ui, query: Query) -> Result<Response, Problem> {
    if query.has(&["keys"]) {
        state.keys.view().await;
    }
    // A script gets what is there now, and so does who asks for it.
    let view = if ui.wants == Wants::Json || query.is_fresh() {
        state.registry.deployments().await
    } else {
        state.registry.glance().await
    };
    let trouble = view.problem.as_ref().map(Trouble::of);
    let status = Trouble::status(trouble.as_ref(), view.value.is_some());
    let all = view.value.as_deref().map_or(&[][..], Vec::as_slice);
    let path = ui.paths.models();
    let sorted = query.sort(&SORTS, BY_NAME);
    let mut rows: Vec<&Deployment> = all.iter().filter(|deployment| fits(deployment, &query)).collect();
    // They come by their names.
    if sorted != BY_NAME {
        rows.sort_by(|a, b| compare(a, b, sorted));
    }
    let (pager, rows) = Pager::cut(&query, &path, rows);
    let keys = state.models.key_count();
    let data = ModelsData {
        deployments: complete(&state, rows, all, keys.as_deref()).await?,
        pager,
        registered: all.len(),
        ghosts: if_there(state.models.ghosts().await)?,
        keys_are_complete: keys.map(|keys| keys.is_complete),
        as_of: AsOf { at: view.at, is_renewing: view.is_renewing },
        trouble,
    };
    let columns = columns(&query, &path, sorted, &COLUMNS);
    let options = Options::of(all);
    Ok(ModelsPage { ui, query, columns, data, options }.respond(status))
}

/// Without the database the registry is shown all the same; the page says what is missing.
fn if_there<T: Default>(kept: Result<T, StoreError>) -> Result<T, StoreError> {
    match kept {
        Err(error) if error.is_outage() => Ok(T::default()),
        kept => kept,
    }
}

async fn complete(
    state: &Services,
    rows: Vec<&Deployment>,
    all: &[Deployment],
    keys: Option<&KeyCount>,
) -> Result<Vec<ModelRow>, Problem> {
    let ids: Vec<&str> = rows.iter().map(|deployment| deployment.id.as_str()).collect();
    let mut notes = if_there(state.store.deployment_notes(&ids).await)?;
    let contexts = if_there(state.store.contexts_by_model().await)?;
    let names = names(all);
    let row = |deployment: &Deployment| {
        let (siblings, groups) = &names[deployment.name.as_str()];
        ModelRow {
            siblings: *siblings,
            keys: keys.map(|keys| keys.may_call(&deployment.name, groups)),
            contexts: contexts.get(&deployment.name).copied().unwrap_or(0),
            test: notes.remove(&deployment.id).and_then(|note| note.test),
            deployment: deployment.clone(),
        }
    };
    Ok(rows.into_iter().map(row).collect())
}

const BY_NAME: (&str, bool) = ("name", false);

const SORTS: [&str; 7] = ["name", "provider", "source", "mode", "context", "input", "output"];

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

fn names(all: &[Deployment]) -> HashMap<&str, (usize, Vec<&str>)> {
    let mut names: HashMap<&str, (usize, Vec<&str>)> = HashMap::new();
    for deployment in all {
        let (count, groups) = names.entry(deployment.name.as_str()).or_default();
        *count += 1;
        groups.extend(deployment.access_groups.iter().map(String::as_str));
    }
    names
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
    let text = |a: &str, b: &str| -> Ordering { directed(lower(a).cmp(lower(b)), downwards) };
    let first = match column {
        "provider" => missing_last(a.provider.as_deref(), b.provider.as_deref(), text),
        "source" => directed(a.source.as_str().cmp(b.source.as_str()), downwards),
        "mode" => missing_last(a.mode.as_deref(), b.mode.as_deref(), text),
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

fn lower(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
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
