//! The dashboard as a newcomer meets it: through HTTP, with what goes wrong.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod alerts;
mod audit;
mod calls;
mod comfort;
mod etag;
pub(crate) mod events;
pub(crate) mod fakes;
mod faults;
mod gateway;
mod history;
mod keys;
mod limits;
mod login;
mod models;
mod pages;
mod recipes;
mod renewal;
pub(crate) mod roles;
mod sessions;
mod sso;
mod stated;
mod switch;
mod switch_form;
mod tasks;
mod tokens;
mod users;
