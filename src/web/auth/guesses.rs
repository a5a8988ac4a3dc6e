//! Slows down whoever guesses passwords.
//!
//! Failures are counted for each pair of name and address, for each address, and for each name. The first two
//! refuse for a while that doubles with each failure. The last only makes an attempt wait for moments, so that
//! nobody can shut a person out by guessing at their name from elsewhere. From an address where someone has
//! logged in before, the failures of others at that address do not count against that person.
//!
//! Each replica counts by itself. What is kept are hashes of names and addresses, in tables of fixed size.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How many failures are free, how long the first refusal is, and the longest.
struct Rule {
    free: u32,
    first: SignedDuration,
    longest: SignedDuration,
}

/// One person at one place, who may have forgotten which password it was.
const PAIR: Rule =
    Rule { free: 5, first: SignedDuration::from_secs(1), longest: SignedDuration::from_mins(5) };

/// One place, behind which may be an office.
const ADDRESS: Rule =
    Rule { free: 20, first: SignedDuration::from_secs(1), longest: SignedDuration::from_mins(5) };

/// One name from everywhere: a wait.
const NAME: Rule =
    Rule { free: 10, first: SignedDuration::from_millis(100), longest: SignedDuration::from_secs(2) };

/// After this time without failures they are forgotten.
const FORGET: SignedDuration = SignedDuration::from_mins(30);

/// Entries of one generation of a table; there are two.
const MAX: usize = 16 * 1024;

impl Rule {
    fn delay(&self, failures: u32) -> SignedDuration {
        let Some(beyond) = failures.checked_sub(self.free) else { return SignedDuration::ZERO };
        let factor = 1_i32.checked_shl(beyond.min(30)).unwrap_or(i32::MAX);
        self.first.checked_mul(factor).map_or(self.longest, |delay| delay.min(self.longest))
    }

    /// What is left of the delay.
    fn left(&self, entry: Option<Entry>, now: Timestamp) -> SignedDuration {
        let entry = entry.filter(|entry| entry.counts(now));
        // A clock that was put back does not make it longer.
        let left = entry.map(|entry| self.delay(entry.failures) - now.duration_since(entry.at));
        left.map_or(SignedDuration::ZERO, |left| left.min(self.longest))
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    failures: u32,
    at: Timestamp,
}

impl Entry {
    fn counts(self, now: Timestamp) -> bool {
        now.duration_since(self.at) < FORGET
    }
}

/// A table that forgets what was not used for long: once a generation is full, the former one goes.
struct Table<T> {
    young: HashMap<u64, T>,
    old: HashMap<u64, T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<T: Copy> Table<T> {
    fn get(&mut self, key: u64) -> Option<T> {
        if let Some(entry) = self.young.get(&key) {
            return Some(*entry);
        }
        let entry = self.old.remove(&key)?;
        self.set(key, entry);
        Some(entry)
    }

    fn set(&mut self, key: u64, entry: T) {
        if self.young.len() >= MAX && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }

    fn remove(&mut self, key: u64) {
        self.young.remove(&key);
        self.old.remove(&key);
    }
}

/// Who tries, as numbers.
#[derive(Debug, Clone, Copy)]
struct Keys {
    pair: u64,
    address: u64,
    name: u64,
}

#[derive(Default)]
struct Tables {
    pairs: Table<Entry>,
    addresses: Table<Entry>,
    names: Table<Entry>,
    /// Pairs that have logged in.
    good: Table<()>,
}

/// The failures so far.
#[derive(Default)]
pub(super) struct Guesses {
    tables: Mutex<Tables>,
    hasher: RandomState,
}

impl Guesses {
    fn keys(&self, name: &str, address: Option<IpAddr>) -> Keys {
        let address = address.map(network);
        Keys {
            pair: self.hash((0, name, address)),
            address: self.hash((1, address)),
            name: self.hash((2, name)),
        }
    }

    fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }

    /// How long an attempt is to wait before it is looked at, for the sake of the name alone.
    pub(super) fn pause(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Duration {
        let keys = self.keys(name, address);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.good.get(keys.pair).is_some() {
            return Duration::ZERO;
        }
        let failures = tables.names.get(keys.name).filter(|entry| entry.counts(now));
        failures.map_or(Duration::ZERO, |entry| NAME.delay(entry.failures).unsigned_abs())
    }

    /// Lets an attempt be made, or says how long none is looked at. It counts as a failure until it has
    /// succeeded, so that many at once are counted as well.
    pub(super) fn admit(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Result<(), Duration> {
        let keys = self.keys(name, address);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let of_pair = PAIR.left(tables.pairs.get(keys.pair), now);
        let of_address = match tables.good.get(keys.pair) {
            Some(()) => SignedDuration::ZERO,
            None => ADDRESS.left(tables.addresses.get(keys.address), now),
        };
        let left = of_pair.max(of_address);
        if left > SignedDuration::ZERO {
            return Err(left.unsigned_abs());
        }
        let Tables { pairs, addresses, names, .. } = &mut *tables;
        for (table, key) in [(pairs, keys.pair), (addresses, keys.address), (names, keys.name)] {
            let former = table.get(key).filter(|entry| entry.counts(now));
            let failures = former.map_or(0, |entry| entry.failures).saturating_add(1);
            table.set(key, Entry { failures, at: now });
        }
        Ok(())
    }

    /// Takes an attempt back that was right, and the failures of that person there. Those of the address and
    /// of the name stay: they may be another's.
    pub(super) fn succeeded(&self, name: &str, address: Option<IpAddr>) {
        let keys = self.keys(name, address);
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.pairs.remove(keys.pair);
        tables.good.set(keys.pair, ());
        let Tables { addresses, names, .. } = &mut *tables;
        for (table, key) in [(addresses, keys.address), (names, keys.name)] {
            if let Some(entry) = table.get(key) {
                table.set(key, Entry { failures: entry.failures.saturating_sub(1), ..entry });
            }
        }
    }
}

/// Who has one address of IPv6 has at least 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(bits.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_delay_grows_and_ends() {
        let guesses = Guesses::default();
        let here = Some(address("192.0.2.1"));
        for _ in 0..5 {
            assert_eq!(guesses.admit("ada", here, at(0)), Ok(()));
        }
        let (mut now, mut delays) = (0, Vec::new());
        for _ in 0..12 {
            let left = guesses.admit("ada", here, at(now)).unwrap_err();
            delays.push(left.as_secs());
            now += i64::try_from(left.as_secs()).unwrap();
            assert_eq!(guesses.admit("ada", here, at(now)), Ok(()), "it does not end");
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        guesses.succeeded("ada", here);
        assert_eq!(guesses.admit("ada", here, at(now)), Ok(()));
    }

    #[test]
    fn an_address_that_tries_many_names_is_slowed_down() {
        let guesses = Guesses::default();
        guesses.succeeded("ada", Some(address("2001:db8::1")));
        for number in 0..20 {
            let from = Some(address(&format!("2001:db8::{number:x}")));
            assert_eq!(guesses.admit(&format!("name-{number}"), from, at(0)), Ok(()));
        }
        let admit = |name: &str, from: &str| guesses.admit(name, Some(address(from)), at(0));
        assert!(admit("bob", "2001:db8::ffff").is_err(), "a network of IPv6 is one address");
        assert_eq!(admit("bob", "2001:db8:0:1::1"), Ok(()));
        assert_eq!(admit("bob", "192.0.2.1"), Ok(()));
        assert_eq!(admit("ada", "2001:db8::2"), Ok(()), "who has logged in from there is shut out");
    }

    #[test]
    fn nobody_is_shut_out_by_guesses_from_elsewhere() {
        let guesses = Guesses::default();
        for number in 0..10_000_u32 {
            assert_eq!(guesses.admit("ada", Some(IpAddr::V4((0x0a00_0000 + number).into())), at(0)), Ok(()));
        }
        let here = Some(address("192.0.2.1"));
        assert_eq!(guesses.pause("ada", here, at(0)), Duration::from_secs(2));
        assert_eq!(guesses.admit("ada", here, at(0)), Ok(()));
        guesses.succeeded("ada", here);
        assert_eq!(guesses.pause("ada", here, at(0)), Duration::ZERO);
    }

    #[test]
    fn a_million_names_take_bounded_memory_and_a_lock_in_use_stays() {
        let guesses = Guesses::default();
        let here = Some(address("192.0.2.1"));
        while guesses.admit("ada", here, at(0)).is_ok() {}
        for number in 0..1_000_000_u32 {
            let from = Some(IpAddr::V4((0x0a00_0000 + number).into()));
            assert_eq!(guesses.admit(&format!("name-{number}"), from, at(0)), Ok(()));
            if number % 1000 == 0 {
                assert!(guesses.admit("ada", here, at(0)).is_err(), "after {number} names");
            }
        }
        let tables = guesses.tables.lock().unwrap();
        for table in [&tables.pairs, &tables.addresses, &tables.names] {
            assert!(table.young.len() <= MAX && table.old.len() <= MAX);
            assert!(table.young.capacity() <= 2 * MAX && table.old.capacity() <= 2 * MAX);
        }
    }
}
