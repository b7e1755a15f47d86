//! The session server: other programs' way to the site, as `docs/sessions.md` describes it.

mod casts;
mod connection;
mod events;
mod listen;
pub(crate) mod maps;
mod requests;
mod translate;

pub(crate) use connection::HALF_OPEN_MAX;
pub use connection::Site;
pub(crate) use listen::{bind, serve, serve_remote};
