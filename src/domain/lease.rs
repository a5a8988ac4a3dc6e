//! A lock that one replica at a time holds.

/// A lock as one holder took it. The database counts the token up each time the lock is taken, so that an earlier holder
/// can be told from the current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub token: i64,
}
