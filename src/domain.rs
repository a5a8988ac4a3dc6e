//! Types and rules without input and output: no axum, reqwest or sqlx.

pub mod agent;
pub mod alert;
pub mod assessment;
pub mod audit;
pub mod calls;
pub mod context;
pub mod control;
pub mod env_file;
pub mod handover;
pub mod job;
pub mod key;
pub mod key_changes;
pub mod lease;
pub mod model;
pub mod model_detail;
pub mod model_note;
pub mod people;
pub mod permission;
pub mod redact;
pub mod release;
pub mod role;
pub mod routing;
pub mod setup;
pub mod swap;
pub mod usage;
pub mod words;
