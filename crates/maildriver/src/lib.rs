//! Floor 11: Maildriver's edges.
//!
//! What speaks to mail clients and servers, on top of the replicated state machine of `mail`. [`imap`] and
//! [`smtp`] are protocol machines without sockets, clock or threads: whoever has the connection feeds them bytes
//! and answers their requests, those about passwords from [`login`]. [`service`] is the state machine as a service of a
//! running site, [`verify`] finds out who sent a letter, [`serve`] brings up a site that has mail, with its listeners.
//! `docs/maildriver.md` is its page.

#![forbid(unsafe_code)]

mod dates;
pub mod edge;
mod header;
pub mod imap;
pub mod login;
mod requests;
pub mod serve;
pub mod service;
pub mod smtp;
pub mod verify;

pub use serve::{StartError, WithMail, start};
