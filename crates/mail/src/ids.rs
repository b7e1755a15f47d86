//! What things are called inside the state machine, and the time that entries carry.

use std::fmt;
use std::time::Duration;

use minicbor::{Decode, Encode};
use wire::StoreId;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// The place of an entry in the group's log; it names the letter whose body the entry carries. 0 stands
    /// before the first entry.
    Position(u64)
);
number!(
    /// A user for as long as it exists; a user that is added again under the same name gets another id.
    UserId(u32)
);
number!(
    /// A mailbox, whatever it is renamed to; never used twice.
    MailboxId(u32)
);
number!(
    /// Milliseconds since the Unix epoch, stamped on an entry by the site that proposed it. The state machine
    /// knows no other time.
    EntryTime(u64)
);

impl EntryTime {
    /// This time less a duration, not below the epoch.
    pub fn before(self, by: Duration) -> EntryTime {
        EntryTime(self.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// What a minority has queued, named by the store that first wrote it down: a store numbers upwards, never twice, and with
/// few gaps, so that what was merged is a few runs of numbers per store [Mail 12].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct SpoolId {
    /// The store.
    #[n(0)]
    pub store: StoreId,
    /// Its number there, from 1.
    #[n(1)]
    pub number: u64,
}

impl SpoolId {
    /// Before all.
    pub const FIRST: SpoolId = SpoolId { store: StoreId(0), number: 0 };
    /// Behind all.
    pub const LAST: SpoolId = SpoolId { store: StoreId(u64::MAX), number: u64::MAX };
}
