//! The proxy's virtual keys.

use std::cmp::Ordering;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tower_sessions::Session;

use crate::clients::Meaning;
use crate::domain::audit::Entry;
use crate::domain::key::{Access, KeyHash, KeyState, Permission, VirtualKey};
use crate::services::registry::serving;
use crate::web::auth::ActorOf;
use crate::web::errors::Problem;
use crate::web::pages::models::missing_last;
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::route;
use crate::web::respond::Page;
use crate::web::state::AppState;
use crate::web::table::{Column, Pager, Query, columns};
use crate::web::ui::{Flash, Ui, Wants};

/// Parameters that leave rows out.
const FILTERS: [&str; 3] = ["q", "model", "state"];

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route(route::KEYS, get(list))
        .route(route::KEY, get(show))
        .route(route::KEY_RELAX, post(relax))
}

/// A key, as tables and pages show it.
#[derive(Serialize)]
pub(crate) struct KeyRow {
    #[serde(flatten)]
    key: VirtualKey,
    state: KeyState,
    /// It is the agent's own.
    is_agents: bool,
}

impl KeyRow {
    fn of(key: VirtualKey, ui: &Ui, agents: Option<&KeyHash>) -> Self {
        Self { state: key.state(ui.now), is_agents: agents == Some(&key.hash), key }
    }

    fn tone(&self) -> &'static str {
        match self.state {
            KeyState::Active => "good",
            KeyState::Blocked | KeyState::Expired | KeyState::OverBudget => "bad",
        }
    }

    /// Spend as a share of the budget, for a bar.
    fn spent_share(&self) -> Option<f64> {
        let budget = self.key.max_budget.filter(|budget| *budget > 0.0)?;
        Some((self.key.spend / budget).clamp(0.0, 1.0))
    }
}

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
    /// Keys that the proxy has.
    issued: u64,
    /// Keys that have been read so far, and can be searched.
    read: usize,
    is_complete: bool,
    as_of: AsOf,
    trouble: Option<Trouble>,
}

impl Page for KeysPage {
    type Data = KeysData;

    fn ui(&self) -> &Ui {
        &self.ui
    }

    fn data(&self) -> &KeysData {
        &self.data
    }

    fn fragment(&self) -> askama::Result<String> {
        self.as_results().render()
    }
}

impl KeysPage {
    fn is_filtered(&self) -> bool {
        self.query.has(&FILTERS)
    }

    /// The same page again, for the progress of a copy that is not whole yet.
    fn here(&self) -> String {
        self.query.link(&self.ui.paths.keys(), &[])
    }
}

const COLUMNS: [(&str, &str, &str, bool); 7] = [
    ("alias", "Key", "", false),
    ("", "State", "", false),
    ("", "May call", "", false),
    ("spend", "Spend", "number", true),
    ("budget", "Budget", "", true),
    ("expires", "Expires", "", false),
    ("created", "Created", "", true),
];

async fn list(State(state): State<AppState>, ui: Ui, query: Query) -> Response {
    let (view, registry) = tokio::join!(state.keys.view(), state.registry.deployments());
    let trouble = view.problem.as_ref().map(Trouble::of);
    let status = Trouble::status(trouble.as_ref(), view.has_data());
    let path = ui.paths.keys();
    let deployments = registry.value.as_deref().map_or(&[][..], Vec::as_slice);
    let sorted = query.sort(&["alias", "spend", "budget", "expires", "created"], ("created", true));
    let model = query.get("model").to_owned();
    let serving = serving(deployments, &model);
    let may =
        |key: &VirtualKey| model.is_empty() || key.access.permits(&model, &serving) == Permission::Allowed;
    let wanted = query.get("state").parse::<KeyState>().ok();
    let mut rows: Vec<&Arc<VirtualKey>> = view
        .keys
        .iter()
        .filter(|key| {
            found(key, query.get("q")) && may(key) && wanted.is_none_or(|wanted| key.state(ui.now) == wanted)
        })
        .collect();
    rows.sort_by(|a, b| compare(a, b, sorted));
    let (pager, rows) = Pager::cut(&query, &path, rows);
    let agents = state.switcher.agent_key_hash();
    let data = KeysData {
        keys: rows.into_iter().map(|key| KeyRow::of((**key).clone(), &ui, agents.as_ref())).collect(),
        pager,
        issued: view.total,
        read: view.keys.len(),
        is_complete: view.is_complete,
        as_of: AsOf { at: view.at },
        trouble,
    };
    let has_no_database = view.problem.and_then(|problem| problem.meaning()) == Some(Meaning::NoDatabase);
    let columns = columns(&query, &path, sorted, &COLUMNS);
    let mut models: Vec<String> = deployments.iter().map(|deployment| deployment.name.clone()).collect();
    models.sort_unstable();
    models.dedup();
    KeysPage { ui, query, columns, data, models, has_no_database }.respond(status)
}

/// Part of the alias, the masked name, the hash, the owner, or a model that is named.
fn found(key: &VirtualKey, text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let text = text.to_lowercase();
    let holds = |field: &str| field.to_lowercase().contains(&text);
    let named = match &key.access {
        Access::List(models) => models.iter().any(|model| holds(model)),
        Access::All | Access::None => false,
    };
    key.alias.as_deref().is_some_and(holds)
        || holds(&key.masked)
        || holds(key.hash.as_str())
        || key.user_id.as_deref().is_some_and(holds)
        || named
}

fn compare(a: &VirtualKey, b: &VirtualKey, (column, downwards): (&str, bool)) -> Ordering {
    let directed = |order: Ordering| if downwards { order.reverse() } else { order };
    let number = |a: f64, b: f64| directed(a.total_cmp(&b));
    let first = match column {
        "alias" => missing_last(a.alias.as_deref(), b.alias.as_deref(), |a, b| {
            directed(a.to_lowercase().cmp(&b.to_lowercase()))
        }),
        "spend" => number(a.spend, b.spend),
        "budget" => missing_last(a.max_budget, b.max_budget, number),
        "expires" => missing_last(a.expires, b.expires, |a, b| directed(a.cmp(&b))),
        _ => missing_last(a.created_at, b.created_at, |a, b| directed(a.cmp(&b))),
    };
    first.then_with(|| a.hash.cmp(&b.hash))
}

#[derive(Template)]
#[template(path = "keys/show.html", blocks = ["content"])]
struct KeyPage {
    ui: Ui,
    data: KeyData,
}

#[derive(Serialize)]
struct KeyData {
    key: KeyRow,
    /// Names of registered models that it may call.
    reachable: Vec<String>,
    /// Names of registered models that it may not call.
    unreachable: Vec<String>,
    audit: Vec<Entry>,
    as_of: AsOf,
    /// It is a copy, since the proxy does not answer.
    trouble: Option<Trouble>,
}

impl Page for KeyPage {
    type Data = KeyData;

    fn ui(&self) -> &Ui {
        &self.ui
    }

    fn data(&self) -> &KeyData {
        &self.data
    }

    fn fragment(&self) -> askama::Result<String> {
        self.as_content().render()
    }
}

fn parse_hash(text: &str) -> Result<KeyHash, Problem> {
    text.parse().map_err(|_| Problem::not_found("The key"))
}

async fn show(State(state): State<AppState>, ui: Ui, Path(hash): Path<String>) -> Result<Response, Problem> {
    let hash = parse_hash(&hash)?;
    let (key, registry) = tokio::join!(state.keys.key(&hash), state.registry.deployments());
    let (key, as_of, trouble) = match key {
        Ok(Some(key)) => (key, AsOf { at: Some(ui.now) }, None),
        Ok(None) => return Err(Problem::not_found("The key")),
        Err(error) => match state.keys.copy_of(&hash) {
            Some((copy, at)) => ((*copy).clone(), AsOf { at }, Some(Trouble::of(&error))),
            None => return Err(Problem::of_client(&error)),
        },
    };
    let deployments = registry.value.as_deref().map_or(&[][..], Vec::as_slice);
    let mut names: Vec<&str> = deployments.iter().map(|deployment| deployment.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let may = |name: &&str| key.access.permits(name, &serving(deployments, name)) == Permission::Allowed;
    let (reachable, unreachable): (Vec<&str>, Vec<&str>) = names.into_iter().partition(may);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let data = KeyData {
        reachable: owned(reachable),
        unreachable: owned(unreachable),
        audit: state.store.audit_of(hash.as_str(), 20).await?,
        key: KeyRow::of(key, &ui, state.switcher.agent_key_hash().as_ref()),
        as_of,
        trouble,
    };
    Ok(KeyPage { ui, data }.respond(StatusCode::OK))
}

/// The guide's step: the key may call whatever is registered, now and later.
async fn relax(
    State(state): State<AppState>,
    ui: Ui,
    session: Session,
    ActorOf(actor): ActorOf,
    Path(hash): Path<String>,
) -> Result<Response, Problem> {
    let key = state.keys.relax(&parse_hash(&hash)?, &actor).await?;
    if ui.wants == Wants::Json {
        return Ok(Json(KeyRow::of(key, &ui, state.switcher.agent_key_hash().as_ref())).into_response());
    }
    Flash::set(&session, format!("{} may now call every model on the proxy.", key.label())).await;
    Ok(Redirect::to(&ui.paths.key(&key.hash)).into_response())
}
