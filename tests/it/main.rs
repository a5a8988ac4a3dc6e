//! Integration tests.

mod agent;
mod sandbox;
