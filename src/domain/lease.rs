//! A lock that one replica at a time holds.

/// A lock as one holder took it. Its token is a fencing token: the database counts it up each time the lock is taken, so
/// that a write under a former one is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub token: i64,
}
