//! Databases for tests: SQLite, or, where `PATCHBAY_TEST_POSTGRES` says where one is, Postgres.
//! `tests/postgres/run` sets it.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

mod migrations;
mod pooler;

/// A file for a database that outlives a dashboard.
pub(crate) fn file() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("test.db").display());
    (dir, url)
}

/// A schema of its own in the test's Postgres, where there is one.
pub(crate) async fn postgres() -> Option<String> {
    let server = std::env::var("PATCHBAY_TEST_POSTGRES").ok()?;
    let mut connection = PgConnection::connect(&server).await.unwrap();
    let name = format!("t_{}", Uuid::now_v7().simple());
    sqlx::query(AssertSqlSafe(format!("create schema {name}"))).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Some(format!("{server}?options[search_path]={name}"))
}

/// A database that outlives a dashboard. The folder is its own, where it is a file.
pub(crate) async fn lasting() -> (Option<tempfile::TempDir>, String) {
    if let Some(url) = postgres().await {
        return (None, url);
    }
    let (dir, url) = file();
    (Some(dir), url)
}

/// A database that need not outlive a dashboard.
pub(crate) async fn passing() -> String {
    postgres().await.unwrap_or_else(|| "sqlite::memory:".to_owned())
}
