//! Spend by day, key and model; swaps by day; which models the contexts are on.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::domain::usage::{DailySpend, Share};
use crate::services::contexts::Contexts;
use crate::services::proxy::Proxy;
use crate::services::proxy::{DAYS, Usage};
use crate::services::switcher::Switcher;
use crate::store::SwapDay;
use crate::web::charts::{self, Day, DayChart};
use crate::web::errors::Problem;
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::state::services;
use crate::web::ui::Ui;

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Usage::PATH, show)
}

services! {
    struct Services {
        contexts: Contexts,
        proxy: Proxy,
        switcher: Switcher,
    }
}

#[derive(Template)]
#[template(path = "usage.html", blocks = ["content"])]
struct UsagePage {
    ui: Ui,
    data: UsageData,
}

#[derive(Serialize)]
struct UsageData {
    /// None where the proxy never told.
    usage: Option<Usage>,
    as_of: AsOf,
    trouble: Option<Trouble>,
    swaps: Vec<SwapDay>,
    contexts: Vec<OnModel>,
}

#[derive(Debug, PartialEq, Serialize)]
struct OnModel {
    model: String,
    contexts: u64,
}

page!(UsagePage, UsageData, as_content);

impl UsagePage {
    fn spent(&self, usage: &Usage) -> String {
        self.ui.money(&usage.days.iter().map(|day| day.spend).sum())
    }

    fn calls(&self, usage: &Usage) -> String {
        let calls = usage.days.iter().map(|day| day.requests).sum();
        format!("{} call{}", self.ui.count(&calls), if calls == 1 { "" } else { "s" })
    }

    fn spend_chart(&self, usage: &Usage) -> DayChart {
        spend_chart(&self.ui, &usage.days)
    }

    /// Days with calls, the newest first.
    fn busy(usage: &Usage) -> Vec<&DailySpend> {
        usage.days.iter().rev().filter(|day| day.requests > 0 || day.spend > 0.0).collect()
    }

    fn share(share: &Share, all: &[Share]) -> String {
        charts::share(share.spend, all.iter().map(|share| share.spend).fold(0.0, f64::max))
    }

    fn swaps_chart(&self) -> DayChart {
        let today = self.ui.now.to_zoned(TimeZone::UTC).date();
        let first = today.checked_sub(jiff::Span::new().days(DAYS - 1)).unwrap_or(today);
        let days = first.series(jiff::Span::new().days(1)).take_while(|day| *day <= today).map(|date| {
            let found = self.data.swaps.iter().find(|day| day.date == date);
            let (good, bad) = found.map_or((0, 0), |day| (day.succeeded, day.failed));
            Day {
                date,
                parts: vec![("good", as_f64(good)), ("bad", as_f64(bad))],
                title: format!("{date}: {good} succeeded, {bad} did not"),
            }
        });
        DayChart::new("Swaps by day", days.collect(), |most| format!("{most:.0}"))
    }

    fn on_share(&self, on: &OnModel) -> String {
        let most = self.data.contexts.first().map_or(0, |first| first.contexts);
        charts::share(as_f64(on.contexts), as_f64(most))
    }
}

pub(crate) fn spend_chart(ui: &Ui, days: &[DailySpend]) -> DayChart {
    // A day with calls shows, be they ever so cheap, where any day has cost something.
    let least = if days.iter().any(|day| day.spend > 0.0) { f64::MIN_POSITIVE } else { 0.0 };
    let day = |day: &DailySpend| Day {
        date: day.date,
        parts: vec![("", if day.requests > 0 { day.spend.max(least) } else { day.spend })],
        title: format!("{}: {}, {} calls", day.date, ui.money(&day.spend), ui.count(&day.requests)),
    };
    DayChart::new("Spend by day", days.iter().map(day).collect(), |most| ui.money(&most))
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

async fn show(State(state): State<Services>, ui: Ui) -> Result<Response, Problem> {
    let since = ui.now - jiff::SignedDuration::from_hours(24 * DAYS);
    let view = state.proxy.usage().await;
    let by_model = state.contexts.by_model().await?;
    let mut contexts: Vec<_> =
        by_model.into_iter().map(|(model, contexts)| OnModel { model, contexts }).collect();
    contexts.sort_by(|a, b| b.contexts.cmp(&a.contexts).then_with(|| a.model.cmp(&b.model)));
    let trouble = view.problem.as_ref().map(Trouble::of);
    let data = UsageData {
        usage: view.value.as_deref().cloned(),
        as_of: AsOf::of(view.at),
        trouble,
        swaps: state.switcher.by_day(since).await?,
        contexts,
    };
    Ok(UsagePage { ui, data }.respond(StatusCode::OK))
}
