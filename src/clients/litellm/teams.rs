//! Teams and access groups: what decides beside a key which models it may call.

use std::collections::HashMap;

use serde::Deserialize;

use super::wire::{Models, Names, Window};
use super::{LiteLlm, is_not_found, none_if, not_understood};
use crate::clients::Result;
use crate::clients::lenient::{Lenient, Object, Objects, Rows, Text};
use crate::domain::key::Access;
use crate::domain::permission::Team;

/// Most pages of 100 teams that are read.
const TEAM_PAGES: u64 = 100;

/// `GET /v2/team/list`
#[derive(Deserialize)]
struct TeamList {
    teams: Rows<TeamRow>,
    total_pages: Lenient<u64>,
}

#[derive(Deserialize)]
struct TeamRow {
    team_id: Text,
    models: Lenient<Models>,
    access_group_ids: Lenient<Vec<String>>,
    litellm_model_table: Object<TeamAliases>,
    blocked: Lenient<bool>,
    spend: Lenient<f64>,
    max_budget: Lenient<f64>,
    budget_limits: Objects<Window>,
}

#[derive(Deserialize, Default)]
struct TeamAliases {
    model_aliases: Lenient<Names>,
}

impl TeamRow {
    /// None where its models cannot be read.
    fn into_team(self) -> Option<(String, Team)> {
        let access = self.models.0.map_or(Access::All, |Models(access)| access);
        if access == Access::List(Vec::new()) {
            return None;
        }
        let table = self.litellm_model_table.0.unwrap_or_default();
        let windows = self.budget_limits.0.into_iter().filter_map(|window| window.max_budget.0);
        let team = Team {
            models: access.to_models(),
            access_group_ids: self.access_group_ids.0.unwrap_or_default(),
            aliases: table
                .model_aliases
                .0
                .map(|Names(names)| names.into_keys().collect())
                .unwrap_or_default(),
            blocked: self.blocked.0.unwrap_or(false),
            spend: self.spend.0.unwrap_or(0.0),
            max_budget: self.max_budget.0,
            least_window: windows.reduce(f64::min),
        };
        Some((self.team_id.0?, team))
    }
}

/// One entry of `GET /v1/access_group` (1.109).
#[derive(Deserialize)]
struct AccessGroup {
    access_group_id: Text,
    access_model_names: Lenient<Vec<String>>,
}

impl AccessGroup {
    fn into_models(self) -> Option<(String, Vec<String>)> {
        Some((self.access_group_id.0?, self.access_model_names.0.unwrap_or_default()))
    }
}

impl LiteLlm {
    /// `GET /v2/team/list`: what teams may call, by id. `/team/list` would bring all keys of all teams along.
    pub async fn teams(&self) -> Result<HashMap<String, Team>> {
        let mut teams = HashMap::new();
        for page in 1..=TEAM_PAGES {
            let page_text = page.to_string();
            let query = [("page", page_text.as_str()), ("page_size", "100")];
            let pages = self.get("v2/team/list").query(&query).json(|answer: TeamList| {
                let rows = answer.teams.0.ok_or_else(|| not_understood("an answer without its list"))?;
                teams.extend(rows.into_iter().flatten().filter_map(TeamRow::into_team));
                Ok(answer.total_pages.0.unwrap_or(1))
            });
            if pages.await? <= page {
                break;
            }
        }
        Ok(teams)
    }

    /// `GET /v1/access_group`: the models of each; none on releases that have no such groups.
    pub async fn access_groups(&self) -> Result<Option<HashMap<String, Vec<String>>>> {
        let request = self.get("v1/access_group").expecting(is_not_found);
        let groups = request.json(|groups: Objects<AccessGroup>| {
            Ok(Some(groups.0.into_iter().filter_map(AccessGroup::into_models).collect()))
        });
        none_if(is_not_found, groups.await)
    }
}
