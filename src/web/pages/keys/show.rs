//! One key.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::Services;
use super::list::names;
use super::{KeyRow, metadata};
use crate::clients::litellm::KeyRecord;
use crate::domain::audit::Entry;
use crate::domain::key::KeyHash;
use crate::domain::permission::Verdict;
use crate::domain::usage::{Call, DailySpend};
use crate::store::Retirement;
use crate::web::charts::{BarChart, Part, Slot};
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::pages::{AsOf, Trouble};
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::ui::Ui;

#[derive(Template)]
#[template(path = "keys/show.html", blocks = ["content"])]
struct KeyPage {
    ui: Ui,
    data: KeyData,
}

#[derive(Serialize)]
struct KeyData {
    key: KeyRow,
    metadata: String,
    #[serde(flatten)]
    models: Reach,
    spend_by_day: Vec<DailySpend>,
    calls: Vec<Call>,
    /// Why there are none, if there are none.
    #[serde(skip)]
    no_calls: &'static str,
    usage_trouble: Option<Trouble>,
    audit: Vec<Entry>,
    retirement: Option<Retirement>,
    errors: FieldErrors,
    as_of: AsOf,
    /// It is a copy, since the proxy does not answer.
    trouble: Option<Trouble>,
}

/// The registered models by whether the key may call them, and why not.
#[derive(Default, Serialize)]
struct Reach {
    reachable: Vec<String>,
    unreachable: Vec<(String, String)>,
    not_known: Vec<(String, String)>,
}

page!(KeyPage, KeyData, as_content);

impl KeyPage {
    fn spent(&self) -> String {
        self.ui.money(&self.data.spend_by_day.iter().map(|day| day.spend).sum::<f64>())
    }

    fn chart(&self) -> BarChart {
        let (ui, days) = (&self.ui, &self.data.spend_by_day);
        // A day with calls shows, be they ever so cheap, where any day has cost something.
        let least = if days.iter().any(|day| day.spend > 0.0) { f64::MIN_POSITIVE } else { 0.0 };
        let slot = |day: &DailySpend| Slot {
            label: day.date.strftime("%-d %b").to_string(),
            parts: vec![Part {
                tone: String::new(),
                value: if day.requests > 0 { day.spend.max(least) } else { day.spend },
                title: format!("{}: {}, {} calls", day.date, ui.money(&day.spend), ui.count(&day.requests)),
                href: String::new(),
            }],
        };
        BarChart::new("Spend by day", days.iter().map(slot).collect(), |most| ui.money(&most))
    }

    /// Days with calls, the newest first.
    fn busy_days(&self) -> Vec<&DailySpend> {
        self.data.spend_by_day.iter().rev().filter(|day| day.requests > 0 || day.spend > 0.0).collect()
    }
}

pub(super) async fn show(
    State(state): State<Services>,
    ui: Ui,
    route::Key(hash): route::Key,
) -> Result<Response, Problem> {
    page(&state, ui, &hash, FieldErrors::default()).await
}

pub(super) async fn page(
    state: &Services,
    ui: Ui,
    hash: &KeyHash,
    errors: FieldErrors,
) -> Result<Response, Problem> {
    let (record, registry, days, calls) = tokio::join!(
        state.keys.record(hash),
        state.registry.refresh(),
        state.keys.daily_spend(hash),
        state.keys.calls(hash),
    );
    let (key, metadata, as_of, trouble) = match record {
        Ok(Some(KeyRecord { key, metadata, .. })) => {
            (key, metadata::to_text(&metadata), AsOf::of(Some(ui.now)), None)
        }
        Ok(None) => return Err(Problem::not_found("The key")),
        Err(error) => match state.keys.copy_of(hash) {
            Some((copy, at)) => (copy, String::new(), AsOf::of(at), Some(Trouble::of(&error))),
            None => return Err(Problem::of_client(&error)),
        },
    };
    let catalog = registry.value.unwrap_or_default();
    let names = names(&catalog);
    let rules = state.keys.rules_for(&key).await;
    let mut models = Reach::default();
    for name in names {
        match rules.may_call(&key, &catalog.target(&name), ui.now) {
            Verdict::Allowed => models.reachable.push(name),
            Verdict::Denied(why) => models.unreachable.push((name, why.to_string())),
            Verdict::NotKnown(why) => models.not_known.push((name, why.to_string())),
        }
    }
    let no_calls = match &calls {
        Ok(Some(_)) => "The proxy's log has none of the last 30 days.",
        Ok(None) => "Not available on this release: the proxy has no log of single calls.",
        Err(_) => "The proxy's log could not be read.",
    };
    let usage_trouble = days.as_ref().err().or(calls.as_ref().err()).map(Trouble::of);
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let data = KeyData {
        key: KeyRow::of(key, &ui, state),
        metadata,
        models,
        spend_by_day: days.unwrap_or_default(),
        calls: calls.ok().flatten().unwrap_or_default(),
        no_calls,
        usage_trouble: usage_trouble.filter(|_| trouble.is_none()),
        audit: state.audit.about(hash.as_str()).await?,
        retirement: state.keys.retirement(hash).await?,
        errors,
        as_of,
        trouble,
    };
    Ok(KeyPage { ui, data }.respond(status))
}
