//! Floor 8: everything that touches the world below a site: TLS links, sealed datagrams, the disk, the clock.
//!
//! ```text
//!                    ┌── links  (TCP + TLS 1.3, one connection a pair) ──┐
//!  send, send_probe ─┤                                                   ├─▶ inputs ─▶ the site's one loop
//!                    └── probes (UDP, sealed under the pair's TLS keys) ─┤
//!             store ──── disk   (its own thread) ────────────────────────┘
//! ```
//!
//! Connections are accepted and seen through their handshakes in the [`Lobby`], a thread of its own: strangers take
//! nothing of the site's time.
//!
//! [`FileDisk`] is the directory that a log (`wal`) of a group lives in; its driver gives it a thread.
//!
//! Nothing here knows a protocol above the connection: packets are opaque bytes, and numbering, resuming and
//! detecting belong to the pure crates. Every refusal is typed ([`Refusal`]) and counted ([`Metrics`]).

#![forbid(unsafe_code)]
// This crate is the driver: it is where the clock, the threads and unordered maps live.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the driver owns clock and threads")]

pub mod bids;
pub mod cert;
pub mod clock;
pub mod disk;
pub mod file_disk;
pub mod input;
pub mod links;
pub mod lobby;
pub mod metrics;
pub mod ports;
pub mod probe;
pub mod refusal;
pub mod shown;
pub mod socket;
pub mod tls;
pub mod trust;

pub use bids::BidConnection;
pub use clock::Clock;
pub use disk::{Disk, DiskError, Kept};
pub use file_disk::FileDisk;
pub use input::{Down, Input, InputSender, Inputs, inputs};
pub use links::gate::Gate;
pub use links::{Batch, Bid, Config, Hello, HelloRefused, Links, PeerAddress, SendError};
pub use lobby::Lobby;
pub use metrics::Metrics;
pub use probe::Via;
pub use refusal::Refusal;
pub use shown::Shown;
pub use socket::Socket;
pub use trust::{Expect, Trust};

/// A number that nobody can guess.
///
/// # Panics
///
/// If the system has no randomness: then no key would be safe either.
pub fn random() -> u128 {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    u128::from_ne_bytes(bytes)
}
