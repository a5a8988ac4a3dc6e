//! Slows down whoever guesses passwords.
//!
//! Failures are counted for each pair of name and address, for each address, and for each name. The first two
//! refuse for a while that doubles with each failure. The last only makes an attempt wait for moments, so that
//! nobody can shut a person out by guessing at their name from elsewhere. From an address where someone has
//! logged in before, the failures of others at that address do not count against that person.
//!
//! An attempt whose end is not known yet refuses nobody. But no more are looked at at once than might all fail: the
//! next one waits for them.
//!
//! Each replica counts by itself. What is kept are hashes of names and addresses, in tables of fixed size.

mod counts;

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use self::counts::{Entry, Rule, Table};
use patchbay_clock::Clock;

const PAIR: Rule =
    Rule { free: 5, first: SignedDuration::from_secs(1), longest: SignedDuration::from_mins(5) };

const ADDRESS: Rule =
    Rule { free: 20, first: SignedDuration::from_secs(1), longest: SignedDuration::from_mins(5) };

/// One name from everywhere: a wait.
const NAME: Rule =
    Rule { free: 10, first: SignedDuration::from_millis(100), longest: SignedDuration::from_secs(2) };

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
    fn places(&mut self, keys: Keys) -> [(&mut Table<Entry>, u64); 2] {
        [(&mut self.pairs, keys.pair), (&mut self.addresses, keys.address)]
    }

    /// Whether another attempt may be looked at now, or how long none is.
    fn admits(&mut self, keys: Keys, now: Timestamp) -> Result<bool, Duration> {
        let of_pair = self.pairs.now(keys.pair, now);
        let of_address = match self.good.get(keys.pair) {
            Some(()) => Entry::new(now),
            None => self.addresses.now(keys.address, now),
        };
        let left = PAIR.left(of_pair, now).max(ADDRESS.left(of_address, now));
        if left > SignedDuration::ZERO {
            return Err(left.unsigned_abs());
        }
        Ok(PAIR.has_room(of_pair) && ADDRESS.has_room(of_address))
    }
}

#[derive(Default)]
pub(super) struct Guesses {
    tables: Mutex<Tables>,
    ended: Notify,
    hasher: RandomState,
}

pub(super) struct Attempt<'a> {
    guesses: &'a Guesses,
    keys: Keys,
    at: Timestamp,
    is_right: bool,
}

impl Attempt<'_> {
    /// It was right, and those of that person there that were not count no more. Those of the address and of the
    /// name stay: they may be another's.
    pub(super) fn succeeded(mut self) {
        self.is_right = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.guesses.end(self);
    }
}

pub(super) struct Waiting<'a> {
    guesses: &'a Guesses,
    keys: Keys,
}

/// How long an attempt waits for the sake of its name.
pub(super) struct Pause {
    pub(super) time: Duration,
    pub(super) is_guessed: bool,
}

impl Waiting<'_> {
    /// How long to wait before standing in line, for the sake of the name alone. Whoever stands there counts here,
    /// since it refuses nobody: or many guesses at once would keep everybody waiting.
    pub(super) fn pause(&self, now: Timestamp) -> Pause {
        let mut tables = self.guesses.tables();
        let entry = match tables.good.get(self.keys.pair) {
            Some(()) => Entry::new(now),
            None => tables.names.now(self.keys.name, now),
        };
        let delay = |failures: u32| NAME.delay(failures).unsigned_abs();
        let others = entry.pending.saturating_sub(1);
        Pause {
            time: delay(entry.failures.saturating_add(others)),
            is_guessed: !delay(entry.failures).is_zero(),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut tables = self.guesses.tables();
        if let Some(entry) = tables.names.get(self.keys.name) {
            tables.names.set(self.keys.name, Entry { pending: entry.pending.saturating_sub(1), ..entry });
        }
    }
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

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn line_up(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Waiting<'_> {
        let keys = self.keys(name, address);
        let mut tables = self.tables();
        let entry = tables.names.now(keys.name, now);
        tables.names.set(keys.name, Entry { pending: entry.pending.saturating_add(1), ..entry });
        drop(tables);
        Waiting { guesses: self, keys }
    }

    /// Says how long no attempt is looked at, where that is so.
    pub(super) fn check(&self, name: &str, address: Option<IpAddr>, now: Timestamp) -> Result<(), Duration> {
        self.tables().admits(self.keys(name, address), now).map(|_| ())
    }

    /// Lets an attempt be made, or says how long none is looked at. Where others are under way that might fail, and
    /// one more would be too many, it waits for their end.
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
        for (table, key) in tables.places(keys) {
            let entry = table.now(key, at);
            table.set(key, Entry { pending: entry.pending + 1, ..entry });
        }
        Ok(Some(Attempt { guesses: self, keys, at, is_right: false }))
    }

    fn end(&self, attempt: &Attempt<'_>) {
        let Attempt { keys, at, is_right, .. } = *attempt;
        let mut tables = self.tables();
        for (table, key) in tables.places(keys) {
            let entry = table.now(key, at);
            table.set(key, Entry { pending: entry.pending.saturating_sub(1), ..entry });
        }
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
    use super::counts::MAX;
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    impl Guesses {
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
        let guesses = Guesses::default();
        let guess = |second| guesses.guess("ada", "192.0.2.1", second);
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
        guesses.log_in("ada", "192.0.2.1", now);
        assert_eq!(guess(now), Ok(()));
    }

    #[test]
    fn of_many_at_once_no_more_are_looked_at_than_might_fail() {
        let guesses = Guesses::default();
        let begin = |second| guesses.begin("ada", "192.0.2.1", second);
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
        let guesses = Guesses::default();
        let guess = |second| guesses.guess("ada", "192.0.2.1", second);
        assert_eq!(guess(86_400), Ok(()));
        for _ in 1..5 {
            assert_eq!(guess(0), Ok(()), "one failure is free");
        }
        assert_eq!(guess(-86_400), Err(Duration::from_secs(1)));
    }

    #[test]
    fn an_address_that_tries_many_names_is_slowed_down() {
        let guesses = Guesses::default();
        guesses.log_in("ada", "2001:db8::1", 0);
        let names: Vec<String> = (0..20).map(|number| format!("name-{number}")).collect();
        let from = |number: usize| format!("2001:db8::{number:x}");
        let begin =
            |(number, name): (usize, &String)| guesses.begin(name, &from(number), 0).unwrap().unwrap();
        let under_way: Vec<_> = names.iter().enumerate().map(begin).collect();
        assert!(guesses.begin("bob", "2001:db8::ffff", 0).unwrap().is_none(), "21 might fail");
        drop(under_way);
        assert!(guesses.guess("bob", "2001:db8::ffff", 0).is_err(), "a network of IPv6 is one address");
        assert_eq!(guesses.guess("bob", "2001:db8:0:1::1", 0), Ok(()));
        assert_eq!(guesses.guess("bob", "192.0.2.1", 0), Ok(()));
        assert_eq!(
            guesses.guess("ada", "2001:db8::2", 0),
            Ok(()),
            "who has logged in from there is shut out"
        );
    }

    #[test]
    fn nobody_is_shut_out_by_guesses_from_elsewhere() {
        let guesses = Guesses::default();
        let from = |number: u32| IpAddr::V4((0x0a00_0000 + number).into()).to_string();
        let here = Some(address("192.0.2.1"));
        let me = guesses.line_up("ada", here, at(0));
        let pause = || me.pause(at(0));
        let others: Vec<_> =
            (0..11).map(|_| guesses.line_up("ada", Some(address("192.0.2.2")), at(0))).collect();
        assert_eq!((pause().time, pause().is_guessed), (Duration::from_millis(200), false));
        drop(others);
        assert_eq!(pause().time, Duration::ZERO);
        for number in 0..11 {
            assert_eq!(guesses.guess("ada", &from(number), 0), Ok(()));
        }
        assert_eq!((pause().time, pause().is_guessed), (Duration::from_millis(200), true));
        for number in 11..10_000 {
            assert_eq!(guesses.guess("ada", &from(number), 0), Ok(()));
        }
        assert_eq!(pause().time, Duration::from_secs(2));
        guesses.log_in("ada", "192.0.2.1", 0);
        assert_eq!(pause().time, Duration::ZERO);
    }

    #[test]
    fn a_million_names_take_bounded_memory_and_a_lock_in_use_stays() {
        let guesses = Guesses::default();
        while guesses.guess("ada", "192.0.2.1", 0).is_ok() {}
        for number in 0..1_000_000_u32 {
            let keys =
                guesses.keys(&format!("name-{number}"), Some(IpAddr::V4((0x0a00_0000 + number).into())));
            assert!(guesses.try_admit(keys, at(0)).is_ok_and(|attempt| attempt.is_some()));
            if number % 1000 == 0 {
                assert!(guesses.guess("ada", "192.0.2.1", 0).is_err(), "after {number} names");
            }
        }
        let tables = guesses.tables();
        for table in [&tables.pairs, &tables.addresses, &tables.names] {
            assert!(table.young.len() <= MAX && table.old.len() <= MAX);
            assert!(table.young.capacity() <= 2 * MAX && table.old.capacity() <= 2 * MAX);
        }
    }
}
