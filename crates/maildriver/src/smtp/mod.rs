//! SMTP and LMTP as a protocol machine: bytes, answers and time in; bytes and requests out. `docs/smtp.md` says what
//! is offered and every bound.

mod command;
mod compose;
mod data;
mod envelope;
mod input;
mod letter;
pub mod limits;
mod login;
pub mod notice;
mod outcome;
mod reply;
mod run;
mod session;
mod trace;

pub use crate::edge::{Answer, Mechanism, Peer, Request, Ticket, Verified, Verify};
pub use session::{Config, Mode, Session};
