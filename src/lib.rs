//! Patchbay: a web dashboard for a LiteLLM proxy and the A2A agents that call it.
//!
//! # Layers
//!
//! Imports point down only; `tests/it/layers.rs` checks it.
//!
//! ```text
//! app, web                 pages, addresses, login, errors for people
//! services                 registry, keys, switcher: what the product does
//! clients    store         the proxy and the agents; what Patchbay keeps
//! domain                   words and rules, without input and output
//! ```
//!
//! The agent and the sandbox are crates of their own (`crates/`), reached over HTTP only.

pub mod app;
pub mod clients;
pub mod config;
pub mod domain;
pub mod services;
pub mod store;
pub mod telemetry;
pub mod web;
