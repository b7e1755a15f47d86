//! Floor 4: virtually synchronous ordered multicast within agreed views.
//!
//! [`Endpoint`] is one group at one site: it orders, acknowledges, keeps until stable, and at a view change
//! exchanges one Flush with the other sites and delivers the same messages as everybody who moves with it.
//! Rules M1 to M12, cited in the code, are in `docs/multicast.md`.

#![forbid(unsafe_code)]

pub mod call;
mod config;
mod endpoint;
mod event;
mod extent;
mod flush;
mod frame;
mod inbox;
mod order;
mod outbox;
mod parting;
mod stability;
mod traffic;

pub use config::{Config, FRAME_BYTES_MAX, GBCAST_BYTES_MAX, MESSAGE_BYTES_MAX, SITES_MAX};
pub use endpoint::Endpoint;
pub use event::{
    Cast, CastError, Delivery, Event, FrameError, MessageNumber, Order, Transition, Transmit, ViewError,
};
pub use extent::Extent;
pub use parting::Parting;
