//! Stores contexts and tasks in a database of the agent's own.
//!
//! The agent works in memory and writes through: an accepted change is on disk before it is confirmed. The database is
//! read at startup only.

use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, SqlSafeStr as _, SqlStr};

use super::contexts::{Context, ContextId, Gone, Kept};
use super::control::{ModelName, Settings};
use super::tasks::{State, Task};

/// The agent's database could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the agent's database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("this is not a database of the agent, or of a later release: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("the agent's database holds an unreadable {0}")]
    Unreadable(&'static str),
    /// The address is not quoted: it may be the dashboard's, and hold a password.
    #[error(
        "PATCHBAY_AGENT_DATABASE_URL (--database-url), or PATCHBAY_DATABASE_URL where it is unset: the agent's database \
         is SQLite, such as sqlite://patchbay-agent.db"
    )]
    UnknownUrl,
    #[error("PATCHBAY_AGENT_DATABASE_URL (--database-url): {} cannot be opened: {why}", path.display())]
    File { path: PathBuf, why: String },
}

/// Without a database nothing is stored.
#[derive(Clone, Default)]
pub(super) struct Store {
    pool: Option<SqlitePool>,
}

pub(super) struct Found {
    pub(super) contexts: Vec<Kept>,
    pub(super) tasks: Vec<Task>,
}

pub(super) struct Added<'a> {
    pub(super) context: &'a Context,
    pub(super) question: &'a str,
    pub(super) answer: &'a str,
}

impl Store {
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        if !url.starts_with("sqlite:") {
            return Err(StoreError::UnknownUrl);
        }
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A kill loses nothing; a power cut may lose the last writes.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(5));
        let path = options.get_filename().to_owned();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // SQLite's error does not say that the folder is missing.
        let found = folder.map_or(Ok(()), |folder| std::fs::metadata(folder.join(".")).map(drop));
        if let (Err(error), false) = (found, url.contains(":memory:")) {
            return Err(StoreError::File { path, why: format!("its folder: {error}") });
        }
        // One connection keeps writes in order.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(20))
            .connect_with(options)
            .await
            .map_err(|error| StoreError::File { path, why: error.to_string() })?;
        let schema: SqlStr = include_str!("schema.sql").into_sql_str();
        let first = Migration::new(1, Cow::Borrowed("agent"), MigrationType::Simple, schema, false);
        Migrator::with_migrations(vec![first]).run(&pool).await?;
        Ok(Self { pool: Some(pool) })
    }

    pub(super) async fn load(&self) -> Result<Found, StoreError> {
        let Some(pool) = &self.pool else { return Ok(Found { contexts: Vec::new(), tasks: Vec::new() }) };
        let mut contexts = Vec::new();
        for row in sqlx::query("select * from contexts order by used").fetch_all(pool).await? {
            let mut kept = read_context(&row)?;
            let said = sqlx::query("select question, answer from exchanges where context = $1 order by n");
            for row in said.bind(kept.id.to_string()).fetch_all(pool).await? {
                kept.exchanges.push((row.try_get(0)?, row.try_get(1)?));
            }
            contexts.push(kept);
        }
        let rows = sqlx::query("select * from tasks order by n").fetch_all(pool).await?;
        Ok(Found { contexts, tasks: rows.iter().map(read_task).collect::<Result<_, _>>()? })
    }

    pub(super) async fn save_settings(
        &self,
        context: &Context,
        settings: &Settings,
    ) -> Result<(), StoreError> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let mut work = pool.begin().await?;
        touch(&mut work, context).await?;
        sqlx::query("update contexts set model = $2, provider = $3, prompt = $4 where id = $1")
            .bind(context.id.to_string())
            .bind(&settings.name.model)
            .bind(&settings.name.provider)
            .bind(settings.prompt.as_deref())
            .execute(&mut *work)
            .await?;
        Ok(work.commit().await?)
    }

    pub(super) async fn begin(
        &self,
        task: &Task,
        contexts: &[Gone],
        tasks: &[Arc<str>],
    ) -> Result<(), StoreError> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let mut work = pool.begin().await?;
        forget(&mut work, contexts, tasks).await?;
        sqlx::query("insert into tasks (id, context, question, artifact, since) values ($1, $2, $3, $4, $5)")
            .bind(&*task.id)
            .bind(task.context.to_string())
            .bind(serde_json::to_string(&*task.question).unwrap_or_default())
            .bind(task.artifact_id.to_string())
            .bind(task.since.as_millisecond())
            .execute(&mut *work)
            .await?;
        Ok(work.commit().await?)
    }

    /// Stores a task's end and its addition to the context in one transaction.
    pub(super) async fn end(&self, task: &Task, added: Option<Added<'_>>) -> Result<(), StoreError> {
        let (Some(pool), State::Done(reply)) = (&self.pool, &task.state) else { return Ok(()) };
        let mut work = pool.begin().await?;
        sqlx::query("update tasks set reply = $2, since = $3 where id = $1")
            .bind(&*task.id)
            .bind(serde_json::to_string(&**reply).unwrap_or_default())
            .bind(task.since.as_millisecond())
            .execute(&mut *work)
            .await?;
        if let Some(Added { context, question, answer }) = added {
            touch(&mut work, context).await?;
            sqlx::query("insert into exchanges (context, question, answer) values ($1, $2, $3)")
                .bind(context.id.to_string())
                .bind(question)
                .bind(answer)
                .execute(&mut *work)
                .await?;
        }
        Ok(work.commit().await?)
    }

    /// Deletes dropped contexts and tasks.
    pub(super) async fn forget(&self, contexts: &[Gone], tasks: &[Arc<str>]) -> Result<(), StoreError> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let mut work = pool.begin().await?;
        forget(&mut work, contexts, tasks).await?;
        Ok(work.commit().await?)
    }

    /// Deletes a context's `count` oldest pairs.
    pub(super) async fn drop_oldest(&self, context: &ContextId, count: usize) -> Result<(), StoreError> {
        let Some(pool) = self.pool.as_ref().filter(|_| count > 0) else { return Ok(()) };
        sqlx::query(
            "delete from exchanges where n in (select n from exchanges where context = $1 order by n limit $2)",
        )
        .bind(context.to_string())
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .execute(pool)
        .await?;
        Ok(())
    }
}

type Work = sqlx::Transaction<'static, sqlx::Sqlite>;

/// Inserts the context's row if needed. Deletes the history of an earlier context of the same name.
async fn touch(work: &mut Work, context: &Context) -> Result<(), sqlx::Error> {
    let (id, born) = (context.id.to_string(), number(context.born));
    for statement in [
        "delete from exchanges where context = $1 and not exists (select 1 from contexts where id = $1 and born = $2)",
        "delete from contexts where id = $1 and born <> $2",
    ] {
        sqlx::query(statement).bind(&id).bind(born).execute(&mut **work).await?;
    }
    sqlx::query(
        "insert into contexts (id, born, used) values ($1, $2, $3) on conflict (id) do update set used = $3",
    )
    .bind(&id)
    .bind(born)
    .bind(number(context.used()))
    .execute(&mut **work)
    .await?;
    Ok(())
}

async fn forget(work: &mut Work, contexts: &[Gone], tasks: &[Arc<str>]) -> Result<(), sqlx::Error> {
    for gone in contexts {
        let id = gone.id.to_string();
        let row = sqlx::query("delete from contexts where id = $1 and born = $2");
        if row.bind(&id).bind(number(gone.born)).execute(&mut **work).await?.rows_affected() > 0 {
            sqlx::query("delete from exchanges where context = $1").bind(&id).execute(&mut **work).await?;
        }
    }
    for id in tasks {
        sqlx::query("delete from tasks where id = $1").bind(&**id).execute(&mut **work).await?;
    }
    Ok(())
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn read_context(row: &SqliteRow) -> Result<Kept, StoreError> {
    let unreadable = || StoreError::Unreadable("context");
    let text = |column: &str| row.try_get::<Option<String>, _>(column);
    let count = |column: &str| u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| unreadable());
    let (provider, prompt) = (text("provider")?, text("prompt")?.map(Into::into));
    Ok(Kept {
        id: ContextId::parse(&row.try_get::<String, _>("id")?).ok_or_else(unreadable)?,
        born: count("born")?,
        used: count("used")?,
        settings: text("model")?.map(|model| Settings { name: ModelName { provider, model }, prompt }),
        exchanges: Vec::new(),
    })
}

fn read_task(row: &SqliteRow) -> Result<Task, StoreError> {
    let unreadable = || StoreError::Unreadable("task");
    let text = |column: &str| row.try_get::<String, _>(column);
    let state = match row.try_get::<Option<String>, _>("reply")? {
        Some(reply) => State::Done(Arc::new(serde_json::from_str(&reply).map_err(|_| unreadable())?)),
        None => State::Submitted,
    };
    Ok(Task {
        id: text("id")?.into(),
        context: ContextId::parse(&text("context")?).ok_or_else(unreadable)?,
        question: Arc::new(serde_json::from_str(&text("question")?).map_err(|_| unreadable())?),
        state,
        since: Timestamp::from_millisecond(row.try_get("since")?).map_err(|_| unreadable())?,
        artifact_id: text("artifact")?.parse().map_err(|_| unreadable())?,
    })
}

pub(super) mod shared {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Into::into)
    }
}

pub(super) mod shared_option {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "the form that serde calls")]
    pub(in super::super) fn serialize<S: Serializer>(
        text: &Option<Arc<str>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_deref().serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Arc<str>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Into::into))
    }
}
