//! The proxy's log of calls, and one call of it.

mod show;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::domain::agent::AgentName;
use crate::domain::key::KeyHash;
use crate::domain::release;
use crate::domain::usage::Call;
use crate::domain::usage::report::Range;
use crate::services::agents::Agents;
use crate::services::calls::{Calls, Filter, Found, LEEWAY, Order, Searched};
use crate::services::contexts::Contexts;
use crate::services::proxy::Proxy;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::pages::Trouble;
use crate::web::pages::audit::time_of;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::state::services;
use crate::web::table::{Column, Pager, Query};
use crate::web::ui::Ui;

/// More than 100 rows a page the proxies refuse.
const SIZES: [usize; 2] = [50, 100];

const FILTERS: [&str; 9] = ["key", "agent", "asked", "served", "context", "status", "min_cost", "from", "to"];

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Calls::PATH, list).get(VIEWER, route::Call::PATH, show::show)
}

services! {
    struct Services {
        calls: Calls,
        agents: Agents,
        contexts: Contexts,
        proxy: Proxy,
    }
}

#[derive(Template)]
#[template(path = "calls/list.html", blocks = ["results"])]
struct CallsPage {
    ui: Ui,
    query: Query,
    columns: Vec<Column>,
    range: Option<Range>,
    agents: Vec<AgentName>,
    release: Option<String>,
    data: CallsData,
}

#[derive(Serialize)]
struct CallsData {
    calls: Vec<CallRow>,
    #[serde(flatten)]
    pager: Pager,
    /// Where Patchbay searched since the release cannot: how many of how many calls.
    searched: Option<Searched>,
    /// Whether the release has a log of calls.
    has_log: bool,
    from: Timestamp,
    to: Timestamp,
    errors: FieldErrors,
    trouble: Option<Trouble>,
}

#[derive(Serialize)]
struct CallRow {
    #[serde(flatten)]
    call: Call,
    /// Whose key it is.
    agent: Option<AgentName>,
}

page!(CallsPage, CallsData, as_results);

impl CallRow {
    fn of(call: Call, agents: &Agents) -> Self {
        let hashes = agents.key_hashes();
        let mut of_key = hashes.into_iter().filter(|(_, hash)| Some(hash) == call.key.as_ref());
        // A key that several agents share does not say whose call it was.
        let agent = of_key.next().map(|(agent, _)| agent).filter(|_| of_key.next().is_none());
        Self { call, agent }
    }
}

impl CallsPage {
    /// The calls of the same conversation.
    fn of_context(&self, session: &str) -> String {
        self.ui.paths.calls_of("context", session)
    }

    fn is_filtered(&self) -> bool {
        self.query.has(&FILTERS)
    }

    fn here(&self, changes: &[(&str, &str)]) -> String {
        self.query.link(&self.ui.paths.to(route::Calls), changes)
    }

    /// A range in the place of the times and the page.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as templates pass it")]
    fn of_range(&self, range: &Range) -> String {
        self.here(&[("range", range.as_str()), ("from", ""), ("to", ""), ("page", "")])
    }

    /// How far the release goes, in words.
    fn reach(&self) -> Vec<String> {
        use release::Feature::{FilterFailedByKey, SortCalls};
        let version = self.release.as_deref().unwrap_or_default();
        [SortCalls, FilterFailedByKey].into_iter().filter_map(|one| release::cannot(version, one)).collect()
    }

    /// What a filter is called, its value and the page without it.
    fn chips(&self) -> Vec<(&'static str, String, String)> {
        let labels = [("from", "From"), ("to", "To"), ("key", "Key"), ("context", "Context")];
        let given = labels.into_iter().filter(|(name, _)| !self.query.get(name).is_empty());
        given
            .map(|(name, label)| {
                let value = self.ui.short(self.query.get(name)).into_owned();
                (label, value, self.here(&[(name, ""), ("page", "")]))
            })
            .collect()
    }
}

async fn list(State(state): State<Services>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let range = range(&query);
    let order = if query.get("sort") == "cost" { Order::Cost } else { Order::Newest };
    let data = load(&state, &ui, &query, range, order).await;
    let status = match &data.trouble {
        _ if !data.errors.is_empty() => StatusCode::UNPROCESSABLE_ENTITY,
        trouble => Trouble::status(trouble.as_ref(), false),
    };
    let columns = columns(&query, &ui.paths.to(route::Calls), order);
    let agents = state.agents.key_hashes().into_iter().map(|(agent, _)| agent).collect();
    let release = state.proxy.health().await.value.and_then(|health| health.version.clone());
    Ok(CallsPage { ui, query, columns, range, agents, release, data }.respond(status))
}

async fn load(state: &Services, ui: &Ui, query: &Query, range: Option<Range>, order: Order) -> CallsData {
    let size = query.get("size").parse().ok().filter(|size| SIZES.contains(size)).unwrap_or(SIZES[0]);
    let (filter, errors) = filter(state, query, ui.now, range);
    let page = query.get("page").parse().unwrap_or(1).clamp(1, 100_000);
    let found = if errors.is_empty() {
        state.calls.find(&filter, order, page, size).await
    } else {
        Ok(Some(Found::default()))
    };
    let trouble = found.as_ref().err().map(Trouble::of);
    let has_log = !matches!(found, Ok(None));
    let Found { calls, total, searched } = found.ok().flatten().unwrap_or_default();
    let total = usize::try_from(total).unwrap_or(usize::MAX);
    CallsData {
        calls: calls.into_iter().map(|call| CallRow::of(call, &state.agents)).collect(),
        pager: Pager::of_size(query, &ui.paths.to(route::Calls), total, size).0,
        searched,
        has_log,
        from: filter.from,
        to: filter.to,
        errors,
        trouble,
    }
}

/// Milliseconds of a call, in words.
#[expect(clippy::cast_precision_loss, reason = "shown to three digits")]
fn took(ui: &Ui, milliseconds: &i128) -> String {
    ui.ms(&(*milliseconds as f64))
}

/// None where times are given; a conversation is looked for in all of the log's month.
fn range(query: &Query) -> Option<Range> {
    let default = if query.has(&["context"]) { Range::Month } else { Range::Day };
    (!query.has(&["from", "to"])).then(|| query.get("range").parse().unwrap_or(default))
}

/// Newest or dearest first; the other way round no release sorts them.
fn columns(query: &Query, path: &str, order: Order) -> Vec<Column> {
    let column = |label, class, sort: Option<(&str, Order)>| Column {
        label,
        class,
        href: sort.map_or(String::new(), |(name, _)| query.link(path, &[("sort", name), ("page", "")])),
        order: if sort.is_some_and(|(_, by)| by == order) { "descending" } else { "none" },
    };
    vec![
        column("Time", "", Some(("time", Order::Newest))),
        column("Status", "", None),
        column("Model", "", None),
        column("Key", "", None),
        column("Context", "", None),
        column("Tokens", "number", None),
        column("Took", "number", None),
        column("Cost", "number", Some(("cost", Order::Cost))),
    ]
}

fn filter(state: &Services, query: &Query, now: Timestamp, range: Option<Range>) -> (Filter, FieldErrors) {
    let mut errors = FieldErrors::default();
    let text = |name| Some(query.get(name).trim().to_owned()).filter(|text| !text.is_empty());
    let (from, to) = times(query, now, range, &mut errors);
    let key = match text("key").map(|key| key.parse::<KeyHash>()) {
        Some(Err(_)) => {
            errors.add("key", "Filter by a key's hash: the key's page has a link to its calls.");
            None
        }
        key => key.and_then(Result::ok),
    };
    let of_agent = text("agent").map(|agent| {
        let hashes = state.agents.key_hashes();
        hashes.into_iter().find(|(name, _)| name.as_str() == agent).map(|(_, hash)| hash)
    });
    if of_agent == Some(None) {
        errors.add("agent", "No key is known for this agent, so its calls cannot be identified.");
    }
    let min_cost = text("min_cost").map(|cost| cost.trim_start_matches('$').parse::<f64>());
    if !matches!(min_cost, None | Some(Ok(0.0..=1e9))) {
        errors.add("min_cost", "Write the cost in US dollars, for example 0.05.");
    }
    let filter = Filter {
        from,
        to,
        key: key.or(of_agent.flatten()),
        asked: text("asked"),
        served: text("served"),
        context: text("context"),
        failed: [("failed", true), ("ok", false)]
            .into_iter()
            .find_map(|(name, failed)| (query.get("status") == name).then_some(failed)),
        min_cost: min_cost.and_then(Result::ok),
    };
    (filter, errors)
}

/// From when to when: a range up to now, or the times that are given, else the last month.
fn times(
    query: &Query,
    now: Timestamp,
    range: Option<Range>,
    errors: &mut FieldErrors,
) -> (Timestamp, Timestamp) {
    let back = |range: Range| match range {
        Range::Hour => now - SignedDuration::from_hours(1),
        Range::Day => now - SignedDuration::from_hours(24),
        Range::Week => now - SignedDuration::from_hours(7 * 24),
        Range::Month => now - SignedDuration::from_hours(30 * 24),
    };
    if let Some(range) = range {
        return (back(range), now + LEEWAY);
    }
    let mut time = |name, is_end, default| match query.get(name).trim() {
        "" => default,
        text => time_of(text, is_end).unwrap_or_else(|| {
            errors.add(name, "Write the time as 2026-11-22 or 2026-11-22T10:30, in UTC.");
            default
        }),
    };
    let from = time("from", false, back(Range::Month));
    // An end is the end of a minute or day: its last second still counts.
    (from, time("to", true, now + LEEWAY) - SignedDuration::from_secs(1))
}
