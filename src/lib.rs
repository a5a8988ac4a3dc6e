//! Patchbay: a web dashboard for a LiteLLM proxy and the A2A agents that call it.
//!
//! `ARCHITECTURE.md` describes the layers.

pub mod app;
pub mod clients;
pub mod config;
pub mod domain;
pub mod services;
pub mod store;
pub mod telemetry;
pub mod web;
