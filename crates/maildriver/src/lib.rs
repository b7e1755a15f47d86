//! Floor 11: Maildriver's edges.
//!
//! What speaks to mail clients, on top of the replicated state machine of `mail`. [`imap`] is a protocol machine
//! without sockets, clock or threads: whoever has the connection feeds it bytes and answers its requests. [`service`] is
//! the state machine as a service of a running site, [`serve`] brings up a site that has it, with its listeners.
//! `docs/maildriver.md` is its page.

#![forbid(unsafe_code)]

pub mod imap;
mod logins;
mod requests;
pub mod serve;
pub mod service;

pub use logins::{HashError, hash_password};
pub use serve::{StartError, WithMail, start};
