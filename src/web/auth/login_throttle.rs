//! Slows down password guessing.
//!
//! Failures are counted per pair of name and address, per address, and per name. The first refuse attempts for a time
//! that doubles with each failure. The others only delay an attempt, so that a person cannot be locked out by guesses from
//! elsewhere, or at other names from their own address. Where a person has logged in before, the failures of
//! others do not count against that person.
//!
//! A running attempt refuses no other, but no more of a pair run at once than may fail; the next one waits for them.
//!
//! Each replica counts on its own. Stored are hashes of names and addresses, in tables of fixed size.
//!
//! Not `governor`: it takes a cell for a right password too and cannot give it back, its interval does not grow with
//! each failure, and its keyed store has no upper bound.

mod table;

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use self::table::{Entry, Rule, Table};
use patchbay_clock::Clock;

const PAIR: Rule =
    Rule { free: 5, first: SignedDuration::from_secs(1), longest: SignedDuration::from_mins(5) };

/// All names from one address: a delay.
const ADDRESS: Rule =
    Rule { free: 20, first: SignedDuration::from_millis(100), longest: SignedDuration::from_secs(2) };

/// One name from everywhere: a delay.
const NAME: Rule = Rule { free: 10, ..ADDRESS };

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
    good: Table<()>,
}

impl Tables {
    /// Whether another attempt may be looked at now, or how long none is.
    fn admits(&mut self, keys: Keys, now: Timestamp) -> Result<bool, Duration> {
        let entry = self.pairs.now(keys.pair, now);
        let left = PAIR.left(entry, now);
        if left > SignedDuration::ZERO {
            return Err(left.unsigned_abs());
        }
        Ok(PAIR.has_room(entry))
    }
}

/// See [`LoginThrottle::lane`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    pub(super) id: u64,
    /// Of the address and the name; none for a person who has logged in from there.
    pub(super) failures: Option<u32>,
}

#[derive(Default)]
pub(super) struct LoginThrottle {
    tables: Mutex<Tables>,
    ended: Notify,
    hasher: RandomState,
}

pub(super) struct Attempt<'a> {
    throttle: &'a LoginThrottle,
    keys: Keys,
    at: Timestamp,
    is_right: bool,
}

impl Attempt<'_> {
    /// The password was right: this person's failures at this address no longer count. Those of the address and of the
    /// name stay, since they may be another's.
    pub(super) fn succeeded(mut self) {
        self.is_right = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.throttle.end(self);
    }
}

pub(super) struct Queued<'a> {
    throttle: &'a LoginThrottle,
    keys: Keys,
}

impl Queued<'_> {
    /// How long to wait because of the name or the address. Other queued attempts at the name count too, or many guesses
    /// at once would keep everybody waiting.
    pub(super) fn delay(&self, now: Timestamp) -> Duration {
        let mut tables = self.throttle.tables();
        if tables.good.get(self.keys.pair).is_some() {
            return Duration::ZERO;
        }
        let name = tables.names.now(self.keys.name, now);
        let address = tables.addresses.now(self.keys.address, now);
        let of_name = NAME.delay(name.failures.saturating_add(name.pending.saturating_sub(1)));
        of_name.max(ADDRESS.delay(address.failures)).unsigned_abs()
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut tables = self.throttle.tables();
        if let Some(entry) = tables.names.get(self.keys.name) {
            tables.names.set(self.keys.name, Entry { pending: entry.pending.saturating_sub(1), ..entry });
        }
    }
}

impl LoginThrottle {
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

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whom an attempt waits its turn: a person where they have logged in before, otherwise all of an address.
    pub(super) fn lane(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Lane {
        let keys = self.keys(name, address);
        let mut tables = self.tables();
        if tables.good.get(keys.pair).is_some() {
            return Lane { id: keys.pair, failures: None };
        }
        let failures = tables.addresses.now(keys.address, now).failures;
        let failures = failures.saturating_add(tables.names.now(keys.name, now).failures);
        Lane { id: keys.address, failures: Some(failures) }
    }

    pub(super) fn enqueue(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Queued<'_> {
        let keys = self.keys(name, address);
        let mut tables = self.tables();
        let entry = tables.names.now(keys.name, now);
        tables.names.set(keys.name, Entry { pending: entry.pending.saturating_add(1), ..entry });
        drop(tables);
        Queued { throttle: self, keys }
    }

    /// Refuses for the time that is left, if attempts are refused now.
    pub(super) fn check(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Result<(), Duration> {
        self.tables().admits(self.keys(name, address), now).map(|_| ())
    }

    /// Admits an attempt, or refuses it for the time that is left. If the running ones may already use up what is
    /// free, it waits for their end.
    pub(super) async fn admit(
        &self,
        name: &str,
        address: Option<IpAddr>,
        clock: &Clock,
    ) -> Result<Attempt<'_>, Duration> {
        let keys = self.keys(name, address);
        loop {
            let ended = self.ended.notified();
            if let Some(attempt) = self.try_admit(keys, clock.now())? {
                return Ok(attempt);
            }
            ended.await;
        }
    }

    fn try_admit(&self, keys: Keys, at: Timestamp) -> Result<Option<Attempt<'_>>, Duration> {
        let mut tables = self.tables();
        if !tables.admits(keys, at)? {
            return Ok(None);
        }
        let entry = tables.pairs.now(keys.pair, at);
        tables.pairs.set(keys.pair, Entry { pending: entry.pending + 1, ..entry });
        Ok(Some(Attempt { throttle: self, keys, at, is_right: false }))
    }

    fn end(&self, attempt: &Attempt<'_>) {
        let Attempt { keys, at, is_right, .. } = *attempt;
        let mut tables = self.tables();
        let entry = tables.pairs.now(keys.pair, at);
        tables.pairs.set(keys.pair, Entry { pending: entry.pending.saturating_sub(1), ..entry });
        if is_right {
            let entry = tables.pairs.now(keys.pair, at);
            match entry.pending {
                0 => tables.pairs.remove(keys.pair),
                _ => tables.pairs.set(keys.pair, Entry { failures: 0, ..entry }),
            }
            tables.good.set(keys.pair, ());
        } else {
            let Tables { pairs, addresses, names, .. } = &mut *tables;
            for (table, key) in [(pairs, keys.pair), (addresses, keys.address), (names, keys.name)] {
                let entry = table.now(key, at);
                table.set(key, Entry { failures: entry.failures.saturating_add(1), at, ..entry });
            }
        }
        drop(tables);
        self.ended.notify_waiters();
    }
}

/// The owner of an IPv6 address has at least the 2^64 of its network.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::table::MAX;
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    impl LoginThrottle {
        /// An attempt at that second that has not ended yet.
        fn begin(&self, name: &str, from: &str, second: i64) -> Result<Option<Attempt<'_>>, Duration> {
            self.try_admit(self.keys(name, Some(address(from))), at(second))
        }

        fn guess(&self, name: &str, from: &str, second: i64) -> Result<(), Duration> {
            self.begin(name, from, second).map(|attempt| drop(attempt.expect("none is under way")))
        }

        fn log_in(&self, name: &str, from: &str, second: i64) {
            self.begin(name, from, second).unwrap().expect("none is under way").succeeded();
        }
    }

    #[test]
    fn the_delay_grows_and_ends() {
        let throttle = LoginThrottle::default();
        let guess = |second| throttle.guess("ada", "192.0.2.1", second);
        for _ in 0..5 {
            assert_eq!(guess(0), Ok(()));
        }
        let (mut now, mut delays) = (0, Vec::new());
        for _ in 0..12 {
            let left = guess(now).unwrap_err();
            delays.push(left.as_secs());
            now += i64::try_from(left.as_secs()).unwrap();
            assert_eq!(guess(now), Ok(()), "it does not end");
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        now += 300;
        throttle.log_in("ada", "192.0.2.1", now);
        assert_eq!(guess(now), Ok(()));
    }

    #[test]
    fn of_many_at_once_no_more_are_looked_at_than_might_fail() {
        let throttle = LoginThrottle::default();
        let begin = |second| throttle.begin("ada", "192.0.2.1", second);
        let mut under_way: Vec<_> = (0..5).map(|_| begin(0).unwrap().unwrap()).collect();
        assert!(begin(0).unwrap().is_none(), "six might fail");
        // One that is right makes room, and forgives nothing that is still under way.
        under_way.pop().unwrap().succeeded();
        under_way.push(begin(0).unwrap().unwrap());
        assert!(begin(0).unwrap().is_none());
        drop(under_way);
        assert_eq!(begin(0).err(), Some(Duration::from_secs(1)), "five have failed");
        let sixth = begin(1).unwrap().unwrap();
        assert!(begin(1).unwrap().is_none(), "after a wait one may be tried, and not two");
        drop(sixth);
        assert_eq!(begin(1).err(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_clock_that_is_put_back_makes_no_wait_longer() {
        let throttle = LoginThrottle::default();
        let guess = |second| throttle.guess("ada", "192.0.2.1", second);
        assert_eq!(guess(86_400), Ok(()));
        for _ in 1..5 {
            assert_eq!(guess(0), Ok(()), "one failure is free");
        }
        assert_eq!(guess(-86_400), Err(Duration::from_secs(1)));
    }

    #[test]
    fn an_address_that_tries_many_names_is_slowed_down_and_locks_nobody_out() {
        let throttle = LoginThrottle::default();
        throttle.log_in("ada", "2001:db8::1", 0);
        for number in 0..40 {
            let from = format!("2001:db8::{number:x}");
            assert_eq!(throttle.guess(&format!("name-{number}"), &from, 0), Ok(()));
        }
        let delay = |name, from| throttle.enqueue(name, Some(address(from)), at(0)).delay(at(0));
        assert_eq!(
            delay("bob", "2001:db8::ffff"),
            Duration::from_secs(2),
            "a network of IPv6 is one address"
        );
        assert_eq!(throttle.guess("bob", "2001:db8::ffff", 0), Ok(()));
        assert_eq!(delay("bob", "2001:db8:0:1::1"), Duration::ZERO);
        assert_eq!(delay("ada", "2001:db8::2"), Duration::ZERO, "they have logged in from there");
    }

    #[test]
    fn nobody_is_locked_out_by_guesses_from_elsewhere() {
        let throttle = LoginThrottle::default();
        let from = |number: u32| IpAddr::V4((0x0a00_0000 + number).into()).to_string();
        let here = Some(address("192.0.2.1"));
        let me = throttle.enqueue("ada", here, at(0));
        let delay = || me.delay(at(0));
        let others: Vec<_> =
            (0..11).map(|_| throttle.enqueue("ada", Some(address("192.0.2.2")), at(0))).collect();
        assert_eq!(delay(), Duration::from_millis(200));
        drop(others);
        assert_eq!(delay(), Duration::ZERO);
        for number in 0..11 {
            assert_eq!(throttle.guess("ada", &from(number), 0), Ok(()));
        }
        assert_eq!(delay(), Duration::from_millis(200));
        for number in 11..10_000 {
            assert_eq!(throttle.guess("ada", &from(number), 0), Ok(()));
        }
        assert_eq!(delay(), Duration::from_secs(2));
        throttle.log_in("ada", "192.0.2.1", 0);
        assert_eq!(delay(), Duration::ZERO);
    }

    #[test]
    fn a_million_names_take_bounded_memory_and_a_lock_in_use_stays() {
        let throttle = LoginThrottle::default();
        while throttle.guess("ada", "192.0.2.1", 0).is_ok() {}
        for number in 0..1_000_000_u32 {
            let keys =
                throttle.keys(&format!("name-{number}"), Some(IpAddr::V4((0x0a00_0000 + number).into())));
            assert!(throttle.try_admit(keys, at(0)).is_ok_and(|attempt| attempt.is_some()));
            if number % 1000 == 0 {
                assert!(throttle.guess("ada", "192.0.2.1", 0).is_err(), "after {number} names");
            }
        }
        let tables = throttle.tables();
        for table in [&tables.pairs, &tables.addresses, &tables.names] {
            assert!(table.young.len() <= MAX && table.old.len() <= MAX);
            assert!(table.young.capacity() <= 2 * MAX && table.old.capacity() <= 2 * MAX);
        }
    }
}
