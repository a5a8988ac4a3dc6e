//! Who listens, and how many may.

/// Most listeners in all.
const IN_ALL: usize = 4096;

/// Most listeners of one user.
const PER_USER: usize = 1024;

/// Most listeners of one session: a browser with many windows.
const PER_SESSION: usize = 16;

#[derive(Debug, Clone)]
pub struct Listener {
    pub name: String,
    /// None for a script.
    pub session: Option<String>,
    /// The id of the last event the listener got.
    pub last: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many pages listen already")]
pub struct Full;

#[derive(Default)]
pub(super) struct Listeners {
    next: u64,
    list: Vec<(u64, Listener)>,
}

impl Listeners {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn join(&mut self, listener: Listener) -> Result<u64, Full> {
        let of_user = self.list.iter().filter(|(_, other)| other.name == listener.name);
        let of_session = of_user.clone().filter(|(_, other)| other.session == listener.session);
        if self.len() >= IN_ALL || of_session.count() >= PER_SESSION || of_user.count() >= PER_USER {
            return Err(Full);
        }
        self.next += 1;
        self.list.push((self.next, listener));
        Ok(self.next)
    }

    pub(super) fn leave(&mut self, number: u64) {
        self.list.retain(|(id, _)| *id != number);
    }
}
