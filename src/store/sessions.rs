//! Login sessions, behind tower-sessions' store.
//!
//! Written here because the ready stores keep the session id itself as their key: whoever reads a backup of
//! the file could log in with it. This one keeps the id's SHA-256.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use sqlx::{AnyPool, Row};
use time::OffsetDateTime;
use tower_sessions::SessionStore;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};

use super::database::Database;
use crate::domain::clock::Clock;
use crate::domain::key::hex;

/// For how long a session that was looked up is good while the database is away.
const KEPT: Duration = Duration::from_mins(5);

/// Most sessions that are kept for that.
const MOST_KEPT: usize = 10_000;

/// The sessions in the database.
#[derive(Debug, Clone)]
pub struct Sessions {
    database: Database,
    clock: Clock,
    /// Those that were looked up last, with their time, by the hash of their id: pages that need no database are
    /// still there for who is logged in when it is away.
    copies: Arc<Mutex<HashMap<String, (Instant, Record)>>>,
}

impl Sessions {
    pub(super) fn new(database: Database, clock: Clock) -> Self {
        Self { database, clock, copies: Arc::default() }
    }

    fn pool(&self) -> Result<&AnyPool> {
        self.database.pool().map_err(|error| Error::Backend(error.to_string()))
    }

    /// Deletes what has expired.
    pub async fn delete_expired(&self) -> Result<()> {
        let now = self.clock.now().as_millisecond();
        let statement = sqlx::query("delete from sessions where expires_at <= $1").bind(now);
        statement.execute(self.pool()?).await.map_err(|error| failed(&error))?;
        Ok(())
    }

    /// How many have not expired.
    pub async fn count(&self) -> Result<u32> {
        let statement = sqlx::query("select count(*) from sessions where expires_at > $1");
        let row = statement.bind(self.clock.now().as_millisecond()).fetch_one(self.pool()?).await;
        let count: i64 = row.and_then(|row| row.try_get(0)).map_err(|error| failed(&error))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    async fn insert(&self, record: &Record, on_conflict: &'static str) -> Result<u64> {
        let data = serde_json::to_string(&record.data).map_err(|error| Error::Encode(error.to_string()))?;
        let done = sqlx::query(on_conflict)
            .bind(id_hash(&record.id))
            .bind(data)
            .bind(milliseconds(record.expiry_date))
            .execute(self.pool()?)
            .await
            .map_err(|error| failed(&error))?;
        Ok(done.rows_affected())
    }
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let insert =
            "insert into sessions (id_hash, data, expires_at) values ($1, $2, $3) on conflict do nothing";
        // An id that is taken by chance is drawn anew.
        while self.insert(record, insert).await? == 0 {
            record.id = Id::default();
        }
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        // An update alone: a request that began before a logout must not bring the session back.
        let update = "update sessions set data = $2, expires_at = $3 where id_hash = $1";
        self.insert(record, update).await?;
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let hash = id_hash(id);
        match self.look_up(id, &hash).await {
            Ok(record) => {
                self.keep(hash, record.clone());
                Ok(record)
            }
            Err(error) => {
                let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
                let kept = copies.get(&hash).filter(|(at, _)| at.elapsed() < KEPT);
                let now = self.clock.now().as_millisecond();
                match kept {
                    Some((_, record)) if milliseconds(record.expiry_date) > now => Ok(Some(record.clone())),
                    _ => Err(error),
                }
            }
        }
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let hash = id_hash(id);
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
        let statement = sqlx::query("delete from sessions where id_hash = $1").bind(hash);
        statement.execute(self.pool()?).await.map_err(|error| failed(&error))?;
        Ok(())
    }
}

impl Sessions {
    fn keep(&self, hash: String, record: Option<Record>) {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = record else {
            copies.remove(&hash);
            return;
        };
        if copies.len() >= MOST_KEPT {
            copies.retain(|_, (at, _)| at.elapsed() < KEPT);
        }
        if copies.len() < MOST_KEPT {
            copies.insert(hash, (Instant::now(), record));
        }
    }

    async fn look_up(&self, id: &Id, hash: &str) -> Result<Option<Record>> {
        let row = sqlx::query("select data, expires_at from sessions where id_hash = $1 and expires_at > $2")
            .bind(hash)
            .bind(self.clock.now().as_millisecond())
            .fetch_optional(self.pool()?)
            .await
            .map_err(|error| failed(&error))?;
        let Some(row) = row else { return Ok(None) };
        let data: String = row.try_get(0).map_err(|error| failed(&error))?;
        let expires_at: i64 = row.try_get(1).map_err(|error| failed(&error))?;
        let data = serde_json::from_str(&data).map_err(|error| Error::Decode(error.to_string()))?;
        let expiry_date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(expires_at) * 1_000_000)
            .map_err(|error| Error::Decode(error.to_string()))?;
        Ok(Some(Record { id: *id, data, expiry_date }))
    }
}

fn id_hash(id: &Id) -> String {
    hex(&Sha256::digest(id.to_string().as_bytes()))
}

fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn failed(error: &sqlx::Error) -> Error {
    Error::Backend(error.to_string())
}
