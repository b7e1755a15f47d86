//! Letters: a number each, and some bytes behind it, so that they differ in length.

use ::mail::Keyword;
use bytes::Bytes;

/// The keyword that letters may have, as a bit beside the system's flags.
pub const KEYWORD: u32 = 1 << 8;

/// The same by name.
pub fn keyword() -> Keyword {
    Keyword::normal("lunch").expect("a good keyword")
}

/// The letter of a number.
pub fn letter_of(number: u64) -> Bytes {
    let mut letter = number.to_be_bytes().to_vec();
    letter.resize(8 + number as usize % 50, b'x');
    letter.into()
}

/// The number of a letter; 0 of what is none.
pub fn number_of(letter: &[u8]) -> u64 {
    letter.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
