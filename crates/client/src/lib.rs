//! Floor 9: the session protocol's client, for programs beside a site.
//!
//! [`connect`] gives a [`Session`], on which requests are made, and its [`Events`]. A dropped request future
//! forgets its answer and harms nothing. What is said over the line is `wire::session`; this crate adds the
//! transport, the matching of answers to requests, and credit.

#![forbid(unsafe_code)]

mod address;
mod backup;
mod events;
pub mod mail;
pub mod maps;
mod session;
mod upgrade;

pub use address::{Address, AddressError, Tls};
pub use backup::{Begun, RestorePart, Restored};
pub use events::{CONTROL_EVENTS_MAX, Event, Events, Probe, Probes};
pub use mail::{Letter, Letters};
pub use maps::{Change, Page, Pair, Placed, WriteOptions};
pub use session::{Error, JoinOptions, Replied, Session, connect};
pub use upgrade::{Levels, SiteLevels};
pub use wire::session as protocol;
