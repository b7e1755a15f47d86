//! IMAP4rev1 as a protocol machine: bytes, answers and time in; bytes and requests out. `docs/imap.md` says what
//! is offered and every bound.

mod command;
mod cursor;
mod envelope;
mod fetch;
mod fetch_items;
mod folders;
mod input;
mod letters;
pub mod limits;
mod listing;
mod login;
mod mime;
mod run;
mod search;
mod search_keys;
mod search_text;
mod session;
mod structure;
mod view;
mod write;

pub use crate::edge::{Answer, Mechanism, Peer, Request, Ticket};
pub use session::{Config, Session};
pub(crate) use write::flag_texts;
