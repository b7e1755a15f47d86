//! What goes into a detector and what comes out of it.

use std::time::Duration;

use wire::{Incarnation, SiteId, SiteIncarnation};

use crate::message::Sign;

/// Which way a message goes or came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// From site to site.
    Direct,
    /// Carried by this neighbour.
    Via(SiteId),
}

/// What the driver knows of the connection to a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Connection {
    /// Established with this life of the site.
    Up(Incarnation),
    /// It was up and is closed.
    Closed,
    /// The site's host answers, and nobody listens.
    Refused,
    /// Nothing answers.
    Silent,
}

/// A message to send, by itself: it may be lost, doubled or overtaken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The site it is for.
    pub to: SiteId,
    /// Which way.
    pub path: Path,
    /// For the other's [`Detector::handle_probe`](crate::Detector::handle_probe).
    pub body: Vec<u8>,
}

/// Why a member is established as failed (C15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Two sites do not hear it, and nobody does.
    TwoWitnesses {
        /// One of them, and what it saw.
        first: (SiteId, Sign),
        /// The other.
        second: (SiteId, Sign),
    },
    /// One site does not hear it, nobody else says that it does, and it did not refute.
    Unrefuted {
        /// Who does not hear it.
        witness: SiteId,
        /// What it saw.
        sign: Sign,
    },
    /// The site speaks in a newer life.
    NewLife {
        /// That life.
        incarnation: Incarnation,
    },
}

/// What a detector tells its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Established as failed. Told once in a life; it stands until a view without that life is handed in.
    Failed {
        /// Which life.
        who: SiteIncarnation,
        /// Why.
        evidence: Evidence,
    },
    /// It announced that it shuts down.
    Left {
        /// Which life.
        who: SiteIncarnation,
    },
    /// The direct path to a live site is cut: send through this neighbour. Told again when the neighbour
    /// changes.
    DirectPathBroken {
        /// The other end.
        peer: SiteId,
        /// Who carries packets.
        via: SiteId,
    },
    /// The direct path works again.
    DirectPathRestored {
        /// The other end.
        peer: SiteId,
    },
    /// Two live sites, this one and another, have had no common neighbour for too long: the junior end is to
    /// be removed as partitioned.
    BadLink {
        /// The end with the higher rank number, or the other if nobody reaches it; it may be this site.
        junior: SiteIncarnation,
        /// The other end.
        senior: SiteIncarnation,
    },
    /// A connection to this site is wanted at once.
    Reconnect {
        /// Which.
        site: SiteId,
    },
    /// This site's own timer fired this much too late; it has forgiven whatever was out.
    WokeLate {
        /// How much.
        by: Duration,
    },
    /// Real-time mode: with what is measured now, detection may take longer than the bound.
    CannotHold {
        /// The bound that was asked for.
        bound: Duration,
        /// What detection may take.
        measured: Duration,
    },
    /// Real-time mode: the bound holds again.
    Holds {
        /// The bound.
        bound: Duration,
    },
}

/// What a detector has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Probes sent.
    pub probes: u64,
    /// Own suspicions raised.
    pub suspicions: u64,
    /// Own suspicions that were refuted.
    pub refuted: u64,
    /// Times this site forgave because its own timer was late.
    pub forgiven: u64,
    /// Messages dropped because too many waited.
    pub dropped: u64,
}
