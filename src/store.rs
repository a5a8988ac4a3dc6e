//! What Patchbay keeps: sessions, swaps, contexts, agents' scopes, the audit. SQLite, or Postgres for several
//! replicas, with one SQL text: columns are text, whole numbers (times, yes and no) and a rare fraction.

mod asks;
mod audit;
mod charts;
mod contexts;
mod database;
mod keys;
mod models;
mod sessions;
mod swaps;

use std::str::FromStr;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::AnyPool;
use sqlx::Row as _;
use sqlx::any::AnyRow;

pub use charts::SwapDay;
pub use keys::Retirement;
pub use sessions::Sessions;
pub use swaps::Ended;

use self::database::Database;
use crate::domain::clock::Clock;

/// The database could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database's own error.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A row holds something that this release cannot read.
    #[error("the database holds an unreadable {0}")]
    Unreadable(&'static str),
    /// A URL of another kind of database.
    #[error("PATCHBAY_DATABASE_URL must begin with sqlite: or postgres:")]
    UnknownUrl,
    /// The database did not answer a moment ago, so it is not waited for.
    #[error("the database does not answer")]
    Down,
}

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    clock: Clock,
}

impl Store {
    /// Opens the database at `url` (`sqlite://patchbay.db`, `sqlite::memory:`, `postgres://…`), makes an SQLite
    /// file where it is missing and brings the schema up to date.
    pub async fn open(url: &str, clock: Clock) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(url).await?, clock })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(self.pool()?).await?;
        Ok(())
    }

    /// The sessions, for the session layer.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.database.clone(), self.clock.clone())
    }

    /// Closes the database, so that its file is whole without its log.
    pub async fn close(&self) {
        self.database.close().await;
    }

    fn pool(&self) -> Result<&AnyPool, StoreError> {
        self.database.pool()
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }
}

fn time(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| StoreError::Unreadable("time"))
}

fn json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable(what))
}

fn word<T: FromStr>(what: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Unreadable(what))
}

/// Yes and no are 1 and 0, which both databases know.
fn flag(row: &AnyRow, column: &str) -> Result<bool, StoreError> {
    Ok(row.try_get::<i64, _>(column)? != 0)
}

/// Postgres cannot hold a NUL in a text; whoever sends one means nothing by it.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
