//! The few bytes in front of every payload. A plain cast costs one byte:
//!
//! ```text
//!  bit 7 6 5 4 3 2 1 0
//!      │ └┬┘ │ │ │ │ └ exclude-self: not delivered to the member that cast it
//!      │  │  │ │ │ └── list: a process list follows; delivered to the listed members only
//!      │  │  │ │ └──── call: the number of the call follows; a reply is wanted
//!      │  │  │ └────── outsider: the client's id and sequence follow
//!      │  │  └──────── lazy: it was held back to ride with another cast
//!      │  └─────────── kind: 0 a cast, 1 a client's cast once more, 2 clients are gone, 3 a store's entry
//!      └────────────── extension: a length and so many bytes follow, skipped by who does not know them
//! ```
//!
//! What follows stands in the order extension, list, call, outsider, payload.

use bytes::{BufMut, Bytes, BytesMut};
use wire::MemberId;

use super::codec::{DecodeError, Put, Reader};
use super::list::ProcessList;
use super::outsider::{ClientId, Origin};

const EXCLUDE_SELF: u8 = 1 << 0;
const LIST: u8 = 1 << 1;
const CALL: u8 = 1 << 2;
const OUTSIDER: u8 = 1 << 3;
const LAZY: u8 = 1 << 4;
const KIND_SHIFT: u8 = 5;
const KIND_MASK: u8 = 0b11;
const EXTENSION: u8 = 1 << 7;

/// What a group cast is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A program's cast.
    #[default]
    Cast,
    /// A client's cast that was delivered before, and only wants its replies (see [`super::outsider::Dedup`]).
    Repeated,
    /// Clients of the group are gone for good.
    Gone,
    /// For the group's stores (`durable`), and no member.
    Entry,
}

/// What stands in front of a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// What the cast is.
    pub kind: Kind,
    /// The caster does not want it itself.
    pub exclude_self: bool,
    /// Only these members want it.
    pub list: Option<ProcessList>,
    /// A reply is wanted, under this number of the caster's site.
    pub call: Option<u64>,
    /// It is a client's cast, which the sending member only carries.
    pub outsider: Option<Origin>,
    /// It was held back to ride with another cast.
    pub lazy: bool,
}

impl Envelope {
    /// An envelope of this kind without options.
    pub fn of(kind: Kind) -> Envelope {
        Envelope { kind, ..Envelope::default() }
    }

    /// Appends the envelope to `out`; the payload belongs right behind it.
    pub fn put(&self, out: &mut BytesMut) {
        out.put_u8(self.first_byte());
        if let Some(list) = &self.list {
            out.number(list.len() as u64);
            for &member in list.members() {
                out.member(member);
            }
        }
        if let Some(call) = self.call {
            out.number(call);
        }
        if let Some(origin) = self.outsider {
            origin.put(out);
        }
    }

    /// Envelope and payload as one body: the one copy of the payload on its way out.
    pub fn wrap(&self, payload: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + payload.len());
        self.put(&mut out);
        out.put_slice(payload);
        out.freeze()
    }

    /// Parts a delivered body into envelope and payload, which is a slice of it. Without a list this allocates
    /// nothing.
    pub fn parse(body: Bytes) -> Result<(Envelope, Bytes), DecodeError> {
        let mut reader = Reader::new(body);
        let first = reader.u8()?;
        if first & EXTENSION != 0 {
            let len = reader.u64()?;
            reader.bytes(len)?;
        }
        let envelope = Envelope {
            kind: kind_of(first),
            exclude_self: first & EXCLUDE_SELF != 0,
            list: if first & LIST != 0 { Some(read_list(&mut reader)?) } else { None },
            call: if first & CALL != 0 { Some(reader.u64()?) } else { None },
            outsider: if first & OUTSIDER != 0 { Some(Origin::read(&mut reader)?) } else { None },
            lazy: first & LAZY != 0,
        };
        Ok((envelope, reader.into_rest()))
    }

    /// Whether `member` wants a cast that `sender` sent with this envelope. What a client cast is wanted by
    /// the carrying member too.
    pub fn is_for(&self, member: MemberId, sender: MemberId) -> bool {
        let excluded = self.exclude_self && self.outsider.is_none() && member == sender;
        !excluded && self.list.as_ref().is_none_or(|list| list.contains(member))
    }

    /// What the cast with this body is, by its first byte.
    pub fn kind_of(body: &[u8]) -> Option<Kind> {
        body.first().map(|first| kind_of(*first))
    }

    fn first_byte(&self) -> u8 {
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let kind = match self.kind {
            Kind::Cast => 0,
            Kind::Repeated => 1,
            Kind::Gone => 2,
            Kind::Entry => 3,
        };
        flag(self.exclude_self, EXCLUDE_SELF)
            | flag(self.list.is_some(), LIST)
            | flag(self.call.is_some(), CALL)
            | flag(self.outsider.is_some(), OUTSIDER)
            | flag(self.lazy, LAZY)
            | kind << KIND_SHIFT
    }
}

fn kind_of(first: u8) -> Kind {
    match first >> KIND_SHIFT & KIND_MASK {
        0 => Kind::Cast,
        1 => Kind::Repeated,
        2 => Kind::Gone,
        _ => Kind::Entry, // two bits
    }
}

fn read_list(reader: &mut Reader) -> Result<ProcessList, DecodeError> {
    let len = reader.u64()?;
    if len > ProcessList::LEN_MAX as u64 {
        return Err(DecodeError::TooLong);
    }
    let mut list = ProcessList::default();
    for _ in 0..len {
        list.add(reader.member()?).map_err(|_| DecodeError::TooLong)?;
    }
    Ok(list)
}

impl Origin {
    /// Appends the origin to `out`.
    pub(crate) fn put(&self, out: &mut BytesMut) {
        out.process(self.client.process);
        out.number(u64::from(self.client.stream) << 1 | u64::from(self.again));
        out.number(self.sequence);
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Origin, DecodeError> {
        let process = reader.process()?;
        let stream = reader.u64()?;
        let again = stream & 1 != 0;
        let stream = u32::try_from(stream >> 1).map_err(|_| DecodeError::TooLarge)?;
        Ok(Origin { client: ClientId { process, stream }, sequence: reader.u64()?, again })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::testing::{client, member};
    use proptest::prelude::*;

    fn everything() -> Envelope {
        Envelope {
            kind: Kind::Cast,
            exclude_self: true,
            list: Some(ProcessList::create([member(4), member(300)]).expect("short")),
            call: Some(70_000),
            outsider: Some(Origin { client: client(9), sequence: 12, again: true }),
            lazy: true,
        }
    }

    #[test]
    fn a_plain_cast_costs_one_byte_and_is_not_copied() {
        let body = Envelope::default().wrap(b"payload");
        assert_eq!(body.len(), 1 + b"payload".len());
        let address = body[1..].as_ptr();
        let (envelope, payload) = Envelope::parse(body).expect("our own");
        assert_eq!(envelope, Envelope::default());
        assert_eq!(payload.as_ptr(), address);
    }

    #[test]
    fn every_option_survives_the_way() {
        for kind in [Kind::Cast, Kind::Repeated, Kind::Gone, Kind::Entry] {
            let envelope = Envelope { kind, ..everything() };
            let parsed = Envelope::parse(envelope.wrap(b"x")).expect("our own");
            assert_eq!(parsed, (envelope, Bytes::from_static(b"x")));
        }
    }

    #[test]
    fn an_extension_is_skipped_by_who_does_not_know_it() {
        let body = Bytes::from_static(&[EXTENSION | CALL, 3, 9, 9, 9, 42, b'x']);
        let (envelope, payload) = Envelope::parse(body).expect("skippable");
        assert_eq!((envelope.call, &payload[..]), (Some(42), &b"x"[..]));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        assert_eq!(Envelope::parse(Bytes::new()).unwrap_err(), DecodeError::Short);
        let list = Bytes::from_static(&[LIST, 0xff, 0xff, 0x7f]);
        assert_eq!(Envelope::parse(list).unwrap_err(), DecodeError::TooLong);
    }

    #[test]
    fn a_list_and_exclude_self_say_who_wants_a_cast() {
        let list = ProcessList::create([member(1), member(2)]).expect("short");
        let envelope = Envelope { exclude_self: true, list: Some(list), ..Envelope::default() };
        let wanted: Vec<bool> = (1..=3).map(|n| envelope.is_for(member(n), member(1))).collect();
        assert_eq!(wanted, [false, true, false]);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::parse(Bytes::from(bytes));
        }

        #[test]
        fn a_cut_or_changed_envelope_never_panics(at in 0usize..60, value: u8, cut in 0usize..60) {
            let mut bytes = everything().wrap(b"payload").to_vec();
            let len = bytes.len();
            bytes[at % len] = value;
            bytes.truncate(cut);
            let _ = Envelope::parse(Bytes::from(bytes));
        }
    }
}
