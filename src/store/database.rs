//! Connections to SQLite or Postgres, and the schema.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgListener};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{
    AnyConnection, AnyPool, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _,
    SqlSafeStr as _,
};
use tokio::sync::{broadcast, watch};
use url::Url;
use uuid::Uuid;

use super::replicas::Said;
use super::{Result, StoreError};

/// How often Postgres is told that this replica lives, which also shows whether it answers.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long Postgres may take to answer that.
const PATIENCE: Duration = Duration::from_secs(2);

const CHANNELS: [&str; 2] = ["patchbay_audit", "patchbay_live"];

const UNHEARD: usize = 256;

/// Age of the last heartbeat at which a replica counts as gone, in milliseconds.
const GONE_AFTER_MS: u32 = 8000;

/// The time by Postgres' own clock.
pub(super) const NOW: &str = "cast(extract(epoch from clock_timestamp()) * 1000 as bigint)";

#[derive(Debug, Clone)]
pub(super) struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: AnyPool,
    /// For what is written often. With SQLite in a file this is one connection: writers would wait for each other
    /// all the same, and each finds what it holds in memory out of date where another has written.
    writes: AnyPool,
    is_postgres: bool,
    replica: String,
    is_down: AtomicBool,
    changes: AtomicU64,
    audited: watch::Sender<()>,
    said: broadcast::Sender<Said>,
}

impl Database {
    pub(super) async fn open(url: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let (is_postgres, pool, writes) = match url.split_once(':') {
            Some(("sqlite", path)) if path.contains(":memory:") => {
                // In memory each connection would be a database of its own, and would end with it.
                let pool = sqlite(path, 1).await?;
                (false, pool.clone(), pool)
            }
            Some(("sqlite", path)) => (false, sqlite(path, 4).await?, sqlite(path, 1).await?),
            Some(("postgres" | "postgresql", _)) => {
                check_postgres(url)?;
                let pool = postgres(url).await?;
                (true, pool.clone(), pool)
            }
            _ => return Err(StoreError::UnknownUrl),
        };
        let migrations = migrations(is_postgres);
        let known = migrations.iter().map(|migration| migration.version).max().unwrap_or_default();
        migrations.run(&pool).await.map_err(|error| match error {
            // The rest of its causes says nothing.
            MigrateError::Execute(error) => StoreError::from(error),
            MigrateError::VersionMissing(found) if found > known => StoreError::Newer { found, known },
            error => error.into(),
        })?;
        let database = Self(Arc::new(Inner {
            pool,
            writes,
            is_postgres,
            replica: Uuid::now_v7().to_string(),
            is_down: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            audited: watch::Sender::new(()),
            said: broadcast::Sender::new(UNHEARD),
        }));
        if is_postgres {
            let mut connection = database.0.pool.acquire().await?;
            database.0.beat(&mut connection).await?;
            tokio::spawn(live(Arc::downgrade(&database.0)));
            tokio::spawn(listen(url.to_owned(), database.clone()));
        }
        Ok(database)
    }

    /// The connections, unless the database is known not to answer.
    pub(super) fn pool(&self) -> Result<&AnyPool> {
        if self.0.is_down.load(Ordering::Relaxed) { Err(StoreError::Down) } else { Ok(&self.0.pool) }
    }

    pub(super) fn writes(&self) -> Result<&AnyPool> {
        self.pool().map(|_| &self.0.writes)
    }

    pub(super) fn is_postgres(&self) -> bool {
        self.0.is_postgres
    }

    pub(super) fn replica(&self) -> &str {
        &self.0.replica
    }

    /// The condition that the replica in `column` is alive, where `own` is the placeholder of this replica's id. With
    /// SQLite only this one is; on Postgres each that was seen in the last 8 seconds.
    pub(super) fn lives(&self, column: &'static str, own: &'static str) -> String {
        let is_own = format!("{column} = {own}");
        if self.0.is_postgres {
            format!(
                "({is_own} or exists (select 1 from replicas where id = {column} and seen_at > {NOW} - {GONE_AFTER_MS}))"
            )
        } else {
            is_own
        }
    }

    /// A number that changes with what is written, here or as far as other replicas tell of it.
    pub(super) fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    pub(super) fn note_change(&self) {
        self.0.changes.fetch_add(1, Ordering::Release);
    }

    pub(super) fn tell_of_audit(&self) {
        self.note_change();
        self.0.audited.send_replace(());
    }

    pub(super) fn audited(&self) -> &watch::Sender<()> {
        &self.0.audited
    }

    pub(super) fn said(&self) -> &broadcast::Sender<Said> {
        &self.0.said
    }

    pub(super) async fn close(&self) {
        if self.0.is_postgres {
            // What it holds is free at once.
            let gone = sqlx::query("delete from replicas where id = $1").bind(&self.0.replica);
            let _ = tokio::time::timeout(PATIENCE, gone.execute(&self.0.pool)).await;
        }
        self.0.writes.close().await;
        self.0.pool.close().await;
    }
}

impl Inner {
    /// Where the last beat is older than the others wait for, they count this replica as gone: what it held is free,
    /// and it must not take itself for the holder any more.
    async fn beat(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let statement = format!(
            "with freed as (update locks set replica = '' where replica = $1 and not exists \
             (select 1 from replicas where id = $1 and seen_at > {NOW} - {GONE_AFTER_MS})) \
             insert into replicas (id, seen_at) values ($1, {NOW}) \
             on conflict (id) do update set seen_at = excluded.seen_at"
        );
        sqlx::query(AssertSqlSafe(statement)).bind(&self.replica).execute(connection).await?;
        Ok(())
    }
}

/// Beats once a second until the database is closed, by a connection of its own, which no other query keeps busy.
async fn live(database: Weak<Inner>) {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut own = None;
    loop {
        ticks.tick().await;
        let Some(database) = database.upgrade().filter(|database| !database.pool.is_closed()) else { return };
        let beaten = async {
            // A connection from before a restart fails though the database is there again: that is no outage.
            if let Some(mut connection) = own.take()
                && database.beat(&mut connection).await.is_ok()
            {
                return Ok(connection);
            }
            let mut connection = AnyConnection::connect_with(&database.pool.connect_options()).await?;
            database.beat(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        let beaten = tokio::time::timeout(PATIENCE, beaten).await;
        let is_down = !matches!(beaten, Ok(Ok(_)));
        match beaten {
            Ok(Ok(connection)) => own = Some(connection),
            Ok(Err(error)) => tracing::debug!(%error, "the database was not reached"),
            Err(_) => tracing::debug!("the database did not answer in time"),
        }
        if database.is_down.swap(is_down, Ordering::Relaxed) != is_down {
            if is_down {
                tracing::error!("the database does not answer");
            } else {
                tracing::info!("the database answers again");
            }
        }
    }
}

/// `path` is what comes after the scheme: `//patchbay.db`, `:memory:`.
async fn sqlite(path: &str, connections: u32) -> Result<AnyPool> {
    // As an authority a file's name could not hold a blank.
    let path = path.strip_prefix("//").unwrap_or(path);
    let in_memory = path.contains(":memory:");
    let url = match path {
        _ if in_memory || path.contains("mode=") => format!("sqlite:{path}"),
        _ if path.contains('?') => format!("sqlite:{path}&mode=rwc"),
        _ => format!("sqlite:{path}?mode=rwc"),
    };
    let file = SqliteConnectOptions::from_str(&url)?.get_filename().to_owned();
    let failed = |why: String| StoreError::File { path: file.clone(), why };
    if url.contains("mode=rwc") {
        check_file(&file).map_err(|error| failed(error.to_string()))?;
    }
    open_sqlite(&url, in_memory, connections).await.map_err(|error| failed(error.to_string()))
}

/// Keeps other dashboards from a SQLite file for as long as what is returned lives: each keeps copies of what it has
/// written. Commands read and write it beside. None in memory and on Postgres.
pub fn hold_file(url: &str) -> Result<Option<File>> {
    let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.contains(":memory:")) else {
        return Ok(None);
    };
    let options =
        SqliteConnectOptions::from_str(&format!("sqlite:{}", path.strip_prefix("//").unwrap_or(path)))?;
    let mut name = options.get_filename().as_os_str().to_owned();
    name.push(".lock");
    // Where it cannot be made, the database says why.
    let Ok(file) = File::create(&name) else { return Ok(None) };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let why = "another dashboard uses it. Replicas need Postgres".to_owned();
            Err(StoreError::File { path: options.get_filename().to_owned(), why })
        }
        // Some network folders have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// SQLite itself names neither a missing folder nor a missing permission, and the pool tries again for seconds.
fn check_file(file: &Path) -> std::io::Result<()> {
    use std::io::{Error, ErrorKind, Read as _};
    /// The first bytes of every database file (<https://www.sqlite.org/fileformat.html>).
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let about =
        |error: Error, what: &str| Error::new(error.kind(), format!("{what} {}: {error}", folder.display()));
    std::fs::metadata(folder).map_err(|error| about(error, "its folder"))?;
    // It writes its log beside the file.
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)
        .map_err(|error| about(error.into(), "no file can be made in"))?;
    let mut head = Vec::new();
    match std::fs::OpenOptions::new().read(true).append(true).open(file) {
        Ok(file) => file.take(MAGIC.len() as u64).read_to_end(&mut head)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let is_database = head.is_empty() || head == MAGIC;
    if is_database { Ok(()) } else { Err(Error::new(ErrorKind::InvalidData, "it is no SQLite database")) }
}

async fn open_sqlite(url: &str, in_memory: bool, connections: u32) -> Result<AnyPool, sqlx::Error> {
    AnyPoolOptions::new()
        .max_connections(connections)
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
        .connect_with(AnyConnectOptions::from_str(url)?)
        .await
}

/// A sign in a password that should be percent-encoded makes another address of it, or a part of it a parameter, which
/// sqlx would log.
fn check_postgres(url: &str) -> Result<()> {
    const PARAMETERS: &str = "sslmode ssl-mode sslrootcert ssl-root-cert ssl-ca sslcert ssl-cert sslkey ssl-key \
                              statement-cache-capacity host hostaddr port dbname user password application_name options";
    let is_known =
        |name: &str| PARAMETERS.split_whitespace().any(|known| known == name) || name.starts_with("options[");
    let good = Url::parse(url).is_ok_and(|url| {
        url.fragment().is_none()
            && !url.path().contains('@')
            && !url.query().is_some_and(|query| query.contains('@'))
            && url.query_pairs().all(|(name, _)| is_known(&name))
    });
    if good && PgConnectOptions::from_str(url).is_ok() { Ok(()) } else { Err(StoreError::BadUrl) }
}

async fn postgres(url: &str) -> Result<AnyPool, sqlx::Error> {
    // A statement that is slow where several replicas write is no news.
    let options = AnyConnectOptions::from_str(url)?
        .log_slow_statements(tracing::log::LevelFilter::Debug, Duration::from_secs(1));
    AnyPoolOptions::new()
        .max_connections(16)
        .min_connections(1)
        .acquire_timeout(PATIENCE)
        // A replica that is paused in a transaction must not keep the others waiting for its rows.
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("set idle_in_transaction_session_timeout = '5s'").await?;
                Ok(())
            })
        })
        // One that was used a moment ago need not be asked whether it is still good.
        .test_before_acquire(false)
        .before_acquire(|connection, about| {
            Box::pin(async move {
                if about.idle_for > HEARTBEAT {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await
}

/// Passes on what other replicas tell, until the database is closed.
async fn listen(url: String, database: Database) {
    let pool = database.0.pool.clone();
    while !pool.is_closed() {
        tokio::select! {
            () = pool.close_event() => return,
            Err(error) = pass_on(&url, &database) => tracing::debug!(%error, "other replicas are not heard"),
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn pass_on(url: &str, database: &Database) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url).await?;
    listener.listen_all(CHANNELS).await?;
    // A channel is the whole database's: in another schema there may be another dashboard.
    let schema: String =
        sqlx::query_scalar("select coalesce(current_schema(), '')::text").fetch_one(&mut listener).await?;
    // Nobody knows what was missed, here and after a break.
    database.tell_of_audit();
    loop {
        match listener.try_recv().await? {
            Some(told) if told.channel() != CHANNELS[0] => {
                let said = Said::read(told.payload(), &schema);
                if let Some(said) = said.filter(|said| said.replica != database.replica()) {
                    // Nobody may listen.
                    let _ = database.said().send(said);
                }
            }
            _ => {
                database.tell_of_audit();
            }
        }
    }
}

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
        (6, "audit", both!("0006_audit")),
        (7, "replicas", both!("0007_replicas")),
        (8, "bulk", both!("0008_bulk")),
        (9, "writes", both!("0009_writes")),
        (10, "jobs", both!("0010_jobs")),
        (11, "repeated refusals", both!("0011_repeated_refusals")),
        (12, "key requests", both!("0012_key_requests")),
        (13, "agent calls", both!("0013_agent_calls")),
        (14, "people", both!("0014_people")),
        (15, "alerts", both!("0015_alerts")),
        (16, "timed jobs", both!("0016_timed_jobs")),
        (17, "adopted agents", both!("0017_adopted_agents")),
        (18, "goes to", both!("0018_goes_to")),
    ];
    let migration =
        |(version, name, (sqlite, postgres)): (i64, &'static str, (&'static str, &'static str))| {
            let statements = if is_postgres { postgres } else { sqlite };
            Migration::new(version, name.into(), MigrationType::Simple, statements.into_sql_str(), false)
        };
    Migrator::with_migrations(all.map(migration).to_vec())
}
