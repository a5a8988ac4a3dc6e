//! What the rest is about, without input or output: no web framework, HTTP client or database in here.
pub mod clock;
