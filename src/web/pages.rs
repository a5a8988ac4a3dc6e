//! One file for each family of pages: the page's struct, then its handler.

pub(super) mod agents;
pub(super) mod audit;
pub(super) mod bulk;
pub(super) mod calls;
pub(super) mod compare;
pub(super) mod contexts;
pub(super) mod danger;
pub(super) mod help;
pub(super) mod keys;
pub(super) mod login;
pub(super) mod models;
pub(super) mod overview;
pub(super) mod search;
pub(super) mod settings;
pub(super) mod styleguide;
pub(super) mod switch;
pub(super) mod tokens;
pub(super) mod usage;
pub(super) mod users;

use jiff::Timestamp;
use serde::Serialize;

use crate::clients::ClientError;
use crate::services::agents::gateway_remedy;
use crate::web::errors::Problem;
use crate::web::recipes::Recipe;

/// What was wrong with a server when a page was made, beside what is shown all the same.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Trouble {
    pub(super) title: String,
    pub(super) detail: String,
    pub(super) advice: String,
    #[serde(skip)]
    pub(super) recipe: Option<Recipe>,
    #[serde(skip)]
    status: axum::http::StatusCode,
}

impl Trouble {
    pub(super) fn of(error: &ClientError) -> Self {
        let Problem { status, title, detail, advice, recipe } = Problem::of_client(error);
        Self { title, detail, advice, recipe, status }
    }

    /// The same of an agent, which may stand behind the proxy's gateway.
    pub(super) fn of_agent(error: &ClientError, is_adopted: bool) -> Self {
        let mut trouble = Self::of(error);
        if let Some(advice) = gateway_remedy(error).filter(|_| is_adopted) {
            advice.clone_into(&mut trouble.advice);
        }
        trouble
    }

    /// The status of a page that has nothing to show for it; with an older copy to show it is 200.
    pub(super) fn status(trouble: Option<&Self>, has_copy: bool) -> axum::http::StatusCode {
        match trouble {
            Some(trouble) if !has_copy => trouble.status,
            _ => axum::http::StatusCode::OK,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct AsOf {
    /// The time; none where there is no copy.
    pub(super) at: Option<Timestamp>,
    /// Whether a newer one is on its way: the page then looks again by itself.
    #[serde(skip)]
    pub(super) is_renewing: bool,
}

impl AsOf {
    pub(super) fn of(at: Option<Timestamp>) -> Self {
        Self { at, is_renewing: false }
    }
}
