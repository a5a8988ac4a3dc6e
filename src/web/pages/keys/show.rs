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
use crate::domain::key::{KeyHash, Permission, VirtualKey};
use crate::domain::usage::{Call, DailySpend};
use crate::services::registry::serving;
use crate::store::Retirement;
use crate::web::charts::DayChart;
use crate::web::errors::Problem;
use crate::web::forms::FieldErrors;
use crate::web::pages::usage::spend_chart;
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
    reachable: Vec<String>,
    unreachable: Vec<String>,
    spend_by_day: Vec<DailySpend>,
    calls: Vec<Call>,
    usage_trouble: Option<Trouble>,
    audit: Vec<Entry>,
    retirement: Option<Retirement>,
    errors: FieldErrors,
    as_of: AsOf,
    /// It is a copy, since the proxy does not answer.
    trouble: Option<Trouble>,
}

page!(KeyPage, KeyData, as_content);

impl KeyPage {
    fn spent(&self) -> String {
        self.ui.money(&self.data.spend_by_day.iter().map(|day| day.spend).sum::<f64>())
    }

    fn chart(&self) -> DayChart {
        spend_chart(&self.ui, &self.data.spend_by_day)
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
    let names = names(registry.value.as_deref().map_or(&[][..], |all| all));
    let deployments = registry.value.as_deref().map_or(&[][..], |all| all);
    let may = |key: &VirtualKey, name: &str| {
        key.access.permits(name, &serving(deployments, name)) == Permission::Allowed
    };
    let (reachable, unreachable) = names.into_iter().partition(|name| may(&key, name));
    let usage_trouble = days.as_ref().err().or(calls.as_ref().err()).map(Trouble::of);
    let status = if errors.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let data = KeyData {
        key: KeyRow::of(key, &ui, state),
        metadata,
        reachable,
        unreachable,
        spend_by_day: days.unwrap_or_default(),
        calls: calls.unwrap_or_default(),
        usage_trouble: usage_trouble.filter(|_| trouble.is_none()),
        audit: state.audit.about(hash.as_str()).await?,
        retirement: state.keys.retirement(hash).await?,
        errors,
        as_of,
        trouble,
    };
    Ok(KeyPage { ui, data }.respond(status))
}
