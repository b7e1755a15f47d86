//! Compact numbers and ids for the bytes in front of a payload: unsigned LEB128, so that small numbers cost
//! one byte. Reading slices the given `Bytes` and copies nothing.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use wire::{GroupId, Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation, ViewId};

/// Why received bytes were refused. The state of whoever read them is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("the bytes end too early")]
    Short,
    /// A number does not fit its type.
    #[error("a number is too large")]
    TooLarge,
    /// A tag that this version does not know.
    #[error("unknown tag {0}")]
    UnknownTag(u8),
    /// A list is longer than its bound.
    #[error("a list is longer than its bound")]
    TooLong,
    /// A structured body does not parse.
    #[error("a body does not parse")]
    BadBody,
}

/// Takes values off the front of a `Bytes`.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Reader {
        Reader { rest: bytes }
    }

    /// Everything not yet read, without a copy.
    pub(crate) fn into_rest(self) -> Bytes {
        self.rest
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        if self.rest.is_empty() {
            return Err(DecodeError::Short);
        }
        Ok(self.rest.get_u8())
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::TooLarge);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::TooLarge)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.u64()?).map_err(|_| DecodeError::TooLarge)
    }

    /// The next `len` bytes, without a copy.
    pub(crate) fn bytes(&mut self, len: u64) -> Result<Bytes, DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::Short)?;
        if len > self.rest.len() {
            return Err(DecodeError::Short);
        }
        Ok(self.rest.split_to(len))
    }

    pub(crate) fn life(&mut self) -> Result<SiteIncarnation, DecodeError> {
        Ok(SiteIncarnation { site: SiteId(self.u32()?), incarnation: Incarnation(self.u64()?) })
    }

    pub(crate) fn process(&mut self) -> Result<ProcessId, DecodeError> {
        Ok(ProcessId { birth: self.life()?, local: self.u64()? })
    }

    pub(crate) fn member(&mut self) -> Result<MemberId, DecodeError> {
        Ok(MemberId { process: self.process()?, join: self.u64()? })
    }

    pub(crate) fn view(&mut self) -> Result<ViewId, DecodeError> {
        Ok(ViewId { epoch: self.u64()?, attempt: self.u32()?, coordinator: self.life()? })
    }

    pub(crate) fn group(&mut self) -> Result<GroupId, DecodeError> {
        Ok(GroupId { created: self.view()?, index: self.u32()? })
    }
}

/// Appends values to a buffer, the counterpart of [`Reader`].
pub(crate) trait Put {
    fn number(&mut self, value: u64);

    fn life(&mut self, life: SiteIncarnation) {
        self.number(u64::from(life.site.0));
        self.number(life.incarnation.0);
    }

    fn process(&mut self, process: ProcessId) {
        self.life(process.birth);
        self.number(process.local);
    }

    fn member(&mut self, member: MemberId) {
        self.process(member.process);
        self.number(member.join);
    }

    fn view(&mut self, view: ViewId) {
        self.number(view.epoch);
        self.number(u64::from(view.attempt));
        self.life(view.coordinator);
    }

    fn group(&mut self, group: GroupId) {
        self.view(group.created);
        self.number(u64::from(group.index));
    }
}

impl Put for BytesMut {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_and_small_ones_cost_one_byte() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = BytesMut::new();
            out.number(value);
            assert_eq!(out.len() == 1, value < 128);
            let mut reader = Reader::new(out.freeze());
            assert_eq!(reader.u64(), Ok(value));
            assert!(reader.into_rest().is_empty());
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_refused() {
        let eleven = Bytes::from_static(&[0xff; 11]);
        assert_eq!(Reader::new(eleven).u64(), Err(DecodeError::TooLarge));
        let ten = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]);
        assert_eq!(Reader::new(ten).u64(), Err(DecodeError::TooLarge));
    }
}
