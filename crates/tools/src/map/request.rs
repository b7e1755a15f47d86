//! What a client asks for, as payload of a group's request.

use std::collections::BTreeSet;

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode};

use super::limits::{BATCH_MAX, KEY_BYTES_MAX, REQUEST_BYTES_MAX, TTL_MS_MAX, VALUE_BYTES_MAX};

/// What a client asks for. It borrows keys and values from whoever makes it, or from the payload that it was read from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request<'a> {
    /// Lets time pass, so that what is due goes: for the host.
    #[n(0)]
    Tick,
    /// Gives a key a value.
    #[n(1)]
    Put(#[b(0)] Put<'a>),
    /// Takes a key away.
    #[n(2)]
    Delete(#[b(0)] Delete<'a>),
    /// Puts and deletes at one revision, all or none.
    #[n(3)]
    Batch(#[b(0)] Batch<'a>),
    /// Sets what the pairs may count together.
    #[n(4)]
    Quota(#[n(0)] Quota),
}

/// Gives a key a value, whether it had one or not.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Put<'a> {
    /// Which key: 1 to [`KEY_BYTES_MAX`] bytes.
    #[cbor(b(0), with = "minicbor::bytes")]
    pub key: &'a [u8],
    /// Its value: at most [`VALUE_BYTES_MAX`] bytes.
    #[cbor(b(1), with = "minicbor::bytes")]
    pub value: &'a [u8],
    /// After so many milliseconds of entries' time the key is gone; none: it stays. From 1 to [`TTL_MS_MAX`].
    #[n(2)]
    pub ttl_ms: Option<u64>,
    /// Only if this holds before.
    #[b(3)]
    pub only_if: Option<Condition<'a>>,
}

/// Takes a key away. One that is not there stays so.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Delete<'a> {
    /// Which key.
    #[cbor(b(0), with = "minicbor::bytes")]
    pub key: &'a [u8],
    /// Only if this holds before.
    #[b(1)]
    pub only_if: Option<Condition<'a>>,
}

/// Puts and deletes of different keys, 1 to [`BATCH_MAX`]. All conditions are judged before anything is done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Batch<'a> {
    /// What to do.
    #[cbor(b(0), decode_with = "few")]
    pub operations: Vec<Operation<'a>>,
}

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Operation<'a> {
    /// Gives a key a value.
    #[n(0)]
    Put(#[b(0)] Put<'a>),
    /// Takes a key away.
    #[n(1)]
    Delete(#[b(0)] Delete<'a>),
}

/// What must hold of a key before an operation, or nothing is done. A pair whose time is over is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Condition<'a> {
    /// There is no such key.
    #[n(0)]
    Absent,
    /// There is one.
    #[n(1)]
    Present,
    /// It was changed last at this revision.
    #[n(2)]
    Revision(#[n(0)] u64),
    /// It has exactly this value.
    #[n(3)]
    Value(#[cbor(b(0), with = "minicbor::bytes")] &'a [u8]),
}

/// What the pairs may count together: their keys, their values, and [`PAIR_BYTES`](super::limits::PAIR_BYTES) each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Quota {
    /// In bytes. If there is more already, nothing is taken away; what would add to it is refused.
    #[n(0)]
    pub bytes: u64,
}

/// Why a request means nothing. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum Fault {
    /// These bytes are no request, or one of a later version.
    #[n(0)]
    #[error("not a request that this version knows")]
    Unreadable,
    /// It is longer than [`REQUEST_BYTES_MAX`].
    #[n(1)]
    #[error("a request of more than {REQUEST_BYTES_MAX} bytes")]
    RequestTooLong,
    /// A key has no bytes.
    #[n(2)]
    #[error("a key without bytes")]
    KeyEmpty,
    /// A key is longer than [`KEY_BYTES_MAX`].
    #[n(3)]
    #[error("a key of more than {KEY_BYTES_MAX} bytes")]
    KeyTooLong,
    /// A value is longer than [`VALUE_BYTES_MAX`].
    #[n(4)]
    #[error("a value of more than {VALUE_BYTES_MAX} bytes")]
    ValueTooLong,
    /// A time to live is 0, or longer than [`TTL_MS_MAX`].
    #[n(5)]
    #[error("a time to live must be between 1 ms and a hundred years")]
    Ttl,
    /// A batch has no operation, or more than [`BATCH_MAX`].
    #[n(6)]
    #[error("a batch has between 1 and {BATCH_MAX} operations")]
    Operations,
    /// A batch names a key twice.
    #[n(7)]
    #[error("a batch names a key once")]
    KeyTwice,
}

impl<'a> Request<'a> {
    /// The request as bytes; it may still be refused for its [`Fault`]s.
    pub fn encode(&self) -> Bytes {
        wire::codec::encode(self)
    }

    /// Reads a request, and checks what types do not.
    ///
    /// # Errors
    ///
    /// The first fault that is found.
    pub fn decode(payload: &'a [u8]) -> Result<Request<'a>, Fault> {
        if payload.len() > REQUEST_BYTES_MAX {
            return Err(Fault::RequestTooLong);
        }
        let request: Request = wire::codec::decode(payload).map_err(|_| Fault::Unreadable)?;
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), Fault> {
        match self {
            Request::Tick | Request::Quota(_) => Ok(()),
            Request::Put(put) => put.check(),
            Request::Delete(delete) => delete.check(),
            Request::Batch(batch) => batch.check(),
        }
    }
}

impl Put<'_> {
    fn check(&self) -> Result<(), Fault> {
        check_key(self.key)?;
        check_value(self.value)?;
        if self.ttl_ms.is_some_and(|ttl| ttl == 0 || ttl > TTL_MS_MAX) {
            return Err(Fault::Ttl);
        }
        check_condition(self.only_if.as_ref())
    }
}

impl Delete<'_> {
    fn check(&self) -> Result<(), Fault> {
        check_key(self.key)?;
        check_condition(self.only_if.as_ref())
    }
}

impl Batch<'_> {
    fn check(&self) -> Result<(), Fault> {
        if self.operations.is_empty() || self.operations.len() > BATCH_MAX {
            return Err(Fault::Operations);
        }
        let mut keys = BTreeSet::new();
        for operation in &self.operations {
            match operation {
                Operation::Put(put) => put.check()?,
                Operation::Delete(delete) => delete.check()?,
            }
            if !keys.insert(operation.key()) {
                return Err(Fault::KeyTwice);
            }
        }
        Ok(())
    }
}

impl<'a> Operation<'a> {
    /// The key that it is about.
    pub fn key(&self) -> &'a [u8] {
        match self {
            Operation::Put(put) => put.key,
            Operation::Delete(delete) => delete.key,
        }
    }

    /// What must hold before it.
    pub fn only_if(&self) -> Option<&Condition<'a>> {
        match self {
            Operation::Put(put) => put.only_if.as_ref(),
            Operation::Delete(delete) => delete.only_if.as_ref(),
        }
    }
}

fn check_key(key: &[u8]) -> Result<(), Fault> {
    match key.len() {
        0 => Err(Fault::KeyEmpty),
        1..=KEY_BYTES_MAX => Ok(()),
        _ => Err(Fault::KeyTooLong),
    }
}

fn check_value(value: &[u8]) -> Result<(), Fault> {
    if value.len() > VALUE_BYTES_MAX { Err(Fault::ValueTooLong) } else { Ok(()) }
}

fn check_condition(condition: Option<&Condition>) -> Result<(), Fault> {
    match condition {
        Some(Condition::Value(value)) => check_value(value),
        _ => Ok(()),
    }
}

/// Operations, of which no more are read than one above what is allowed: a short request must not take much memory.
fn few<'b, C>(d: &mut Decoder<'b>, c: &mut C) -> Result<Vec<Operation<'b>>, minicbor::decode::Error> {
    let count =
        d.array()?.ok_or_else(|| minicbor::decode::Error::message("operations without their number"))?;
    let mut operations = Vec::new();
    for _ in 0..count {
        if operations.len() > BATCH_MAX {
            d.skip()?;
        } else {
            operations.push(d.decode_with(c)?);
        }
    }
    Ok(operations)
}
