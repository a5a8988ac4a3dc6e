//! Integration tests: through real HTTP on loopback, against the sandbox, the built-in agent and recordings.

mod agent;
mod agents_file;
mod bulk;
mod cli;
mod clients;
mod database;
mod hostile;
mod jobs;
mod keys;
mod language;
mod layers;
mod live;
mod main_job;
mod models;
mod openapi;
mod replicas;
mod sandbox;
mod scenario;
mod setup;
mod snapshots;
mod support;
mod swaps;
mod web;
