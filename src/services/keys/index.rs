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

mod found;
mod grams;
mod search;
mod segment;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

pub use self::found::Found;
use self::found::{Places, Sorted};
use self::search::Search;
pub use self::search::{Glance, Wanted};
pub(super) use self::segment::{Builder, SEGMENT, Segment};
use self::segment::{NO_TIME, NONE, Row, place};
use crate::domain::key::{Access, KeyHash, VirtualKey};

/// Where a key stands: segment and row.
type Place = (u32, u32);

/// An order of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As the proxy lists them: the newest first.
    Created,
    Alias,
    Spend,
    Budget,
    Expires,
    Used,
}

#[derive(Debug, Clone, Default)]
pub struct Index {
    segments: Vec<Arc<Segment>>,
    starts: Vec<usize>,
    len: usize,
    orders: Arc<[OnceLock<Sorted>; 6]>,
}

impl Index {
    pub(super) fn new(segments: Vec<Arc<Segment>>) -> Self {
        let (mut starts, mut len) = (Vec::with_capacity(segments.len()), 0);
        for segment in &segments {
            starts.push(len);
            len += segment.len();
        }
        Self { segments, starts, len, orders: Arc::default() }
    }

    pub(super) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, hash: &KeyHash) -> Option<VirtualKey> {
        self.at(self.place_of(hash)?)
    }

    fn place_of(&self, hash: &KeyHash) -> Option<Place> {
        let found = |(at, segment): (usize, &Arc<Segment>)| Some((place(at), place(segment.find(hash)?)));
        self.segments.iter().enumerate().find_map(found)
    }

    /// All keys, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = VirtualKey> + '_ {
        self.segments.iter().flat_map(|segment| segment.keys())
    }

    /// Whether it holds the very keys of another one: a copy that was renewed or changed does not.
    pub fn is(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<Segment>, &Arc<Segment>)| Arc::ptr_eq(one, other);
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(other.segments.iter()).all(same)
    }

    /// The keys with an access that will do, the newest first.
    pub fn callers(&self, may: &dyn Fn(&Access) -> bool) -> Found<'_> {
        let wanted = Wanted { text: "", reaches: None, access: Some(may), glance: None };
        self.find(&wanted, Order::Created, true)
    }

    fn at(&self, (segment, row): Place) -> Option<VirtualKey> {
        self.segments.get(segment as usize)?.key(row as usize)
    }

    /// The key with a number, counted from the newest.
    fn nth(&self, number: usize) -> Option<Place> {
        let segment = self.starts.partition_point(|start| *start <= number).checked_sub(1)?;
        let row = number - self.starts[segment];
        (row < self.segments[segment].len()).then(|| (place(segment), place(row)))
    }

    /// The keys that fit, in order.
    pub fn find(&self, wanted: &Wanted<'_>, order: Order, downwards: bool) -> Found<'_> {
        let is_as_kept = order == Order::Created && downwards;
        if wanted.is_all() {
            let places =
                if is_as_kept { Places::AsKept } else { Places::Sorted(self.sorted(order), downwards) };
            return Found::new(self, places);
        }
        let search = Search::new(wanted);
        let rows: Vec<Vec<usize>> = self.segments.iter().map(|segment| search.rows(segment)).collect();
        let places = if is_as_kept {
            let of = |(segment, rows): (usize, Vec<usize>)| {
                rows.into_iter().map(move |row| (place(segment), place(row)))
            };
            rows.into_iter().enumerate().flat_map(of).collect()
        } else {
            self.in_order(&rows, self.sorted(order), downwards)
        };
        Found::new(self, Places::Listed(places))
    }

    /// The places of these rows of each segment, in an order.
    fn in_order(&self, rows: &[Vec<usize>], sorted: &Sorted, downwards: bool) -> Vec<Place> {
        let mut fits: Vec<Vec<bool>> =
            self.segments.iter().map(|segment| vec![false; segment.len()]).collect();
        for (fits, rows) in fits.iter_mut().zip(rows) {
            for row in rows {
                fits[*row] = true;
            }
        }
        let all = (0..self.len).filter_map(|number| sorted.get(number, downwards));
        all.filter(|(segment, row)| fits[*segment as usize][*row as usize]).collect()
    }

    fn all_places(&self) -> impl Iterator<Item = Place> + '_ {
        (0..self.len).filter_map(|number| self.nth(number))
    }

    fn row(&self, (segment, row): Place) -> (&Segment, &Row) {
        let segment = &self.segments[segment as usize];
        (segment, &segment.rows[row as usize])
    }

    fn sorted(&self, order: Order) -> &Sorted {
        self.orders[order as usize].get_or_init(|| self.sort(order))
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
                segment.alias(row).to_lowercase()
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
        Sorted::new(places, with_value)
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
            match segments.first().filter(|first| first.len() < SEGMENT) {
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

pub(super) fn pack(keys: &[VirtualKey]) -> Arc<Segment> {
    let mut builder = Builder::default();
    for key in keys {
        builder.push(key);
    }
    builder.finish()
}
