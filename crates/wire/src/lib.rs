//! Floor 1: what every other crate says things with.
//!
//! * [`id`]: identities; [`epoch`]: the cluster's epoch; [`time`]: virtual time; [`bugs`]: the switches that re-introduce known bugs for the
//!   simulator's proof of itself.
//! * [`frame`]: the header of everything that crosses a connection; [`version`]: the hello, and what two
//!   sites agree on; [`codec`]: control messages to bytes and back.
//! * [`fields`]: the messages of programs, made of typed fields, and files of them; [`crc`]: their checksum.
//!
//! Nothing here does I/O of its own or knows a protocol.

#![forbid(unsafe_code)]

pub mod bugs;
pub mod codec;
pub mod crc;
pub mod epoch;
pub mod fields;
pub mod frame;
pub mod id;
pub mod session;
pub mod time;
pub mod version;

pub use bugs::{Bug, Bugs};
pub use epoch::ClusterEpoch;
pub use id::{
    ClusterId, GroupId, GroupName, Incarnation, MemberId, NameError, ProcessId, SiteId, SiteIncarnation,
    StoreId, ViewId,
};
pub use time::Time;
pub use version::Hello;
