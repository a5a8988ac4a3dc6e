//! What Patchbay keeps: sessions, swaps, contexts, agents' scopes, the audit. SQLite, or Postgres for several
//! replicas, with one SQL text: columns are text, whole numbers (times, yes and no) and a rare fraction.

mod adopted;
mod agent_calls;
mod alerts;
mod asks;
mod audit;
mod columns;
mod contexts;
mod database;
mod jobs;
mod keys;
mod models;
mod people;
mod replicas;
mod sessions;
mod swaps;
mod timers;
mod writes;

use std::path::PathBuf;

use sqlx::AnyPool;

pub use alerts::Outgoing;
pub use database::hold_file;
pub use keys::{KeyRequest, Retirement};
pub use people::{Added, StoredSession};
pub use replicas::{Fenced, LockError, Said};
pub use sessions::Sessions;
pub use swaps::Ended;
pub use timers::{DueRevert, TimedEnds};
pub use writes::{Intent, OwnRow};

use self::database::Database;
use patchbay_clock::Clock;

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The database could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database failed: {0}")]
    Database(#[source] sqlx::Error),
    #[error("the database's schema could not be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error(
        "{SETTING}: the database was made by a newer release of Patchbay (schema {found}; this one knows up to {known}). \
         Install that release, or restore a backup from before the upgrade"
    )]
    Newer { found: i64, known: i64 },
    #[error("{SETTING}: it must begin with sqlite: or postgres:")]
    UnknownUrl,
    /// The address is not quoted, since it may hold a password.
    #[error(
        "{SETTING}: this is no address of a Postgres database, such as postgres://user:password@host:5432/name. In user \
         and password, percent-encode # (%23), / (%2F), ? (%3F), @ (%40) and % (%25)"
    )]
    BadUrl,
    #[error("{SETTING}: {} cannot be opened: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error(
        "{SETTING}: Postgres is reached through a connection pooler in transaction mode, such as PgBouncer, where \
         prepared statements and notifications are lost. Use pool_mode = session, or the address of Postgres itself"
    )]
    Pooler,
    #[error("the database does not answer")]
    Down,
    #[error("too much is being searched at the same time")]
    Busy,
}

/// The setting that errors name.
const SETTING: &str = "PATCHBAY_DATABASE_URL (--database-url)";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        // duplicate_prepared_statement and invalid_sql_statement_name: sqlx's own statements are those of a connection.
        match code.as_deref() {
            Some("42P05" | "26000") => Self::Pooler,
            _ => Self::Database(error),
        }
    }
}

impl StoreError {
    /// A row holds what cannot be read.
    pub fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Database(sqlx::Error::Decode(error.into()))
    }

    /// A value cannot be turned into a column.
    pub fn unwritable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Database(sqlx::Error::Encode(error.into()))
    }

    /// Whether a row with that key is there already.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether the database was not reached, rather than asked for something that it does not do.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Down => true,
            Self::Database(sqlx::Error::Database(error)) => {
                // Of Postgres: it shuts down, was shut down, starts up.
                error.code().is_some_and(|code| code.starts_with("57P"))
            }
            Self::Database(error) => {
                matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
            }
            _ => false,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Store {
    database: Database,
    clock: Clock,
    sessions: Sessions,
}

impl Store {
    /// Opens the database at `url` (`sqlite://patchbay.db`, `sqlite::memory:`, `postgres://…`), makes an SQLite
    /// file where it is missing and brings the schema up to date.
    pub async fn open(url: &str, clock: Clock) -> Result<Self> {
        let database = Database::open(url).await?;
        let sessions = Sessions::new(database.clone(), clock.clone());
        Ok(Self { database, clock, sessions })
    }

    /// Whether the database is known not to answer.
    pub fn is_down(&self) -> bool {
        self.database.pool().is_err()
    }

    pub async fn ping(&self) -> Result<()> {
        sqlx::query("select 1").execute(self.pool()?).await?;
        Ok(())
    }

    /// A number that changes whenever contexts or notes on deployments may have changed: here at once, elsewhere as
    /// soon as Postgres tells of an audit entry.
    pub fn changes(&self) -> u64 {
        self.database.changes()
    }

    pub fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Closes the database, so that its file is whole without its log.
    pub async fn close(&self) {
        self.database.close().await;
    }

    fn pool(&self) -> Result<&AnyPool> {
        self.database.pool()
    }

    fn writes(&self) -> Result<&AnyPool> {
        self.database.writes()
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }
}

/// `($1, $2), ($3, $4)`
fn placeholders(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let row: Vec<String> = (1..=columns).map(|n| format!("${}", row * columns + n)).collect();
        format!("({})", row.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// Postgres cannot hold a NUL in a text, and no text here needs one.
fn strip_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
