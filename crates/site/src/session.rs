//! The session server: other programs' way to the site, as `docs/sessions.md` describes it.

mod connection;
mod listen;
mod translate;

pub use listen::{Listener, serve};
