//! The first eight bytes of everything that crosses a connection, a datagram or a link.
//!
//! ```text
//!  0      1       2         3          4 … 7
//!  kind   flags   version   zero       length of the body, little-endian
//! ```
//!
//! A reader of a stream needs only these bytes to find the next frame, whatever the kind: a frame of a kind it
//! does not know can be skipped. Link packets and relay envelopes begin with the same eight bytes, so one
//! reader serves them all. Bodies are slices of what was received; nothing is copied.

use bytes::Bytes;

/// The bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;

/// The longest body of one frame; longer messages are cut into fragments by who sends them.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// What link and relay headers may add around a frame.
pub const ENVELOPE_BYTES_MAX: usize = 256;

/// The longest thing a connection or a datagram carries: a frame of full length in its envelopes.
pub const PACKET_BYTES_MAX: usize = HEADER_BYTES + BODY_BYTES_MAX + ENVELOPE_BYTES_MAX;

/// The version of the frame layout that this program writes.
pub const VERSION: u8 = 1;

/// What a frame is about: the part of a site that reads its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Core-set agreement: the membership kernel.
    Control = 1,
    /// Between a core-set and the member interfaces: `Submit` and `Direct`.
    Interface = 2,
    /// Multicast within a group: data, order, acknowledgements, flush.
    Multicast = 3,
    /// Replies, outsiders' casts, process lists.
    Call = 4,
    /// Probes, witnesses, refutation.
    Detect = 5,
    /// The acquisition of a site id.
    Acquire = 6,
    /// The first frame on a connection.
    Hello = 7,
    /// Between the stores of a durable group, beside the group's order: acknowledgements, catching up.
    Store = 8,
    /// What wall clocks show, asked and answered: for people.
    Clock = 9,
    /// A link's packet with a frame in it.
    LinkData = 16,
    /// A link's packet that only acknowledges.
    LinkAck = 17,
    /// A link's packet on a detour.
    Relay = 18,
    /// Between a program and its site.
    Session = 32,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Kind; 13] = [
        Kind::Control,
        Kind::Interface,
        Kind::Multicast,
        Kind::Call,
        Kind::Detect,
        Kind::Acquire,
        Kind::Hello,
        Kind::Store,
        Kind::Clock,
        Kind::LinkData,
        Kind::LinkAck,
        Kind::Relay,
        Kind::Session,
    ];

    /// The kind that a byte names, if it is known.
    pub fn from_byte(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is about.
    pub kind: Kind,
    /// Bits whose meaning belongs to the kind.
    pub flags: u8,
    /// The bytes behind the header.
    pub length: u32,
}

/// Why bytes are not a frame. Parsing keeps no state, so nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the header or its length announce; on a stream: read on.
    #[error("a frame of {needed} bytes has only {present}")]
    Short {
        /// The bytes that are needed.
        needed: usize,
        /// The bytes that are there.
        present: usize,
    },
    /// More bytes than the header announces.
    #[error("{0} bytes behind the end of a frame")]
    Trailing(usize),
    /// The announced body is longer than the reader allows.
    #[error("a frame announces {length} bytes, {max} are allowed")]
    TooLong {
        /// The announced length.
        length: u32,
        /// The reader's bound.
        max: usize,
    },
    /// A kind that this program does not know; a stream's reader skips `length` bytes.
    #[error("unknown kind of frame {kind}")]
    UnknownKind {
        /// The byte that stands for the kind.
        kind: u8,
        /// The bytes to skip.
        length: u32,
    },
    /// A layout that this program does not read; the connection is of no use.
    #[error("frame layout {0}; this program reads layout {VERSION}")]
    UnknownVersion(u8),
}

impl Header {
    /// A header for a body of so many bytes.
    ///
    /// # Panics
    /// If a body is longer than 4 GiB, which no caller can build.
    pub fn new(kind: Kind, flags: u8, body_bytes: usize) -> Header {
        let length = u32::try_from(body_bytes).expect("a body is bounded far below 4 GiB");
        Header { kind, flags, length }
    }

    /// The header's bytes.
    #[inline]
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [a, b, c, d] = self.length.to_le_bytes();
        [self.kind as u8, self.flags, VERSION, 0, a, b, c, d]
    }

    /// Reads the header at the start of `bytes`, of which there may be more. `body_bytes_max` bounds what a
    /// peer can make the reader wait and allocate for.
    #[inline]
    pub fn parse(bytes: &[u8], body_bytes_max: usize) -> Result<Header, FrameError> {
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(FrameError::Short { needed: HEADER_BYTES, present: bytes.len() });
        };
        let [kind, flags, version, _, a, b, c, d] = *head;
        let length = u32::from_le_bytes([a, b, c, d]);
        if version != VERSION {
            return Err(FrameError::UnknownVersion(version));
        }
        if length as usize > body_bytes_max {
            return Err(FrameError::TooLong { length, max: body_bytes_max });
        }
        match Kind::from_byte(kind) {
            Some(kind) => Ok(Header { kind, flags, length }),
            None => Err(FrameError::UnknownKind { kind, length }),
        }
    }

    /// The header's bytes and the body's together.
    #[inline]
    pub fn frame_bytes(self) -> usize {
        HEADER_BYTES + self.length as usize
    }
}

/// One whole frame: builds it from a body, which is copied once.
pub fn join(kind: Kind, flags: u8, body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(&Header::new(kind, flags, body.len()).to_bytes());
    out.extend_from_slice(body);
    Bytes::from(out)
}

/// Splits exactly one frame into its header and its body, without copying.
pub fn split(frame: Bytes, body_bytes_max: usize) -> Result<(Header, Bytes), FrameError> {
    let header = Header::parse(&frame, body_bytes_max)?;
    let needed = header.frame_bytes();
    if frame.len() < needed {
        return Err(FrameError::Short { needed, present: frame.len() });
    }
    if frame.len() > needed {
        return Err(FrameError::Trailing(frame.len() - needed));
    }
    Ok((header, frame.slice(HEADER_BYTES..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_splits_into_what_it_was_joined_from() {
        for kind in Kind::ALL {
            let frame = join(kind, 3, b"body");
            let (header, body) = split(frame, BODY_BYTES_MAX).expect("a good frame");
            assert_eq!((header.kind, header.flags, &body[..]), (kind, 3, &b"body"[..]));
        }
    }

    #[test]
    fn a_body_is_a_slice_of_the_frame() {
        let frame = join(Kind::Call, 0, b"body");
        let (_, body) = split(frame.clone(), BODY_BYTES_MAX).expect("a good frame");
        assert_eq!(body.as_ptr(), frame[HEADER_BYTES..].as_ptr());
    }

    #[test]
    fn bad_headers_are_told_apart() {
        let good = join(Kind::Call, 0, b"body");
        assert_eq!(
            Header::parse(&good[..7], BODY_BYTES_MAX),
            Err(FrameError::Short { needed: 8, present: 7 })
        );
        assert_eq!(split(good.slice(..11), 64), Err(FrameError::Short { needed: 12, present: 11 }));
        assert_eq!(Header::parse(&good, 3), Err(FrameError::TooLong { length: 4, max: 3 }));
        let mut unknown = good.to_vec();
        unknown[0] = 200;
        assert_eq!(Header::parse(&unknown, 64), Err(FrameError::UnknownKind { kind: 200, length: 4 }));
        let mut newer = good.to_vec();
        newer[2] = 9;
        assert_eq!(Header::parse(&newer, 64), Err(FrameError::UnknownVersion(9)));
        let mut longer = good.to_vec();
        longer.push(0);
        assert_eq!(split(longer.into(), 64), Err(FrameError::Trailing(1)));
    }
}
