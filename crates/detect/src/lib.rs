//! Floor 2: who can be heard, who has failed, and which way packets go around a broken link.
//!
//! [`Detector`] is a site's whole failure detection: it probes its successors on the monitoring ring with
//! the Are-You-There machine of [`aty`], gathers witnesses before it calls anybody failed, asks the suspect
//! to refute by every path, and finds a detour where only a link is broken. [`site_id`] acquires a site's id
//! in three steps; [`process`] finds local processes that hang; [`skew`] compares wall clocks. All of it is pure: time comes in as an
//! argument, packets and events are polled out, randomness is seeded.

#![forbid(unsafe_code)]

pub mod aty;
mod detector;
mod estimate;
mod message;
pub mod process;
mod settings;
pub mod site_id;
pub mod skew;

pub use detector::{Connection, Counters, Detector, Event, Evidence, Path, Transmit};
pub use estimate::{Lateness, RoundTrip};
pub use message::{BODY_BYTES_MAX, ProbeError, Sign};
pub use settings::{Config, Settings};
