//! One loader, three answers.

use askama::Template;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;

use crate::web::ui::{Ui, Wants};

/// A page: what it shows is also its JSON, and a block of its template is its fragment.
pub(super) trait Page: Template {
    type Data: Serialize;

    fn ui(&self) -> &Ui;

    fn data(&self) -> &Self::Data;

    fn fragment(&self) -> askama::Result<String>;

    fn respond(&self, status: StatusCode) -> Response {
        let html = match self.ui().wants {
            Wants::Json => return (status, Json(self.data())).into_response(),
            Wants::Fragment => self.fragment(),
            Wants::Page => self.render(),
        };
        match html {
            Ok(html) => (status, Html(html)).into_response(),
            Err(error) => {
                tracing::error!(%error, "a template failed");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// Makes a template a [`Page`]: its data, and the block (`as_NAME`) that is its fragment.
macro_rules! page {
    ([$($borrowed:lifetime)?] $page:ty, $data:ty, $fragment:ident) => {
        impl $(<$borrowed>)? Page for $page {
            type Data = $data;

            fn ui(&self) -> &Ui {
                &self.ui
            }

            fn data(&self) -> &$data {
                &self.data
            }

            fn fragment(&self) -> askama::Result<String> {
                self.$fragment().render()
            }
        }
    };
    ($page:ty, $data:ty, $fragment:ident) => {
        page!([] $page, $data, $fragment);
    };
}
pub(super) use page;
