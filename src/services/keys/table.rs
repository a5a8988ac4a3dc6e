//! A copy of the keys to search, sort and count in.
//!
//! Measured in one optimised run on 2 busy cores, with 100,000 keys and queries of 1 to 10 characters, hits and
//! misses, medians: a scan of each key's text takes 4 to 6 ms and 48 MB, a trigram index in memory 0.002 to 13 ms and
//! 31 MB (slower than the scan where many keys match), SQLite FTS5 with its trigram tokenizer up to 426 ms and a file
//! of 35 MB. The scan is the simplest of the three, and quick enough.
//!
//! A [`VirtualKey`] with its own strings takes about 750 bytes; 100,000 of them, and a second set while the copy is
//! renewed, would be too much. A [`Row`] takes half of that.
//!
//! The proxy cannot do this: 1.80 has no search, and 1.109 finds parts of aliases and owners only, without filters.

mod access;
mod row;
#[cfg(test)]
pub(super) mod tests;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use memchr::memmem;

use self::access::GrantIndex;
pub use self::row::Row;
use self::row::SortKey;
use crate::domain::key::{Access, KeyHash, VirtualKey};
use crate::domain::permission::{Grant, Rules, Target};

/// What keys are sorted by. Keys without a value come last in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Created,
    Alias,
    Spend,
    Budget,
    Expires,
    Used,
    /// For finding a key by its hash.
    Hash,
}

impl Order {
    const ALL: [Self; 7] =
        [Self::Created, Self::Alias, Self::Spend, Self::Budget, Self::Expires, Self::Used, Self::Hash];

    fn compare(self, (a, key): (u32, SortKey<'_>), (b, other): (u32, SortKey<'_>)) -> Ordering {
        // The proxy lists the newest first, and they are shown descending.
        let is_falling = self == Self::Created && !key.0;
        key.cmp(&other).then_with(|| if is_falling { b.cmp(&a) } else { a.cmp(&b) })
    }
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// All keys, with every order made beforehand.
#[derive(Debug, Default, Clone)]
pub struct KeyTable {
    rows: Vec<Arc<Row>>,
    /// Positions of rows for each [`Order`], rising, those without a value last.
    orders: [Vec<u32>; Order::ALL.len()],
    grants: Arc<GrantIndex>,
    /// Keys that may be used but for their expiry, for each grant.
    ready_per_grant: Vec<usize>,
    size: usize,
}

/// Which keys to find.
#[derive(Default)]
pub struct KeyFilter<'a> {
    /// Part of alias, masked name, owner, hash, or of a model's name in the key's access; empty for all.
    pub text: &'a str,
    /// A grant that counts as if the text was found.
    pub text_grant: Option<&'a dyn Fn(&Grant) -> bool>,
    pub grant: Option<&'a dyn Fn(&Grant) -> bool>,
    pub row: Option<&'a dyn Fn(&Row) -> bool>,
}

impl KeyTable {
    pub fn new(keys: &[VirtualKey]) -> Self {
        let mut table = Self::default();
        table.extend(keys);
        table
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// About what the rows take, in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub fn get(&self, hash: &KeyHash) -> Option<VirtualKey> {
        self.key(self.position(hash)?)
    }

    pub fn key(&self, position: u32) -> Option<VirtualKey> {
        let row = self.rows.get(position as usize)?;
        row.key(self.grants.grants.get(row.grant as usize)?)
    }

    fn position(&self, hash: &KeyHash) -> Option<u32> {
        let by_hash = &self.orders[Order::Hash as usize];
        let hash_at = |position: &u32| self.rows[*position as usize].hash();
        by_hash.binary_search_by(|position| hash_at(position).cmp(hash.as_str())).ok().map(|at| by_hash[at])
    }

    /// All keys, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = VirtualKey> + '_ {
        self.ordered(Order::Created, true).filter_map(|position| self.key(position))
    }

    /// The keys with a grant that will do, the newest first.
    pub fn with_grant(&self, fits: &dyn Fn(&Grant) -> bool) -> Found<'_> {
        let filter = KeyFilter { grant: Some(fits), ..KeyFilter::default() };
        self.find(&filter, Order::Created, true)
    }

    /// The keys that may call a model, the newest first.
    pub fn callers(&self, rules: &Rules, target: &Target<'_>, now: Timestamp) -> Found<'_> {
        let may = |grant: &Grant| rules.grants(grant, target).is_allowed();
        let is_usable = |row: &Row| row.is_usable(now);
        let filter = KeyFilter { grant: Some(&may), row: Some(&is_usable), ..KeyFilter::default() };
        self.find(&filter, Order::Created, true)
    }

    /// How many keys may be used, for each grant: what [`count_callers`](Self::count_callers) adds up.
    pub fn usable_per_grant(&self, now: Timestamp) -> Vec<usize> {
        let mut counts = self.ready_per_grant.clone();
        let by_expiry =
            self.orders[Order::Expires as usize].iter().map(|position| &self.rows[*position as usize]);
        for row in by_expiry.take_while(|row| row.has_expired(now)).filter(|row| row.is_ready()) {
            counts[row.grant as usize] -= 1;
        }
        counts
    }

    /// How many keys may call a model.
    pub fn count_callers(&self, rules: &Rules, target: &Target<'_>, usable: &[usize]) -> usize {
        self.grants.permitting(rules, target).iter().map(|grant| usable[*grant as usize]).sum()
    }

    /// Whether anything but keys decides: teams or access groups.
    pub fn needs_rules(&self) -> bool {
        self.grants.grants.iter().any(|grant| grant.needs_rules())
    }

    pub fn find(&self, filter: &KeyFilter<'_>, order: Order, descending: bool) -> Found<'_> {
        let KeyFilter { text, text_grant, grant, row: wanted } = filter;
        if text.is_empty() && grant.is_none() && wanted.is_none() {
            return Found { table: self, rows: Rows::All(order, descending) };
        }
        let text = text.to_lowercase();
        let finder = (!text.is_empty()).then(|| memmem::Finder::new(text.as_bytes()));
        let with_hash = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        // Many keys share a grant, so each is asked once.
        let has_text = self.grants.map(|grant| {
            let names = if let Access::List(names) = &grant.access { names.as_slice() } else { &[] };
            names.iter().any(|name| name.to_lowercase().contains(&text))
                || text_grant.is_some_and(|may| may(grant))
        });
        let permitted = self.grants.map(|asked| grant.is_none_or(|may| may(asked)));
        let fits = |row: &Arc<Row>| {
            let grant = row.grant as usize;
            permitted[grant]
                && wanted.is_none_or(|wanted| wanted(row))
                && finder.as_ref().is_none_or(|finder| {
                    has_text[grant] || finder.find(row.search_text(with_hash).as_bytes()).is_some()
                })
        };
        let fits: Vec<bool> = self.rows.iter().map(fits).collect();
        let rows = self.ordered(order, descending).filter(|position| fits[*position as usize]).collect();
        Found { table: self, rows: Rows::Some(rows) }
    }

    fn ordered(&self, order: Order, descending: bool) -> impl Iterator<Item = u32> + '_ {
        let positions = &self.orders[order as usize];
        let valued = positions.partition_point(|position| !self.rows[*position as usize].sort_key(order).0);
        let (valued, rest) = positions.split_at(valued);
        // One of the two is empty.
        let (rising, falling) = if descending { (&[][..], valued) } else { (valued, &[][..]) };
        rising.iter().chain(falling.iter().rev()).chain(rest).copied()
    }

    fn add_row(&mut self, key: &VirtualKey) -> Arc<Row> {
        let grant = key.grant();
        let known = self.grants.positions.get(&grant).copied();
        let grant = known.unwrap_or_else(|| Arc::make_mut(&mut self.grants).add(grant));
        let row = Row::new(key, grant);
        self.ready_per_grant.resize(self.grants.grants.len(), 0);
        self.ready_per_grant[grant as usize] += usize::from(row.is_ready());
        self.size += size_of::<Row>() + row.text.len();
        Arc::new(row)
    }

    /// Adds keys that are not there yet, in the proxy's order.
    pub(super) fn extend(&mut self, keys: &[VirtualKey]) {
        let keys = keys.iter().map(Ok::<_, Infallible>);
        let Ok(()) = self.try_extend(keys);
    }

    /// The same with keys that are read one at a time.
    pub(super) fn try_extend<E>(
        &mut self,
        keys: impl Iterator<Item = Result<impl Borrow<VirtualKey>, E>>,
    ) -> Result<(), E> {
        let first = to_u32(self.rows.len());
        for key in keys {
            let row = self.add_row(key?.borrow());
            self.rows.push(row);
        }
        for order in Order::ALL {
            let mut positions = std::mem::take(&mut self.orders[order as usize]);
            positions.extend(first..to_u32(self.rows.len()));
            // Beside each other, the sort keys are much quicker to compare than by way of the rows.
            let keys: Vec<SortKey<'_>> = self.rows.iter().map(|row| row.sort_key(order)).collect();
            let entry = |position: &u32| (*position, keys[*position as usize]);
            // A stable sort merges what is sorted already.
            positions.sort_by(|a, b| order.compare(entry(a), entry(b)));
            self.orders[order as usize] = positions;
        }
        Ok(())
    }

    /// Changes a key, adds it as the newest, or takes it out.
    pub(super) fn set(&mut self, hash: &KeyHash, key: Option<&VirtualKey>) {
        let old = self.position(hash);
        if let Some(old) = old {
            let row = &self.rows[old as usize];
            self.size -= size_of::<Row>() + row.text.len();
            self.ready_per_grant[row.grant as usize] -= usize::from(row.is_ready());
        }
        let row = key.map(|key| self.add_row(key));
        let is_new = old.is_none();
        let has_row = row.is_some();
        match (old, row) {
            (Some(old), Some(row)) => self.rows[old as usize] = row,
            (Some(old), None) => _ = self.rows.remove(old as usize),
            (None, Some(row)) => self.rows.insert(0, row),
            (None, None) => return,
        }
        for order in Order::ALL {
            let mut positions = std::mem::take(&mut self.orders[order as usize]);
            positions.retain(|position| Some(*position) != old);
            for position in &mut positions {
                if is_new {
                    *position += 1;
                } else if !has_row && Some(*position) > old {
                    *position -= 1;
                }
            }
            if has_row {
                let entry = |position: u32| (position, self.rows[position as usize].sort_key(order));
                let new = entry(old.unwrap_or(0));
                let at = positions.partition_point(|other| order.compare(entry(*other), new).is_lt());
                positions.insert(at, new.0);
            }
            self.orders[order as usize] = positions;
        }
    }
}

/// Keys that were found, in order. Only those that are looked at are made into a [`VirtualKey`].
#[derive(Debug)]
pub struct Found<'a> {
    table: &'a KeyTable,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    All(Order, bool),
    Some(Vec<u32>),
}

impl Found<'_> {
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::All(..) => self.table.len(),
            Rows::Some(rows) => rows.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn positions(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match &self.rows {
            Rows::All(order, descending) => Box::new(self.table.ordered(*order, *descending)),
            Rows::Some(rows) => Box::new(rows.iter().copied()),
        }
    }

    /// Those with these numbers, counted from the first.
    pub fn range(&self, numbers: Range<usize>) -> impl Iterator<Item = VirtualKey> + '_ {
        let positions = self.positions().skip(numbers.start).take(numbers.len());
        positions.filter_map(|position| self.table.key(position))
    }

    pub fn iter(&self) -> impl Iterator<Item = VirtualKey> + '_ {
        self.range(0..self.len())
    }

    /// Their positions, for [`KeyTable::key`]: they outlive a borrow of the table.
    pub fn into_positions(self) -> Vec<u32> {
        self.positions().collect()
    }

    /// The same with one key first, where it is among them.
    pub fn led_by(self, hash: &KeyHash) -> Self {
        let leader = self.table.position(hash);
        let mut rows: Vec<u32> = self.positions().collect();
        rows.sort_by_key(|position| Some(*position) != leader);
        Self { table: self.table, rows: Rows::Some(rows) }
    }
}
