//! The table.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::domain::context::{ContextState, KnownContext};
use crate::domain::control::AgentConfig;
use crate::services::contexts::{ContextFilter, Contexts};
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::table::{Column, Pager, Query, columns};
use crate::web::ui::Ui;

const FILTERS: [&str; 4] = ["q", "state", "agent", "model"];

#[derive(Template)]
#[template(path = "contexts/list.html", blocks = ["results"])]
struct ContextsPage {
    ui: Ui,
    query: Query,
    columns: Vec<Column>,
    data: ContextsData,
    chips: Vec<Chip>,
    agents: Vec<String>,
    models: Vec<String>,
}

struct Chip {
    label: &'static str,
    count: usize,
    href: String,
    is_chosen: bool,
}

#[derive(Serialize)]
struct ContextsData {
    contexts: Vec<KnownContext>,
    #[serde(flatten)]
    pager: Pager,
}

page!(ContextsPage, ContextsData, as_results);

impl ContextsPage {
    fn is_filtered(&self) -> bool {
        self.query.has(&FILTERS)
    }

    /// A switch of all contexts that are found.
    fn all(&self) -> String {
        let on = self.query.get("model");
        let changes = [
            ("filter", "1"),
            ("on", on),
            ("model", ""),
            ("page", ""),
            ("size", ""),
            ("sort", ""),
            ("dir", ""),
        ];
        self.query.link(&self.ui.paths.to(route::BulkNew), &changes)
    }
}

const COLUMNS: [(&str, &str, &str, bool); 6] = [
    ("context", "Context", "", false),
    ("agent", "Agent", "", false),
    ("model", "Model", "", false),
    ("answer", "Last answer", "", true),
    ("switched", "Switched", "", true),
    ("", "Actions", "actions-column", false),
];

pub(super) async fn list(
    State(contexts): State<Contexts>,
    ui: Ui,
    query: Query,
) -> Result<Response, Problem> {
    let filter = ContextFilter {
        text: query.get("q"),
        agent: query.get("agent"),
        model: query.get("model"),
        state: None,
    };
    let mut all = contexts.find(&ContextFilter::default()).await?;
    let values = |of: fn(&KnownContext) -> Option<String>| -> Vec<String> {
        all.iter().filter_map(of).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let (agents, models) = (values(|known| Some(known.agent.to_string())), values(model));
    all.retain(|known| filter.fits(known));
    let path = ui.paths.to(route::Contexts);
    let chips = chips(&all, &query, &path);
    if let Ok(state) = query.get("state").parse() {
        all.retain(|known| known.is_in(state));
    }
    let sorted = query.sort(&["context", "agent", "model", "answer", "switched"], ("switched", true));
    sort(&mut all, sorted);
    let columns = columns(&query, &path, sorted, &COLUMNS);
    let (pager, contexts) = Pager::cut(&query, &path, all);
    let data = ContextsData { contexts, pager };
    Ok(ContextsPage { ui, query, columns, data, chips, agents, models }.respond(StatusCode::OK))
}

fn model(known: &KnownContext) -> Option<String> {
    known.config.as_ref().map(AgentConfig::spec_text)
}

fn chips(found: &[KnownContext], query: &Query, path: &str) -> Vec<Chip> {
    let chosen: Option<ContextState> = query.get("state").parse().ok();
    let chip = |label, state: Option<ContextState>| Chip {
        label,
        count: found.iter().filter(|known| state.is_none_or(|state| known.is_in(state))).count(),
        href: query.link(path, &[("state", state.map_or("", <&str>::from)), ("page", "")]),
        is_chosen: chosen == state,
    };
    vec![
        chip("All", None),
        chip("Drifted", Some(ContextState::Drifted)),
        chip("Timed", Some(ContextState::Timed)),
        chip("Pinned", Some(ContextState::Pinned)),
    ]
}

/// Contexts without a value come last in both directions.
fn sort(all: &mut [KnownContext], (column, descending): (&str, bool)) {
    all.sort_by(|a, b| (&a.context, &a.agent).cmp(&(&b.context, &b.agent)));
    match column {
        "context" => by(all, descending, |known| Some(known.context.to_string())),
        "agent" => by(all, descending, |known| Some(known.agent.to_string())),
        "model" => by(all, descending, model),
        "answer" => by(all, descending, |known| known.served.as_ref().map(|served| served.at)),
        _ => by(all, descending, |known| known.last_swap_at),
    }
}

fn by<K: Ord>(all: &mut [KnownContext], descending: bool, of: impl Fn(&KnownContext) -> Option<K>) {
    if descending {
        all.sort_by_cached_key(|known| Reverse(of(known)));
    } else {
        all.sort_by_cached_key(|known| {
            let key = of(known);
            (key.is_none(), key)
        });
    }
}
