//! Calls: what surrounds a cast on its way from a program to the group and back.
//!
//! The data plane of a group takes an opaque payload and gives it back, in order, as a [`Delivery`]. This
//! module puts an [`Envelope`] in front of the payload and keeps the machines that read it:
//!
//! ```text
//!   caller's site                               a member's site
//!   Lazy ─▶ Switch ─▶ Caller ══ group cast ══▶ Dedup ─▶ Answerer ─▶ the member
//!                        ▲                                  │
//!                        └────── PointMessage::Answer ──────┘        (not through the group's order)
//!
//!   a client that is no member:  Client ── Carry ──▶ Contact ══ group cast ══▶ every member's Dedup
//! ```
//!
//! Everything here is a pure state machine: inputs are method calls with `now`, outputs are polled. One
//! [`Caller`] and one [`Answerer`] serve a whole site; a [`Contact`] and a [`Dedup`] serve one group at one
//! site; a [`Client`] serves one process and one group.
//!
//! How the node joins them, in this order for each thing the data plane of a group reports:
//!
//! 1. a delivery or a view goes into [`Dedup`], which says whether the members are to see a delivery; what a
//!    [`Contact`] wants to be cast is cast as [`Dedup::may_carry`] says at that moment;
//! 2. a delivery that wants a reply goes to [`Answerer`]; one that this site itself cast goes to
//!    [`Caller::handle_delivery`], which learns the targets from the view;
//! 3. a view goes to [`Caller`], [`Answerer`] and [`Contact`];
//! 4. a [`PointMessage`] from another site goes to [`Caller`] (an answer), [`Contact`] (a carry), [`Dedup`] (a
//!    table, or a request for one) or [`Client`] (the rest).

pub mod answerer;
pub mod caller;
pub mod causal;
mod codec;
pub mod envelope;
pub mod lazy;
pub mod list;
pub mod outsider;
pub mod point;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use bytes::Bytes;
use membership::group::GroupView;
use wire::{GroupId, MemberId, SiteId, SiteIncarnation, ViewId};

pub use answerer::{Answerer, Ticket};
pub use caller::{CallOptions, Caller, Outcome, Progress, Replies};
pub use causal::{Passage, Switch};
pub use codec::DecodeError;
pub use envelope::{Envelope, Kind};
pub use lazy::Lazy;
pub use list::ProcessList;
pub use outsider::{Client, ClientId, Contact, Dedup};
pub use point::PointMessage;

/// A cast as the data plane delivers it, the envelope still in front of the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The group.
    pub group: GroupId,
    /// The view in which it is delivered.
    pub view: ViewId,
    /// Which member cast it.
    pub sender: MemberId,
    /// In which order it was delivered.
    pub order: crate::Order,
    /// Envelope and payload.
    pub body: Bytes,
}

/// A view as the data plane installs it, with those who came with this site from its previous view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The view.
    pub view: Arc<GroupView>,
    /// The transitional set (M5): the lives of sites that moved together with this one.
    pub together: Arc<[SiteIncarnation]>,
}

impl Installed {
    /// The view as the data plane reports it to the site `me`, with the members of the transitional set.
    pub fn new(view: Arc<GroupView>, me: SiteIncarnation, transitional: &[MemberId]) -> Installed {
        let mut together: Vec<SiteIncarnation> =
            transitional.iter().map(|member| member.process.birth).collect();
        together.push(me);
        together.sort_unstable();
        together.dedup();
        Installed { view, together: together.into() }
    }
}

/// Names a call in the whole cluster: the life of the site that made it and its number there. A repeated
/// request keeps its id, so that whoever answers can tell a duplicate [Ravindran & Chanson 85, 4.2].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey {
    /// Where the call was made, and where its answers go.
    pub home: SiteIncarnation,
    /// Its number there, from 1.
    pub number: u64,
}

/// A message from this site to one other, outside any group's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To which site. A reply to an earlier life of it is dropped there, since no call has its key.
    pub to: SiteId,
    /// What.
    pub message: PointMessage,
}
