//! The proxy's log of calls: searched, and added up.

mod usage;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchbay_clock::Clock;
use serde::Serialize;

pub use self::usage::Measured;
use self::usage::UsageSource;
use crate::clients::ClientError;
use crate::clients::litellm::{LiteLlm, LogPage, LogQuery};
use crate::domain::key::KeyHash;
use crate::domain::release::{Feature, surely_can};
use crate::domain::usage::report::Range;
use crate::domain::usage::{Bodies, Call};
use crate::services::proxy::Proxy;
use crate::services::snapshot::{Snapshot, View};

/// The proxy's clock may be ahead.
pub const LEEWAY: SignedDuration = SignedDuration::from_mins(5);

/// What a page of calls is asked for.
#[derive(Debug, Clone)]
pub struct Filter {
    pub from: Timestamp,
    pub to: Timestamp,
    pub key: Option<KeyHash>,
    /// The model asked for.
    pub asked: Option<String>,
    pub served: Option<String>,
    /// The conversation.
    pub context: Option<String>,
    pub failed: Option<bool>,
    /// US dollars.
    pub min_cost: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    Newest,
    Cost,
}

/// A page of calls.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub calls: Vec<Call>,
    /// Calls of all pages.
    pub total: u64,
    /// Where Patchbay searched because the release cannot: how many calls it looked through.
    pub searched: Option<Searched>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Searched {
    /// The newest ones.
    pub rows: u64,
    /// How many there are.
    pub of: u64,
}

#[derive(Clone)]
pub struct Calls {
    log: Log,
    usage: Arc<[(Range, Snapshot<UsageSource>)]>,
}

/// The log, read within the limits of the proxy's release.
#[derive(Clone)]
struct Log {
    proxy: LiteLlm,
    health: Proxy,
    clock: Clock,
}

/// What the release can do, and how much of its log is read at most.
#[derive(Clone, Copy)]
struct Limits {
    can_sort: bool,
    can_filter_failed: bool,
    /// Rows of a request. 1.80 and older refuse more than 100; 500 of 1.109 are 5 MB.
    size: u32,
    pages: u32,
}

impl Filter {
    fn query(&self, limits: Limits, order: Order) -> LogQuery {
        LogQuery {
            key: self.key.clone().filter(|_| limits.can_filter_failed),
            served: self.served.clone(),
            failed: self.failed,
            min_cost: self.min_cost,
            by_cost: order == Order::Cost && limits.can_sort,
            ..LogQuery::between(self.from, self.to)
        }
    }

    fn fits(&self, call: &Call) -> bool {
        let is = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        call.at >= self.from
            && call.at <= self.to
            && (self.key.is_none() || self.key == call.key)
            && is(&self.asked, &call.asked)
            && is(&self.served, &call.served)
            && is(&self.context, &call.session)
            && self.failed.is_none_or(|failed| failed == call.has_failed)
            && self.min_cost.is_none_or(|least| call.spend >= least)
    }
}

impl Calls {
    pub fn new(proxy: LiteLlm, health: Proxy, clock: Clock) -> Self {
        let log = Log { proxy, health, clock };
        let usage = Range::ALL.map(|(range, _)| {
            (range, Snapshot::new(UsageSource { log: log.clone(), range }, log.clock.clone()))
        });
        Self { log, usage: Arc::new(usage) }
    }

    /// The calls of a range; renewed in the background.
    pub async fn usage(&self, range: Range) -> View<Measured, ClientError> {
        let found = self.usage.iter().find(|(of, _)| *of == range);
        let (_, snapshot) = found.unwrap_or(&self.usage[0]);
        snapshot.refresh().await
    }

    /// Page `page` of the calls that fit, from 1; beyond the end it is the last one. None where the release has no log.
    pub async fn find(
        &self,
        filter: &Filter,
        order: Order,
        page: usize,
        size: usize,
    ) -> Result<Option<Found>, ClientError> {
        let limits = self.log.limits().await;
        let is_for_proxy = filter.asked.is_none()
            && filter.context.is_none()
            && (order == Order::Newest || limits.can_sort)
            && (filter.key.is_none() || limits.can_filter_failed);
        if !is_for_proxy {
            return self.search(filter, order, page, size, limits).await;
        }
        let query = filter.query(limits, order);
        let rows = u32::try_from(size).unwrap_or(u32::MAX);
        let read = |page: usize| self.log.proxy.log(&query, u32::try_from(page).unwrap_or(u32::MAX), rows);
        let Some(mut found) = read(page).await? else { return Ok(None) };
        let last = usize::try_from(found.total).unwrap_or(usize::MAX).div_ceil(size.max(1));
        if found.calls.is_empty() && last > 0 && last < page {
            found = read(last).await?.unwrap_or_default();
        }
        Ok(Some(Found { calls: found.calls, total: found.total, searched: None }))
    }

    /// Looks through the newest calls for those that fit.
    async fn search(
        &self,
        filter: &Filter,
        order: Order,
        page: usize,
        size: usize,
        limits: Limits,
    ) -> Result<Option<Found>, ClientError> {
        let read = match &filter.context {
            Some(context) => self.log.proxy.session_log(context).await?,
            None => self.log.newest(&filter.query(limits, Order::Newest), limits).await?,
        };
        let Some(LogPage { mut calls, total: of }) = read else { return Ok(None) };
        let rows = calls.len() as u64;
        calls.retain(|call| filter.fits(call));
        if order == Order::Cost {
            calls.sort_by(|a, b| b.spend.total_cmp(&a.spend).then(b.at.cmp(&a.at)));
        }
        let total = calls.len() as u64;
        let page = page.clamp(1, calls.len().div_ceil(size.max(1)).max(1));
        let calls = calls.into_iter().skip((page - 1) * size).take(size).collect();
        let searched = (rows < of).then_some(Searched { rows, of });
        Ok(Some(Found { calls, total, searched }))
    }

    /// One call; its bodies for those who may see them.
    pub async fn call(&self, id: &str, with_bodies: bool) -> Result<Option<(Call, Bodies)>, ClientError> {
        self.log.proxy.call(id, self.log.clock.now() + LEEWAY, with_bodies).await
    }
}

impl Log {
    async fn limits(&self) -> Limits {
        let health = self.health.health().await.value;
        let version = health.as_ref().and_then(|health| health.version.as_deref());
        let can_sort = surely_can(version, Feature::SortCalls);
        let can_filter_failed = surely_can(version, Feature::FilterFailedByKey);
        let (size, pages) = if can_sort { (500, 10) } else { (100, 10) };
        Limits { can_sort, can_filter_failed, size, pages }
    }

    /// The newest rows, at most 1,000, on 1.109 5,000; their total is that of the log.
    async fn newest(&self, query: &LogQuery, limits: Limits) -> Result<Option<LogPage>, ClientError> {
        let Some(first) = self.proxy.log(query, 1, limits.size).await? else { return Ok(None) };
        self.rest(query, first, limits).await.map(Some)
    }

    /// What follows the first page.
    async fn rest(
        &self,
        query: &LogQuery,
        mut read: LogPage,
        limits: Limits,
    ) -> Result<LogPage, ClientError> {
        for page in 2..=limits.pages {
            if read.calls.len() as u64 >= read.total {
                break;
            }
            let Some(more) = self.proxy.log(query, page, limits.size).await? else { break };
            if more.calls.is_empty() {
                break;
            }
            read.calls.extend(more.calls);
        }
        Ok(read)
    }
}
