//! Integration tests.

mod agent;
mod clients;
