//! A clock that tests can set.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// Clones share the same source.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the system is asked")]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock with the time of `source`.
    pub fn from_fn(source: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
