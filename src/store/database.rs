//! Connections to SQLite or Postgres, and the schema.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgListener;
use sqlx::{AnyPool, ConnectOptions as _, Executor as _, SqlSafeStr as _};
use tokio::sync::watch;

use super::StoreError;

/// How often Postgres is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Connections to a database, and whether it answered when last asked. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pool: AnyPool,
    is_down: Arc<AtomicBool>,
    audited: watch::Sender<()>,
}

impl Database {
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (is_postgres, pool) = match url.split_once(':') {
            Some(("sqlite", path)) => (false, sqlite(path).await?),
            Some(("postgres" | "postgresql", _)) => (true, postgres(url).await?),
            _ => return Err(StoreError::UnknownUrl),
        };
        migrations(is_postgres).run(&pool).await?;
        let database = Self { pool, is_down: Arc::default(), audited: watch::Sender::new(()) };
        if is_postgres {
            tokio::spawn(ask_for_life(database.pool.clone(), Arc::clone(&database.is_down)));
            tokio::spawn(listen(url.to_owned(), database.pool.clone(), database.audited.clone()));
        }
        Ok(database)
    }

    /// The connections, unless the database is known not to answer.
    pub(super) fn pool(&self) -> Result<&AnyPool, StoreError> {
        if self.is_down.load(Ordering::Relaxed) { Err(StoreError::Down) } else { Ok(&self.pool) }
    }

    /// Changes whenever an audit entry may have been written, here or by another replica.
    pub(super) fn audited(&self) -> &watch::Sender<()> {
        &self.audited
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// `path` is what comes after the scheme: `//patchbay.db`, `:memory:`.
async fn sqlite(path: &str) -> Result<AnyPool, sqlx::Error> {
    // As an authority a file's name could not hold a blank.
    let path = path.strip_prefix("//").unwrap_or(path);
    let in_memory = path.contains(":memory:");
    let url = match path {
        _ if in_memory || path.contains("mode=") => format!("sqlite:{path}"),
        _ if path.contains('?') => format!("sqlite:{path}&mode=rwc"),
        _ => format!("sqlite:{path}?mode=rwc"),
    };
    AnyPoolOptions::new()
        // In memory each connection would be a database of its own, and would end with it.
        .max_connections(if in_memory { 1 } else { 4 })
        .min_connections(1)
        .idle_timeout((!in_memory).then_some(Duration::from_mins(5)))
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(5))
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move {
                let pragmas = "pragma journal_mode = wal; pragma synchronous = normal; \
                               pragma foreign_keys = on; pragma busy_timeout = 5000";
                connection.execute(pragmas).await?;
                Ok(())
            })
        })
        .connect_with(AnyConnectOptions::from_str(&url)?)
        .await
}

async fn postgres(url: &str) -> Result<AnyPool, sqlx::Error> {
    // A statement that is slow where several replicas write is no news.
    let options = AnyConnectOptions::from_str(url)?
        .log_slow_statements(tracing::log::LevelFilter::Debug, Duration::from_secs(1));
    AnyPoolOptions::new()
        .max_connections(16)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(2))
        .connect_with(options)
        .await
}

/// Asks a database whether it is there, until it is closed. A page then need not wait for one that is not.
async fn ask_for_life(pool: AnyPool, is_down: Arc<AtomicBool>) {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    while !pool.is_closed() {
        ticks.tick().await;
        let answered = tokio::time::timeout(HEARTBEAT, sqlx::query("select 1").execute(&pool)).await;
        let is_up = match answered {
            Ok(Ok(_)) => true,
            // All connections busy is not down: then queries wait for one, as they should.
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => pool.num_idle() == 0 && pool.size() == 16,
            Ok(Err(_)) => false,
        };
        if is_down.swap(!is_up, Ordering::Relaxed) == is_up {
            if is_up {
                tracing::info!("the database answers again");
            } else {
                tracing::error!("the database does not answer");
            }
        }
    }
}

/// Passes on what other replicas tell of the audit, until the database is closed.
async fn listen(url: String, pool: AnyPool, audited: watch::Sender<()>) {
    while !pool.is_closed() {
        if let Err(error) = pass_on(&url, &audited).await {
            tracing::debug!(%error, "other replicas are not heard");
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn pass_on(url: &str, audited: &watch::Sender<()>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen("patchbay_audit").await?;
    loop {
        // Also at the start and after a break: nobody knows what was missed.
        audited.send_replace(());
        listener.try_recv().await?;
    }
}

/// The two texts of a migration.
macro_rules! both {
    ($name:literal) => {
        (
            include_str!(concat!("migrations/sqlite/", $name, ".sql")),
            include_str!(concat!("migrations/postgres/", $name, ".sql")),
        )
    };
}

/// Numbers are never reused, and a file is never changed once released. On Postgres the migrator holds a lock
/// meanwhile, so that replicas that start together do not meet.
fn migrations(is_postgres: bool) -> Migrator {
    let all = [
        (1, "first", both!("0001_first")),
        (2, "keys", both!("0002_keys")),
        (3, "contexts", both!("0003_contexts")),
        (4, "deployments", both!("0004_deployments")),
        (5, "served", both!("0005_served")),
    ];
    let migration =
        |(version, name, (sqlite, postgres)): (i64, &'static str, (&'static str, &'static str))| {
            let statements = if is_postgres { postgres } else { sqlite };
            Migration::new(version, name.into(), MigrationType::Simple, statements.into_sql_str(), false)
        };
    Migrator::with_migrations(all.map(migration).to_vec())
}
