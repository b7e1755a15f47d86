//! Floor 1: what every other crate says things with.
//!
//! Identities ([`id`]), virtual time ([`time`]), and the switches that re-introduce known bugs for the
//! simulator's proof of itself ([`bugs`]). Nothing here does I/O or knows a protocol.

#![forbid(unsafe_code)]

pub mod bugs;
pub mod frame;
pub mod id;
pub mod session;
pub mod time;

pub use bugs::{Bug, Bugs};
pub use id::{
    ClusterId, GroupId, GroupName, Incarnation, MemberId, NameError, ProcessId, SiteId, SiteIncarnation,
    StoreId, ViewId,
};
pub use time::Time;
