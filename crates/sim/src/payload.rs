//! What a simulated message holds: its number, and bytes that follow from it, so that any change shows.

use bytes::Bytes;

use crate::history::Message;

/// The payload of a message, with so many bytes behind its number.
pub fn make(message: Message, len: usize) -> Bytes {
    let mut bytes = (message as u64).to_le_bytes().to_vec();
    bytes.extend((0..len).map(|n| fill(message, n)));
    bytes.into()
}

/// The number of a message; none if the bytes are nobody's.
pub fn read(bytes: &[u8]) -> Option<Message> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    let message = usize::try_from(u64::from_le_bytes(*number)).ok()?;
    rest.iter().enumerate().all(|(n, byte)| *byte == fill(message, n)).then_some(message)
}

fn fill(message: Message, n: usize) -> u8 {
    (message.wrapping_mul(31).wrapping_add(n.wrapping_mul(7))) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_shows() {
        let bytes = make(7, 40);
        assert_eq!(read(&bytes), Some(7));
        let mut changed = bytes.to_vec();
        changed[20] ^= 1;
        assert_eq!(read(&changed), None);
        assert_eq!(read(&bytes[..5]), None);
    }
}
