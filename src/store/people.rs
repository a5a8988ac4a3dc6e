//! Who has logged in, their sessions, and access tokens.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::columns::{Json, Millis};
use super::{Result, Store, audit, strip_nul};
use crate::domain::audit::NewEntry;
use crate::domain::people::{AccessToken, Person, Seen};
use crate::domain::role::Role;

/// Most people, sessions and tokens that are read for a list.
const MAX_LISTED: i64 = 5_000;

/// How long an expired token stays in the list.
const SHOWN_AFTER_EXPIRY: SignedDuration = SignedDuration::from_hours(24 * 30);

/// A session that has not expired.
#[derive(Debug)]
pub struct StoredSession {
    pub id_hash: String,
    pub data: HashMap<String, Value>,
}

/// What came of adding a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    Yes,
    /// Its id is taken: the form was sent before.
    Before,
    TooMany,
}

impl Store {
    /// Notes a login, and writes its entry if there is one.
    pub async fn note_login(&self, seen: &Seen, entry: Option<&NewEntry>) -> Result<()> {
        let mut tx = self.writes()?.begin().await?;
        sqlx::query(
            "insert into people (name, source, email, role, login_at, seen_at) values ($1, $2, $3, $4, $5, $5) \
             on conflict (name) do update set source = excluded.source, email = excluded.email, \
             role = excluded.role, login_at = excluded.login_at, seen_at = excluded.seen_at",
        )
        .bind(strip_nul(&seen.name))
        .bind(seen.source.as_str())
        .bind(&seen.email)
        .bind(seen.role.map(Role::as_str))
        .bind(self.now())
        .execute(&mut *tx)
        .await?;
        if let Some(entry) = entry {
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await?;
        if entry.is_some() {
            self.tell_of_audit();
        }
        Ok(())
    }

    /// Notes that someone is still there. False where this is a login: they are new, came back after `idle`, or have
    /// another role.
    pub async fn note_seen(&self, seen: &Seen, idle: SignedDuration) -> Result<bool> {
        let known = sqlx::query(
            "update people set email = $3, seen_at = $5 where name = $1 and source = $2 \
             and coalesce(role, '') = coalesce($4, '') and seen_at > $6",
        )
        .bind(strip_nul(&seen.name))
        .bind(seen.source.as_str())
        .bind(&seen.email)
        .bind(seen.role.map(Role::as_str))
        .bind(self.now())
        .bind(self.now() - i64::try_from(idle.as_millis()).unwrap_or(i64::MAX))
        .execute(self.writes()?)
        .await?;
        Ok(known.rows_affected() > 0)
    }

    /// Takes the role of someone whose groups have none any more. True if they had one.
    pub async fn end_role(&self, seen: &Seen, entry: &NewEntry) -> Result<bool> {
        let mut tx = self.writes()?.begin().await?;
        let ended =
            sqlx::query("update people set role = null where name = $1 and source = $2 and role is not null")
                .bind(strip_nul(&seen.name))
                .bind(seen.source.as_str())
                .execute(&mut *tx)
                .await?;
        if ended.rows_affected() > 0 {
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await?;
        self.tell_of_audit();
        Ok(ended.rows_affected() > 0)
    }

    /// Those who were seen last first.
    pub async fn people(&self) -> Result<Vec<Person>> {
        let query =
            sqlx::query_as("select * from people order by seen_at desc, name limit $1").bind(MAX_LISTED);
        Ok(query.fetch_all(self.pool()?).await?)
    }

    pub async fn person(&self, name: &str) -> Result<Option<Person>> {
        let query = sqlx::query_as("select * from people where name = $1").bind(strip_nul(name));
        Ok(query.fetch_optional(self.pool()?).await?)
    }

    pub async fn live_sessions(&self) -> Result<Vec<StoredSession>> {
        let query = sqlx::query_as(
            "select id_hash, data from sessions where expires_at > $1 order by expires_at desc limit $2",
        );
        Ok(query.bind(self.now()).bind(MAX_LISTED).fetch_all(self.pool()?).await?)
    }

    /// Ends a session, and writes its entry if there was one. Replicas on Postgres look at each request; with SQLite there
    /// is one.
    pub async fn end_session(&self, id_hash: &str, entry: &NewEntry) -> Result<bool> {
        let mut tx = self.writes()?.begin().await?;
        let ended =
            sqlx::query("delete from sessions where id_hash = $1").bind(id_hash).execute(&mut *tx).await?;
        let was_there = ended.rows_affected() > 0;
        if was_there {
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        self.sessions.forget(id_hash);
        tx.commit().await?;
        self.sessions.forget(id_hash);
        self.tell_of_audit();
        Ok(was_there)
    }

    /// Stores a token and writes its entry, unless its owner has `most` of them.
    pub async fn add_token(
        &self,
        token: &AccessToken,
        hash: &str,
        entry: &NewEntry,
        most: i64,
    ) -> Result<Added> {
        let mut tx = self.writes()?.begin().await?;
        // With SQLite there is one writer.
        if self.is_shared() {
            sqlx::query("lock table access_tokens in share row exclusive mode").execute(&mut *tx).await?;
        }
        let count: i64 =
            sqlx::query_scalar("select count(*) from access_tokens where owner = $1 and expires_at > $2")
                .bind(strip_nul(&token.owner))
                .bind(self.now())
                .fetch_one(&mut *tx)
                .await?;
        if count >= most {
            return Ok(Added::TooMany);
        }
        let added = sqlx::query(
            "insert into access_tokens (id, hash, label, owner, source, role, created_at, expires_at) \
             values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing",
        )
        .bind(&token.id)
        .bind(hash)
        .bind(strip_nul(&token.label))
        .bind(strip_nul(&token.owner))
        .bind(token.source.as_str())
        .bind(token.role.as_str())
        .bind(Millis(token.created_at))
        .bind(Millis(token.expires_at))
        .execute(&mut *tx)
        .await?;
        let is_new = added.rows_affected() > 0;
        if is_new {
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await?;
        self.tell_of_audit();
        Ok(if is_new { Added::Yes } else { Added::Before })
    }

    /// The newest first; of one owner, or all.
    pub async fn tokens(&self, owner: Option<&str>) -> Result<Vec<AccessToken>> {
        let query = sqlx::query_as(
            "select * from access_tokens where owner = coalesce($1, owner) order by created_at desc, id limit $2",
        );
        Ok(query.bind(owner.map(strip_nul)).bind(MAX_LISTED).fetch_all(self.pool()?).await?)
    }

    pub async fn token(&self, id: &str) -> Result<Option<AccessToken>> {
        let query = sqlx::query_as("select * from access_tokens where id = $1").bind(strip_nul(id));
        Ok(query.fetch_optional(self.pool()?).await?)
    }

    /// Always read from the database, so that a revocation counts at once on every replica.
    pub async fn token_of_hash(&self, hash: &str) -> Result<Option<AccessToken>> {
        let query = sqlx::query_as("select * from access_tokens where hash = $1 and expires_at > $2");
        Ok(query.bind(hash).bind(self.now()).fetch_optional(self.pool()?).await?)
    }

    pub async fn note_token_use(&self, id: &str) -> Result<()> {
        let query = sqlx::query("update access_tokens set used_at = $2 where id = $1").bind(id);
        query.bind(self.now()).execute(self.writes()?).await?;
        Ok(())
    }

    /// Deletes a token and writes its entry; false where it is gone already.
    pub async fn revoke_token(&self, id: &str, entry: &NewEntry) -> Result<bool> {
        let mut tx = self.writes()?.begin().await?;
        let gone = sqlx::query("delete from access_tokens where id = $1").bind(id).execute(&mut *tx).await?;
        let was_there = gone.rows_affected() > 0;
        if was_there {
            audit::write(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await?;
        self.tell_of_audit();
        Ok(was_there)
    }

    pub async fn delete_expired_tokens(&self) -> Result<()> {
        let end = self.now() - i64::try_from(SHOWN_AFTER_EXPIRY.as_millis()).unwrap_or(i64::MAX);
        sqlx::query("delete from access_tokens where expires_at < $1")
            .bind(end)
            .execute(self.pool()?)
            .await?;
        Ok(())
    }
}

impl FromRow<'_, AnyRow> for Person {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            name: row.try_get("name")?,
            source: row.try_get("source")?,
            email: row.try_get("email")?,
            role: row.try_get("role")?,
            login_at: row.try_get::<Millis, _>("login_at")?.into(),
            seen_at: row.try_get::<Millis, _>("seen_at")?.into(),
        })
    }
}

impl FromRow<'_, AnyRow> for StoredSession {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self { id_hash: row.try_get("id_hash")?, data: row.try_get::<Json<_>, _>("data")?.into_inner() })
    }
}

impl FromRow<'_, AnyRow> for AccessToken {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            label: row.try_get("label")?,
            owner: row.try_get("owner")?,
            source: row.try_get("source")?,
            role: row.try_get("role")?,
            created_at: row.try_get::<Millis, _>("created_at")?.into(),
            expires_at: row.try_get::<Millis, _>("expires_at")?.into(),
            used_at: row.try_get::<Option<Millis>, _>("used_at")?.map(Timestamp::from),
        })
    }
}
