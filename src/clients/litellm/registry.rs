//! The registry as it is configured: one row per deployment, and how the router resolves other names.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::models::Row;
use super::wire::ModelRow;
use super::{LiteLlm, is_status, usable};
use crate::clients::http;
use crate::clients::lenient::{Lenient, Object, Rows, Text};
use crate::clients::{ClientError, Result};
use crate::domain::assessment::ModelFacts;
use crate::domain::model::{Deployment, Prices};
use crate::domain::model_detail::Detail;
use crate::domain::redact;
use crate::domain::routing::{Alias, Fallback, Routing, When, is_pattern};

/// Deployments on a page of `/v2/model/info`. 1.109 takes a millisecond for each and answers no other request in that time.
const PAGE: usize = 250;

/// Most pages that are read: 10,000 deployments.
const MAX_PAGES: u64 = 40;

/// Most aliases, fallbacks or credentials that are read.
const MAX_ENTRIES: usize = 10_000;

/// Longest id of a provider, in bytes.
const MAX_PROVIDER: usize = 100;

#[derive(Debug, Clone, Default)]
pub struct Registered {
    pub deployments: Vec<Deployment>,
    pub routing: Routing,
}

/// A set of `litellm_params` that the proxy keeps under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub name: String,
    pub provider: Option<String>,
}

/// `GET /v2/model/info`. Before 1.106 there are no pages.
#[derive(Deserialize)]
#[serde(bound = "R: Deserialize<'de>")]
struct Page<R> {
    data: Rows<R>,
    #[serde(default)]
    total_pages: Lenient<u64>,
}

/// `GET /router/settings`, and of `GET /get/config/callbacks` the part that says the same.
#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    current_values: Object<RouterSettings>,
    #[serde(default)]
    router_settings: Object<RouterSettings>,
}

#[derive(Default, Deserialize)]
struct RouterSettings {
    #[serde(default)]
    model_group_alias: Object<Map<String, Value>>,
    #[serde(default)]
    fallbacks: Value,
    #[serde(default)]
    context_window_fallbacks: Value,
    #[serde(default)]
    content_policy_fallbacks: Value,
}

#[derive(Deserialize)]
struct Credentials {
    credentials: Rows<CredentialRow>,
}

#[derive(Deserialize)]
struct CredentialRow {
    credential_name: Text,
    credential_info: Object<CredentialInfo>,
}

#[derive(Deserialize)]
struct CredentialInfo {
    custom_llm_provider: Text,
}

/// What the proxy knows of a name.
pub struct GroupInfo {
    pub mode: Option<String>,
    pub facts: ModelFacts,
}

#[derive(Deserialize)]
struct Groups {
    data: Rows<Group>,
}

#[derive(Deserialize)]
struct Group {
    mode: Text,
    max_input_tokens: Lenient<f64>,
    input_cost_per_token: Lenient<f64>,
    output_cost_per_token: Lenient<f64>,
}

/// What `/model/info` repeats: for each alias, and for each known model that a wildcard covers.
trait Repeated {
    fn id(&self) -> &str;
    fn name(&self) -> &str;
    fn upstream(&self) -> &str;
    fn rename(&mut self, name: String, upstream: String);
}

impl LiteLlm {
    /// Every live deployment once, named as configured. Rows without an id are left out.
    pub async fn deployments(&self) -> Result<Vec<Deployment>> {
        self.rows(http::json, ModelRow::into_deployment).await
    }

    /// The same, with how the router finds what answers other names.
    pub async fn registered(&self) -> Result<Registered> {
        let (parse, read) = (http::json, ModelRow::into_deployment);
        let rows = self.pages(parse, read).await;
        if let Err(error) = &rows
            && !has_no_pages(error)
        {
            return Err(error.clone());
        }
        let mut routing = self.routing().await.unwrap_or_default();
        let deployments = match rows {
            Ok(rows) => rows,
            Err(_) => self.unrepeated(parse, read, &mut routing).await?,
        };
        Ok(Registered { deployments, routing })
    }

    /// The deployments with all that is set in each.
    pub async fn details(&self) -> Result<Vec<Detail>> {
        self.rows(http::tree, Row::into_detail).await
    }

    async fn rows<R: DeserializeOwned, T: Repeated>(
        &self,
        parse: fn(&[u8]) -> Result<Page<R>, String>,
        read: fn(R) -> Option<T>,
    ) -> Result<Vec<T>> {
        match self.pages(parse, read).await {
            Err(error) if has_no_pages(&error) => {
                let mut routing = self.routing().await.unwrap_or_default();
                self.unrepeated(parse, read, &mut routing).await
            }
            rows => rows,
        }
    }

    /// `GET /v2/model/info`, page by page.
    async fn pages<R: DeserializeOwned, T: Repeated>(
        &self,
        parse: fn(&[u8]) -> Result<Page<R>, String>,
        read: fn(R) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut found: Vec<T> = Vec::new();
        for page in 1..=MAX_PAGES {
            let query = [("page", page.to_string()), ("size", PAGE.to_string())];
            let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
            let request = self.get("v2/model/info").query(&query).expecting(has_no_pages);
            let (rows, pages) = request
                .parsed(parse, |answer| Ok((usable(answer.data.0, read)?, answer.total_pages.0.unwrap_or(1))))
                .await?;
            found.extend(rows);
            if page >= pages {
                break;
            }
        }
        // A row that was added or deleted in between moves the others.
        let mut seen = std::collections::HashSet::new();
        found.retain(|row| seen.insert(row.id().to_owned()));
        Ok(found)
    }

    /// `GET /model/info`, for proxies that cannot show the rows themselves: those without a database.
    async fn unrepeated<R: DeserializeOwned, T: Repeated>(
        &self,
        parse: fn(&[u8]) -> Result<Page<R>, String>,
        read: fn(R) -> Option<T>,
        routing: &mut Routing,
    ) -> Result<Vec<T>> {
        let rows = self.get("model/info").parsed(parse, |answer| usable(answer.data.0, read)).await?;
        Ok(one_per_id(rows, routing))
    }

    /// Aliases and fallbacks; none if the proxy does not report them.
    async fn routing(&self) -> Option<Routing> {
        // 1.80 and later; the other answer holds the settings of alerts as well.
        let request = self.get("router/settings").expecting(is_status);
        let settings = request.json(|answer: Settings| Ok(answer.current_values.0)).await;
        if !matches!(settings, Err(ClientError::Status { status: 404, .. })) {
            return settings.ok().flatten().map(RouterSettings::into_routing);
        }
        let request = self.get("get/config/callbacks").expecting(is_status);
        let settings = request.json(|answer: Settings| Ok(answer.router_settings.0)).await;
        let routing = settings.ok().flatten().map(RouterSettings::into_routing);
        routing.map(|routing| Routing { alias_by_target_only: true, ..routing })
    }

    /// `GET /credentials`: the names of what is stored.
    pub async fn credentials(&self) -> Result<Vec<Credential>> {
        let read = |row: CredentialRow| {
            let provider = row.credential_info.0.and_then(|info| info.custom_llm_provider.0);
            Some(Credential { name: redact::secrets(&row.credential_name.0?), provider })
        };
        let request = self.get("credentials").expecting(is_status);
        let mut found = request.json(|answer: Credentials| usable(answer.credentials.0, read)).await?;
        found.truncate(MAX_ENTRIES);
        Ok(found)
    }

    /// `GET /public/providers`: the ids of the providers that the release knows.
    pub async fn providers(&self) -> Result<Vec<String>> {
        let request = self.get("public/providers").expecting(is_status);
        let mut found = request.json(|ids: Vec<String>| Ok(ids)).await?;
        found.retain(|id| !id.is_empty() && id.len() <= MAX_PROVIDER);
        found.truncate(MAX_ENTRIES);
        Ok(found)
    }

    /// `GET /model_group/info?model_group=`: the mode, limits and prices of a name that may have no deployment of its own;
    /// none where the proxy does not know it.
    pub async fn group(&self, name: &str) -> Result<Option<GroupInfo>> {
        let request = self.get("model_group/info").query(&[("model_group", name)]).expecting(is_status);
        let read = |answer: Groups| {
            let mut groups = answer.data.0.into_iter().flatten().flatten();
            Ok(groups.next().map(Group::into_info))
        };
        request.json(read).await
    }
}

impl Group {
    fn into_info(self) -> GroupInfo {
        // Some releases write it with a decimal point.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of tokens")]
        let window = self.max_input_tokens.0.map(|tokens| tokens as u64);
        let (input, output) = (self.input_cost_per_token.0, self.output_cost_per_token.0);
        let prices = Prices { input, output, cached_input: None };
        GroupInfo { mode: self.mode.0, facts: ModelFacts { window, prices, long_prices: Vec::new() } }
    }
}

/// Without a database it answers 500, also 1.80 whose database is down; a release before it has none.
fn has_no_pages(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { status: 404 | 500, .. })
}

impl RouterSettings {
    fn into_routing(self) -> Routing {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(redact::secrets);
        let model = |value: &Value| text(value).or_else(|| text(value.get("model")?));
        let alias = |(name, value): (String, Value)| {
            let hidden = value.get("hidden") == Some(&Value::Bool(true));
            Some((name, Alias { target: model(&value)?, hidden }))
        };
        let aliases = self.model_group_alias.0.unwrap_or_default().into_iter().filter_map(alias);
        let kinds = [
            (When::Failure, self.fallbacks),
            (When::ContextWindow, self.context_window_fallbacks),
            (When::ContentPolicy, self.content_policy_fallbacks),
        ];
        let fallbacks = kinds.iter().flat_map(|(when, entries)| {
            let entries = entries.as_array().into_iter().flatten().filter_map(Value::as_object).flatten();
            entries.map(|(name, to)| {
                let to = to.as_array().into_iter().flatten().filter_map(model).collect();
                Fallback { name: name.clone(), to, when: *when }
            })
        });
        let fallbacks = fallbacks.filter(|one| !one.to.is_empty()).take(MAX_ENTRIES).collect();
        let aliases = aliases.take(MAX_ENTRIES).collect();
        Routing { aliases, fallbacks: Some(fallbacks), ..Routing::default() }
    }
}

/// One row for each id. A name that is no alias counts before others; of the rows that an unlisted wildcard stands for,
/// what their names have in common. Where the aliases are not known, they are found by rows of one id.
fn one_per_id<T: Repeated>(rows: Vec<T>, routing: &mut Routing) -> Vec<T> {
    let mut places = HashMap::new();
    let mut groups: Vec<Vec<T>> = Vec::new();
    for row in rows {
        let place = *places.entry(row.id().to_owned()).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(row);
    }
    let is_told = routing.fallbacks.is_some();
    let mut inferred = BTreeMap::new();
    let one =
        |mut group: Vec<T>| {
            if let Some(place) = group.iter().position(|row| is_pattern(row.name())) {
                return group.swap_remove(place);
            }
            if group.iter().any(|row| row.upstream() != group[0].upstream()) {
                let name = format!("{}*", common(group.iter().map(T::name)));
                let upstream = format!("{}*", common(group.iter().map(T::upstream)));
                let mut row = group.swap_remove(0);
                row.rename(name, upstream);
                return row;
            }
            let is_own = |row: &T| {
                if is_told { !routing.aliases.contains_key(row.name()) } else { row.name() == row.upstream() }
            };
            let place = group.iter().position(is_own).unwrap_or(0);
            let row = group.swap_remove(place);
            let others = group.iter().filter(|other| !is_told && other.name() != row.name());
            inferred.extend(others.map(|other| {
                (other.name().to_owned(), Alias { target: row.name().to_owned(), hidden: false })
            }));
            row
        };
    let rows = groups.into_iter().map(one).collect();
    routing.aliases.extend(inferred);
    rows
}

/// How all texts begin, up to the last slash.
fn common<'a>(mut texts: impl Iterator<Item = &'a str>) -> &'a str {
    let first = texts.next().unwrap_or_default();
    let shared = texts.fold(first, |shared, text| {
        let length = shared.char_indices().zip(text.chars()).take_while(|((_, a), b)| a == b).last();
        length.map_or("", |((at, c), _)| &shared[..at + c.len_utf8()])
    });
    &shared[..shared.rfind('/').map_or(shared.len(), |at| at + 1)]
}

impl Repeated for Deployment {
    fn id(&self) -> &str {
        &self.id
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn upstream(&self) -> &str {
        &self.upstream_model
    }
    fn rename(&mut self, name: String, upstream: String) {
        (self.name, self.upstream_model, self.mode) = (name, upstream, None);
        (self.max_input_tokens, self.max_output_tokens) = (None, None);
        (self.input_cost_per_token, self.output_cost_per_token) = (None, None);
        self.cached_input_cost_per_token = None;
        self.long_prices.clear();
    }
}

impl Repeated for Detail {
    fn id(&self) -> &str {
        &self.id
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn upstream(&self) -> &str {
        self.params.get("model").and_then(Value::as_str).unwrap_or_default()
    }
    fn rename(&mut self, name: String, upstream: String) {
        self.name = name;
        self.params.insert("model".to_owned(), upstream.into());
        self.info.remove("mode");
    }
}
