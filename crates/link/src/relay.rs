//! The envelope in which a link's packet makes a detour around a broken path. A broken path is not
//! a failed site: its frames go by a neighbour.
//!
//! ```text
//!   0 … 7    frame header (`wire::frame`): kind Relay, flags: hops left, length of the rest
//!   8 … 15   origin's incarnation     16 … 19  origin's site     20 … 23  destination's site
//!  24 … 31   the two sites that may have passed it on (0: none), first first
//!  32 …      the packet
//! ```
//!
//! The origin wraps a packet and gives it to a neighbour; the neighbour that gets it calls [`Relayed::arrive`]
//! and does what that says. No site passes a packet on twice and at most [`HOPS_MAX`] pass it on at all, so
//! sites with different opinions about which paths work cannot make it circle.

use bytes::Bytes;
use wire::frame::{self, FrameError, Kind};
use wire::{Bug, Bugs, Incarnation, SiteId, SiteIncarnation};

use crate::packet::{HEADER_BYTES as PACKET_HEADER_BYTES, PIECE_BYTES_MAX};

/// The bytes of the envelope in front of the packet.
pub const HEADER_BYTES: usize = 32;

/// How many sites may pass a packet on.
pub const HOPS_MAX: u8 = 2;

/// What the envelope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Whose packet it is.
    pub origin: SiteIncarnation,
    /// Where it goes.
    pub to: SiteId,
    /// How many more sites may pass it on.
    pub hops_left: u8,
    /// Who has passed it on, in order.
    via: [SiteId; HOPS_MAX as usize],
}

/// A packet on a detour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The envelope.
    pub envelope: Envelope,
    /// The packet, as the origin's link made it.
    pub packet: Bytes,
}

/// What to do with a packet that arrived on a detour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is for this site: give the packet to the link with the origin.
    Here(Bytes),
    /// Pass it on: to its destination if that can be reached directly, else, while
    /// [`Envelope::may_go_by`] allows, to another neighbour; else drop it, for its link will send it again.
    PassOn(Relayed),
}

/// Why a packet on a detour was refused. Nothing has changed; it is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The first eight bytes are not a frame's.
    #[error("not a frame: {0}")]
    Frame(#[from] FrameError),
    /// A frame of another kind, or an envelope that contradicts itself.
    #[error("not a packet on a detour")]
    NotRelayed,
    /// As many sites as may have passed it on.
    #[error("a packet from {origin} to {to} has been passed on too often")]
    HopsExhausted {
        /// Whose packet it is.
        origin: SiteIncarnation,
        /// Where it goes.
        to: SiteId,
    },
    /// This site wrote it or has passed it on.
    #[error("a packet from {origin} to {to} came back")]
    CameBack {
        /// Whose packet it is.
        origin: SiteIncarnation,
        /// Where it goes.
        to: SiteId,
    },
    /// The neighbour that sent it is not the last one the envelope names.
    #[error("{from} sent a packet that says it comes from {says}")]
    WrongHop {
        /// Who sent it.
        from: SiteId,
        /// Who, as it says, should have.
        says: SiteId,
    },
}

impl Envelope {
    /// The envelope for a packet of this site's own.
    pub fn new(origin: SiteIncarnation, to: SiteId) -> Envelope {
        Envelope { origin, to, hops_left: HOPS_MAX, via: [SiteId(0); HOPS_MAX as usize] }
    }

    /// The bytes to write in front of a packet of so many bytes.
    pub fn to_bytes(&self, packet_bytes: usize) -> [u8; HEADER_BYTES] {
        let length = HEADER_BYTES - frame::HEADER_BYTES + packet_bytes;
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&frame::Header::new(Kind::Relay, self.hops_left, length).to_bytes());
        out[8..16].copy_from_slice(&self.origin.incarnation.0.to_le_bytes());
        out[16..20].copy_from_slice(&self.origin.site.0.to_le_bytes());
        out[20..24].copy_from_slice(&self.to.0.to_le_bytes());
        for (place, site) in out[24..].chunks_exact_mut(4).zip(self.via) {
            place.copy_from_slice(&site.0.to_le_bytes());
        }
        out
    }

    /// Whether it makes sense to give the packet to this neighbour: it has not had it, and if it is not the
    /// destination it may still pass it on.
    pub fn may_go_by(&self, neighbour: SiteId) -> bool {
        neighbour == self.to || (self.hops_left > 0 && !self.was_at(neighbour))
    }

    fn was_at(&self, site: SiteId) -> bool {
        site == self.origin.site || self.via.contains(&site)
    }

    /// The site that sent it last.
    fn last(&self) -> SiteId {
        self.via.into_iter().rev().find(|site| site.0 != 0).unwrap_or(self.origin.site)
    }

    fn passed_on_by(mut self, me: SiteId) -> Envelope {
        // With the loop re-introduced there may be no free place: the last is written over.
        let place = self.via.iter().position(|site| site.0 == 0).unwrap_or(self.via.len() - 1);
        self.via[place] = me;
        self.hops_left = self.hops_left.saturating_sub(1);
        self
    }
}

impl Relayed {
    /// Reads a packet on a detour; the packet is a slice.
    pub fn parse(bytes: Bytes) -> Result<Relayed, RelayError> {
        const BODY_BYTES_MAX: usize =
            HEADER_BYTES - frame::HEADER_BYTES + PACKET_HEADER_BYTES + PIECE_BYTES_MAX;
        let (header, _) = frame::split(bytes.clone(), BODY_BYTES_MAX)?;
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(RelayError::NotRelayed);
        };
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let incarnation = Incarnation(u64::from(number(8)) | u64::from(number(12)) << 32);
        let envelope = Envelope {
            origin: SiteIncarnation { site: SiteId(number(16)), incarnation },
            to: SiteId(number(20)),
            hops_left: header.flags,
            via: [SiteId(number(24)), SiteId(number(28))],
        };
        let hole = envelope.via[0].0 == 0 && envelope.via[1].0 != 0;
        if header.kind != Kind::Relay || hole || envelope.hops_left > HOPS_MAX {
            return Err(RelayError::NotRelayed);
        }
        Ok(Relayed { envelope, packet: bytes.slice(HEADER_BYTES..) })
    }

    /// Decides what this site does with the packet that its neighbour `from` has sent it.
    pub fn arrive(self, me: SiteId, from: SiteId, bugs: Bugs) -> Result<Arrival, RelayError> {
        let Envelope { origin, to, hops_left, .. } = self.envelope;
        let says = self.envelope.last();
        if from != says {
            return Err(RelayError::WrongHop { from, says });
        }
        if to == me {
            return Ok(Arrival::Here(self.packet));
        }
        if !bugs.has(Bug::DetourLoops) {
            if self.envelope.was_at(me) {
                return Err(RelayError::CameBack { origin, to });
            }
            if hops_left == 0 {
                return Err(RelayError::HopsExhausted { origin, to });
            }
        }
        Ok(Arrival::PassOn(Relayed { envelope: self.envelope.passed_on_by(me), packet: self.packet }))
    }

    /// The whole in one piece, by copying.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.packet.len());
        out.extend_from_slice(&self.envelope.to_bytes(self.packet.len()));
        out.extend_from_slice(&self.packet);
        Bytes::from(out)
    }
}
