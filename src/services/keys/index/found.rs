//! Keys that were found, in order.

use std::ops::Range;

use super::{Index, Place};
use crate::domain::key::{KeyHash, VirtualKey};

/// Keys of an index in an order: numbers, of which only those that are looked at become keys.
#[derive(Debug)]
pub struct Found<'a> {
    index: &'a Index,
    places: Places<'a>,
}

/// Where they stand. All keys in an order that is there already take no room of their own.
#[derive(Debug)]
pub(super) enum Places<'a> {
    AsKept,
    Sorted(&'a Sorted, bool),
    Listed(Vec<Place>),
}

/// All keys in an order: those with a value, rising, then those without.
#[derive(Debug)]
pub(super) struct Sorted {
    places: Vec<Place>,
    with_value: usize,
}

impl Sorted {
    pub(super) fn new(places: Vec<Place>, with_value: usize) -> Self {
        Self { places, with_value }
    }

    /// The place with a number. What has no value stands last in either direction.
    pub(super) fn get(&self, number: usize, downwards: bool) -> Option<Place> {
        let is_turned = downwards && number < self.with_value;
        self.places.get(if is_turned { self.with_value - 1 - number } else { number }).copied()
    }
}

impl<'a> Found<'a> {
    pub(super) fn new(index: &'a Index, places: Places<'a>) -> Self {
        Self { index, places }
    }

    pub fn len(&self) -> usize {
        match &self.places {
            Places::AsKept | Places::Sorted(..) => self.index.len(),
            Places::Listed(places) => places.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those with these numbers, counted from the first.
    pub fn range(&self, numbers: Range<usize>) -> impl Iterator<Item = VirtualKey> + '_ {
        numbers.filter_map(|number| self.index.at(self.place(number)?))
    }

    pub fn iter(&self) -> impl Iterator<Item = VirtualKey> + '_ {
        self.range(0..self.len())
    }

    /// The same with one key first, where it is among them.
    pub fn led_by(self, hash: &KeyHash) -> Self {
        let Some(leader) = self.index.place_of(hash) else { return self };
        let mut places: Vec<Place> = (0..self.len()).filter_map(|number| self.place(number)).collect();
        places.sort_by_key(|place| *place != leader);
        Self::new(self.index, Places::Listed(places))
    }

    fn place(&self, number: usize) -> Option<Place> {
        match &self.places {
            Places::AsKept => self.index.nth(number),
            Places::Sorted(sorted, downwards) => sorted.get(number, *downwards),
            Places::Listed(places) => places.get(number).copied(),
        }
    }
}
