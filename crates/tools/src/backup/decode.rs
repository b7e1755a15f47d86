//! Reading a backup, record by record, from bytes that come as they like.

use bytes::{Buf, Bytes, BytesMut};
use durable::Locator;
use minicbor::Decode;
use sha2::{Digest, Sha256};
use wire::GroupName;

use super::{
    Damaged, END, End, FORMAT, GROUP, GROUP_END, GroupEnd, GroupHead, HEAD, Head, MAGIC, MAGIC_LINE_MAX,
    PART, RECORD_BYTES_MAX, RECORD_HEAD_BYTES, checked_head, checksum,
};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The first.
    Head(Head),
    /// A group begins.
    Group(GroupHead),
    /// A part of the group's state.
    Part {
        /// Its place in the state.
        at: Locator,
        /// Its bytes.
        part: Bytes,
    },
    /// The group ends.
    GroupEnd(GroupEnd),
    /// The last.
    End(End),
}

/// Reads a backup: [`extend`](Decoder::extend) it with what was read, then [`next`](Decoder::next) until it gives none; at
/// the end of the file, [`finish`](Decoder::finish). It holds one unfinished record and what one read brought. What it
/// gives is checked record by record, and the whole when the last one was given: until then nobody knows that the file is
/// good.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    stage: Stage,
    /// The number of the next record.
    number: u64,
    groups: u64,
    /// The group that was read last.
    last: Option<GroupName>,
    digest: Sha256,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Magic,
    Head,
    /// Groups that are still to come.
    Between(u64),
    /// In a group: what came of it, and groups behind it.
    Within(GroupEnd, u64),
    Over,
}

impl Decoder {
    /// Takes what was read.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next record, if it has come whole.
    ///
    /// # Errors
    ///
    /// The file is of no use. The decoder must not be asked again.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Record>, Damaged> {
        if matches!(self.stage, Stage::Magic) {
            match self.magic()? {
                true => self.stage = Stage::Head,
                false => return Ok(None),
            }
        }
        if matches!(self.stage, Stage::Over) {
            return if self.buffer.is_empty() { Ok(None) } else { Err(Damaged::Trailing) };
        }
        let record = self.number;
        let Some((head, _)) = self.buffer.split_first_chunk::<RECORD_HEAD_BYTES>() else { return Ok(None) };
        let [a, b, c, d, e, f, g, h, kind] = *head;
        let (length, sum) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        if length as usize > RECORD_BYTES_MAX {
            return Err(Damaged::Checksum { record });
        }
        let whole = RECORD_HEAD_BYTES + length as usize;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        let bytes = self.buffer.split_to(whole).freeze();
        let body = bytes.slice(RECORD_HEAD_BYTES..);
        if checksum(record, checked_head(length, kind), &body) != sum {
            return Err(Damaged::Checksum { record });
        }
        let read = self.read(kind, body)?;
        self.digest.update(&bytes);
        self.number += 1;
        Ok(Some(read))
    }

    /// The file has ended.
    ///
    /// # Errors
    ///
    /// It should not have.
    pub fn finish(&self) -> Result<(), Damaged> {
        match self.stage {
            Stage::Over if self.buffer.is_empty() => Ok(()),
            Stage::Over => Err(Damaged::Trailing),
            Stage::Magic => Err(Damaged::NoBackup),
            Stage::Head | Stage::Between(_) | Stage::Within(..) => {
                Err(Damaged::Truncated { record: self.number })
            }
        }
    }

    /// Reads the first line, if it has come.
    fn magic(&mut self) -> Result<bool, Damaged> {
        let common = self.buffer.len().min(MAGIC.len());
        if self.buffer[..common] != MAGIC[..common] {
            return Err(Damaged::NoBackup);
        }
        let Some(end) = self.buffer.iter().take(MAGIC_LINE_MAX).position(|byte| *byte == b'\n') else {
            return if self.buffer.len() < MAGIC_LINE_MAX { Ok(false) } else { Err(Damaged::NoBackup) };
        };
        let digits = &self.buffer[MAGIC.len()..end];
        let format = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        match format.and_then(|text| text.parse::<u32>().ok()) {
            Some(FORMAT) if digits[0] != b'0' => {}
            Some(other) if other != FORMAT => return Err(Damaged::Format(other)),
            Some(_) | None => return Err(Damaged::NoBackup),
        }
        self.digest.update(&self.buffer[..=end]);
        self.buffer.advance(end + 1);
        Ok(true)
    }

    fn read(&mut self, kind: u8, body: Bytes) -> Result<Record, Damaged> {
        let number = self.number;
        let senseless = |why| Damaged::Senseless { record: number, why };
        match (kind, &mut self.stage) {
            (HEAD, Stage::Head) => {
                let head: Head = self.decode(&body)?;
                self.stage = Stage::Between(head.groups);
                Ok(Record::Head(head))
            }
            (GROUP, Stage::Between(left)) if *left > 0 => {
                let left = *left - 1;
                let group: GroupHead = self.decode(&body)?;
                if self.last.as_ref().is_some_and(|last| *last >= group.name) {
                    return Err(senseless("groups are not in the order of their names"));
                }
                self.last = Some(group.name.clone());
                self.groups += 1;
                self.stage = Stage::Within(GroupEnd::default(), left);
                Ok(Record::Group(group))
            }
            (PART, Stage::Within(so_far, _)) => {
                let (at, part) = part(body).ok_or_else(|| senseless("a part without its place"))?;
                so_far.parts += 1;
                so_far.bytes += part.len() as u64;
                Ok(Record::Part { at, part })
            }
            (GROUP_END, Stage::Within(so_far, left)) => {
                let (so_far, left) = (*so_far, *left);
                let end: GroupEnd = self.decode(&body)?;
                if end != so_far {
                    return Err(senseless("a group has not the parts that it should have"));
                }
                self.stage = Stage::Between(left);
                Ok(Record::GroupEnd(end))
            }
            (END, Stage::Between(0)) => {
                let end: End = self.decode(&body)?;
                let digest: [u8; 32] = self.digest.clone().finalize().into();
                if end != (End { records: number, digest }) {
                    return Err(Damaged::Digest);
                }
                self.stage = Stage::Over;
                Ok(Record::End(end))
            }
            (HEAD | GROUP | PART | GROUP_END | END, _) => Err(senseless("it does not come here")),
            (_, _) => Err(senseless("a kind of record that this program does not know")),
        }
    }

    fn decode<'b, T: Decode<'b, ()>>(&self, body: &'b [u8]) -> Result<T, Damaged> {
        let why = "it is not what its kind says";
        wire::codec::decode(body).map_err(|_| Damaged::Senseless { record: self.number, why })
    }
}

fn part(mut body: Bytes) -> Option<(Locator, Bytes)> {
    let domain = body.try_get_u16_le().ok()?;
    let length = body.try_get_u32_le().ok()? as usize;
    if length > body.len() {
        return None;
    }
    let key = body.split_to(length).to_vec();
    Some((Locator { domain, key }, body))
}
