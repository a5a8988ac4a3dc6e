//! A lock that one replica at a time holds.

/// A lock as one holder took it. Its token is a fencing token: the database counts it up each time the lock is taken, so
/// that whatever names a former one is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub token: i64,
}
