//! Entries of the log, and the records they are on disk and in chunks.

use std::fmt;
use std::hash::Hasher;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use minicbor::{Decode, Encode};
use siphasher::sip::SipHasher13;
use wire::{Incarnation, SiteId, SiteIncarnation, ViewId};

use crate::configuration::Configuration;

/// The name of an entry: the view that numbered it and its position in the log. Compared by view first: that is how
/// logs compare (D6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct Number {
    /// The view in which it was delivered.
    #[n(0)]
    pub view: ViewId,
    /// Its place in the log, from 1; 0 is before the first.
    #[n(1)]
    pub position: u64,
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.view, self.position)
    }
}

/// The random name of a client of a durable group: drawn once and used at whatever site it asks, over restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct ClientId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What a client asks for (D13).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Who asks.
    pub client: ClientId,
    /// The client's number for it, from 1. A repeat carries the same.
    pub sequence: u64,
    /// Every request up to this number has been answered: the group may forget those answers.
    pub answered: u64,
    /// What to apply.
    pub payload: Bytes,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// The first entry of a view: the log it goes on from ends with this number (D7).
    ViewStart {
        /// The end of the base.
        base: Number,
    },
    /// A client's request.
    Request(Request),
    /// From here on this configuration is in force (D11).
    Configuration(Configuration),
    /// Here everybody takes a checkpoint (D19).
    Mark,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its name.
    pub number: Number,
    /// The proposer's clock, in milliseconds since 1970; 0 if it has none.
    pub time: u64,
    /// What it says.
    pub body: Body,
}

/// Why bytes are no entry. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The checksum does not pass: torn or damaged.
    #[error("a record whose checksum does not pass")]
    Checksum,
    /// It passes, and this program cannot read what it covers.
    #[error("a record that this version cannot read")]
    Malformed,
}

/// What a record says of its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its entry's name.
    pub number: Number,
    /// Of the first entry of a view: the end of its base.
    pub base: Option<Number>,
}

impl Known {
    /// Looks at a whole record, and copies nothing of it.
    ///
    /// # Errors
    ///
    /// It is no entry.
    pub fn of(record: &[u8]) -> Result<Known, RecordError> {
        let (sum, rest) = record.split_first_chunk().ok_or(RecordError::Checksum)?;
        if record.len() < HEAD || u64::from_le_bytes(*sum) != checksum(rest) {
            return Err(RecordError::Checksum);
        }
        // A request may be long. What is left of its head is read here as anywhere.
        let head = match rest[1] {
            REQUEST => rest.get(..HEAD - 8 + REQUEST_HEAD).ok_or(RecordError::Malformed)?,
            _ => rest,
        };
        let entry = Entry::from_checked(Bytes::copy_from_slice(head)).ok_or(RecordError::Malformed)?;
        let base = match entry.body {
            Body::ViewStart { base } => Some(base),
            Body::Request(_) | Body::Configuration(_) | Body::Mark => None,
        };
        Ok(Known { number: entry.number, base })
    }
}

/// The version of the record's layout.
const FORMAT: u8 = 1;
/// Bytes before a record's body: checksum, format, kind, view, position, time.
const HEAD: usize = 8 + 1 + 1 + (8 + 4 + 4 + 8) + 8 + 8;
/// The kind of a request.
const REQUEST: u8 = 1;
/// Bytes of a request before its payload: client, number, answered.
const REQUEST_HEAD: usize = 16 + 8 + 8;

impl Entry {
    /// The entry as a record: little-endian, a 64-bit checksum first, which covers all that follows.
    pub fn to_record(&self) -> Bytes {
        let mut buf = BytesMut::with_capacity(HEAD + self.bytes());
        buf.put_u64_le(0);
        buf.put_u8(FORMAT);
        buf.put_u8(match &self.body {
            Body::ViewStart { .. } => 0,
            Body::Request(_) => REQUEST,
            Body::Configuration(_) => 2,
            Body::Mark => 3,
        });
        put_number(&mut buf, self.number);
        buf.put_u64_le(self.time);
        match &self.body {
            Body::ViewStart { base } => put_number(&mut buf, *base),
            Body::Request(request) => put_request(&mut buf, request),
            Body::Configuration(configuration) => buf.put_slice(&wire::codec::encode(configuration)),
            Body::Mark => {}
        }
        let sum = checksum(&buf[8..]);
        buf[..8].copy_from_slice(&sum.to_le_bytes());
        buf.freeze()
    }

    /// Reads a record; a request's payload is a slice of it.
    pub fn from_record(mut record: Bytes) -> Result<Entry, RecordError> {
        if record.len() < HEAD {
            return Err(RecordError::Checksum);
        }
        if record.get_u64_le() != checksum(&record) {
            return Err(RecordError::Checksum);
        }
        Entry::from_checked(record).ok_or(RecordError::Malformed)
    }

    /// Reads a record as if its checksum had passed: what [`Bug::TornTailAccepted`](crate::Bug) does.
    pub(crate) fn from_unchecked(mut record: Bytes) -> Option<Entry> {
        if record.len() < HEAD {
            return None;
        }
        record.advance(8);
        Entry::from_checked(record)
    }

    fn from_checked(mut record: Bytes) -> Option<Entry> {
        if record.get_u8() != FORMAT {
            return None;
        }
        let kind = record.get_u8();
        let number = get_number(&mut record)?;
        let time = record.get_u64_le();
        let body = match kind {
            0 => Body::ViewStart { base: get_number(&mut record)? },
            REQUEST => Body::Request(get_request(record)?),
            2 => Body::Configuration(wire::codec::decode(&record).ok()?),
            3 => Body::Mark,
            _ => return None,
        };
        Some(Entry { number, time, body })
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let body = match &self.body {
            Body::Request(request) => 32 + request.payload.len(),
            Body::ViewStart { .. } => 32,
            Body::Configuration(configuration) => 16 * (configuration.stores.len() + 1),
            Body::Mark => 0,
        };
        HEAD + body
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

fn put_number(buf: &mut BytesMut, number: Number) {
    buf.put_u64_le(number.view.epoch);
    buf.put_u32_le(number.view.attempt);
    buf.put_u32_le(number.view.coordinator.site.0);
    buf.put_u64_le(number.view.coordinator.incarnation.0);
    buf.put_u64_le(number.position);
}

fn get_number(bytes: &mut Bytes) -> Option<Number> {
    if bytes.len() < 32 {
        return None;
    }
    let (epoch, attempt) = (bytes.get_u64_le(), bytes.get_u32_le());
    let site = SiteId(bytes.get_u32_le());
    let coordinator = SiteIncarnation { site, incarnation: Incarnation(bytes.get_u64_le()) };
    Some(Number { view: ViewId { epoch, attempt, coordinator }, position: bytes.get_u64_le() })
}

/// A request's own layout, in records and in casts.
pub(crate) fn put_request(buf: &mut BytesMut, request: &Request) {
    buf.put_slice(&request.client.0);
    buf.put_u64_le(request.sequence);
    buf.put_u64_le(request.answered);
    buf.put_slice(&request.payload);
}

pub(crate) fn get_request(mut bytes: Bytes) -> Option<Request> {
    if bytes.len() < REQUEST_HEAD {
        return None;
    }
    let mut client = [0; 16];
    bytes.copy_to_slice(&mut client);
    let (sequence, answered) = (bytes.get_u64_le(), bytes.get_u64_le());
    Some(Request { client: ClientId(client), sequence, answered, payload: bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: &'static [u8]) -> Entry {
        let view = ViewId { epoch: 7, attempt: 1, coordinator: SiteIncarnation::default() };
        let client = ClientId([9; 16]);
        let payload = Bytes::from_static(payload);
        let body = Body::Request(Request { client, sequence: 3, answered: 2, payload });
        Entry { number: Number { view, position: 12 }, time: 55, body }
    }

    #[test]
    fn what_was_written_is_read() {
        for body in [
            entry(b"hello").body,
            Body::Mark,
            Body::ViewStart { base: entry(b"").number },
            Body::Configuration(Configuration::default()),
        ] {
            let entry = Entry { body, ..entry(b"") };
            let base = match &entry.body {
                Body::ViewStart { base } => Some(*base),
                Body::Request(_) | Body::Configuration(_) | Body::Mark => None,
            };
            let record = entry.to_record();
            assert_eq!(Known::of(&record), Ok(Known { number: entry.number, base }));
            assert_eq!(Entry::from_record(record), Ok(entry));
        }
    }

    #[test]
    fn a_record_with_any_bit_changed_or_cut_anywhere_is_refused() {
        let record = entry(b"hello").to_record();
        for at in 0..record.len() {
            assert!(Entry::from_record(record.slice(..at)).is_err());
            assert!(Known::of(&record[..at]).is_err());
            for bit in 0..8 {
                let mut damaged = record.to_vec();
                damaged[at] ^= 1 << bit;
                assert_eq!(Known::of(&damaged), Err(RecordError::Checksum));
                assert_eq!(Entry::from_record(damaged.into()), Err(RecordError::Checksum));
            }
        }
    }
}
