//! Patchbay: a web dashboard for a LiteLLM proxy and the A2A agents that call it.
pub mod agent;
pub mod domain;
pub mod sandbox;
