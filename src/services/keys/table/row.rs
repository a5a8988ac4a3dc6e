//! One key of the table.

use jiff::Timestamp;

use super::{Order, to_u32};
use crate::domain::key::{BudgetWindow, KeyState, VirtualKey};
use crate::domain::permission::Grant;

const HASH_LEN: usize = 64;

/// What rows are sorted by: whether the value is missing; the number, or the beginning of the text, which is quicker
/// to compare; the text.
pub(super) type SortKey<'a> = (bool, u64, &'a str);

/// A key in one text and some numbers.
#[derive(Debug)]
pub struct Row {
    /// Alias, masked name, owner and budget period one after the other, then what is searched: alias, masked
    /// name and owner in lower case, a line each, and the hash.
    pub(super) text: Box<str>,
    lengths: [Option<u32>; 4],
    search_from: u32,
    /// Position in [`super::GrantIndex`].
    pub(super) grant: u32,
    blocked: bool,
    /// US dollars.
    spend: f64,
    max_budget: Option<f64>,
    /// Milliseconds since 1970.
    expires: Option<i64>,
    created_at: Option<i64>,
    last_active: Option<i64>,
    limits: [Option<u64>; 3],
    budget_limits: Box<[BudgetWindow]>,
}

impl Row {
    pub(super) fn new(key: &VirtualKey, grant: u32) -> Self {
        let fields = [
            key.alias.as_deref(),
            Some(key.masked.as_str()),
            key.user_id.as_deref(),
            key.budget_duration.as_deref(),
        ];
        let mut text: String = fields.into_iter().flatten().collect();
        let search_from = to_u32(text.len());
        for field in [fields[0], fields[1], fields[2]] {
            text.push_str(&field.unwrap_or_default().to_lowercase());
            // So that no query matches across two fields.
            text.push('\n');
        }
        text.push_str(key.hash.as_str());
        let milliseconds = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
        Self {
            text: text.into(),
            lengths: fields.map(|field| field.map(|field| to_u32(field.len()))),
            search_from,
            grant,
            blocked: key.blocked,
            spend: key.spend,
            max_budget: key.max_budget,
            expires: milliseconds(key.expires),
            created_at: milliseconds(key.created_at),
            last_active: milliseconds(key.last_active),
            limits: [key.rpm_limit, key.tpm_limit, key.max_parallel_requests],
            budget_limits: key.budget_limits.clone().into(),
        }
    }

    /// What is searched. Without the hash, which most queries cannot match, it takes half the time.
    pub(super) fn search_text(&self, with_hash: bool) -> &str {
        let end = self.text.len() - if with_hash { 0 } else { HASH_LEN };
        &self.text[self.search_from as usize..end]
    }

    pub(super) fn hash(&self) -> &str {
        &self.text[self.text.len() - HASH_LEN..]
    }

    pub(super) fn key(&self, grant: &Grant) -> Option<VirtualKey> {
        let mut from = 0;
        let [alias, masked, user_id, budget_duration] = self.lengths.map(|length| {
            let start = from;
            from += length? as usize;
            Some(self.text[start..from].to_owned())
        });
        let time = |at: Option<i64>| Timestamp::from_millisecond(at?).ok();
        let [rpm_limit, tpm_limit, max_parallel_requests] = self.limits;
        Some(VirtualKey {
            hash: self.hash().parse().ok()?,
            alias,
            masked: masked.unwrap_or_default(),
            access: grant.access.clone(),
            spend: self.spend,
            max_budget: self.max_budget,
            budget_duration,
            expires: time(self.expires),
            rpm_limit,
            tpm_limit,
            max_parallel_requests,
            blocked: self.blocked,
            user_id,
            team_id: grant.team_id.clone(),
            budget_limits: self.budget_limits.to_vec(),
            access_group_ids: grant.access_group_ids.clone(),
            aliases: grant.aliases.clone(),
            is_custom: grant.is_custom,
            created_at: time(self.created_at),
            last_active: time(self.last_active),
        })
    }

    pub fn state(&self, now: Timestamp) -> KeyState {
        KeyState::of(self.blocked, self.has_expired(now), self.max_budget, self.spend)
    }

    /// Whether it may be used unless it has expired; a budget window may be used up unseen.
    pub(super) fn is_ready(&self) -> bool {
        !self.blocked
            && self.max_budget.is_none_or(|budget| self.spend < budget)
            && self.budget_limits.iter().all(|window| self.spend < window.max_budget)
    }

    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now.as_millisecond())
    }

    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.is_ready() && !self.has_expired(now)
    }

    pub fn expires_between(&self, after: Timestamp, until: Timestamp) -> bool {
        self.expires.is_some_and(|at| at > after.as_millisecond() && at <= until.as_millisecond())
    }

    pub fn has_spent(&self, share: f64) -> bool {
        self.max_budget.is_some_and(|budget| self.spend >= budget * share)
    }

    pub(super) fn sort_key(&self, order: Order) -> SortKey<'_> {
        let time = |at: Option<i64>| at.map(|at| (at.cast_unsigned() ^ SIGN, ""));
        let number = |number| (sortable(number), "");
        let text = |text| (beginning(text), text);
        let value = match order {
            Order::Spend => Some(number(self.spend)),
            Order::Budget => self.max_budget.map(number),
            Order::Expires => time(self.expires),
            Order::Used => time(self.last_active),
            Order::Created => time(self.created_at),
            Order::Hash => Some(text(self.hash())),
            // What follows the alias makes no difference, but where two are equal.
            Order::Alias => self.lengths[0].map(|_| text(self.search_text(false))),
        };
        let (number, text) = value.unwrap_or_default();
        (value.is_none(), number, text)
    }
}

const SIGN: u64 = 1 << 63;

/// A number of the same order, negative ones included.
fn sortable(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The first eight bytes.
fn beginning(text: &str) -> u64 {
    let mut bytes = [0; 8];
    let length = text.len().min(8);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    u64::from_be_bytes(bytes)
}
