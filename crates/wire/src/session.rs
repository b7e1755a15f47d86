//! The session protocol's vocabulary: how a program beside a site talks to it (`docs/sessions.md`).
//!
//! [`Request`], [`Answer`] and [`Event`] are the JSON header lines; [`Decoder`] cuts a byte stream into lines
//! with their bodies. Site and client share this module, so neither can drift from the other.

mod framing;
mod vocabulary;

pub use framing::{BODY_BYTES_MAX, Decoder, FramingError, Item, LINE_BYTES_MAX, encode};
pub use vocabulary::{
    Answer, ChangeHeader, Condition, ErrorCode, Event, Failure, FromSite, GotReply, Hello, LeftMember,
    MESSAGE_COST_BYTES, NamedReplies, Once, Op, PairHeader, PlacedGroup, PlacedState, Principal, Replies,
    Reply, ReplyKind, Request, View,
};
