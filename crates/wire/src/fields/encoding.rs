//! Messages as bytes: CBOR maps. Addresses, members, groups, views and the program's own types are tagged; a
//! tag, or anything else, that this version does not know is kept as it came.

use std::collections::btree_map::Entry;
use std::convert::Infallible;

use bytes::Bytes;
use minicbor::data::{Tag, Type as Cbor};
use minicbor::{Decoder, Encoder};

use super::value::Unknown;
use super::{DEPTH_MAX, Integer, Key, MESSAGE_BYTES_MAX, Message, Own, VALUES_MAX, Value};

const TAG_SITE: u64 = 0x554E_0000;
const TAG_PROCESS: u64 = 0x554E_0001;
const TAG_MEMBER: u64 = 0x554E_0002;
const TAG_GROUP: u64 = 0x554E_0003;
const TAG_VIEW: u64 = 0x554E_0004;
const TAG_OWN: u64 = 0x554E_0005;

/// Why a message was not encoded. It is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Messages or lists nested more than [`DEPTH_MAX`] deep.
    #[error("a message nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// More than [`VALUES_MAX`] values.
    #[error("a message of more than {VALUES_MAX} values")]
    TooMany,
    /// More than [`MESSAGE_BYTES_MAX`] bytes.
    #[error("a message of {0} bytes; {MESSAGE_BYTES_MAX} are allowed")]
    TooLong(usize),
}

/// Why bytes are not a message. Decoding keeps no state, so nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Nested more than [`DEPTH_MAX`] deep.
    #[error("a message nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// More than [`VALUES_MAX`] values.
    #[error("a message of more than {VALUES_MAX} values")]
    TooMany,
    /// More than [`MESSAGE_BYTES_MAX`] bytes.
    #[error("a message of {0} bytes; {MESSAGE_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not CBOR, or not of the shape of a message.
    #[error("a malformed message: {0}")]
    Malformed(#[from] minicbor::decode::Error),
    /// A key that is neither a name nor a number of 32 bits.
    #[error("a field's key is neither a name nor a number")]
    BadKey,
    /// A key that stands twice.
    #[error("two fields {0}")]
    Duplicate(Key),
    /// Good, and then more bytes.
    #[error("{0} bytes behind the end of a message")]
    Trailing(usize),
}

impl Message {
    /// The message as bytes: the same for equal messages.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut values_left = VALUES_MAX;
        check_message(self, DEPTH_MAX, &mut values_left)?;
        let mut encoder = Encoder::new(Vec::new());
        write_message(&mut encoder, self).expect("writing to memory does not fail");
        let bytes = encoder.into_writer();
        match bytes.len() > MESSAGE_BYTES_MAX {
            true => Err(EncodeError::TooLong(bytes.len())),
            false => Ok(Bytes::from(bytes)),
        }
    }

    /// Reads a message. Byte strings in it are slices of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Message, DecodeError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        let mut reader = Reader { source: bytes, decoder: Decoder::new(bytes), values_left: VALUES_MAX };
        let message = reader.message(DEPTH_MAX)?;
        match bytes.len() - reader.decoder.position() {
            0 => Ok(message),
            rest => Err(DecodeError::Trailing(rest)),
        }
    }
}

fn check_message(message: &Message, depth_left: usize, values_left: &mut usize) -> Result<(), EncodeError> {
    let depth_left = depth_left.checked_sub(1).ok_or(EncodeError::TooDeep)?;
    message.iter().try_for_each(|(_, value)| check_value(value, depth_left, values_left))
}

fn check_value(value: &Value, depth_left: usize, values_left: &mut usize) -> Result<(), EncodeError> {
    *values_left = values_left.checked_sub(1).ok_or(EncodeError::TooMany)?;
    match value {
        Value::Message(message) => check_message(message, depth_left, values_left),
        Value::List(values) => {
            let depth_left = depth_left.checked_sub(1).ok_or(EncodeError::TooDeep)?;
            values.iter().try_for_each(|value| check_value(value, depth_left, values_left))
        }
        Value::Bytes(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Text(_)
        | Value::Site(_)
        | Value::Process(_)
        | Value::Member(_)
        | Value::Group(_)
        | Value::View(_)
        | Value::Own(_)
        | Value::Unknown(_) => Ok(()),
    }
}

type Written = Result<(), minicbor::encode::Error<Infallible>>;

fn write_message(e: &mut Encoder<Vec<u8>>, message: &Message) -> Written {
    e.map(message.len() as u64)?;
    for (key, value) in message.iter() {
        match key {
            Key::Number(number) => e.u32(*number)?.ok()?,
            Key::Name(name) => e.str(name)?.ok()?,
        }
        write_value(e, value)?;
    }
    Ok(())
}

fn write_value(e: &mut Encoder<Vec<u8>>, value: &Value) -> Written {
    match value {
        Value::Bytes(bytes) => e.bytes(bytes)?.ok(),
        Value::Integer(integer) => match (integer.as_u64(), integer.as_i64()) {
            (Some(number), _) => e.u64(number)?.ok(),
            (None, number) => e.i64(number.expect("an integer is an i64 or a u64"))?.ok(),
        },
        Value::Float(number) => e.f64(*number)?.ok(),
        Value::Bool(truth) => e.bool(*truth)?.ok(),
        Value::Text(text) => e.str(text)?.ok(),
        Value::Site(site) => e.tag(Tag::new(TAG_SITE))?.encode(site)?.ok(),
        Value::Process(process) => e.tag(Tag::new(TAG_PROCESS))?.encode(process)?.ok(),
        Value::Member(member) => e.tag(Tag::new(TAG_MEMBER))?.encode(member)?.ok(),
        Value::Group(group) => e.tag(Tag::new(TAG_GROUP))?.encode(group)?.ok(),
        Value::View(view) => e.tag(Tag::new(TAG_VIEW))?.encode(view)?.ok(),
        Value::List(values) => {
            e.array(values.len() as u64)?;
            values.iter().try_for_each(|value| write_value(e, value))
        }
        Value::Message(message) => write_message(e, message),
        Value::Own(own) => e.tag(Tag::new(TAG_OWN))?.array(2)?.str(&own.type_name)?.bytes(&own.bytes)?.ok(),
        Value::Unknown(unknown) => {
            e.writer_mut().extend_from_slice(&unknown.encoded);
            Ok(())
        }
    }
}

struct Reader<'b> {
    source: &'b Bytes,
    decoder: Decoder<'b>,
    values_left: usize,
}

impl<'b> Reader<'b> {
    fn message(&mut self, depth_left: usize) -> Result<Message, DecodeError> {
        let depth_left = depth_left.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        let count = self.decoder.map()?.ok_or_else(indefinite)?;
        let mut message = Message::new();
        // The count is the peer's word: nothing is reserved for it.
        for _ in 0..count {
            let key = self.key()?;
            let value = self.value(depth_left)?;
            match message.fields.entry(key) {
                Entry::Vacant(place) => place.insert(value),
                Entry::Occupied(place) => return Err(DecodeError::Duplicate(place.key().clone())),
            };
        }
        Ok(message)
    }

    fn key(&mut self) -> Result<Key, DecodeError> {
        match self.decoder.datatype()? {
            Cbor::U8 | Cbor::U16 | Cbor::U32 => Ok(Key::Number(self.decoder.u32()?)),
            Cbor::String => Ok(Key::Name(self.decoder.str()?.to_owned())),
            _ => Err(DecodeError::BadKey),
        }
    }

    fn value(&mut self, depth_left: usize) -> Result<Value, DecodeError> {
        self.values_left = self.values_left.checked_sub(1).ok_or(DecodeError::TooMany)?;
        let d = &mut self.decoder;
        Ok(match d.datatype()? {
            Cbor::Bytes => {
                let bytes = d.bytes()?;
                Value::Bytes(self.source.slice_ref(bytes))
            }
            Cbor::U8 | Cbor::U16 | Cbor::U32 | Cbor::U64 => Value::Integer(Integer::from(d.u64()?)),
            Cbor::I8 | Cbor::I16 | Cbor::I32 | Cbor::I64 => Value::Integer(Integer::from(d.i64()?)),
            Cbor::F32 | Cbor::F64 => Value::Float(d.f64()?),
            Cbor::Bool => Value::Bool(d.bool()?),
            Cbor::String => Value::Text(d.str()?.to_owned()),
            Cbor::Array => self.list(depth_left)?,
            Cbor::Map => Value::Message(self.message(depth_left)?),
            Cbor::Tag => self.tagged()?,
            Cbor::ArrayIndef | Cbor::MapIndef | Cbor::BytesIndef | Cbor::StringIndef => {
                return Err(indefinite().into());
            }
            Cbor::Break | Cbor::Unknown(_) => {
                return Err(minicbor::decode::Error::message("no value begins like this").into());
            }
            Cbor::Int | Cbor::F16 | Cbor::Simple | Cbor::Null | Cbor::Undefined => self.unknown()?,
        })
    }

    fn list(&mut self, depth_left: usize) -> Result<Value, DecodeError> {
        let depth_left = depth_left.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        let count = self.decoder.array()?.ok_or_else(indefinite)?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(depth_left)?);
        }
        Ok(Value::List(values))
    }

    fn tagged(&mut self) -> Result<Value, DecodeError> {
        let d = &mut self.decoder;
        let start = d.position();
        Ok(match d.tag()?.as_u64() {
            TAG_SITE => Value::Site(d.decode()?),
            TAG_PROCESS => Value::Process(d.decode()?),
            TAG_MEMBER => Value::Member(d.decode()?),
            TAG_GROUP => Value::Group(d.decode()?),
            TAG_VIEW => Value::View(d.decode()?),
            TAG_OWN => self.own()?,
            _ => {
                d.set_position(start);
                self.unknown()?
            }
        })
    }

    fn own(&mut self) -> Result<Value, DecodeError> {
        let d = &mut self.decoder;
        if d.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("an own value is a name and bytes").into());
        }
        let type_name = d.str()?.to_owned();
        let bytes = d.bytes()?;
        Ok(Value::Own(Own { type_name, bytes: self.source.slice_ref(bytes) }))
    }

    /// Whatever it is, it is well-formed, and kept as it came.
    fn unknown(&mut self) -> Result<Value, DecodeError> {
        let start = self.decoder.position();
        self.decoder.skip()?;
        let encoded = self.source.slice(start..self.decoder.position());
        Ok(Value::Unknown(Unknown { encoded }))
    }
}

fn indefinite() -> minicbor::decode::Error {
    minicbor::decode::Error::message("a length that is not told beforehand")
}

#[cfg(test)]
mod tests {
    use minicbor::data::Int;

    use super::*;

    #[test]
    fn a_value_of_a_later_version_is_skipped_and_passed_on_as_it_came() {
        let mut later = Encoder::new(Vec::new());
        later.map(3).and_then(|e| e.str("a")?.u8(1)?.ok()).expect("memory");
        later.str("b").and_then(|e| e.tag(Tag::new(999_999))?.array(1)?.null()?.ok()).expect("memory");
        later.str("c").and_then(|e| e.null()?.ok()).expect("memory");
        let bytes = Bytes::from(later.into_writer());
        let message = Message::decode(&bytes).expect("an older reader");
        assert_eq!(message.get::<u64>("a"), Ok(1));
        assert!(matches!(message.value("b"), Some(Value::Unknown(_))));
        assert_eq!(message.encode().expect("small"), bytes);
    }

    #[test]
    fn byte_strings_are_slices_of_the_message() {
        let bytes = Message::new().with("body", &b"0123456789"[..]).encode().expect("small");
        let message = Message::decode(&bytes).expect("good");
        let body = message.get::<&[u8]>("body").expect("bytes");
        assert!(bytes.as_ptr_range().contains(&body.as_ptr()));
    }

    #[test]
    fn integers_beyond_64_bits_are_unknown_values() {
        let mut e = Encoder::new(Vec::new());
        let lowest = Int::try_from(-(1i128 << 64)).expect("the lowest CBOR integer");
        e.map(1).and_then(|e| e.u8(0)?.int(lowest)?.ok()).expect("memory");
        let message = Message::decode(&e.into_writer().into()).expect("good");
        assert!(matches!(message.value(0u32), Some(Value::Unknown(_))));
    }

    #[test]
    fn nesting_is_bounded_both_ways() {
        let mut message = Message::new();
        for _ in 1..DEPTH_MAX {
            message = Message::new().with("in", message);
        }
        let bytes = message.encode().expect("just deep enough");
        assert_eq!(Message::decode(&bytes).expect("just deep enough"), message);
        assert_eq!(Message::new().with("in", message).encode(), Err(EncodeError::TooDeep));
        let deep: Vec<u8> = [0xA1, 0x00].repeat(1_000_000);
        assert!(matches!(Message::decode(&deep.into()), Err(DecodeError::TooDeep)));
        let mut deep = vec![0xA1, 0x00];
        deep.extend([0x81].repeat(1_000_000));
        assert!(matches!(Message::decode(&deep.into()), Err(DecodeError::TooDeep)));
    }

    #[test]
    fn the_number_of_values_is_bounded_both_ways() {
        let full = Message::new().with("list", vec![true; VALUES_MAX - 1]);
        let bytes = full.encode().expect("just enough");
        assert_eq!(Message::decode(&bytes).expect("just enough"), full);
        assert_eq!(Message::new().with("list", vec![true; VALUES_MAX]).encode(), Err(EncodeError::TooMany));
        // An array that announces 2^32 - 1 elements and holds two million.
        let mut many = vec![0xA1, 0x00, 0x9A, 0xFF, 0xFF, 0xFF, 0xFF];
        many.resize(2_000_000, 0);
        assert!(matches!(Message::decode(&many.into()), Err(DecodeError::TooMany)));
    }

    #[test]
    fn a_key_stands_once() {
        let twice = Bytes::from_static(&[0xA2, 0x00, 0x01, 0x00, 0x02]);
        assert!(matches!(Message::decode(&twice), Err(DecodeError::Duplicate(Key::Number(0)))));
    }
}
