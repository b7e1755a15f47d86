//! Floor 11: Maildriver's edges.
//!
//! What speaks to mail clients and servers, on top of the replicated state machine of `mail`. [`imap`] and
//! [`smtp`] are protocol machines without sockets, clock or threads: whoever has the connection feeds them bytes
//! and answers their requests, those about passwords from [`login`].

#![forbid(unsafe_code)]

mod dates;
pub mod edge;
mod header;
pub mod imap;
pub mod login;
pub mod smtp;
