//! The session protocol's vocabulary: how a program beside a site talks to it (`docs/sessions.md`).
//!
//! [`Request`], [`Answer`] and [`Event`] are the JSON header lines; [`Decoder`] cuts a byte stream into lines
//! with their bodies. Site and client share this module, so neither can drift from the other.

mod durable;
mod framing;
mod mail;
mod mail_lines;
mod refusal;
mod vocabulary;

pub use durable::{ChangeHeader, Condition, Once, PairHeader, PlacedGroup, PlacedState};
pub use framing::{BODY_BYTES_MAX, Decoder, FramingError, Item, LINE_BYTES_MAX, encode};
pub use mail::{LetterHeader, MailOp, Of, PageOf, Posting, ReceiptLine};
pub use mail_lines::{AliasLine, DomainLine, ListLine, LoginLine, UserLine};
pub use refusal::{ErrorCode, Failure};
pub use vocabulary::{
    Answer, Event, FromSite, GotReply, Hello, LeftMember, MESSAGE_COST_BYTES, NamedReplies, Op, Principal,
    Replies, Reply, ReplyKind, Request, View,
};
