//! A part of the keys: texts in one buffer, names once each, a row of numbers for each key.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::grams::{Blocks, Grams, block_of};
use crate::domain::key::{Access, KeyHash, VirtualKey};

/// Most keys of a segment.
pub(in crate::services::keys) const SEGMENT: usize = 1_000;

/// No text, no time.
pub(super) const NONE: u32 = u32::MAX;
pub(super) const NO_TIME: i64 = i64::MIN;

pub(super) const HASH_LEN: usize = 64;

#[derive(Debug, Default)]
pub(in crate::services::keys) struct Segment {
    pub(super) rows: Vec<Row>,
    text: String,
    /// For the search, in lower case: alias, masked name and owner of each row.
    pub(super) lower: String,
    pub(super) hashes: String,
    /// Which blocks of rows may hold a text: by what is in `lower`, and by the names in their accesses.
    pub(super) grams: Grams,
    /// Names that occur: models, owners, teams, budget periods.
    pub(super) names: Vec<Box<str>>,
    pub(super) accesses: Vec<PackedAccess>,
    /// Limits that occur: requests and tokens per minute, requests at once.
    limits: Vec<[Option<u64>; 3]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum PackedAccess {
    All,
    None,
    List(Box<[u32]>),
}

impl PackedAccess {
    pub(super) fn names(&self) -> &[u32] {
        match self {
            Self::List(names) => names,
            Self::All | Self::None => &[],
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    text: u32,
    pub(super) alias_len: u32,
    masked_len: u32,
    pub(super) lower_end: u32,
    pub(super) access: u32,
    owner: u32,
    team: u32,
    period: u32,
    limits: u32,
    pub(super) blocked: bool,
    pub(super) spend: f64,
    pub(super) max_budget: f64,
    pub(super) expires: i64,
    pub(super) created_at: i64,
    pub(super) last_active: i64,
}

#[derive(Default)]
pub(in crate::services::keys) struct Builder {
    segment: Segment,
    names: HashMap<Box<str>, u32>,
    accesses: HashMap<PackedAccess, u32>,
    limits: HashMap<[Option<u64>; 3], u32>,
    noted: Vec<Blocks>,
}

pub(super) fn place(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(NONE)
}

impl Builder {
    pub(in crate::services::keys) fn len(&self) -> usize {
        self.segment.rows.len()
    }

    pub(in crate::services::keys) fn push(&mut self, key: &VirtualKey) {
        let (text, lower) = (place(self.segment.text.len()), self.segment.lower.len());
        let block = block_of(self.segment.rows.len());
        let alias = key.alias.as_deref();
        self.segment.text.push_str(alias.unwrap_or_default());
        self.segment.text.push_str(&key.masked);
        let owner = key.user_id.as_deref();
        for part in [alias.unwrap_or_default(), &key.masked, owner.unwrap_or_default()] {
            if part.is_ascii() {
                self.segment.lower.extend(part.chars().map(|c| c.to_ascii_lowercase()));
            } else {
                self.segment.lower.push_str(&part.to_lowercase());
            }
            // Nothing that is typed goes across.
            self.segment.lower.push('\n');
        }
        self.segment.grams.note(block, &self.segment.lower[lower..]);
        self.segment.hashes.push_str(key.hash.as_str());
        let access = self.access(&key.access);
        self.note_names(block, access);
        let row = Row {
            text,
            alias_len: alias.map_or(NONE, |alias| place(alias.len())),
            masked_len: place(key.masked.len()),
            lower_end: place(self.segment.lower.len()),
            access,
            owner: owner.map_or(NONE, |name| self.name(name)),
            team: key.team_id.as_deref().map_or(NONE, |name| self.name(name)),
            period: key.budget_duration.as_deref().map_or(NONE, |name| self.name(name)),
            limits: self.limits([key.rpm_limit, key.tpm_limit, key.max_parallel_requests]),
            blocked: key.blocked,
            spend: key.spend,
            max_budget: key.max_budget.unwrap_or(f64::NAN),
            expires: key.expires.map_or(NO_TIME, Timestamp::as_millisecond),
            created_at: key.created_at.map_or(NO_TIME, Timestamp::as_millisecond),
            last_active: key.last_active.map_or(NO_TIME, Timestamp::as_millisecond),
        };
        self.segment.rows.push(row);
    }

    fn name(&mut self, name: &str) -> u32 {
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        let number = place(self.segment.names.len());
        self.segment.names.push(name.into());
        self.names.insert(name.into(), number);
        number
    }

    fn access(&mut self, access: &Access) -> u32 {
        let packed = match access {
            Access::All => PackedAccess::All,
            Access::None => PackedAccess::None,
            Access::List(models) => PackedAccess::List(models.iter().map(|model| self.name(model)).collect()),
        };
        let accesses = &mut self.segment.accesses;
        *self.accesses.entry(packed).or_insert_with_key(|packed| {
            accesses.push(packed.clone());
            place(accesses.len() - 1)
        })
    }

    /// Notes which block a key with this access is in: it is found by the names of its models as well.
    fn note_names(&mut self, block: usize, access: u32) {
        let at = access as usize;
        self.noted.resize(self.segment.accesses.len(), 0);
        if self.noted[at] & 1 << block == 0 {
            self.noted[at] |= 1 << block;
            for name in self.segment.accesses[at].names() {
                self.segment.grams.note(block, &self.segment.names[*name as usize].to_lowercase());
            }
        }
    }

    fn limits(&mut self, limits: [Option<u64>; 3]) -> u32 {
        let all = &mut self.segment.limits;
        *self.limits.entry(limits).or_insert_with(|| {
            all.push(limits);
            place(all.len() - 1)
        })
    }

    /// The segment, without room to grow.
    pub(in crate::services::keys) fn finish(self) -> Arc<Segment> {
        let mut segment = self.segment;
        segment.rows.shrink_to_fit();
        segment.text.shrink_to_fit();
        segment.lower.shrink_to_fit();
        segment.hashes.shrink_to_fit();
        segment.names.shrink_to_fit();
        segment.accesses.shrink_to_fit();
        segment.limits.shrink_to_fit();
        Arc::new(segment)
    }
}

impl Segment {
    /// About what it takes, in bytes.
    pub(in crate::services::keys) fn size(&self) -> usize {
        let lists: usize = self.accesses.iter().map(|access| size_of_val(access.names())).sum();
        let names: usize = self.names.iter().map(|name| name.len() + size_of::<Box<str>>()).sum();
        let texts = self.text.len() + self.lower.len() + self.hashes.len();
        size_of_val(&*self.rows) + texts + self.grams.size() + names + lists
    }

    fn name(&self, number: u32) -> Option<&str> {
        self.names.get(number as usize).map(|name| &**name)
    }

    pub(super) fn access(&self, number: u32) -> Access {
        match self.accesses.get(number as usize) {
            Some(PackedAccess::All) => Access::All,
            Some(PackedAccess::List(names)) => {
                Access::List(names.iter().filter_map(|name| self.name(*name)).map(str::to_owned).collect())
            }
            Some(PackedAccess::None) | None => Access::None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A key's alias; nothing, where it has none.
    pub(super) fn alias(&self, row: &Row) -> &str {
        let len = if row.alias_len == NONE { 0 } else { row.alias_len as usize };
        &self.text[row.text as usize..][..len]
    }

    fn hash(&self, at: usize) -> &str {
        &self.hashes[at * HASH_LEN..][..HASH_LEN]
    }

    pub(super) fn find(&self, hash: &KeyHash) -> Option<usize> {
        (0..self.len()).find(|at| self.hash(*at) == hash.as_str())
    }

    pub(super) fn key(&self, at: usize) -> Option<VirtualKey> {
        let row = self.rows.get(at)?;
        let alias = self.alias(row);
        let masked = row.text as usize + alias.len();
        let time = |at: i64| Timestamp::from_millisecond(at).ok().filter(|_| at != NO_TIME);
        let owned = |number: u32| self.name(number).map(str::to_owned);
        let [rpm_limit, tpm_limit, max_parallel_requests] =
            self.limits.get(row.limits as usize).copied().unwrap_or_default();
        Some(VirtualKey {
            hash: self.hash(at).parse().ok()?,
            alias: (row.alias_len != NONE).then(|| alias.to_owned()),
            masked: self.text[masked..masked + row.masked_len as usize].to_owned(),
            access: self.access(row.access),
            spend: row.spend,
            max_budget: Some(row.max_budget).filter(|budget| !budget.is_nan()),
            budget_duration: owned(row.period),
            expires: time(row.expires),
            rpm_limit,
            tpm_limit,
            max_parallel_requests,
            blocked: row.blocked,
            user_id: owned(row.owner),
            team_id: owned(row.team),
            created_at: time(row.created_at),
            last_active: time(row.last_active),
        })
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = VirtualKey> + '_ {
        (0..self.rows.len()).filter_map(|at| self.key(at))
    }
}
