//! Login sessions, behind tower-sessions' store.
//!
//! Written here because the ready stores keep the session id itself as their key: whoever reads a backup of
//! the file could log in with it. This one keeps the id's SHA-256.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use sqlx::{AnyPool, Row};
use time::OffsetDateTime;
use tower_sessions::SessionStore;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};

use super::database::Database;
use crate::domain::key::hex;
use patchbay_clock::Clock;

/// How long a session is used without a look at the database.
const FRESH: Duration = Duration::from_mins(5);

const MAX_CACHED: usize = 10_000;

#[derive(Debug, Clone)]
pub struct Sessions {
    database: Database,
    clock: Clock,
    cache: Arc<Mutex<Cache>>,
}

/// The sessions that were read last, by the hash of their id, and when.
///
/// An entry goes when its session is saved, deleted or expired, and after [`FRESH`]. With `SQLite` no other process
/// writes sessions, so that a page needs no look at the database. With Postgres another replica may have ended a session:
/// there each page looks, and an entry serves only while the database is away.
#[derive(Debug, Default)]
struct Cache {
    sessions: HashMap<String, (Instant, Record)>,
    /// Counts the writes: what was read before one is not kept after it.
    writes: u64,
}

impl Cache {
    fn get(&self, hash: &str, now: i64) -> Option<Record> {
        let (at, record) = self.sessions.get(hash)?;
        (at.elapsed() < FRESH && milliseconds(record.expiry_date) > now).then(|| record.clone())
    }

    fn forget(&mut self, hash: &str) {
        self.writes += 1;
        self.sessions.remove(hash);
    }

    fn keep(&mut self, hash: String, record: Option<&Record>, writes: u64) {
        let Some(record) = record else {
            self.sessions.remove(&hash);
            return;
        };
        if self.sessions.len() >= MAX_CACHED {
            self.sessions.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        if self.writes == writes && self.sessions.len() < MAX_CACHED {
            self.sessions.insert(hash, (Instant::now(), record.clone()));
        }
    }
}

impl Sessions {
    pub(super) fn new(database: Database, clock: Clock) -> Self {
        Self { database, clock, cache: Arc::default() }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> Result<&AnyPool> {
        self.database.pool().map_err(|error| Error::Backend(error.to_string()))
    }

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

    /// What a session is stored under.
    pub fn hash(id: &Id) -> String {
        id_hash(id)
    }

    /// Another replica has ended a session, and without the database the copies here would be all there is.
    pub fn forget_copies(&self) {
        let mut cache = self.cache();
        cache.writes += 1;
        cache.sessions.clear();
    }

    pub(super) fn forget(&self, hash: &str) {
        self.cache().forget(hash);
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
        let hash = id_hash(&record.id);
        // An update alone: a request that began before a logout must not bring the session back.
        let update = "update sessions set data = $2, expires_at = $3 where id_hash = $1";
        self.cache().forget(&hash);
        let saved = self.insert(record, update).await;
        // Again: another request may have read the former row in between.
        self.cache().forget(&hash);
        saved.map(|_| ())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let (hash, now) = (id_hash(id), self.clock.now().as_millisecond());
        let (cached, writes) = {
            let cache = self.cache();
            (cache.get(&hash, now), cache.writes)
        };
        if cached.is_some() && !self.database.is_postgres() {
            return Ok(cached);
        }
        match self.look_up(id, &hash).await {
            Ok(record) => {
                self.cache().keep(hash, record.as_ref(), writes);
                Ok(record)
            }
            Err(error) => cached.map(Some).ok_or(error),
        }
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let hash = id_hash(id);
        self.cache().forget(&hash);
        let statement = sqlx::query("delete from sessions where id_hash = $1").bind(&hash);
        let deleted = statement.execute(self.pool()?).await.map_err(|error| failed(&error));
        self.cache().forget(&hash);
        deleted.map(|_| ())
    }
}

impl Sessions {
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
