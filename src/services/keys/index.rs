//! A copy of the keys that is small, and quick to look through.
//!
//! A [`VirtualKey`] with its own texts is some 700 bytes; 100,000 of them, and a second set while the copy is
//! renewed, would not stay under 60 MB. So the keys stand in segments that are shared between copies: texts in
//! one buffer, model and owner names once each, a row of numbers for each key.
//!
//! All releases are served from here. 1.109 can search for part of an alias or an owner, or the beginning of a
//! hash, in one request of 30 to 90 ms; it can neither combine that with Patchbay's filters, nor look for a
//! masked name or a model, nor count what it found beyond a page in the order asked for. The index does all
//! that in a few milliseconds. Only until it is whole, 1.109 is asked as well.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use memchr::memmem::Finder;

use crate::domain::key::{Access, KeyHash, VirtualKey};

/// Most keys of a segment.
pub(super) const SEGMENT: usize = 1_000;

/// No text, no time.
const NONE: u32 = u32::MAX;
const NO_TIME: i64 = i64::MIN;

/// A part of the keys.
#[derive(Debug, Default)]
pub(super) struct Segment {
    rows: Vec<Row>,
    /// Alias and masked name of each row.
    text: String,
    /// For the search, in lower case: alias, masked name, owner and hash of each row.
    lower: String,
    /// Names that occur: models, owners, teams, budget periods.
    names: Vec<Box<str>>,
    /// What keys may call, each once.
    accesses: Vec<PackedAccess>,
    /// Limits that occur: requests and tokens per minute, requests at once.
    limits: Vec<[Option<u64>; 3]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PackedAccess {
    All,
    None,
    List(Box<[u32]>),
}

/// A key. Positions are within the segment's buffers.
#[derive(Debug, Clone)]
struct Row {
    text: u32,
    alias_len: u32,
    masked_len: u32,
    /// Where its search text ends.
    lower_end: u32,
    access: u32,
    owner: u32,
    team: u32,
    period: u32,
    limits: u32,
    blocked: bool,
    spend: f64,
    /// Not a number where there is none.
    max_budget: f64,
    expires: i64,
    created_at: i64,
    last_active: i64,
}

/// Builds a segment.
#[derive(Default)]
pub(super) struct Builder {
    segment: Segment,
    names: HashMap<Box<str>, u32>,
    accesses: HashMap<PackedAccess, u32>,
    limits: HashMap<[Option<u64>; 3], u32>,
}

fn place(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(NONE)
}

impl Builder {
    pub(super) fn len(&self) -> usize {
        self.segment.rows.len()
    }

    pub(super) fn push(&mut self, key: &VirtualKey) {
        let text = place(self.segment.text.len());
        let alias = key.alias.as_deref();
        self.segment.text.push_str(alias.unwrap_or_default());
        self.segment.text.push_str(&key.masked);
        let owner = key.user_id.as_deref();
        for part in [alias.unwrap_or_default(), &key.masked, owner.unwrap_or_default(), key.hash.as_str()] {
            if part.is_ascii() {
                self.segment.lower.extend(part.chars().map(|c| c.to_ascii_lowercase()));
            } else {
                self.segment.lower.push_str(&part.to_lowercase());
            }
            // Nothing that is typed goes across.
            self.segment.lower.push('\n');
        }
        let row = Row {
            text,
            alias_len: alias.map_or(NONE, |alias| place(alias.len())),
            masked_len: place(key.masked.len()),
            lower_end: place(self.segment.lower.len()),
            access: self.access(&key.access),
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

    fn limits(&mut self, limits: [Option<u64>; 3]) -> u32 {
        let all = &mut self.segment.limits;
        *self.limits.entry(limits).or_insert_with(|| {
            all.push(limits);
            place(all.len() - 1)
        })
    }

    /// The segment, without room to grow.
    pub(super) fn finish(self) -> Arc<Segment> {
        let mut segment = self.segment;
        segment.rows.shrink_to_fit();
        segment.text.shrink_to_fit();
        segment.lower.shrink_to_fit();
        segment.names.shrink_to_fit();
        segment.accesses.shrink_to_fit();
        segment.limits.shrink_to_fit();
        Arc::new(segment)
    }
}

impl Segment {
    /// About what it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let lists = self.accesses.iter().map(|access| match access {
            PackedAccess::List(names) => size_of_val(&**names),
            PackedAccess::All | PackedAccess::None => 0,
        });
        let names: usize = self.names.iter().map(|name| name.len() + size_of::<Box<str>>()).sum();
        size_of_val(&*self.rows) + self.text.len() + self.lower.len() + names + lists.sum::<usize>()
    }

    fn name(&self, number: u32) -> Option<&str> {
        self.names.get(number as usize).map(|name| &**name)
    }

    fn access(&self, number: u32) -> Access {
        match self.accesses.get(number as usize) {
            Some(PackedAccess::All) => Access::All,
            Some(PackedAccess::List(names)) => {
                Access::List(names.iter().filter_map(|name| self.name(*name)).map(str::to_owned).collect())
            }
            Some(PackedAccess::None) | None => Access::None,
        }
    }

    fn hash(&self, row: &Row) -> &str {
        let end = row.lower_end as usize - 1;
        &self.lower[end - 64..end]
    }

    fn find(&self, hash: &KeyHash) -> Option<usize> {
        self.rows.iter().position(|row| self.hash(row) == hash.as_str())
    }

    fn key(&self, at: usize) -> Option<VirtualKey> {
        let row = self.rows.get(at)?;
        let text = row.text as usize;
        let alias_len = if row.alias_len == NONE { 0 } else { row.alias_len as usize };
        let (alias, masked) = (&self.text[text..text + alias_len], text + alias_len);
        let time = |at: i64| Timestamp::from_millisecond(at).ok().filter(|_| at != NO_TIME);
        let owned = |number: u32| self.name(number).map(str::to_owned);
        let [rpm_limit, tpm_limit, max_parallel_requests] =
            self.limits.get(row.limits as usize).copied().unwrap_or_default();
        Some(VirtualKey {
            hash: self.hash(row).parse().ok()?,
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

    fn keys(&self) -> impl Iterator<Item = VirtualKey> + '_ {
        (0..self.rows.len()).filter_map(|at| self.key(at))
    }

    /// Which rows hold the text.
    fn search(&self, finder: &Finder<'_>, found: &mut [bool]) {
        let (buffer, mut from) = (self.lower.as_bytes(), 0);
        while let Some(at) = finder.find(&buffer[from..]) {
            let at = from + at;
            let row = self.rows.partition_point(|row| row.lower_end as usize <= at);
            let Some(end) = self.rows.get(row).map(|row| row.lower_end as usize) else { return };
            found[row] = true;
            // On with the next row: once is enough.
            from = end;
        }
    }
}

/// Where a key stands: segment and row.
type Place = (u32, u32);

/// An order of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As the proxy lists them: the newest first.
    Created,
    /// By alias, whatever the case.
    Alias,
    /// By spend.
    Spend,
    /// By budget.
    Budget,
    /// By expiry.
    Expires,
    /// By when they were last used.
    Used,
}

/// The keys, in segments.
#[derive(Debug, Clone, Default)]
pub struct Index {
    segments: Vec<Arc<Segment>>,
    len: usize,
    orders: Arc<[OnceLock<Sorted>; 6]>,
}

/// Those with a value, rising, then those without.
#[derive(Debug)]
struct Sorted {
    places: Vec<Place>,
    with_value: usize,
}

/// What a row says without its texts, for filters.
#[derive(Debug, Clone, Copy)]
pub struct Glance {
    /// Set aside.
    pub blocked: bool,
    /// When it ends, in milliseconds; none at `i64::MIN`.
    expires: i64,
    /// US dollars.
    pub spend: f64,
    max_budget: f64,
}

impl Glance {
    /// When it ends.
    #[must_use]
    pub fn expires_ms(&self) -> Option<i64> {
        (self.expires != NO_TIME).then_some(self.expires)
    }

    /// Its budget.
    #[must_use]
    pub fn max_budget(&self) -> Option<f64> {
        Some(self.max_budget).filter(|budget| !budget.is_nan())
    }
}

/// What to look for.
pub struct Wanted<'a> {
    /// Part of alias, masked name, owner, hash, or of the name of a model that a key names; empty for all.
    pub text: &'a str,
    /// Whether an access will do where the text is not found: for the text being a model's name.
    pub reaches: &'a dyn Fn(&Access) -> bool,
    /// Whether an access will do at all; none where any will. To build them all takes most of a search's time.
    pub access: Option<&'a dyn Fn(&Access) -> bool>,
    /// Whether the rest will do; none where any will.
    pub glance: Option<&'a dyn Fn(&Glance) -> bool>,
}

impl Wanted<'_> {
    fn is_all(&self) -> bool {
        self.text.is_empty() && self.access.is_none() && self.glance.is_none()
    }
}

impl Index {
    pub(super) fn new(segments: Vec<Arc<Segment>>) -> Self {
        let len = segments.iter().map(|segment| segment.rows.len()).sum();
        Self { segments, len, orders: Arc::default() }
    }

    pub(super) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A key by its hash.
    #[must_use]
    pub fn get(&self, hash: &KeyHash) -> Option<VirtualKey> {
        self.segments.iter().find_map(|segment| segment.key(segment.find(hash)?))
    }

    /// Where a key stands.
    #[must_use]
    pub fn place_of(&self, hash: &KeyHash) -> Option<(u32, u32)> {
        let found = |(at, segment): (usize, &Arc<Segment>)| Some((place(at), place(segment.find(hash)?)));
        self.segments.iter().enumerate().find_map(found)
    }

    /// All keys, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = VirtualKey> + '_ {
        self.segments.iter().flat_map(|segment| segment.keys())
    }

    /// Whether it holds the very keys of another one: a copy that was renewed or changed does not.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<Segment>, &Arc<Segment>)| Arc::ptr_eq(one, other);
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(other.segments.iter()).all(same)
    }

    /// How many keys have an access that will do, and the first of them.
    #[must_use]
    pub fn callers(&self, may: &dyn Fn(&Access) -> bool, first: usize) -> (usize, Vec<VirtualKey>) {
        let wanted = Wanted { text: "", reaches: &|_| false, access: Some(may), glance: None };
        let places = self.find(&wanted, Order::Created, true);
        (places.len(), places.into_iter().take(first).filter_map(|place| self.at(place)).collect())
    }

    /// The key at a place that [`Self::find`] gave.
    #[must_use]
    pub fn at(&self, (segment, row): Place) -> Option<VirtualKey> {
        self.segments.get(segment as usize)?.key(row as usize)
    }

    /// The places of the keys that fit, in order.
    #[must_use]
    pub fn find(&self, wanted: &Wanted<'_>, order: Order, downwards: bool) -> Vec<Place> {
        if wanted.is_all() && order == Order::Created && downwards {
            return self.all_places().collect();
        }
        let fits: Vec<Vec<bool>> = self.segments.iter().map(|segment| fits(segment, wanted)).collect();
        let fit = |place: &Place| fits[place.0 as usize][place.1 as usize];
        if order == Order::Created && downwards {
            return self.all_places().filter(fit).collect();
        }
        let sorted = self.orders[order as usize].get_or_init(|| self.sort(order));
        let (with, without) = sorted.places.split_at(sorted.with_value);
        let without = without.iter().copied().filter(fit);
        // What has no value stands last in either direction.
        if downwards {
            with.iter().rev().copied().filter(fit).chain(without).collect()
        } else {
            with.iter().copied().filter(fit).chain(without).collect()
        }
    }

    fn all_places(&self) -> impl Iterator<Item = Place> + '_ {
        self.segments
            .iter()
            .enumerate()
            .flat_map(|(segment, of)| (0..of.rows.len()).map(move |row| (place(segment), place(row))))
    }

    fn row(&self, (segment, row): Place) -> (&Segment, &Row) {
        let segment = &self.segments[segment as usize];
        (segment, &segment.rows[row as usize])
    }

    fn sort(&self, order: Order) -> Sorted {
        let has_value = |place: &Place| {
            let (_, row) = self.row(*place);
            match order {
                Order::Alias => row.alias_len != NONE,
                Order::Spend => true,
                Order::Budget => !row.max_budget.is_nan(),
                Order::Expires => row.expires != NO_TIME,
                Order::Used => row.last_active != NO_TIME,
                Order::Created => row.created_at != NO_TIME,
            }
        };
        let (mut places, without): (Vec<Place>, Vec<Place>) = self.all_places().partition(has_value);
        let with_value = places.len();
        match order {
            Order::Alias => places.sort_by_cached_key(|place| {
                let (segment, row) = self.row(*place);
                segment.text[row.text as usize..][..row.alias_len as usize].to_lowercase()
            }),
            Order::Spend => places.sort_by(|a, b| self.row(*a).1.spend.total_cmp(&self.row(*b).1.spend)),
            Order::Budget => {
                places.sort_by(|a, b| self.row(*a).1.max_budget.total_cmp(&self.row(*b).1.max_budget));
            }
            Order::Expires => places.sort_by_key(|place| self.row(*place).1.expires),
            Order::Used => places.sort_by_key(|place| self.row(*place).1.last_active),
            Order::Created => places.sort_by_key(|place| self.row(*place).1.created_at),
        }
        places.extend(without);
        Sorted { places, with_value }
    }

    /// The same with a key changed, put in as the newest, or taken out.
    pub(super) fn with(&self, hash: &KeyHash, key: Option<&VirtualKey>) -> Self {
        let mut segments = self.segments.clone();
        let old = segments.iter().position(|segment| segment.find(hash).is_some());
        if let Some(at) = old {
            let mut builder = Builder::default();
            for known in segments[at].keys() {
                match (known.hash == *hash, key) {
                    (true, Some(key)) => builder.push(key),
                    (true, None) => {}
                    (false, _) => builder.push(&known),
                }
            }
            segments[at] = builder.finish();
        } else if let Some(key) = key {
            match segments.first().filter(|first| first.rows.len() < SEGMENT) {
                Some(first) => {
                    let mut builder = Builder::default();
                    builder.push(key);
                    first.keys().for_each(|known| builder.push(&known));
                    segments[0] = builder.finish();
                }
                None => segments.insert(0, pack(std::slice::from_ref(key))),
            }
        }
        Self::new(segments)
    }
}

/// A segment of these keys.
pub(super) fn pack(keys: &[VirtualKey]) -> Arc<Segment> {
    let mut builder = Builder::default();
    for key in keys {
        builder.push(key);
    }
    builder.finish()
}

fn fits(segment: &Segment, wanted: &Wanted<'_>) -> Vec<bool> {
    let text = wanted.text.to_lowercase();
    let mut found = vec![text.is_empty(); segment.rows.len()];
    if !text.is_empty() {
        segment.search(&Finder::new(text.as_bytes()), &mut found);
    }
    // Each access once, however many keys have it.
    let is_any = text.is_empty() && wanted.access.is_none();
    let accesses: Vec<(bool, bool)> = (0..segment.accesses.len())
        .map(|number| {
            if is_any {
                return (false, true);
            }
            let access = segment.access(place(number));
            let any_holds = |models: &Vec<String>| models.iter().any(|m| m.to_lowercase().contains(&text));
            let named = matches!(&access, Access::List(models) if !text.is_empty() && any_holds(models));
            (
                named || (!text.is_empty() && (wanted.reaches)(&access)),
                wanted.access.is_none_or(|may| may(&access)),
            )
        })
        .collect();
    for (fits, row) in found.iter_mut().zip(&segment.rows) {
        let (named, allowed) = accesses[row.access as usize];
        let glance = Glance {
            blocked: row.blocked,
            expires: row.expires,
            spend: row.spend,
            max_budget: row.max_budget,
        };
        *fits = (*fits || named) && allowed && wanted.glance.is_none_or(|may| may(&glance));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64, alias: Option<&str>) -> VirtualKey {
        VirtualKey {
            hash: format!("{number:064x}").parse().unwrap(),
            alias: alias.map(str::to_owned),
            masked: format!("sk-...{number:04}"),
            access: if number.is_multiple_of(2) {
                Access::List(vec!["openai/gpt-5".to_owned()])
            } else {
                Access::All
            },
            spend: 1.0 / (1.0 + f64::from(u32::try_from(number).unwrap())),
            max_budget: (number > 1).then(|| f64::from(u32::try_from(number).unwrap())),
            budget_duration: Some("30d".to_owned()),
            expires: None,
            rpm_limit: Some(number),
            tpm_limit: None,
            max_parallel_requests: None,
            blocked: number == 3,
            user_id: Some("Zoë".to_owned()),
            team_id: None,
            created_at: Timestamp::from_second(1_000 - number.cast_signed()).ok(),
            last_active: None,
        }
    }

    fn index() -> (Vec<VirtualKey>, Index) {
        let keys: Vec<_> = [Some("Beta"), None, Some("alpha"), Some("İx"), Some("")]
            .into_iter()
            .zip(0..)
            .map(|(a, n)| key(n, a))
            .collect();
        let index = Index::new(keys.chunks(2).map(pack).collect());
        (keys, index)
    }

    fn found(index: &Index, text: &str, order: Order, downwards: bool) -> Vec<u64> {
        let wanted = Wanted { text, reaches: &|_| false, access: None, glance: None };
        let places = index.find(&wanted, order, downwards);
        places.into_iter().map(|place| index.at(place).unwrap().rpm_limit.unwrap()).collect()
    }

    #[test]
    fn keys_come_out_as_they_went_in() {
        let (keys, index) = index();
        assert_eq!(index.iter().collect::<Vec<_>>(), keys);
        assert_eq!(index.get(&keys[3].hash).as_ref(), Some(&keys[3]));
    }

    #[test]
    fn parts_of_texts_are_found_whatever_the_case() {
        let (_, index) = index();
        assert_eq!(found(&index, "BET", Order::Created, true), [0]);
        assert_eq!(found(&index, "...0003", Order::Created, true), [3]);
        assert_eq!(found(&index, "000004", Order::Created, true), [4]);
        assert_eq!(found(&index, "zoË", Order::Created, true), [0, 1, 2, 3, 4]);
        assert_eq!(found(&index, "GPT-5", Order::Created, true), [0, 2, 4]);
        assert_eq!(found(&index, "i\u{307}X", Order::Created, true), [3]);
        assert!(found(&index, "betask", Order::Created, true).is_empty(), "across two fields");
    }

    #[test]
    fn orders_leave_what_has_no_value_to_the_end() {
        let (_, index) = index();
        assert_eq!(found(&index, "", Order::Alias, false), [4, 2, 0, 3, 1]);
        assert_eq!(found(&index, "", Order::Alias, true), [3, 0, 2, 4, 1]);
        assert_eq!(found(&index, "", Order::Budget, true), [4, 3, 2, 0, 1]);
        assert_eq!(found(&index, "", Order::Spend, true), [0, 1, 2, 3, 4]);
        assert_eq!(found(&index, "", Order::Created, false), [4, 3, 2, 1, 0]);
    }

    #[test]
    fn one_key_is_changed_put_in_and_taken_out() {
        let (keys, index) = index();
        let mut changed = keys[2].clone();
        changed.alias = Some("gamma".to_owned());
        let index = index.with(&changed.hash, Some(&changed));
        assert_eq!(found(&index, "gamma", Order::Created, true), [2]);
        assert!(found(&index, "alpha", Order::Created, true).is_empty());
        let new = key(9, Some("new"));
        let index = index.with(&new.hash, Some(&new)).with(&keys[0].hash, None);
        assert_eq!(found(&index, "", Order::Created, true), [9, 1, 2, 3, 4]);
        assert_eq!(index.len(), 5);
    }
}
