//! Each component of the pages, once: for those who work on them. Only the demo has it.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::web::charts::{BarChart, Part, Slot};
use crate::web::errors::Problem;
use crate::web::paths::route;
use crate::web::respond::{Page, page};
use crate::web::routes::{Routes, VIEWER};
use crate::web::state::IsDemo;
use crate::web::ui::Ui;

pub(in crate::web) fn routes() -> Routes {
    Routes::new().get(VIEWER, route::Styleguide::PATH, show)
}

#[derive(Template)]
#[template(path = "styleguide.html", blocks = ["content"])]
struct StyleguidePage {
    ui: Ui,
    data: Nothing,
}

#[derive(Serialize)]
struct Nothing {}

page!(StyleguidePage, Nothing, as_content);

impl StyleguidePage {
    fn chart(&self) -> BarChart {
        let day = |ago: i16| {
            let at = self.ui.now - SignedDuration::from_hours(24 * i64::from(ago));
            let (good, bad) = (f64::from((ago * 7) % 11), f64::from(ago % 3));
            let date = at.to_zoned(TimeZone::UTC).date();
            let part = |tone: &str, value| Part {
                tone: tone.to_owned(),
                value,
                title: format!("{date}: {good} and {bad}"),
                href: String::new(),
            };
            Slot {
                label: date.strftime("%-d %b").to_string(),
                parts: vec![part("good", good), part("bad", bad)],
            }
        };
        BarChart::new("An example", (0..30).rev().map(day).collect(), |most| format!("{most:.0}"))
    }
}

async fn show(State(IsDemo(is_demo)): State<IsDemo>, ui: Ui) -> Result<Response, Problem> {
    if !is_demo {
        return Err(Problem::not_found("The page"));
    }
    Ok(StyleguidePage { ui, data: Nothing {} }.respond(StatusCode::OK))
}
