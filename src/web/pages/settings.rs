//! What is set up rather than used: the way to it, and alerts.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::alert::AlertKind;
use crate::services::alerts::Alerts;
use crate::services::proxy::Proxy;
use crate::store::Outgoing;
use crate::web::auth::Acting;
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{ADMIN, Routes, VIEWER};
use crate::web::state::services;
use crate::web::ui::{Flash, Ui, Wants};

/// Most alerts that the page shows.
const SHOWN: u32 = 10;

pub(in crate::web) fn routes() -> Routes {
    Routes::new()
        .get(VIEWER, route::Settings::PATH, show)
        .post(ADMIN, route::AlertsChoose::PATH, choose)
        .post(ADMIN, route::AlertsTest::PATH, test)
}

services! {
    struct Services {
        alerts: Alerts,
        proxy: Proxy,
    }
}

#[derive(Template)]
#[template(path = "settings.html", blocks = ["content"])]
struct SettingsPage {
    ui: Ui,
    data: SettingsData,
}

#[derive(Serialize)]
struct SettingsData {
    /// The releases.
    patchbay: &'static str,
    litellm: Option<String>,
    /// For admins.
    alerts: Option<AlertsData>,
}

#[derive(Serialize)]
struct AlertsData {
    /// Scheme and host of the webhook; none where there is none.
    receiver: Option<String>,
    is_signed: bool,
    kinds: Vec<AlertKind>,
    last: Vec<Outgoing>,
}

page!(SettingsPage, SettingsData, as_content);

impl AlertsData {
    async fn load(alerts: &Alerts) -> Result<Self, Problem> {
        let (receiver, is_signed) = alerts.receiver().unzip();
        Ok(Self {
            receiver,
            is_signed: is_signed.unwrap_or_default(),
            kinds: alerts.kinds().await?,
            last: alerts.last(SHOWN).await?,
        })
    }
}

async fn show(State(state): State<Services>, ui: Ui) -> Result<Response, Problem> {
    let litellm = state.proxy.health().await.value.and_then(|health| health.version.clone());
    let alerts = if ui.may_admin() { Some(AlertsData::load(&state.alerts).await?) } else { None };
    let data = SettingsData { patchbay: env!("CARGO_PKG_VERSION"), litellm, alerts };
    Ok(SettingsPage { ui, data }.respond(StatusCode::OK))
}

#[derive(Deserialize)]
struct KindsForm {
    #[serde(default)]
    kind: Vec<AlertKind>,
}

async fn choose(
    State(alerts): State<Alerts>,
    ui: Ui,
    Acting(session, actor): Acting,
    Form(form): Form<KindsForm>,
) -> Result<Response, Problem> {
    check_webhook(&alerts)?;
    alerts.choose(form.kind, &actor).await?;
    if ui.wants == Wants::Json {
        return Ok(Json(json!({ "kinds": alerts.kinds().await? })).into_response());
    }
    Flash::set(&session, "The alerts are saved.").await;
    Ok(Redirect::to(&ui.paths.to(route::Settings)).into_response())
}

async fn test(
    State(alerts): State<Alerts>,
    ui: Ui,
    Acting(session, actor): Acting,
) -> Result<Response, Problem> {
    check_webhook(&alerts)?;
    alerts.test(&actor).await?;
    if ui.wants == Wants::Json {
        return Ok((StatusCode::ACCEPTED, Json(json!({ "queued": true }))).into_response());
    }
    Flash::set(&session, "A test is on its way: the list below shows how it ended.").await;
    Ok(Redirect::to(&ui.paths.to(route::Settings)).into_response())
}

fn check_webhook(alerts: &Alerts) -> Result<(), Problem> {
    if alerts.receiver().is_some() {
        return Ok(());
    }
    let status = StatusCode::CONFLICT;
    let detail = "There is no address that alerts are sent to.";
    Err(Problem::new(status, "No webhook", detail, "Set PATCHBAY_WEBHOOK_URL, and restart Patchbay."))
}
