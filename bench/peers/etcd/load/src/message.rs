//! The few messages of etcd's that are needed, in protobuf by hand.

use bytes::Bytes;

/// gRPC's five bytes in front: not compressed, and the length.
pub fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a message is short");
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

/// `PutRequest { key = 1, value = 2 }` with a value of so many bytes that don't compress.
pub fn put(key: u64, size: usize) -> Bytes {
    let key = format!("bench/{key:08}");
    let mut value = vec![0; size];
    let mut state =
        key.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |sum, byte| (sum ^ u64::from(byte)).rotate_left(9));
    for byte in &mut value {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
    let mut message = Vec::with_capacity(size + 32);
    field(&mut message, 1, key.as_bytes());
    field(&mut message, 2, &value);
    frame(&message)
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `StatusResponse { header = 1 { member_id = 2 }, leader = 4 }`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Status {
    member: u64,
    leader: u64,
}

impl Status {
    /// Whether who answered leads.
    pub fn leads(&self) -> bool {
        self.leader != 0 && self.leader == self.member
    }

    /// Reads a framed message.
    pub fn read(framed: &[u8]) -> Result<Status, &'static str> {
        let message = framed.get(5..).ok_or("an answer without a message")?;
        let mut status = Status::default();
        for field in Fields(message) {
            match field? {
                (1, Value::Bytes(header)) => {
                    for field in Fields(header) {
                        if let (2, Value::Number(member)) = field? {
                            status.member = member;
                        }
                    }
                }
                (4, Value::Number(leader)) => status.leader = leader,
                _ => {}
            }
        }
        Ok(status)
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, by number.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or("a message that can't be read");
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_has_its_key_and_value_and_a_status_reads_back() {
        let put = put(7, 300);
        assert_eq!(put[..5], [0, 0, 0, 1, 0x3f]);
        let fields: Result<Vec<_>, _> = Fields(&put[5..]).collect();
        let fields = fields.expect("readable");
        assert!(matches!(fields[0], (1, Value::Bytes(b"bench/00000007"))));
        assert!(matches!(fields[1], (2, Value::Bytes(value)) if value.len() == 300));

        let mut header = Vec::new();
        header.push(2 << 3);
        varint(&mut header, u64::MAX);
        let mut message = Vec::new();
        field(&mut message, 1, &header);
        field(&mut message, 2, b"3.4.23");
        message.push(4 << 3);
        varint(&mut message, u64::MAX);
        let status = Status::read(&frame(&message)).expect("readable");
        assert!(status.leads());
        assert!(Status::read(&[0; 4]).is_err() && Status::read(&[0, 0, 0, 0, 1, 0xff]).is_err());
        assert!(!Status::read(&frame(&[])).expect("nothing in it").leads());
    }
}
