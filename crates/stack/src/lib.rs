//! Floor 6: one site as one pure state machine.
//!
//! A [`Node`] joins the floors below: a link to every other site, failure detection, the core-set's kernel and
//! tables, the member interface, an endpoint for every group that has members here, and a machine for every durable
//! group that has a store here. The simulator and the running site drive the same `Node`; its type doc states the call
//! order. [`store`] is what a durable group's disk does, on a log.

#![forbid(unsafe_code)]

pub mod api;
mod groups;
mod node;
mod peers;
pub mod store;

use membership::step::Why;

pub use api::{
    CallFailed, CallId, CastError, CastOptions, Casted, Change, ChangeError, ChangeId, Channel, Config,
    Connection, Event, GroupSummary, JoinError, JoinOptions, LocalMembers, Record, ReplyKind, ReplyTo,
    SiteState, SiteSummary, Status, Store, Ticket, Transmit,
};
pub use groups::DurableGroup;
pub use link::Config as LinkConfig;
pub use membership::interface::Looked;
pub use node::{Node, StartError};
pub use peers::Refused;

/// Why a member is no longer there, for people.
fn why_text(why: Option<Why>) -> &'static str {
    match why {
        Some(Why::Left) => "left",
        Some(Why::Failed) => "failed",
        Some(Why::Partitioned) => "partitioned",
        None => "no longer listed",
    }
}
