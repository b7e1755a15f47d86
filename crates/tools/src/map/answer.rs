//! What became of a request: the same at every member.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use super::pair::Pair;
use super::request::Fault;

/// What became of a request. None is longer than 1 KiB, so that the group keeps it for a client that repeats itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// It is done.
    #[n(0)]
    Done {
        /// At this revision: the position of the request's entry.
        #[n(0)]
        revision: u64,
        /// The revision at which the key was changed before; none: it was absent, or the request names no key.
        #[n(1)]
        previous: Option<u64>,
    },
    /// A batch is done.
    #[n(1)]
    Batch {
        /// At this revision.
        #[n(0)]
        revision: u64,
        /// For each operation, in their order, the revision at which its key was changed before.
        #[n(1)]
        previous: Vec<Option<u64>>,
    },
    /// A condition did not hold, and nothing was done.
    #[n(2)]
    Unmet {
        /// The first operation whose condition it is, from 0.
        #[n(0)]
        operation: u32,
        /// What the key was found to be; none: absent.
        #[n(1)]
        found: Option<Found>,
    },
    /// The pairs would count more than the quota allows, and nothing was done.
    #[n(3)]
    Full {
        /// What they count now, in bytes.
        #[n(0)]
        counted: u64,
        /// What they may count.
        #[n(1)]
        quota: u64,
    },
    /// The request means nothing, and nothing was done.
    #[n(4)]
    Malformed(#[n(0)] Fault),
}

/// A pair without its key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Found {
    /// The revision at which it was changed last.
    #[n(0)]
    pub modified: u64,
    /// The revision at which it came to be.
    #[n(1)]
    pub created: u64,
    /// How often it was put since.
    #[n(2)]
    pub versions: u64,
}

impl From<&Pair> for Found {
    fn from(pair: &Pair) -> Found {
        Found { modified: pair.modified(), created: pair.created(), versions: pair.versions() }
    }
}

impl Answer {
    /// The answer as bytes.
    pub fn encode(&self) -> Bytes {
        wire::codec::encode(self)
    }

    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// These bytes are none, or one of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Answer, wire::codec::DecodeError> {
        wire::codec::decode(bytes)
    }
}
