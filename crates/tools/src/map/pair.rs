//! A key and its value, and what is known of them.

use std::fmt;
use std::hash::Hasher;
use std::iter;
use std::sync::Arc;

use bytes::Bytes;
use siphasher::sip::SipHasher13;

use super::limits::PAIR_BYTES;

/// When a pair without a time to live goes.
const NEVER: u64 = u64::MAX;
/// It finds faults and not forgers: the key is known.
const HASH_KEY: (u64, u64) = (0x756e_616e_696d_6f75, 0x006d_6170_2070_6169);

/// A key and its value. It does not change any more; a copy shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The key, then the value: one allocation a pair.
    data: Arc<[u8]>,
    key_bytes: u16,
    created: u64,
    modified: u64,
    versions: u64,
    /// In milliseconds since 1970, or [`NEVER`].
    expires: u64,
    /// Of all the above, so that taking a pair out of a sum costs nothing.
    hash: u64,
}

impl Pair {
    /// A pair of a checked key and value.
    pub(super) fn new(key: &[u8], value: &[u8], history: Lineage, expires: Option<u64>) -> Pair {
        debug_assert!(!key.is_empty() && key.len() <= super::limits::KEY_BYTES_MAX);
        let data = joined(key, value);
        let Lineage { created, modified, versions } = history;
        let expires = expires.map_or(NEVER, |at| at.min(NEVER - 1));
        let key_bytes = key.len() as u16;
        let mut hasher = SipHasher13::new_with_keys(HASH_KEY.0, HASH_KEY.1);
        for number in [u64::from(key_bytes), created, modified, versions, expires] {
            hasher.write_u64(number);
        }
        hasher.write(&data);
        let hash = hasher.finish();
        Pair { data, key_bytes, created, modified, versions, expires, hash }
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.data[..self.key_bytes.into()]
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.data[self.key_bytes.into()..]
    }

    /// The value, not copied. It keeps the pair's bytes in memory for as long as it lives.
    pub fn value_bytes(&self) -> Bytes {
        Bytes::from_owner(Arc::clone(&self.data)).slice(usize::from(self.key_bytes)..)
    }

    /// The revision at which the key came to be.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// The revision at which it was put last.
    pub fn modified(&self) -> u64 {
        self.modified
    }

    /// How often it was put since it came to be, from 1.
    pub fn versions(&self) -> u64 {
        self.versions
    }

    /// When it goes, in milliseconds of entries' time since 1970.
    pub fn expires(&self) -> Option<u64> {
        (self.expires != NEVER).then_some(self.expires)
    }

    /// Whether its time is over.
    pub fn is_due(&self, clock: u64) -> bool {
        self.expires <= clock && self.expires != NEVER
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The bytes of key and value.
    pub(super) fn bytes(&self) -> u64 {
        self.data.len() as u64
    }

    /// What it counts.
    pub(super) fn counts(&self) -> u64 {
        counts(self.data.len())
    }
}

/// What a pair of so many bytes counts.
pub(super) fn counts(bytes: usize) -> u64 {
    bytes as u64 + PAIR_BYTES
}

/// When a pair came to be, when it was put last, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lineage {
    pub created: u64,
    pub modified: u64,
    pub versions: u64,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} = ", Bytes::copy_from_slice(self.key()))?;
        match self.value() {
            value if value.len() <= 64 => write!(f, "{:?}", Bytes::copy_from_slice(value))?,
            value => write!(f, "{} bytes", value.len())?,
        }
        write!(f, " ({}..{}, {} times", self.created, self.modified, self.versions)?;
        match self.expires() {
            Some(at) => write!(f, ", until {at})"),
            None => write!(f, ")"),
        }
    }
}
/// Both, one behind the other, in an allocation of their own.
fn joined(key: &[u8], value: &[u8]) -> Arc<[u8]> {
    let mut data: Arc<[u8]> = iter::repeat_n(0, key.len() + value.len()).collect();
    if let Some(data) = Arc::get_mut(&mut data) {
        let (first, rest) = data.split_at_mut(key.len());
        first.copy_from_slice(key);
        rest.copy_from_slice(value);
    }
    data
}
