//! A packet: a fixed header of 64 bytes, then at most one piece of a frame.
//!
//! ```text
//!   0 … 7    frame header (`wire::frame`): kind LinkData or LinkAck, flags, length of the rest
//!   8 … 11   sender's site             12 … 15  receiver's site
//!  16 … 31   sender's life             32 … 47  receiver's life, as the sender knows it (0, 0: not at all)
//!  48 … 55   number of the piece       56 … 63  highest number received with all before it
//!  64 …      the piece
//! ```
//!
//! All numbers are little-endian. A *life* is an incarnation and the time at which its end of the link was
//! opened: a site that drops a link and makes another within one incarnation must not have its new numbers
//! taken for the old ones.

use bytes::Bytes;
use wire::frame::{self, FrameError, Kind};
use wire::{Incarnation, SiteId};

/// The bytes of a packet's header.
pub const HEADER_BYTES: usize = 64;

/// The longest piece of a frame in one packet: a `wire` frame of full length.
pub(crate) const PIECE_BYTES_MAX: usize = frame::HEADER_BYTES + frame::BODY_BYTES_MAX;

const BODY_BYTES_MAX: usize = HEADER_BYTES - frame::HEADER_BYTES + PIECE_BYTES_MAX;

/// The sender holds packets behind the one that it lacks.
const FLAG_GAP: u8 = 1;
/// The frame goes on in the next packet.
const FLAG_MORE: u8 = 2;

/// The header of a frame whose body is elsewhere, shared with the packets for other sites.
pub type FrameHeader = [u8; frame::HEADER_BYTES];

/// A packet to transmit: the header and, shared and uncopied, the piece of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The header.
    pub header: [u8; HEADER_BYTES],
    /// The first bytes of the piece, if the frame was given in two parts and begins here.
    pub lead: Option<FrameHeader>,
    /// The piece, or the rest of it; empty for a mere acknowledgement.
    pub frame: Bytes,
}

impl Packet {
    /// The whole packet's length.
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.lead().len() + self.frame.len()
    }

    /// What goes between the header and the rest, perhaps nothing.
    pub fn lead(&self) -> &[u8] {
        self.lead.as_ref().map_or(&[], |lead| lead)
    }

    /// The whole packet in one piece, by copying.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.bytes());
        out.extend_from_slice(&self.header);
        out.extend_from_slice(self.lead());
        out.extend_from_slice(&self.frame);
        Bytes::from(out)
    }
}

impl Packet {
    /// The piece as a whole. What arrives is whole already.
    pub(crate) fn into_piece(self) -> Bytes {
        match self.lead {
            None => self.frame,
            Some(lead) => [&lead[..], &self.frame].concat().into(),
        }
    }
}

/// A piece of a frame that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub lead: Option<FrameHeader>,
    pub rest: Bytes,
}

impl Piece {
    pub fn bytes(&self) -> usize {
        self.lead.map_or(0, |lead| lead.len()) + self.rest.len()
    }

    /// Cuts off the first `bytes` of it, which is more than the lead has.
    pub fn split_to(&mut self, bytes: usize) -> Piece {
        let lead = self.lead.take();
        let rest = self.rest.split_to(bytes - lead.map_or(0, |lead| lead.len()));
        Piece { lead, rest }
    }
}

/// Why a packet was refused. Unless a variant says otherwise, nothing but a counter has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The first eight bytes are not a frame's.
    #[error("not a frame: {0}")]
    Frame(#[from] FrameError),
    /// A frame of another kind, or one too short for a packet.
    #[error("not a packet of a link")]
    NotALinkPacket,
    /// Of or for a site that this link does not join.
    #[error("a packet from {from} to {to} is not of this link")]
    WrongSites {
        /// The sender it names.
        from: SiteId,
        /// The receiver it names.
        to: SiteId,
    },
    /// From a life of the peer that is over.
    #[error("a packet from a past life of {0}")]
    StaleSender(SiteId),
    /// For a life of this site that is over. The peer's own life has been learnt, and it will be told.
    #[error("a packet for a past life of this site, from {0}")]
    StaleReceiver(SiteId),
    /// For a life of this site that has not been: somebody runs a copy of this site.
    #[error("{from} knows a later life of this site, {incarnation}: another copy of it runs")]
    FutureReceiver {
        /// Who says so.
        from: SiteId,
        /// The incarnation that the packet is for.
        incarnation: Incarnation,
    },
    /// It acknowledges what was never sent.
    #[error("an acknowledgement of {ack}, beyond what was sent")]
    AckBeyondSent {
        /// What it acknowledges.
        ack: u64,
    },
    /// Too far ahead of a missing packet; it will be sent again. Its acknowledgement has been taken.
    #[error("a packet too far ahead of a missing one")]
    TooFarAhead,
    /// The frames that have arrived are not being taken; it will be sent again. Its acknowledgement has been
    /// taken.
    #[error("delivered frames are not being taken")]
    ReadyFull,
    /// The pieces add up to more than the longest frame: the peer does not keep to the protocol and the
    /// channel stands still. Its acknowledgement has been taken.
    #[error("a frame of more than {max} bytes")]
    FrameTooLong {
        /// The bound.
        max: usize,
    },
}

/// One life of one end: ordered, later is greater. `opened` is never 0 in a life that speaks; 0 says that
/// only the incarnation is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub incarnation: Incarnation,
    pub opened: u64,
}

impl Life {
    /// Whether a channel with it can exist: both halves of its name are known.
    pub fn is_known(self) -> bool {
        self.opened != 0
    }
}

/// A header's fields, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub from: SiteId,
    pub to: SiteId,
    pub from_life: Life,
    pub to_life: Life,
    /// 0 in a mere acknowledgement.
    pub seq: u64,
    pub ack: u64,
    pub gap: bool,
    pub more: bool,
}

impl Header {
    pub fn to_bytes(self, piece_bytes: usize) -> [u8; HEADER_BYTES] {
        let kind = if self.seq == 0 { Kind::LinkAck } else { Kind::LinkData };
        let flags = if self.gap { FLAG_GAP } else { 0 } | if self.more { FLAG_MORE } else { 0 };
        let length = HEADER_BYTES - frame::HEADER_BYTES + piece_bytes;
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&frame::Header::new(kind, flags, length).to_bytes());
        out[8..12].copy_from_slice(&self.from.0.to_le_bytes());
        out[12..16].copy_from_slice(&self.to.0.to_le_bytes());
        let words = [
            self.from_life.incarnation.0,
            self.from_life.opened,
            self.to_life.incarnation.0,
            self.to_life.opened,
            self.seq,
            self.ack,
        ];
        for (place, word) in out[16..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Parses a header whose packet has `packet_bytes` in all.
    pub fn parse(bytes: &[u8; HEADER_BYTES], packet_bytes: usize) -> Result<Header, PacketError> {
        let outer = frame::Header::parse(bytes, BODY_BYTES_MAX)?;
        let needed = outer.frame_bytes();
        if packet_bytes < needed {
            return Err(FrameError::Short { needed, present: packet_bytes }.into());
        }
        if packet_bytes > needed {
            return Err(FrameError::Trailing(packet_bytes - needed).into());
        }
        let header = Header {
            from: SiteId(number(bytes, 8)),
            to: SiteId(number(bytes, 12)),
            from_life: Life { incarnation: Incarnation(word(bytes, 16)), opened: word(bytes, 24) },
            to_life: Life { incarnation: Incarnation(word(bytes, 32)), opened: word(bytes, 40) },
            seq: word(bytes, 48),
            ack: word(bytes, 56),
            gap: outer.flags & FLAG_GAP != 0,
            more: outer.flags & FLAG_MORE != 0,
        };
        let consistent = match header.seq {
            0 => outer.kind == Kind::LinkAck && packet_bytes == HEADER_BYTES && !header.more,
            _ => outer.kind == Kind::LinkData,
        };
        // The last numbers are never reached; without them no sum below can overflow.
        let in_range = header.seq < u64::MAX / 2 && header.ack < u64::MAX / 2;
        if !consistent || !in_range || !header.from_life.is_known() {
            return Err(PacketError::NotALinkPacket);
        }
        Ok(header)
    }
}

fn number(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(number(bytes, at)) | u64::from(number(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_it_was_written() {
        let header = Header {
            from: SiteId(1),
            to: SiteId(u32::MAX),
            from_life: Life { incarnation: Incarnation(3), opened: 4 },
            to_life: Life { incarnation: Incarnation(5), opened: u64::MAX },
            seq: 7,
            ack: 1 << 60,
            gap: true,
            more: false,
        };
        assert_eq!(Header::parse(&header.to_bytes(10), HEADER_BYTES + 10), Ok(header));
    }
}
