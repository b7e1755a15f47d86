//! Floor 2: a reliable FIFO channel between two lives of two sites, over paths that break, lose, duplicate
//! and reorder packets; and the envelope in which packets make a detour around a broken path.
//!
//! [`Link`] is the channel's one end; its doc states the call order. [`relay`] is the envelope. Nothing here
//! knows which paths there are or which is used: that is detection's choice and the driver's work. Frames are
//! numbered end to end, so a change of path neither loses nor doubles one.

#![forbid(unsafe_code)]

mod channel;
mod config;
mod packet;
mod receiver;
pub mod relay;
mod rtt;
mod sender;

pub use channel::{Event, Link, StalePeer};
pub use config::{Config, Counters};
pub use packet::{FrameHeader, HEADER_BYTES, Packet, PacketError};
pub use sender::{Class, SendError};
