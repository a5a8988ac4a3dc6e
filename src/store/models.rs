//! Notes on deployments: references, ghosts, tests; and which models the contexts are on.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, FromRow, Row as _};

use super::columns::{Json, Millis};
use super::{Result, Store, placeholders, strip_nul};
use crate::domain::control::AgentConfig;
use crate::domain::model_detail::Draft;
use crate::domain::model_note::{Ghost, Note, TestResult};

impl Store {
    pub async fn deployment_notes(&self, ids: &[&str]) -> Result<HashMap<String, Note>> {
        let mut notes = HashMap::new();
        for ids in ids.chunks(1000) {
            let listed = placeholders(1, ids.len());
            let statement = AssertSqlSafe(format!("select * from deployments where id in {listed}"));
            let query = sqlx::query_as(statement).persistent(false);
            let query = ids.iter().fold(query, |query, id| query.bind(strip_nul(id)));
            let found: Vec<Note> = query.fetch_all(self.pool()?).await?;
            notes.extend(found.into_iter().map(|note| (note.id.clone(), note)));
        }
        Ok(notes)
    }

    pub async fn deployment_note(&self, id: &str) -> Result<Option<Note>> {
        Ok(self.deployment_notes(&[id]).await?.remove(id))
    }

    /// Deployments that were tested here, and those that were saved and not live when last seen.
    pub async fn tested_and_ghosts(&self) -> Result<Vec<Note>> {
        let statement =
            "select * from deployments where ghost is not null or tested_at is not null order by name, id";
        Ok(sqlx::query_as(statement).fetch_all(self.pool()?).await?)
    }

    pub async fn note_live(&self, id: &str) -> Result<()> {
        sqlx::query("update deployments set ghost = null, ghost_why = null where id = $1")
            .bind(strip_nul(id))
            .execute(self.pool()?)
            .await?;
        self.database.note_change();
        Ok(())
    }

    pub async fn contexts_by_model(&self) -> Result<HashMap<String, u64>> {
        let statement = "select config, count(*) from contexts where config is not null group by config";
        let configs: Vec<(Json<AgentConfig>, i64)> =
            sqlx::query_as(statement).fetch_all(self.pool()?).await?;
        let mut counts = HashMap::new();
        for (Json(config), count) in configs {
            *counts.entry(config.spec_text()).or_default() += count.cast_unsigned();
        }
        Ok(counts)
    }
}

/// Writes what was sent of a deployment. Where it is not live, `ghost` says why.
pub(super) async fn write_draft(
    tx: &mut AnyConnection,
    id: &str,
    draft: &Draft,
    ghost: Option<&str>,
) -> Result<()> {
    let saved = ghost.is_some().then(|| draft.without_secrets());
    let saved = saved.map(|Draft { params, info, .. }| Json(Saved { params, info }));
    sqlx::query(
        "insert into deployments (id, name, refs, ghost, ghost_why) values ($1, $2, $3, $4, $5) \
         on conflict (id) do update set name = excluded.name, refs = excluded.refs, \
         ghost = excluded.ghost, ghost_why = excluded.ghost_why",
    )
    .bind(strip_nul(id))
    .bind(strip_nul(&draft.name))
    .bind(Json(draft.references()))
    .bind(saved)
    .bind(ghost.map(strip_nul))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn write_test(
    tx: &mut AnyConnection,
    id: &str,
    name: &str,
    test: &TestResult,
) -> Result<()> {
    sqlx::query(
        "insert into deployments (id, name, tested_at, tested_by, test_ok, test_ms, test_model, test_text) \
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do update set \
         tested_at = excluded.tested_at, tested_by = excluded.tested_by, test_ok = excluded.test_ok, \
         test_ms = excluded.test_ms, test_model = excluded.test_model, test_text = excluded.test_text",
    )
    .bind(strip_nul(id))
    .bind(strip_nul(name))
    .bind(Millis(test.at))
    .bind(&test.by)
    .bind(i64::from(test.ok))
    .bind(test.ms)
    .bind(test.model.as_deref().map(strip_nul))
    .bind(strip_nul(&test.text))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn delete_note(tx: &mut AnyConnection, id: &str) -> Result<()> {
    sqlx::query("delete from deployments where id = $1").bind(strip_nul(id)).execute(tx).await?;
    Ok(())
}

impl FromRow<'_, AnyRow> for Note {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let name: String = row.try_get("name")?;
        let test = match row.try_get::<Option<Millis>, _>("tested_at")? {
            None => None,
            Some(Millis(at)) => Some(TestResult {
                at,
                by: row.try_get("tested_by")?,
                ok: row.try_get::<i64, _>("test_ok")? == 1,
                ms: row.try_get("test_ms")?,
                model: row.try_get("test_model")?,
                text: row.try_get("test_text")?,
            }),
        };
        let ghost = match row.try_get::<Option<Json<Saved>>, _>("ghost")? {
            None => None,
            Some(Json(Saved { params, info })) => {
                let draft = Draft { name: name.clone(), params, info };
                Some(Ghost { draft, why: row.try_get("ghost_why")? })
            }
        };
        let references = row.try_get::<Json<_>, _>("refs")?.into_inner();
        Ok(Self { id: row.try_get("id")?, name, references, ghost, test })
    }
}

/// What the column `ghost` holds of a draft.
#[derive(Serialize, Deserialize)]
struct Saved {
    params: Map<String, Value>,
    info: Map<String, Value>,
}
