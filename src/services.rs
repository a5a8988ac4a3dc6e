//! What the product does, without HTTP status and HTML: pages, the command line and jobs share it.

pub mod agents;
pub mod alerts;
pub mod audit;
pub mod bootstrap;
pub mod calls;
pub mod contexts;
pub mod conversation;
pub mod doctor;
pub mod gateway;
pub mod health;
pub mod jobs;
mod journal;
pub mod keys;
pub mod live;
mod locks;
pub mod people;
pub mod proxy;
pub mod registry;
pub mod snapshot;
pub mod switcher;
