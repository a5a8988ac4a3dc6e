//! Pages, addresses, login, errors for people. Each address answers as a page, as a fragment of it (for
//! htmx) and as JSON, from one loader.

mod assets;
mod auth;
mod charts;
mod csv;
mod errors;
mod etag;
mod events;
mod format;
mod forms;
mod headers;
mod host;
mod lifetime;
mod metering;
mod next;
mod openapi;
mod origin;
pub mod pages;
pub mod paths;
mod recipes;
mod respond;
mod router;
mod routes;
mod state;
mod stream;
mod table;
mod theme;
mod ui;
mod zone;

pub use assets::version as assets_version;
pub use router::{router, table};
pub use routes::{Access, Route};
pub use state::{AppState, IsDemo, Parts};
