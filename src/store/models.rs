//! Notes on deployments: references, ghosts, tests; and which models the contexts are on.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, json, plain, time};
use crate::domain::control::AgentConfig;
use crate::domain::model_detail::Draft;
use crate::domain::model_note::{Ghost, Note, TestResult};

impl Store {
    pub async fn deployment_notes(&self, ids: &[&str]) -> Result<HashMap<String, Note>, StoreError> {
        let mut notes = HashMap::new();
        for ids in ids.chunks(1000) {
            let places: Vec<String> = (1..=ids.len()).map(|n| format!("${n}")).collect();
            let statement = format!("select * from deployments where id in ({})", places.join(", "));
            let mut query = sqlx::query(sqlx::AssertSqlSafe(statement)).persistent(false);
            for id in ids {
                query = query.bind(plain(id));
            }
            for row in query.fetch_all(self.pool()?).await? {
                let note = read(&row)?;
                notes.insert(note.id.clone(), note);
            }
        }
        Ok(notes)
    }

    pub async fn deployment_note(&self, id: &str) -> Result<Option<Note>, StoreError> {
        Ok(self.deployment_notes(&[id]).await?.remove(id))
    }

    /// Deployments that were tested here, and those that were saved and not live when last seen.
    pub async fn tested_and_ghosts(&self) -> Result<Vec<Note>, StoreError> {
        let statement =
            "select * from deployments where ghost is not null or tested_at is not null order by name, id";
        let rows = sqlx::query(statement).fetch_all(self.pool()?).await?;
        rows.iter().map(read).collect()
    }

    pub async fn note_references(
        &self,
        id: &str,
        name: &str,
        references: &Map<String, Value>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "insert into deployments (id, name, refs) values ($1, $2, $3) on conflict (id) do update \
             set name = excluded.name, refs = excluded.refs, ghost = null, ghost_why = null",
        )
        .bind(plain(id))
        .bind(plain(name))
        .bind(json!(references).to_string())
        .execute(self.pool()?)
        .await?;
        Ok(())
    }

    /// Keeps that a deployment is saved and not live.
    pub async fn note_ghost(&self, id: &str, ghost: &Ghost) -> Result<(), StoreError> {
        let Draft { name, params, info } = &ghost.draft;
        sqlx::query(
            "insert into deployments (id, name, refs, ghost, ghost_why) values ($1, $2, $3, $4, $5) \
             on conflict (id) do update set name = excluded.name, refs = excluded.refs, \
             ghost = excluded.ghost, ghost_why = excluded.ghost_why",
        )
        .bind(plain(id))
        .bind(plain(name))
        .bind(json!(ghost.draft.references()).to_string())
        .bind(json!({ "params": params, "info": info }).to_string())
        .bind(plain(&ghost.why))
        .execute(self.pool()?)
        .await?;
        Ok(())
    }

    pub async fn note_live(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query("update deployments set ghost = null, ghost_why = null where id = $1")
            .bind(plain(id))
            .execute(self.pool()?)
            .await?;
        self.database.note_change();
        Ok(())
    }

    pub async fn note_test(&self, id: &str, name: &str, test: &TestResult) -> Result<(), StoreError> {
        sqlx::query(
            "insert into deployments (id, name, tested_at, tested_by, test_ok, test_ms, test_model, test_text) \
             values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do update set \
             tested_at = excluded.tested_at, tested_by = excluded.tested_by, test_ok = excluded.test_ok, \
             test_ms = excluded.test_ms, test_model = excluded.test_model, test_text = excluded.test_text",
        )
        .bind(plain(id))
        .bind(plain(name))
        .bind(test.at.as_millisecond())
        .bind(&test.by)
        .bind(i64::from(test.ok))
        .bind(test.ms)
        .bind(test.model.as_deref().map(plain))
        .bind(plain(&test.text))
        .execute(self.pool()?)
        .await?;
        Ok(())
    }

    pub async fn forget_deployment(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query("delete from deployments where id = $1").bind(plain(id)).execute(self.pool()?).await?;
        Ok(())
    }

    pub async fn contexts_by_model(&self) -> Result<HashMap<String, u64>, StoreError> {
        let statement = "select config, count(*) from contexts where config is not null group by config";
        let rows = sqlx::query(statement).fetch_all(self.pool()?).await?;
        let mut counts = HashMap::new();
        for row in &rows {
            let config: AgentConfig = json("configuration", &row.try_get::<String, _>(0)?)?;
            let count: i64 = row.try_get(1)?;
            *counts.entry(config.spec_text()).or_insert(0) += u64::try_from(count).unwrap_or(0);
        }
        Ok(counts)
    }
}

fn read(row: &AnyRow) -> Result<Note, StoreError> {
    let column = |column: &str| row.try_get::<Option<String>, _>(column);
    let name: String = row.try_get("name")?;
    let test = match row.try_get::<Option<i64>, _>("tested_at")? {
        None => None,
        Some(at) => Some(TestResult {
            at: time(at)?,
            by: column("tested_by")?.unwrap_or_default(),
            ok: row.try_get::<Option<i64>, _>("test_ok")? == Some(1),
            ms: row.try_get::<Option<f64>, _>("test_ms")?.unwrap_or(0.0),
            model: column("test_model")?,
            text: column("test_text")?.unwrap_or_default(),
        }),
    };
    let ghost = match column("ghost")? {
        None => None,
        Some(ghost) => {
            let mut ghost: Map<String, Value> = json("ghost", &ghost)?;
            let mut take = |part: &str| match ghost.remove(part) {
                Some(Value::Object(map)) => map,
                _ => Map::new(),
            };
            let draft = Draft { name: name.clone(), params: take("params"), info: take("info") };
            Some(Ghost { draft, why: column("ghost_why")?.unwrap_or_default() })
        }
    };
    let references = json("references", &row.try_get::<String, _>("refs")?)?;
    Ok(Note { id: row.try_get("id")?, name, references, ghost, test })
}
