//! Floor 7: Maildriver's state machine.
//!
//! Users, addresses, mailboxes, letters and flags, as a function of a durable group's log: every site applies
//! the same entries ([`Entry`]) in the same order to its [`State`] and has the same mail. The letters' bodies
//! stay in the log; the state keeps what points at them. What a minority queues meanwhile is [`Spool`]'s.
//! Rules Mail 1 to Mail 13, cited in the code, are in `docs/mail.md`.
//!
//! No sockets, no protocols: SMTP, LMTP and IMAP are edges above.

#![forbid(unsafe_code)]

pub mod address;
mod bugs;
pub mod checkpoint;
pub mod command;
mod digest;
mod directory;
mod entry;
mod feed;
mod flags;
mod ids;
mod letters;
pub mod limits;
mod mailbox;
mod merged;
mod name;
mod outcome;
mod requests;
mod resolve;
mod roles;
mod series;
mod spool;
mod state;
mod tree;
mod uids;
mod utf7;

pub use address::{Address, Domain};
pub use bugs::{Bug, Bugs};
pub use checkpoint::{BadCheckpoint, Checkpoint, Restore};
pub use command::{Command, Principal};
pub use directory::{AppPassword, List, Usage, User};
pub use entry::{BadEntry, Entry, Head, RequestId};
pub use feed::Change;
pub use flags::{FlagNames, FlagOp, Flags, Keyword};
pub use ids::{EntryTime, MailboxId, Position, SpoolId, UserId};
pub use letters::{Letter, Storage};
pub use limits::Limits;
pub use mailbox::{Mailbox, Record, Status};
pub use name::{BadName, MailboxName, UserName};
pub use outcome::{Outcome, Receipt, Refusal};
pub use resolve::Targets;
pub use roles::{Duty, Roles};
pub use spool::{
    Ask, BadMessage, BadSpool, Batch, Circle, HELD, Having, HeldLetter, Lacking, Queuing, Run, Shown, Spool,
    SpoolLimits, SpoolNext, Told, Verdict, held_place, shown_turn,
};
pub use state::{Digest, Listed, State};
pub use uids::UidSet;
