//! Which keys may call which models.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::KeyRow;
use super::Services;
use super::filter::{self, FILTERS};
use super::list::{load, names};
use crate::domain::key::Access;
use crate::domain::model::{Deployment, ModelSpec};
use crate::domain::permission::{Denial, Verdict};
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::table::{Pager, Query};
use crate::web::ui::Ui;

const COLUMNS: usize = 30;

#[derive(Template)]
#[template(path = "keys/matrix.html", blocks = ["content"])]
struct MatrixPage {
    ui: Ui,
    query: Query,
    data: MatrixData,
    earlier: Option<String>,
    later: Option<String>,
}

#[derive(Serialize)]
struct MatrixData {
    models: Vec<MatrixModel>,
    models_total: usize,
    rows: Vec<MatrixRow>,
    #[serde(flatten)]
    pager: Pager,
    is_complete: bool,
    as_of: AsOf,
    trouble: Option<Trouble>,
}

#[derive(Serialize)]
struct MatrixModel {
    name: String,
    /// An agent can be switched to it: it has a provider in its name.
    is_switchable: bool,
}

#[derive(Serialize)]
struct MatrixRow {
    key: KeyRow,
    cells: Vec<MatrixCell>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Cell {
    All,
    Listed,
    Covered,
    NotKnown,
    /// Not for want of a model's name: blocked, expired, over budget, or by its team.
    Refused,
    Missing,
    Needed,
}

#[derive(Serialize)]
#[serde(transparent)]
struct MatrixCell {
    state: Cell,
    #[serde(skip)]
    why: String,
}

page!(MatrixPage, MatrixData, as_content);

impl MatrixPage {
    fn is_filtered(&self) -> bool {
        self.query.has(&FILTERS)
    }

    fn back(&self) -> String {
        self.query.link("", &[]).trim_start_matches('?').to_owned()
    }
}

pub(super) async fn show(State(state): State<Services>, ui: Ui, query: Query) -> Response {
    let ((view, ..), registry) = tokio::join!(load(&state, &query), state.registry.refresh());
    let rules = state.keys.rules(&view).await;
    let catalog = registry.value.clone().unwrap_or_default();
    let problem = view.problem.as_ref().filter(|_| !view.has_data()).or(registry.problem.as_ref());
    let trouble = problem.map(Trouble::of);
    let status = Trouble::status(trouble.as_ref(), view.has_data());
    let path = ui.paths.to(route::KeysMatrix);
    let mut found = filter::find(&query, &view, (&catalog, &rules), ui.now);
    // The agents' own keys stand first: a swap needs them.
    for (_, hash) in state.agents.key_hashes() {
        found = found.led_by(&hash);
    }
    let (pager, shown) = Pager::of(&query, &path, found.len());
    let (columns, models_total, [earlier, later]) = model_columns(&query, &catalog, &path);
    let rows = found.range(shown).map(|key| {
        let key = KeyRow::of(key, &ui, &state);
        let verdict = |model: &MatrixModel| rules.may_call(&key.key, &catalog.target(&model.name), ui.now);
        MatrixRow { cells: columns.iter().map(|model| cell(&key, model, verdict(model))).collect(), key }
    });
    let data = MatrixData {
        rows: rows.collect(),
        models: columns,
        models_total,
        pager,
        is_complete: view.is_complete,
        as_of: AsOf::of(view.at),
        trouble,
    };
    MatrixPage { ui, query, data, earlier, later }.respond(status)
}

fn model_columns(
    query: &Query,
    deployments: &[Deployment],
    path: &str,
) -> (Vec<MatrixModel>, usize, [Option<String>; 2]) {
    let text = query.get("models").to_lowercase();
    let wanted: Vec<String> =
        names(deployments).into_iter().filter(|name| name.to_lowercase().contains(&text)).collect();
    let pages = wanted.len().div_ceil(COLUMNS).max(1);
    let page = query.get("models_page").parse().unwrap_or(1).clamp(1, pages);
    let link = |page: usize| query.link(path, &[("models_page", &page.to_string())]);
    let total = wanted.len();
    let columns = wanted.into_iter().skip((page - 1) * COLUMNS).take(COLUMNS);
    let columns = columns.map(|name| MatrixModel { is_switchable: name.parse::<ModelSpec>().is_ok(), name });
    let earlier = (page > 1).then(|| link(page - 1));
    let later = (page < pages).then(|| link(page + 1));
    (columns.collect(), total, [earlier, later])
}

fn cell(row: &KeyRow, model: &MatrixModel, verdict: Verdict) -> MatrixCell {
    let state = match verdict {
        Verdict::Allowed => match &row.key.access {
            Access::List(models) if models.contains(&model.name) => Cell::Listed,
            Access::All if row.key.team_id.is_none() => Cell::All,
            _ => Cell::Covered,
        },
        Verdict::NotKnown(_) => Cell::NotKnown,
        Verdict::Denied(Denial::NotListed) if row.is_agents && model.is_switchable => Cell::Needed,
        Verdict::Denied(Denial::NotListed) => Cell::Missing,
        Verdict::Denied(_) => Cell::Refused,
    };
    MatrixCell { state, why: verdict.to_string() }
}
