//! The session server: other programs' way to the site, as `docs/sessions.md` describes it.

mod backup;
mod casts;
mod connection;
mod events;
mod listen;
pub(crate) mod maps;
mod requests;
mod restore;
mod translate;
mod upgrade;

pub(crate) use backup::BACKUPS_MAX;
pub(crate) use connection::HALF_OPEN_MAX;
pub use connection::Site;
pub(crate) use listen::{bind, serve, serve_remote};
