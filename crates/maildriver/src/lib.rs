//! Floor 11: Maildriver's edges.
//!
//! What speaks to mail clients, on top of the replicated state machine of `mail`. [`imap`] is a protocol machine
//! without sockets, clock or threads: whoever has the connection feeds it bytes and answers its requests.

#![forbid(unsafe_code)]

pub mod imap;
