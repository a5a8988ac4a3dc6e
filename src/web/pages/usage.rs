//! What calls cost, by time and by model or key; which models the contexts are on.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::domain::usage::report::{Bar, By, Measure, Range, Report, Total, View};
use crate::domain::usage::{Call, Sums};
use crate::services::agents::Agents;
use crate::services::calls::{Calls, Measured};
use crate::services::contexts::Contexts;
use crate::web::charts::{self, BarChart, Part, Slot};
use crate::web::errors::Problem;
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::{route, with_query};
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::state::services;
use crate::web::table::Query;
use crate::web::ui::Ui;
use crate::web::zone;

/// Series with a colour of their own; what is less is drawn as one.
const COLOURS: usize = 6;

/// Rows of the table of series.
const ROWS: usize = 50;

/// Calls of the list of the dearest.
const DEAREST: usize = 5;

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Usage::PATH, show)
}

services! {
    struct Services {
        contexts: Contexts,
        calls: Calls,
        agents: Agents,
    }
}

#[derive(Template)]
#[template(path = "usage.html", blocks = ["results"])]
struct UsagePage {
    ui: Ui,
    query: Query,
    view: View,
    data: UsageData,
}

#[derive(Serialize)]
struct UsageData {
    range: Range,
    measure: Measure,
    by: By,
    /// The zone in which bars begin.
    zone: String,
    /// None where the proxy never answered.
    report: Option<Report>,
    dearest: Vec<Call>,
    /// Whether the bars are the proxy's daily sums, and how many calls were too many to read.
    is_by_utc_day: bool,
    logged: u64,
    /// Calls that were read, and that there are, where not all were read; since when.
    cut: Option<(u64, u64, jiff::Timestamp)>,
    has_log: bool,
    as_of: AsOf,
    trouble: Option<Trouble>,
    contexts: Vec<OnModel>,
    /// The agents' keys, for the names of rows.
    #[serde(skip)]
    agents: Vec<(String, String)>,
}

#[derive(Debug, PartialEq, Serialize)]
struct OnModel {
    model: String,
    contexts: u64,
}

page!(UsagePage, UsageData, as_results);

impl UsagePage {
    fn here(&self, changes: &[(&str, &str)]) -> String {
        self.query.link(&self.ui.paths.to(route::Usage), changes)
    }

    fn value(&self, sums: &Sums) -> String {
        match self.view.measure {
            Measure::Cost => self.ui.money(&sums.spend),
            Measure::Calls => self.ui.count(&sums.calls),
            Measure::Errors => self.ui.count(&sums.failed),
            Measure::Tokens => self.ui.tokens(&sums.tokens),
        }
    }

    /// When a bar begins.
    fn when(&self, bar: &Bar) -> String {
        let format = if self.view.range.is_by_day() { "%-d %b" } else { "%H:%M" };
        zone::local(&bar.from, self.offset(), format)
    }

    /// Daily sums are by day of UTC, whatever the viewer's zone.
    fn offset(&self) -> i32 {
        if self.data.is_by_utc_day { 0 } else { self.ui.offset }
    }

    fn name(&self, total: &Total) -> String {
        let hash = total.series.key.as_ref().map(ToString::to_string);
        let agent = hash.and_then(|hash| self.data.agents.iter().find(|(_, key)| *key == hash));
        match (agent, total.series.label.as_str()) {
            (Some((agent, _)), label) if label == agent => format!("{agent} (agent)"),
            (Some((agent, _)), label) => format!("{} (agent {agent})", self.ui.short(label)),
            (None, "") => "not named".to_owned(),
            (None, label) => self.ui.short(label).into_owned(),
        }
    }

    /// The calls of a series; of all series for none. None where the log cannot be filtered by it.
    fn calls(&self, total: Option<&Total>, bar: Option<&Bar>) -> Option<String> {
        let mut query = match bar {
            Some(bar) => {
                let last = bar.to - jiff::SignedDuration::from_mins(1);
                vec![("from", stamp(bar.from)), ("to", stamp(last))]
            }
            None => vec![("range", self.view.range.as_str().to_owned())],
        };
        if let Some(Total { series, .. }) = total {
            query.push(match (&series.key, self.view.by, series.label.as_str()) {
                (Some(key), ..) => ("key", key.to_string()),
                (None, By::Model, label) if !label.is_empty() => ("served", label.to_owned()),
                _ => return None,
            });
        }
        if self.view.measure == Measure::Errors {
            query.push(("status", "failed".to_owned()));
        }
        Some(self.ui.paths.to(with_query(route::Calls, query)))
    }

    fn chart(&self, report: &Report) -> BarChart {
        let last = report.bars.len().saturating_sub(1);
        let slot = |(at, bar): (usize, &Bar)| {
            let (own, rest) = bar.parts.split_at(bar.parts.len().min(COLOURS));
            let when = self.when(bar);
            let unfinished = if at == last { " unfinished" } else { "" };
            let mut parts: Vec<Part> = own
                .iter()
                .enumerate()
                .map(|(at, sums)| Part {
                    tone: format!("c{at}{unfinished}"),
                    value: self.view.measure.of(sums),
                    title: format!("{when}, {}: {}", self.name(&report.series[at]), self.value(sums)),
                    href: self.calls(Some(&report.series[at]), Some(bar)).unwrap_or_default(),
                })
                .collect();
            let mut others = Sums::default();
            for sums in rest {
                others.add(sums);
            }
            parts.push(Part {
                tone: format!("others{unfinished}"),
                value: self.view.measure.of(&others),
                title: format!("{when}, others: {}", self.value(&others)),
                href: self.calls(None, Some(bar)).unwrap_or_default(),
            });
            Slot { label: when, parts }
        };
        let write = |most: f64| match self.view.measure {
            Measure::Cost => self.ui.money(&most),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of counts")]
            _ => self.ui.tokens(&(most as u64)),
        };
        BarChart::new(self.view.measure.as_str(), report.bars.iter().enumerate().map(slot).collect(), write)
    }

    fn colour(at: usize) -> String {
        if at < COLOURS { format!("c{at}") } else { "others".to_owned() }
    }

    fn share(&self, total: &Total, report: &Report) -> String {
        let measure = self.view.measure;
        charts::share(measure.of(&total.sums), measure.of(&report.total))
    }

    /// Bars with calls, the newest first.
    fn busy(report: &Report) -> Vec<&Bar> {
        report.bars.iter().rev().filter(|bar| bar.total.calls > 0).collect()
    }

    fn on_share(&self, on: &OnModel) -> String {
        let most = self.data.contexts.first().map_or(0, |first| first.contexts);
        charts::share(as_f64(on.contexts), as_f64(most))
    }
}

fn stamp(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

async fn show(State(state): State<Services>, ui: Ui, query: Query) -> Result<Response, Problem> {
    let view = View {
        range: query.get("range").parse().unwrap_or_default(),
        measure: query.get("measure").parse().unwrap_or_default(),
        by: query.get("by").parse().unwrap_or_default(),
        offset: ui.offset,
    };
    let data = load(&state, &ui, view).await?;
    Ok(UsagePage { ui, query, view, data }.respond(StatusCode::OK))
}

async fn load(state: &Services, ui: &Ui, view: View) -> Result<UsageData, Problem> {
    let copy = state.calls.usage(view.range).await;
    let measured = copy.value.as_deref();
    let is_by_utc_day = measured.is_some_and(Measured::is_by_utc_day);
    Ok(UsageData {
        range: view.range,
        measure: view.measure,
        by: view.by,
        zone: if is_by_utc_day { "UTC".to_owned() } else { ui.zone() },
        report: measured.map(|measured| measured.report(view, ui.now)),
        dearest: measured.map(|measured| measured.dearest(view, ui.now, DEAREST)).unwrap_or_default(),
        is_by_utc_day,
        logged: measured.map_or(0, Measured::logged),
        cut: measured.and_then(Measured::cut),
        has_log: measured.is_none_or(Measured::has_log),
        as_of: AsOf { at: copy.at, is_renewing: copy.is_renewing },
        trouble: copy.problem.as_ref().map(Trouble::of),
        contexts: contexts(state).await?,
        agents: agents(&state.agents),
    })
}

fn agents(agents: &Agents) -> Vec<(String, String)> {
    agents.key_hashes().into_iter().map(|(agent, key)| (agent.to_string(), key.to_string())).collect()
}

async fn contexts(state: &Services) -> Result<Vec<OnModel>, Problem> {
    let by_model = state.contexts.by_model().await?;
    let mut contexts: Vec<_> =
        by_model.into_iter().map(|(model, contexts)| OnModel { model, contexts }).collect();
    contexts.sort_by(|a, b| b.contexts.cmp(&a.contexts).then_with(|| a.model.cmp(&b.model)));
    Ok(contexts)
}
