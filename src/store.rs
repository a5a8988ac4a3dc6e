//! What Patchbay keeps: sessions, swaps, contexts, agents' scopes, the audit. SQLite.

mod asks;
mod audit;
mod contexts;
mod keys;
mod models;
mod sessions;
mod swaps;

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{SqlSafeStr, SqlStr};

pub use keys::Retirement;
pub use sessions::Sessions;
pub use swaps::Ended;

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
    #[error("PATCHBAY_DATABASE_URL must begin with sqlite: (this release keeps its data in SQLite)")]
    UnknownUrl,
}

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    clock: Clock,
}

impl Store {
    /// Opens the database at `url` (`sqlite://patchbay.db`, `sqlite::memory:`), makes it where it is missing
    /// and brings its schema up to date.
    pub async fn open(url: &str, clock: Clock) -> Result<Self, StoreError> {
        if !url.starts_with("sqlite:") {
            return Err(StoreError::UnknownUrl);
        }
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        // In memory each connection would be a database of its own, and would end with it.
        let in_memory = url.contains(":memory:");
        let pool = SqlitePoolOptions::new()
            .max_connections(if in_memory { 1 } else { 4 })
            .min_connections(1)
            .idle_timeout((!in_memory).then_some(Duration::from_mins(5)))
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options)
            .await?;
        migrations().run(&pool).await?;
        Ok(Self { pool, clock })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1").execute(&self.pool).await?;
        Ok(())
    }

    /// The sessions, for the session layer.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.pool.clone(), self.clock.clone())
    }

    /// Closes the database, so that its file is whole without its log.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }
}

/// Versions are never reused and never changed once released.
fn migrations() -> Migrator {
    let migration = |version, name, statements: &'static str| {
        let statements: SqlStr = statements.into_sql_str();
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, statements, false)
    };
    Migrator::with_migrations(vec![
        migration(1, "first", include_str!("store/migrations/0001_first.sql")),
        migration(2, "keys", include_str!("store/migrations/0002_keys.sql")),
        migration(3, "contexts", include_str!("store/migrations/0003_contexts.sql")),
        migration(4, "deployments", include_str!("store/migrations/0004_deployments.sql")),
    ])
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
