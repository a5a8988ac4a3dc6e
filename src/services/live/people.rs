//! Who is here, on which page.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::event::json;
use crate::domain::key::hex;

/// Most listeners in all.
const IN_ALL: usize = 4096;

/// Most listeners of one user.
const PER_USER: usize = 1024;

/// Most listeners of one session: a browser with many windows.
const PER_SESSION: usize = 16;

/// Most people that are told of: with the longest names less than 8,000 bytes, which is what Postgres takes.
const TOLD: usize = 48;

/// Longest part of a name that is told, in characters.
const NAME: usize = 32;

/// How long what another replica said counts.
const REMEMBERED: Duration = Duration::from_mins(1);

#[derive(Debug, Clone)]
pub struct Listener {
    pub name: String,
    /// The session; none for a script.
    pub session: Option<String>,
    pub page: String,
    pub last: Option<i64>,
}

/// Someone who is here. Neither the session nor the page can be read from it, only whether they are the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Person {
    pub name: String,
    pub key: String,
    pub page: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many pages listen already")]
pub struct Full;

impl Listener {
    fn person(&self) -> Person {
        let digest = |text: &str| hex(&Sha256::digest(text)[..6]);
        Person {
            name: self.name.chars().take(NAME).collect(),
            key: digest(self.session.as_deref().unwrap_or(&self.name)),
            page: digest(&self.page),
        }
    }

    pub(super) fn person_json(&self) -> String {
        json(&self.person())
    }
}

#[derive(Default)]
pub(super) struct People {
    next: u64,
    here: BTreeMap<u64, Person>,
    elsewhere: HashMap<String, (Instant, Vec<Person>)>,
}

impl People {
    pub(super) fn len(&self) -> usize {
        self.here.len()
    }

    pub(super) fn join(&mut self, listener: &Listener) -> Result<u64, Full> {
        let person = listener.person();
        let of_user = self.here.values().filter(|other| other.name == person.name);
        let of_session = of_user.clone().filter(|other| other.key == person.key);
        if self.here.len() >= IN_ALL || of_session.count() >= PER_SESSION || of_user.count() >= PER_USER {
            return Err(Full);
        }
        self.next += 1;
        self.here.insert(self.next, person);
        Ok(self.next)
    }

    pub(super) fn leave(&mut self, number: u64) {
        self.here.remove(&number);
    }

    /// Those at this process, each session at each page once. Those who came last come first, so that a new one
    /// among many is told of.
    pub(super) fn here(&self) -> Vec<Person> {
        once(self.here.values().rev())
    }

    pub(super) fn all(&mut self) -> Vec<Person> {
        self.elsewhere.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        once(self.here.values().rev().chain(self.elsewhere.values().flat_map(|(_, people)| people)))
    }

    pub(super) fn heard(&mut self, replica: &str, people: &[Person]) -> bool {
        let known = self.elsewhere.insert(replica.to_owned(), (Instant::now(), people.to_vec()));
        known.is_none_or(|(_, known)| known != people)
    }
}

fn once<'a>(people: impl Iterator<Item = &'a Person>) -> Vec<Person> {
    let mut told = BTreeSet::new();
    people.filter(|person| told.insert(*person)).take(TOLD).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str, session: &str, page: &str) -> Listener {
        Listener {
            name: name.to_owned(),
            session: Some(session.to_owned()),
            page: page.to_owned(),
            last: None,
        }
    }

    #[test]
    fn two_tabs_on_a_page_count_once_and_those_at_other_replicas_count_too() {
        let mut people = People::default();
        let tab = people.join(&listener("ada", "s1", "/models")).unwrap();
        people.join(&listener("ada", "s1", "/models")).unwrap();
        people.join(&listener("bob", "s2", "/keys")).unwrap();
        assert_eq!(people.here().len(), 2);
        people.leave(tab);
        assert_eq!(people.here().len(), 2, "the other tab is still there");
        let eve = listener("eve", "s3", "/keys").person();
        assert!(people.heard("b", std::slice::from_ref(&eve)));
        assert!(!people.heard("b", std::slice::from_ref(&eve)));
        assert_eq!((people.all().len(), people.here().len()), (3, 2));
        assert!(!format!("{:?}", people.all()).contains("s3"), "no session can be read from it");
    }

    #[test]
    fn listeners_are_bounded_for_each_session_and_what_is_told_of_them_fits_into_a_notification() {
        let mut people = People::default();
        let name = "ö".repeat(200);
        for number in 0..PER_SESSION {
            people.join(&listener(&name, "s", &number.to_string())).unwrap();
        }
        assert_eq!(people.join(&listener(&name, "s", "/")), Err(Full));
        for number in 0..TOLD {
            people.join(&listener(&name, &number.to_string(), "/")).unwrap();
        }
        assert!(json(&people.here()).len() < 7500);
    }
}
