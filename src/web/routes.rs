//! The table of routes: method, address, and who may use it. There is no way to add one without saying the last.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use crate::domain::role::Role;
use crate::web::auth::CurrentUser;
use crate::web::errors::Problem;
use crate::web::state::AppState;

/// Largest form, in bytes: a prompt has 64 KiB, which percent-encoding may triple.
const MAX_FORM: usize = 512 * 1024;

/// The same of a form that needs no login: an unfinished one holds its memory for up to two minutes.
const MAX_OPEN_FORM: usize = 8 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Open,
    From(Role),
}

pub(super) const VIEWER: Access = Access::From(Role::Viewer);
pub(super) const OPERATOR: Access = Access::From(Role::Operator);
pub(super) const ADMIN: Access = Access::From(Role::Admin);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub access: Access,
}

#[derive(Default)]
pub(super) struct Routes {
    open: Router<AppState>,
    for_users: Router<AppState>,
    table: Vec<Route>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn get<H, T>(self, access: Access, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.add(access, "GET", path, MAX_FORM, get(handler))
    }

    pub(super) fn post<H, T>(self, access: Access, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let max_bytes = if matches!(access, Access::Open) { MAX_OPEN_FORM } else { MAX_FORM };
        self.post_up_to(access, path, max_bytes, handler)
    }

    pub(super) fn post_up_to<H, T>(
        self,
        access: Access,
        path: &'static str,
        max_bytes: usize,
        handler: H,
    ) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.add(access, "POST", path, max_bytes, post(handler))
    }

    fn add(
        mut self,
        access: Access,
        method: &'static str,
        path: &'static str,
        max_bytes: usize,
        handler: MethodRouter<AppState>,
    ) -> Self {
        let handler = handler.route_layer(from_fn(move |mut request: Request, next: Next| {
            DefaultBodyLimit::max(max_bytes).apply(&mut request);
            admit(access, request, next)
        }));
        match access {
            Access::Open => self.open = self.open.route(path, handler),
            Access::From(_) => self.for_users = self.for_users.route(path, handler),
        }
        self.table.push(Route { method, path, access });
        self
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.open = self.open.merge(other.open);
        self.for_users = self.for_users.merge(other.for_users);
        self.table.extend(other.table);
        self
    }

    pub(super) fn into_table(self) -> Vec<Route> {
        self.table
    }

    pub(super) fn into_routers(self) -> (Router<AppState>, Router<AppState>) {
        (self.open, self.for_users)
    }
}

/// Lets only users through that have the role.
async fn admit(access: Access, request: Request, next: Next) -> Response {
    let Access::From(needed) = access else { return next.run(request).await };
    // The login's layer stands before this one; without it nobody gets in.
    let role = request.extensions().get::<CurrentUser>().map(|user| user.role);
    match role {
        Some(role) if role >= needed => next.run(request).await,
        role => Problem::not_for(needed, role.unwrap_or(Role::Viewer)).into_response(),
    }
}
